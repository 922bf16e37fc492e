/* pg.c: see pg.h. The server is a child of the test program and dies with it. */
#include "pg.h"

#include "base/config.h"
#include "base/encode.h"
#include "crypto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 20000
#define DEAD_AFTER_S 1800
#define OUTPUT_BYTES_MAX (16 * 1024 * 1024)

const Uuid PG_INSTALLATION = { { 0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1 } };
const Uuid PG_ORG_A = { { 0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xa } };
const Uuid PG_ORG_B = { { 0x01, 0x8f, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xb } };

struct PgServer {
    Arena *arena;
    Str dir; /* of data and socket */
    Str bin; /* of the server programs */
    uid_t uid;
    gid_t gid;
    pid_t pid; /* 0: down */
    unsigned databases;
};

/* --- running programs ----------------------------------------------------------------------------------------------
 */

static void become(uid_t uid, gid_t gid)
{
    if (geteuid() != 0 || uid == 0)
        return;
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        _exit(126);
}

/* Runs argv with its output to out_fd, and errors with it; waits. */
static int run(const char *const *argv, int out_fd)
{
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        dup2(out_fd, STDOUT_FILENO);
        dup2(out_fd, STDERR_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static Str read_all(Arena *arena, FILE *file)
{
    long end = (fseek(file, 0, SEEK_END), ftell(file));
    size_t len = end < 0 ? 0 : (size_t)end;
    if (len > OUTPUT_BYTES_MAX)
        die("a program of the fixture printed %zu bytes", len);
    char *text = arena_alloc(arena, len + 1, 1);
    rewind(file);
    len = fread(text, 1, len, file);
    while (len > 0 && text[len - 1] == '\n')
        len--;
    return str_n(text, len);
}

static int run_captured(Arena *arena, const char *const *argv, Str *ret_output)
{
    FILE *out = tmpfile();
    if (out == NULL)
        die("no temporary file");
    int code = run(argv, fileno(out));
    *ret_output = read_all(arena, out);
    fclose(out);
    return code;
}

static void must_run(const char *const *argv)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str output;
    int code = run_captured(arena, argv, &output);
    if (code != 0)
        die("%s failed (%d): " STR_FMT, argv[0], code, STR_ARG(output));
}

/* --- the template --------------------------------------------------------------------------------------------------
 */

static Str build_dir(Arena *arena)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len <= 0)
        die("where is this program?");
    path[len] = '\0';
    for (int up = 0; up < 2; up++) { /* build/dev/tests/program → build/dev */
        char *slash = strrchr(path, '/');
        if (slash == NULL || slash == path)
            die("the test program lies in an unknown place");
        *slash = '\0';
    }
    return arena_str(arena, str_from_c(path));
}

static Str source_dir(Arena *arena)
{
    static const char here[] = __FILE__; /* absolute, or relative to the source by -ffile-prefix-map */
    const char *root = getenv("REEVE_SOURCE");
    if (root != NULL)
        return arena_str(arena, str_from_c(root));
    if (here[0] == '/')
        return arena_str(arena, str_n(here, sizeof(here) - sizeof("/tests/support/pg.c")));
    /* ctest runs tests in the source directory; a program started by hand in the build tree climbs to it */
    for (Str at = STR("."); at.len < 64; at = arena_fmt(arena, STR_FMT "/..", STR_ARG(at)))
        if (access(arena_fmt(arena, STR_FMT "/sql/bootstrap.sql", STR_ARG(at)).ptr, R_OK) == 0)
            return at;
    die("run the tests in the source directory");
}

/* Changes when the schema does. */
static Str schema_name(Arena *arena, Str source)
{
    glob_t files = { 0 };
    glob(arena_fmt(arena, STR_FMT "/sql/bootstrap.sql", STR_ARG(source)).ptr, 0, NULL, &files);
    glob(arena_fmt(arena, STR_FMT "/sql/migrations/*.sql", STR_ARG(source)).ptr, GLOB_APPEND, NULL, &files);
    Digest digest = { 0 };
    for (size_t i = 0; i < files.gl_pathc; i++) {
        Str text;
        Err err = file_read(arena, str_from_c(files.gl_pathv[i]), 1024 * 1024, &text);
        if (err.kind != ERR_NONE)
            die(STR_FMT, STR_ARG(err.detail));
        digest = digest_of_two(digest_bytes(&digest), str_bytes(text));
    }
    globfree(&files);
    return hex_encode(arena, (Bytes){ .ptr = digest.b, .len = 8 });
}

/* Those of other schemas: forty megabytes each. */
static void forget_archives(Arena *arena, Str build)
{
    glob_t files = { 0 };
    glob(arena_fmt(arena, STR_FMT "/pg-template-*.tar*", STR_ARG(build)).ptr, 0, NULL, &files);
    for (size_t i = 0; i < files.gl_pathc; i++)
        unlink(files.gl_pathv[i]);
    globfree(&files);
}

/* The archive of a migrated cluster, made under a lock when it is not there. */
static Str template_archive(Arena *arena)
{
    Str build = build_dir(arena);
    Str source = source_dir(arena);
    Str archive =
        arena_fmt(arena, STR_FMT "/pg-template-" STR_FMT ".tar", STR_ARG(build), STR_ARG(schema_name(arena, source)));
    int lock =
        open(arena_fmt(arena, STR_FMT "/pg-template.lock", STR_ARG(build)).ptr, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0 || flock(lock, LOCK_EX) != 0)
        die("cannot lock the template: %s", strerror(errno));
    if (access(archive.ptr, R_OK) != 0) {
        forget_archives(arena, build);
        const char *argv[] = { arena_fmt(arena, STR_FMT "/scripts/with-postgres", STR_ARG(source)).ptr, "--archive",
            archive.ptr, "true", NULL };
        must_run(argv);
    }
    close(lock);
    return archive;
}

/* --- the server ----------------------------------------------------------------------------------------------------
 */

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* postmaster.pid: first line the pid, eighth the state. */
static bool is_ready(const PgServer *server)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str text, line, rest;
    if (file_read(arena, arena_fmt(arena, STR_FMT "/data/postmaster.pid", STR_ARG(server->dir)), 4096, &text).kind !=
        ERR_NONE)
        return false;
    int64_t pid = 0;
    str_cut(text, '\n', &line, &rest);
    return str_to_i64(line, &pid) && pid == server->pid && str_contains(rest, STR("\nready"));
}

void pg_up(PgServer *server)
{
    if (server->pid != 0)
        die("the server is up");
    Str data = arena_fmt(server->arena, STR_FMT "/data", STR_ARG(server->dir));
    Str postgres = arena_fmt(server->arena, STR_FMT "/postgres", STR_ARG(server->bin));
    Str log = arena_fmt(server->arena, STR_FMT "/server.log", STR_ARG(server->dir));
    const char *argv[] = { postgres.ptr, "-D", data.ptr, "-k", server->dir.ptr, "-h", "", "-p", "5432", "-F", "-c",
        "max_connections=120", "-c", "shared_buffers=64MB", "-c", "log_min_messages=warning", NULL };
    server->pid = fork();
    if (server->pid < 0)
        die("fork: %s", strerror(errno));
    if (server->pid == 0) {
        int fd = open(log.ptr, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        become(server->uid, server->gid);
        setpgid(0, 0); /* a Ctrl-C is for the test, which stops the server in order */
        prctl(PR_SET_PDEATHSIG, SIGQUIT);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    for (int waited = 0; !is_ready(server); waited += 5) {
        if (waited > WAIT_MS || waitpid(server->pid, NULL, WNOHANG) == server->pid)
            die("PostgreSQL does not start; see " STR_FMT, STR_ARG(log));
        pause_ms(5);
    }
}

static void end(PgServer *server, int how)
{
    if (server->pid == 0)
        return;
    kill(server->pid, how);
    for (int waited = 0; waitpid(server->pid, NULL, WNOHANG) == 0; waited += 5) {
        if (waited == WAIT_MS / 2)
            kill(server->pid, SIGQUIT);
        if (waited > WAIT_MS)
            kill(server->pid, SIGKILL);
        pause_ms(5);
    }
    server->pid = 0;
}

void pg_down(PgServer *server)
{
    end(server, SIGINT);
}

void pg_crash(PgServer *server)
{
    end(server, SIGQUIT);
}

void pg_restart(PgServer *server)
{
    pg_down(server);
    pg_up(server);
}

void pg_kill_backend(PgServer *server, int64_t pid)
{
    if (pid <= 1 || pid == server->pid)
        die("not a backend: %lld", (long long)pid);
    kill((pid_t)pid, SIGKILL);
}

Str pg_socket_dir(const PgServer *server)
{
    return server->dir;
}

static Str server_programs(Arena *arena)
{
    glob_t found = { 0 };
    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) != 0)
        die("PostgreSQL's server programs are not installed");
    Str path = arena_str(arena, str_from_c(found.gl_pathv[found.gl_pathc - 1]));
    globfree(&found);
    return arena_str(arena, str_first(path, path.len - sizeof("/postgres") + 1));
}

/* A program that was killed could not delete its directory; its server died with it. */
static void forget_dead_servers(void)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    glob_t dirs = { 0 };
    glob("/tmp/reeve-pg.*", 0, NULL, &dirs);
    for (size_t i = 0; i < dirs.gl_pathc; i++) {
        struct stat info;
        Str text, line, rest;
        int64_t pid = 0;
        Str file = arena_fmt(arena, "%s/data/postmaster.pid", dirs.gl_pathv[i]);
        bool ours =
            lstat(dirs.gl_pathv[i], &info) == 0 && S_ISDIR(info.st_mode) && time(NULL) - info.st_mtime > DEAD_AFTER_S;
        bool alive = file_read(arena, file, 4096, &text).kind == ERR_NONE &&
                     (str_cut(text, '\n', &line, &rest), true) && str_to_i64(line, &pid) && pid > 1 &&
                     (kill((pid_t)pid, 0) == 0 || errno == EPERM);
        if (ours && !alive && (geteuid() == 0 || info.st_uid == geteuid())) {
            const char *argv[] = { "rm", "-rf", dirs.gl_pathv[i], NULL };
            must_run(argv);
        }
    }
    globfree(&dirs);
}

PgServer *pg_start(void)
{
    forget_dead_servers();
    Arena *arena = arena_new();
    PgServer *server = NEW(arena, PgServer, 1);
    *server = (PgServer){ .arena = arena, .bin = server_programs(arena), .uid = geteuid(), .gid = getegid() };
    if (geteuid() == 0) {
        const struct passwd *user = getpwnam("postgres");
        user = user == NULL ? getpwnam("nobody") : user;
        if (user == NULL)
            die("PostgreSQL refuses root, and there is no user postgres or nobody");
        server->uid = user->pw_uid;
        server->gid = user->pw_gid;
    }
    char dir[] = "/tmp/reeve-pg.XXXXXX";
    if (mkdtemp(dir) == NULL || chmod(dir, 0755) != 0 || chown(dir, server->uid, server->gid) != 0)
        die("no temporary directory: %s", strerror(errno));
    server->dir = arena_str(arena, str_from_c(dir));
    Str archive = template_archive(arena);
    const char *unpack[] = { "tar", "-C", server->dir.ptr, "-xpf", archive.ptr, NULL };
    must_run(unpack);
    pg_up(server);
    return server;
}

void pg_stop(PgServer **server_at)
{
    PgServer *server = *server_at;
    if (server == NULL)
        return;
    end(server, SIGINT);
    const char *argv[] = { "rm", "-rf", server->dir.ptr, NULL };
    must_run(argv);
    Arena *arena = server->arena;
    arena_free(&arena);
    *server_at = NULL;
}

/* --- databases -----------------------------------------------------------------------------------------------------
 */

static bool psql(Arena *arena, const PgServer *server, Str conninfo, const char *sql, Str *ret_output)
{
    Str program = arena_fmt(arena, STR_FMT "/psql", STR_ARG(server->bin));
    const char *argv[] = { program.ptr, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", conninfo.ptr, "-c", sql,
        NULL };
    return run_captured(arena, argv, ret_output) == 0;
}

static Str conninfo_of(Arena *arena, const PgServer *server, const char *database, const char *user)
{
    return arena_fmt(arena, "host=" STR_FMT " port=5432 dbname=%s user=%s", STR_ARG(server->dir), database, user);
}

static void super(const PgServer *server, const char *sql)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Str output;
    if (!psql(arena, server, conninfo_of(arena, server, "postgres", "super"), sql, &output))
        die("%s: " STR_FMT, sql, STR_ARG(output));
}

static PgDatabase create(PgServer *server, const char *template)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    PgDatabase database = { .server = server };
    snprintf(database.name, sizeof(database.name), "t%u", ++server->databases);
    super(server, arena_fmt(arena, "create database %s template %s owner reeve_owner", database.name, template).ptr);
    return database;
}

PgDatabase pg_database_new(PgServer *server)
{
    return create(server, "reeve");
}

PgDatabase pg_database_new_empty(PgServer *server)
{
    return create(server, "template0");
}

void pg_database_drop(PgDatabase *database)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    super(database->server, arena_fmt(arena, "drop database %s with (force)", database->name).ptr);
    *database = (PgDatabase){ 0 };
}

Str pg_conninfo(Arena *arena, const PgDatabase *database, const char *role)
{
    Str user = strcmp(role, "super") == 0 ? STR("super") : arena_fmt(arena, "reeve_%s", role);
    return conninfo_of(arena, database->server, database->name, user.ptr);
}

Pool *pg_pool(const PgDatabase *database, const char *role, unsigned size_max)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    const PoolOptions options = { .conninfo = pg_conninfo(arena, database, role),
        .role = str_from_c(role),
        .size_max = size_max,
        .take_timeout_ms = 2000,
        .statement_timeout_ms = 5000 };
    Pool *pool;
    Err err = pool_open(&options, &pool);
    if (err.kind != ERR_NONE)
        die(STR_FMT, STR_ARG(err.detail));
    return pool;
}

bool pg_sql_try(Arena *arena, const PgDatabase *database, const char *role, const char *sql, Str *ret_output)
{
    return psql(arena, database->server, pg_conninfo(arena, database, role), sql, ret_output);
}

Str pg_sql(Arena *arena, const PgDatabase *database, const char *role, const char *sql)
{
    Str output;
    if (!pg_sql_try(arena, database, role, sql, &output))
        die("%s: " STR_FMT, sql, STR_ARG(output));
    return output;
}

void pg_found(const PgDatabase *database)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    pg_sql(arena, database, "migrate",
        "set role reeve_owner; select installation_found('018f0000-0000-7000-8000-000000000001', 'home', "
        "'018f0000-0000-7000-8000-000000000101', '018f0000-0000-7000-8000-000000000102', 'operator', "
        "'018f0000-0000-7000-8000-000000000103', sha256('operator'), 'rv_svc_oper', null);"
        "insert into organization (id, name) values ('018f0000-0000-7000-8000-00000000000a', 'org-a'), "
        "('018f0000-0000-7000-8000-00000000000b', 'org-b');");
}
