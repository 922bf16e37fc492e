/*
 * state.c: files of the state directory.
 */
#include "state.h"

#include "base/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct State {
    Arena *arena;
    int dir_fd;
    int lock_fd;
    void (*on_write)(void *arg);
    void *arg;
};

static const char *const folders[] = { "roots", "keyrings", "manifests", "objects" };

#define STATE_NAMES_MAX 1000000

static Err unusable(void)
{
    return FAIL(ERR_INTERNAL, "state-unusable", "The state directory could not be opened or written.");
}

static Err open_lock(State *state)
{
    state->lock_fd = openat(state->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state->lock_fd < 0)
        return unusable();
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return FAIL(ERR_CONFLICT, "state-locked", "Another data plane uses this state directory.");
    return OK;
}

static Err open_folders(State *state)
{
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        if (mkdirat(state->dir_fd, folders[i], 0700) != 0 && errno != EEXIST)
            return unusable();
    return OK;
}

Err state_open(Str path, State **ret_state)
{
    Arena *arena = arena_new();
    State *state = NEW(arena, State, 1);
    *state = (State){ .arena = arena, .dir_fd = -1, .lock_fd = -1 };
    const char *name = arena_c(arena, path);
    Err err = OK;
    if (mkdir(name, 0700) != 0 && errno != EEXIST)
        err = unusable();
    if (err.kind == ERR_NONE) {
        state->dir_fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = state->dir_fd < 0 ? unusable() : open_lock(state);
    }
    if (err.kind == ERR_NONE)
        err = open_folders(state);
    if (err.kind != ERR_NONE) {
        state_close(&state);
        return err;
    }
    *ret_state = state;
    return OK;
}

void state_close(State **state)
{
    if (*state == NULL)
        return;
    if ((*state)->lock_fd >= 0)
        close((*state)->lock_fd);
    if ((*state)->dir_fd >= 0)
        close((*state)->dir_fd);
    Arena *arena = (*state)->arena;
    *state = NULL;
    arena_free(&arena);
}

void state_on_write(State *state, void (*fn)(void *arg), void *arg)
{
    state->on_write = fn;
    state->arg = arg;
}

static void about_to_write(State *state)
{
    if (state->on_write != NULL)
        state->on_write(state->arg);
}

static bool write_all(State *state, int fd, Str text)
{
    /* Two halves, so that a crash between them is a case the tests can make. */
    size_t half = text.len / 2;
    Str parts[] = { str_first(text, half), str_skip(text, half) };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        Str rest = parts[i];
        about_to_write(state);
        while (rest.len > 0) {
            ssize_t written = write(fd, rest.ptr, rest.len);
            if (written < 0 && errno == EINTR)
                continue;
            if (written <= 0)
                return false;
            rest = str_skip(rest, (size_t)written);
        }
    }
    return true;
}

Err state_write(State *state, Str name, Str text)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    const char *target = arena_c(arena, name);
    const char *temporary = arena_c(arena, arena_fmt(arena, "%s.tmp", target));
    about_to_write(state);
    int fd = openat(state->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return unusable();
    bool written = write_all(state, fd, text);
    written = close(fd) == 0 && written;
    about_to_write(state);
    if (!written || renameat(state->dir_fd, temporary, state->dir_fd, target) != 0) {
        unlinkat(state->dir_fd, temporary, 0);
        return unusable();
    }
    return OK;
}

Err state_read(State *state, Arena *arena, Str name, size_t bytes_max, Str *ret_text)
{
    int fd = openat(state->dir_fd, arena_c(arena, name), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return FAIL(ERR_NOT_FOUND, "state-absent", "The state directory has no such file.");
    struct stat info;
    char *text = NULL;
    size_t len = 0;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= 0 && (size_t)info.st_size <= bytes_max) {
        text = arena_alloc(arena, (size_t)info.st_size + 1, 1);
        while (len < (size_t)info.st_size) {
            ssize_t got = read(fd, text + len, (size_t)info.st_size - len);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                break;
            len += (size_t)got;
        }
    }
    close(fd);
    if (text == NULL)
        return FAIL(ERR_NOT_FOUND, "state-corrupt", "A file of the state directory is not what was written.");
    *ret_text = (Str){ .ptr = text, .len = len };
    return OK;
}

bool state_has(State *state, Str name)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    return faccessat(state->dir_fd, arena_c(arena, name), R_OK, 0) == 0;
}

void state_remove(State *state, Str name)
{
    _cleanup_(arena_free) Arena *arena = arena_new();
    about_to_write(state);
    unlinkat(state->dir_fd, arena_c(arena, name), 0);
}

static int compare_names(const void *a, const void *b)
{
    return str_compare(*(const Str *)a, *(const Str *)b);
}

static void collect(Arena *arena, DIR *dir, Strs *names)
{
    size_t capacity = 64;
    names->items = NEW(arena, Str, capacity);
    for (struct dirent *entry; names->count < STATE_NAMES_MAX && (entry = readdir(dir)) != NULL;) {
        Str name = str_from_c(entry->d_name);
        if (entry->d_name[0] == '.' || str_ends_with(name, STR(".tmp")))
            continue;
        if (names->count == capacity) {
            Str *grown = NEW(arena, Str, capacity * 2);
            memcpy(grown, names->items, capacity * sizeof *grown);
            names->items = grown;
            capacity *= 2;
        }
        names->items[names->count++] = arena_str(arena, name);
    }
}

Err state_list(State *state, Arena *arena, Str folder, Strs *ret_names)
{
    int fd = openat(state->dir_fd, arena_c(arena, folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return unusable();
    }
    Strs names = { 0 };
    collect(arena, dir, &names);
    closedir(dir);
    if (names.count > 1)
        qsort(names.items, names.count, sizeof names.items[0], compare_names);
    *ret_names = names;
    return OK;
}

Err state_sync(State *state)
{
    if (syncfs(state->dir_fd) != 0)
        return unusable();
    return OK;
}

Str state_object_name(Arena *arena, Digest digest)
{
    return arena_fmt(arena, "objects/" STR_FMT, STR_ARG(digest_text(arena, digest)));
}

Err state_object_put(State *state, Arena *arena, Digest digest, Str bytes)
{
    return state_write(state, state_object_name(arena, digest), bytes);
}

Err state_object_get(State *state, Arena *arena, Digest digest, int64_t length, size_t bytes_max, Str *ret_bytes)
{
    Str name = state_object_name(arena, digest), bytes = STR("");
    TRY(state_read(state, arena, name, bytes_max, &bytes));
    bool whole = length < 0 || bytes.len == (size_t)length;
    if (!whole || !digest_eq(digest, digest_of(str_bytes(bytes)))) {
        state_remove(state, name);
        return FAIL(ERR_NOT_FOUND, "state-corrupt", "A file of the state directory is not what was written.");
    }
    *ret_bytes = bytes;
    return OK;
}
