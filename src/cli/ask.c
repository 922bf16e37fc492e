/* ask.c: what a command was given, and what it asks people for. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* Walks the names in "SECRET [NOTE]"; the index of `name`, or -1. */
static int argument_index(const char *arguments, const char *name)
{
    int index = 0;
    for (Str rest = str_from_c(arguments), word; rest.len > 0; index++) {
        str_cut(rest, ' ', &word, &rest);
        if (str_starts_with(word, STR("[")))
            word = str_first(str_skip(word, 1), word.len - 2);
        if (str_eq(word, str_from_c(name)))
            return index;
    }
    return -1;
}

Str cli_argument(const Cli *cli, const char *name)
{
    int index = argument_index(cli->command->arguments, name);
    return index >= 0 && (size_t)index < cli->argument_count ? cli->arguments[index] : (Str){ 0 };
}

Str cli_option(const Cli *cli, const char *name)
{
    Str value = { 0 };
    for (size_t i = 0; i < cli->value_count; i++)
        if (strcmp(cli->values[i].option->name, name) == 0)
            value = cli->values[i].value;
    return value;
}

size_t cli_option_all(const Cli *cli, const char *name, Str *out, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < cli->value_count && count < max; i++)
        if (strcmp(cli->values[i].option->name, name) == 0)
            out[count++] = cli->values[i].value;
    return count;
}

bool cli_flag(const Cli *cli, const char *name)
{
    return cli_option(cli, name).ptr != NULL;
}

void cli_say(const Cli *cli, const char *format, ...)
{
    if (cli->globals.quiet)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

Err cli_project(Cli *cli, Str *ret_project)
{
    if (cli->globals.project.len == 0)
        return FAIL(
            ERR_INVALID, "project-missing", "which project? Give --project, or reeve context set --project NAME");
    *ret_project = cli->globals.project;
    return OK;
}

Err cli_confirm(const Cli *cli, const char *what)
{
    if (cli->globals.yes || cli->globals.dry_run || cli->globals.curl)
        return OK;
    if (cli->globals.no_input || isatty(STDIN_FILENO) == 0)
        return FAIL(ERR_INVALID, "not-confirmed", "this cannot be undone: give --yes to do it without being asked");
    fprintf(stderr, "%s? This cannot be undone. Type yes: ", what);
    char answer[16];
    if (fgets(answer, sizeof(answer), stdin) == NULL || strcmp(answer, "yes\n") != 0)
        return FAIL(ERR_INVALID, "not-confirmed", "nothing was changed");
    return OK;
}

/* Reads up to bytes_max from a file descriptor straight into guarded memory, without one trailing newline. */
static Err read_fd(int fd, size_t bytes_max, bool one_line, Secret *ret_secret)
{
    _cleanup_(secret_release) Secret room = secret_new(bytes_max + 2);
    size_t len = 0;
    while (len < bytes_max + 2) {
        ssize_t got = read(fd, room.ptr + len, one_line ? 1 : bytes_max + 2 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        if (one_line && room.ptr[len - 1] == '\n')
            break;
    }
    if (len > 0 && room.ptr[len - 1] == '\n')
        len--;
    if (len == 0)
        return FAIL(ERR_INVALID, "secret-empty", "nothing was given");
    if (len > bytes_max)
        return FAIL(ERR_INVALID, "secret-too-long", "what was given is longer than is accepted");
    *ret_secret = secret_copy((Bytes){ room.ptr, len });
    return OK;
}

static Err prompt_secret(const char *prompt, size_t bytes_max, Secret *ret_secret)
{
    struct termios before, quiet;
    fprintf(stderr, "%s: ", prompt);
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return FAIL(ERR_INVALID, "no-terminal", "there is no terminal to ask on");
    quiet = before;
    quiet.c_lflag &= (tcflag_t)~ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    Err err = read_fd(STDIN_FILENO, bytes_max, true, ret_secret);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputc('\n', stderr);
    return err;
}

Err cli_secret_file(Cli *cli, Str path, size_t bytes_max, Secret *ret_secret)
{
    struct stat info;
    Err err = secret_from_file(path, bytes_max, ret_secret);
    if (err.kind == ERR_NONE)
        return OK;
    bool open = stat(arena_c(cli->arena, path), &info) == 0 && (info.st_mode & 077) != 0;
    return FAIL_FMT(cli->arena, err.kind, "secret-file", STR_FMT ": " STR_FMT "%s" STR_FMT, STR_ARG(path),
        STR_ARG(err.detail), open ? " Try: chmod 600 " : "", STR_ARG(open ? path : (Str){ 0 }));
}

Err cli_read_secret(Cli *cli, const char *prompt, size_t bytes_max, Secret *ret_secret)
{
    Str file = cli_option(cli, "from-file");
    if (file.ptr != NULL && !str_eq(file, STR("-")))
        return cli_secret_file(cli, file, bytes_max, ret_secret);
    if (file.ptr != NULL || isatty(STDIN_FILENO) == 0)
        return read_fd(STDIN_FILENO, bytes_max, false, ret_secret);
    if (cli->globals.no_input)
        return FAIL(ERR_INVALID, "secret-missing", "give the secret with --from-file FILE, or - for standard input");
    return prompt_secret(prompt, bytes_max, ret_secret);
}
