/* keeper.c: see keeper.h. */
#include "keeper.h"
#include "child.h"

#include "base/config.h"
#include "base/json.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 20000

#define MUST(expression)                                                                                               \
    do {                                                                                                               \
        Err must_err_ = (expression);                                                                                  \
        if (must_err_.kind != ERR_NONE)                                                                                \
            die("%s: " STR_FMT ": " STR_FMT, #expression, STR_ARG(must_err_.code), STR_ARG(must_err_.detail));         \
    } while (0)

Str keeper_fixture_path(KeeperFixture *fixture, const char *name)
{
    return arena_fmt(fixture->arena, STR_FMT "/%s", STR_ARG(fixture->folder), name);
}

static void write_config(KeeperFixture *f)
{
    Str root = f->root.jws.len == 0 ? STR("")
                                    : arena_fmt(f->arena, "root_file: " STR_FMT "/root.jws\nroot_hash: " STR_FMT "\n",
                                          STR_ARG(f->folder), STR_ARG(digest_text(f->arena, f->root.hash)));
    Str text = arena_fmt(f->arena,
        "socket: " STR_FMT "\n"
        "state_dir: " STR_FMT "/state\n"
        "installation: " STR_FMT "\n" STR_FMT "kms: [\"local:default\", \"local:other\"]\n"
        "local_kms:\n"
        "  default: { root_key_file: " STR_FMT "/root-key }\n"
        "  other: { root_key_file: " STR_FMT "/other-key }\n" STR_FMT,
        STR_ARG(f->socket), STR_ARG(f->folder), STR_ARG(typeid_format(f->arena, STR("ins"), f->installation)),
        STR_ARG(root), STR_ARG(f->folder), STR_ARG(f->folder), STR_ARG(f->extra));
    MUST(file_write_atomic(f->config, text, 0600));
}

static pid_t spawn(KeeperFixture *f, const char *argument)
{
    const char *log = keeper_fixture_path(f, "log").ptr;
    pid_t pid = child_fork();
    if (pid != 0)
        return pid;
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDERR_FILENO);
    const struct rlimit largest = { (rlim_t)f->file_bytes_max, (rlim_t)f->file_bytes_max };
    if (f->file_bytes_max > 0)
        setrlimit(RLIMIT_FSIZE, &largest);
    execl(f->program.ptr, f->program.ptr, "--config", f->config.ptr, argument, (char *)NULL);
    _exit(127);
}

int keeper_fixture_run(KeeperFixture *fixture, const char *argument)
{
    int status = -1;
    pid_t pid = spawn(fixture, argument);
    waitpid(pid, &status, 0);
    return status;
}

static RoleKeys role(Arena *arena, PublicKey key)
{
    PublicKey *keys = NEW(arena, PublicKey, 1);
    keys[0] = key;
    return (RoleKeys){ .threshold = 1, .keys = { .items = keys, .count = 1 } };
}

static RoleKeys role_of_file(
    Arena *arena, const json_t *all, const char *name, Err (*from_jwk)(const json_t *jwk, PublicKey *ret_key))
{
    PublicKey key;
    MUST(from_jwk(json_array_get(json_object_get(all, name), 0), &key));
    return role(arena, key);
}

static void hold_ceremony(KeeperFixture *f)
{
    Str text, jws;
    _cleanup_(json_release) json_t *all = NULL;
    MUST(file_read(f->arena, keeper_fixture_path(f, "state/keeper-keys.json"), 65536, &text));
    MUST(json_parse(text, JSON_LIMITS_ADMIN, &all));
    Root root = {
        .installation = f->installation,
        .version = 1,
        .expires = time_add_s(time_now(), 86400),
        .roles = {
            [ROLE_ROOT] = role(f->arena, f->root_key.public_key),
            [ROLE_ENROL] = role(f->arena, f->enrol_key.public_key),
            [ROLE_MANIFEST] = role_of_file(f->arena, all, "manifest", ed25519_from_jwk),
            [ROLE_CHECKPOINT] = role_of_file(f->arena, all, "checkpoint", ed25519_from_jwk),
            [ROLE_INTAKE] = role_of_file(f->arena, all, "intake", x25519_from_jwk),
        },
    };
    const KeyPair *signers[] = { &f->root_key };
    MUST(root_build(f->arena, &root, signers, 1, &jws));
    MUST(root_verify(f->arena, jws, digest_of(str_bytes(jws)), time_now(), &f->root));
    MUST(file_write_atomic(keeper_fixture_path(f, "root.jws"), jws, 0644));
}

KeeperFixture *keeper_fixture_new(const char *program)
{
    char folder[] = "/tmp/reeve-keeper-XXXXXX";
    if (mkdtemp(folder) == NULL)
        die("no folder for a keeper");
    Arena *arena = arena_new();
    KeeperFixture *f = NEW(arena, KeeperFixture, 1);
    *f = (KeeperFixture){
        .arena = arena,
        .program = arena_str(arena, str_from_c(program)),
        .folder = arena_str(arena, str_from_c(folder)),
        .installation = uuid_v7(time_now()),
        .root_key = ed25519_new(),
        .enrol_key = ed25519_new(),
        .kms_uri = STR("local:default"),
        .other_uri = STR("local:other"),
    };
    f->socket = keeper_fixture_path(f, "socket");
    f->config = keeper_fixture_path(f, "keeper.yaml");
    write_config(f);
    if (keeper_fixture_run(f, "init") != 0)
        die("reeve-keeper init failed; see %s/log", folder);
    hold_ceremony(f);
    write_config(f);
    return f;
}

static bool answers(KeeperFixture *f)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    Hello ignored;
    KeeperClient *client = keeper_client_open(f->socket);
    Err err = keeper_hello(client, arena, &ignored);
    keeper_client_free(&client);
    return err.kind == ERR_NONE;
}

void keeper_fixture_start(KeeperFixture *fixture)
{
    write_config(fixture);
    fixture->pid = spawn(fixture, NULL);
    int64_t until = monotonic_us() + START_MS * US_PER_MS;
    while (!answers(fixture)) {
        if (waitpid(fixture->pid, NULL, WNOHANG) != 0 || monotonic_us() > until)
            die("the keeper did not start; see " STR_FMT "/log", STR_ARG(fixture->folder));
        usleep(5000);
    }
}

int keeper_fixture_stop(KeeperFixture *fixture, int signal_number)
{
    int status = 0;
    if (fixture->pid == 0)
        return 0;
    kill(fixture->pid, signal_number);
    waitpid(fixture->pid, &status, 0);
    fixture->pid = 0;
    return status;
}

static void remove_folder(Arena *arena, Str path)
{
    DIR *folder = opendir(arena_c(arena, path));
    for (struct dirent *item; folder != NULL && (item = readdir(folder)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        Str inner = arena_fmt(arena, STR_FMT "/%s", STR_ARG(path), item->d_name);
        if (unlink(inner.ptr) != 0)
            remove_folder(arena, inner);
    }
    if (folder != NULL)
        closedir(folder);
    rmdir(arena_c(arena, path));
}

void keeper_fixture_free(KeeperFixture **fixture)
{
    KeeperFixture *f = *fixture;
    if (f == NULL)
        return;
    keeper_fixture_stop(f, SIGKILL);
    keypair_release(&f->root_key);
    keypair_release(&f->enrol_key);
    Arena *arena = f->arena;
    remove_folder(arena, f->folder);
    arena_free(&arena);
    *fixture = NULL;
}

Str keeper_fixture_cert(
    KeeperFixture *fixture, const KeyPair *enrol, Uuid fleet, const KeyPair *one_time, int64_t ttl_s)
{
    Time now = time_now();
    JoinCert cert = {
        .installation = fixture->installation,
        .fleet = fleet,
        .key = one_time->public_key,
        .not_before = time_add_s(now, ttl_s < 0 ? 2 * ttl_s : -1),
        .not_after = time_add_s(now, ttl_s),
    };
    return join_cert_sign(fixture->arena, enrol, &cert);
}

Str keeper_fixture_request(
    KeeperFixture *fixture, Uuid fleet, const KeyPair *one_time, const KeyPair *sign, const KeyPair *encrypt)
{
    EnrolRequest request = {
        .installation = fixture->installation,
        .fleet = fleet,
        .name = STR("eu-1"),
        .sign = sign->public_key,
        .encrypt = encrypt->public_key,
        .at = time_now(),
    };
    return enrol_request_sign(fixture->arena, one_time, &request);
}

Str keeper_fixture_sealed(KeeperFixture *fixture, const SecretRef *ref, Str plain)
{
    Arena *arena = fixture->arena;
    Str jwe;
    _cleanup_(json_release) json_t *header = json_object();
    json_object_set_new(header, "installation", json_from_str(typeid_format(arena, STR("ins"), fixture->installation)));
    json_object_set_new(header, "org", json_from_str(typeid_format(arena, STR("org"), ref->org)));
    json_object_set_new(header, "project", json_from_str(typeid_format(arena, STR("prj"), ref->project)));
    json_object_set_new(header, "secret", json_from_str(typeid_format(arena, STR("sec"), ref->secret)));
    json_object_set_new(header, "origin", json_from_str(ref->origin));
    MUST(jwe_seal_to(
        arena, root_keys(&fixture->root, "intake").items, STR("reeve-intake+jwe"), header, str_bytes(plain), &jwe));
    return jwe;
}
