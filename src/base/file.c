/* file.c: whole files, read within a limit and replaced atomically. See config.h. */
#include "base/config.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static Err file_fail(Arena *arena, const char *verb, Str path)
{
    return FAIL_FMT(arena, ERR_INVALID, "file-unreadable", "could not %s " STR_FMT ": %s", verb, STR_ARG(path),
        strerrordesc_np(errno));
}

/* Reads to the end, or until the room is full; false with errno. */
static bool read_all(int fd, char *text, size_t room, size_t *ret_len)
{
    size_t len = 0;
    while (len < room) {
        ssize_t got = read(fd, text + len, room - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    *ret_len = len;
    return true;
}

Err file_read(Arena *arena, Str path, size_t bytes_max, Str *ret_text)
{
    _cleanup_(close_fd) int fd = open(arena_c(arena, path), O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return file_fail(arena, "open", path);
    if (S_ISDIR(info.st_mode))
        return FAIL_FMT(arena, ERR_INVALID, "file-unreadable", STR_FMT " is a directory", STR_ARG(path));
    if (info.st_size < 0 || (size_t)info.st_size > bytes_max)
        return FAIL_FMT(
            arena, ERR_TOO_LARGE, "file-too-large", STR_FMT " has more than %zu bytes", STR_ARG(path), bytes_max);
    /* One byte more than it should have. Pipes and files of the kernel say nothing of their size. */
    bool has_size = S_ISREG(info.st_mode) && info.st_size > 0;
    size_t room = has_size ? (size_t)info.st_size + 1 : bytes_max + 1, len = 0;
    char *text = arena_alloc(arena, room + 1, 1);
    if (!read_all(fd, text, room, &len))
        return file_fail(arena, "read", path);
    if (len > bytes_max)
        return FAIL_FMT(
            arena, ERR_TOO_LARGE, "file-too-large", STR_FMT " has more than %zu bytes", STR_ARG(path), bytes_max);
    if (has_size && len == room)
        return FAIL_FMT(arena, ERR_INVALID, "file-unreadable", STR_FMT " grew while it was read", STR_ARG(path));
    text[len] = '\0';
    *ret_text = str_n(text, len);
    return OK;
}

static bool write_all(int fd, Str text)
{
    while (text.len > 0) {
        ssize_t put = write(fd, text.ptr, text.len);
        if (put < 0 && errno != EINTR)
            return false;
        if (put > 0)
            text = str_skip(text, (size_t)put);
    }
    return true;
}

static bool sync_directory(char *path_copy)
{
    _cleanup_(close_fd) int fd = open(dirname(path_copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0;
}

Err file_write_atomic(Str path, Str text, unsigned mode)
{
    static _Atomic unsigned counter;
    _cleanup_(arena_free) Arena *arena = arena_new();
    const char *target = arena_c(arena, path);
    Str temporary = arena_fmt(arena, "%s.%d.%u.tmp", target, (int)getpid(), counter++);
    _cleanup_(close_fd) int fd = open(temporary.ptr, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    Err failed = FAIL(ERR_UNAVAILABLE, "file-unwritable", "A file could not be written.");
    if (fd < 0)
        return failed;
    if (!write_all(fd, text) || fsync(fd) != 0 || rename(temporary.ptr, target) != 0) {
        unlink(temporary.ptr);
        return failed;
    }
    char *copy = arena_alloc(arena, path.len + 1, 1);
    memcpy(copy, target, path.len);
    return sync_directory(copy) ? OK : failed;
}
