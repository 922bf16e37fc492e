/*
 * main.c: finds the command, reads its options, runs it, and says what went wrong. Parsing is argp's: the options of
 * the command's row and the global ones become one argp table.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "base/log.h"
#include "http/client.h"

#include <argp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { KEY_HELP = '?', KEY_USAGE = 0x800, KEY_FIRST_OWN = 0x1000, KEY_FIRST_GLOBAL = 0x2000 };

#define OWN_OPTIONS_MAX 32

typedef struct GlobalOption {
    const char *name;
    int key; /* a letter, or 0 */
    const char *arg;
    const char *doc;
    size_t text_offset; /* of a Str in Globals, */
    size_t flag_offset; /* or of a bool */
} GlobalOption;

#define TEXT(member) .text_offset = offsetof(Globals, member) + 1
#define FLAG(member) .flag_offset = offsetof(Globals, member) + 1

static const GlobalOption GLOBALS[] = {
    { "context", 'c', "NAME", "the context to use (reeve context list)", TEXT(context) },
    { "url", 0, "URL", "address of the control plane", TEXT(url) },
    { "token-file", 0, "FILE", "file with the service token; - is standard input", TEXT(token_file) },
    { "ca-file", 0, "FILE", "certificates to trust, PEM", TEXT(ca_file) },
    { "root-hash", 0, "HASH", "the root this installation must have", TEXT(root_hash) },
    { "organization", 0, "ORG", "act in this organization (operators)", TEXT(organization) },
    { "project", 'p', "PROJECT", "name or id of the project", TEXT(project) },
    { "output", 'o', "FORM", "table, json, jsonl, yaml or csv", TEXT(output) },
    { "columns", 0, "LIST", "columns of a table or CSV, comma-separated", TEXT(columns) },
    { "dry-run", 'n', NULL, "show the change, make none", FLAG(dry_run) },
    { "curl", 0, NULL, "print the call as a curl command, make none", FLAG(curl) },
    { "no-input", 0, NULL, "never ask", FLAG(no_input) },
    { "yes", 'y', NULL, "do not ask before something is destroyed", FLAG(yes) },
    { "quiet", 'q', NULL, "say nothing on stderr but errors", FLAG(quiet) },
};

static int global_key(size_t index)
{
    return GLOBALS[index].key != 0 ? GLOBALS[index].key : KEY_FIRST_GLOBAL + (int)index;
}

static bool take_global(Globals *globals, int key, const char *value)
{
    for (size_t i = 0; i < COUNT_OF(GLOBALS); i++) {
        if (global_key(i) != key)
            continue;
        if (GLOBALS[i].text_offset > 0)
            *(Str *)(void *)((char *)globals + GLOBALS[i].text_offset - 1) = str_from_c(value);
        else
            *(bool *)((char *)globals + GLOBALS[i].flag_offset - 1) = true;
        return true;
    }
    return false;
}

static size_t own_option_count(const Command *command)
{
    size_t count = 0;
    while (command->options != NULL && command->options[count].name != NULL)
        count++;
    return count;
}

static error_t on_option(int key, char *value, struct argp_state *state)
{
    Cli *cli = state->input;
    if (key == ARGP_KEY_ARG) {
        if (cli->argument_count == CLI_ARGUMENTS_MAX)
            argp_error(state, "too many arguments");
        else
            cli->arguments[cli->argument_count++] = str_from_c(value);
        return 0;
    }
    if (key == KEY_HELP || key == KEY_USAGE) {
        key == KEY_HELP ? help_command(stdout, cli->command) : help_usage(stdout, cli->command);
        exit(EXIT_FINE);
    }
    if (key >= KEY_FIRST_OWN && key < KEY_FIRST_OWN + OWN_OPTIONS_MAX) {
        if (cli->value_count == CLI_VALUES_MAX) {
            argp_error(state, "too many options");
            return 0;
        }
        cli->values[cli->value_count].option = &cli->command->options[key - KEY_FIRST_OWN];
        cli->values[cli->value_count++].value = value == NULL ? STR("true") : str_from_c(value);
        return 0;
    }
    return take_global(&cli->globals, key, value) ? 0 : ARGP_ERR_UNKNOWN;
}

static void parse_options(Cli *cli, int argc, char **argv)
{
    struct argp_option options[OWN_OPTIONS_MAX + COUNT_OF(GLOBALS) + 3];
    size_t count = 0, own = own_option_count(cli->command);
    memset(options, 0, sizeof(options));
    if (own > OWN_OPTIONS_MAX)
        die("the command %s has too many options", cli->command->words);
    for (size_t i = 0; i < own; i++)
        options[count++] = (struct argp_option){
            .name = cli->command->options[i].name, .key = KEY_FIRST_OWN + (int)i, .arg = cli->command->options[i].arg
        };
    for (size_t i = 0; i < COUNT_OF(GLOBALS); i++)
        options[count++] = (struct argp_option){ .name = GLOBALS[i].name, .key = global_key(i), .arg = GLOBALS[i].arg };
    options[count++] = (struct argp_option){ .name = "help", .key = KEY_HELP };
    options[count++] = (struct argp_option){ .name = "usage", .key = KEY_USAGE };
    struct argp argp = { .options = options, .parser = on_option };
    argp_err_exit_status = EXIT_USAGE;
    /* What went wrong is said in the command's name. */
    argv[0] = (char *)(uintptr_t)arena_fmt(cli->arena, "reeve %s", cli->command->words).ptr;
    argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, cli);
}

/* --- finding the command --- */

static size_t word_count(const char *words)
{
    size_t count = 1;
    for (; *words != '\0'; words++)
        count += *words == ' ';
    return count;
}

/* Do the words of the row stand at the beginning of the given ones? */
static bool words_match(const char *words, char *const *given, size_t given_count)
{
    for (size_t i = 0; *words != '\0'; i++) {
        size_t len = strcspn(words, " ");
        if (i >= given_count || strlen(given[i]) != len || strncmp(words, given[i], len) != 0)
            return false;
        words += len + (words[len] == ' ');
    }
    return true;
}

/* The row with the most words that match. */
static const Command *find_command(char *const *given, size_t given_count)
{
    const Command *best = NULL;
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++)
            if (words_match(row->words, given, given_count) &&
                (best == NULL || word_count(row->words) > word_count(best->words)))
                best = row;
    return best;
}

/* How many single-character edits apart two words are (Levenshtein), up to 31 characters. */
static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[32];
    if (la > 31 || lb > 31)
        return 99;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[lb];
}

static bool has_noun(const Command *row, const char *noun)
{
    Str first, verb;
    str_cut(str_from_c(row->words), ' ', &first, &verb);
    return noun == NULL || str_eq(first, str_from_c(noun));
}

/* The command nearest to what was typed, of one noun or of all. */
static const char *nearest(const char *given, const char *noun)
{
    const char *best = NULL;
    size_t best_distance = 3;
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            if (has_noun(row, noun) && distance(given, row->words) < best_distance) {
                best = row->words;
                best_distance = distance(given, row->words);
            }
        }
    }
    return best;
}

/* A mistyped noun: the one nearest to it. */
static bool nearest_noun(Str given, Str *ret_noun)
{
    char word[32] = "", known[32];
    size_t best_distance = 3;
    if (given.len >= sizeof(word))
        return false;
    memcpy(word, given.ptr, given.len);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            Str noun, verb;
            str_cut(str_from_c(row->words), ' ', &noun, &verb);
            snprintf(known, sizeof(known), STR_FMT, STR_ARG(noun));
            if (distance(word, known) < best_distance) {
                *ret_noun = noun;
                best_distance = distance(word, known);
            }
        }
    }
    return best_distance < 3;
}

static bool is_noun(Str word)
{
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++) {
            Str noun, verb;
            if (str_cut(str_from_c(row->words), ' ', &noun, &verb) && str_eq(noun, word))
                return true;
        }
    return false;
}

static int no_command(size_t count, char *const *words)
{
    if (count == 0) {
        help_overview(stderr);
        return EXIT_USAGE;
    }
    char joined[128];
    Str noun;
    snprintf(joined, sizeof(joined), "%s%s%s", words[0], count > 1 ? " " : "", count > 1 ? words[1] : "");
    if (is_noun(str_from_c(words[0]))) {
        const char *meant = count > 1 ? nearest(joined, words[0]) : NULL;
        if (count > 1)
            fprintf(stderr, "reeve: there is no command \"%s\"\n", joined);
        if (meant != NULL)
            fprintf(stderr, "Did you mean: reeve %s\n", meant);
        else
            help_noun(stderr, str_from_c(words[0]));
        return EXIT_USAGE;
    }
    fprintf(stderr, "reeve: there is no command \"%s\"; reeve help lists them\n", words[0]);
    const char *meant = nearest(joined, NULL);
    if (meant != NULL)
        fprintf(stderr, "Did you mean: reeve %s\n", meant);
    else if (nearest_noun(str_from_c(words[0]), &noun))
        fprintf(stderr, "Did you mean: reeve " STR_FMT "\n", STR_ARG(noun));
    return EXIT_USAGE;
}

/* --- what commands use --- */

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

/* --- running --- */

static Err check_arguments(const Cli *cli)
{
    size_t least = 0, most = 0;
    for (Str rest = str_from_c(cli->command->arguments), word; rest.len > 0; most++) {
        str_cut(rest, ' ', &word, &rest);
        least += !str_starts_with(word, STR("["));
    }
    if (cli->argument_count < least || cli->argument_count > most)
        return FAIL_FMT(cli->arena, ERR_INVALID, "usage", "usage: reeve %s %s", cli->command->words,
            cli->command->arguments == NULL ? "" : cli->command->arguments);
    for (size_t i = 0; i < own_option_count(cli->command); i++) {
        const Option *option = &cli->command->options[i];
        if (option->required && cli_option(cli, option->name).ptr == NULL)
            return FAIL_FMT(cli->arena, ERR_INVALID, "usage", "--%s is required", option->name);
    }
    return OK;
}

ExitCode exit_code_of(Err err)
{
    static const ExitCode CODES[ERR_KIND_COUNT] = {
        [ERR_NONE] = EXIT_FINE,
        [ERR_UNAUTHENTICATED] = EXIT_DENIED,
        [ERR_FORBIDDEN] = EXIT_DENIED,
        [ERR_LIMITED] = EXIT_TRY_AGAIN,
        [ERR_UNAVAILABLE] = EXIT_TRY_AGAIN,
        [ERR_TIMEOUT] = EXIT_TRY_AGAIN,
    };
    if (err_is(err, "usage") || err_is(err, "project-missing") || err_is(err, "not-confirmed"))
        return EXIT_USAGE;
    if (err_is(err, "unreachable"))
        return EXIT_UNREACHABLE;
    return CODES[err.kind] != EXIT_FINE ? CODES[err.kind] : err.kind == ERR_NONE ? EXIT_FINE : EXIT_FAILED;
}

static void print_err(Err err)
{
    fprintf(stderr, "reeve: " STR_FMT "\n", STR_ARG(err.detail));
    for (size_t i = 0; i < err.fields.count; i++)
        fprintf(stderr, "  " STR_FMT ": " STR_FMT "\n", STR_ARG(str_skip(err.fields.items[i].pointer, 1)),
            STR_ARG(err.fields.items[i].detail));
}

static Err run(Cli *cli)
{
    TRY(check_arguments(cli));
    TRY(output_check(cli));
    if (cli->command->destructive)
        TRY(cli_confirm(cli, cli->command->summary));
    return cli->command->run != NULL ? cli->command->run(cli) : rest_run(cli);
}

static int run_command(const Command *command, int argc, char **argv, char **rest, int rest_count)
{
    Cli cli = { .arena = arena_new(), .command = command, .rest = rest, .rest_count = rest_count };
    parse_options(&cli, argc, argv);
    Err err = run(&cli);
    if (err.kind != ERR_NONE)
        print_err(err);
    int code = err.kind != ERR_NONE ? (int)exit_code_of(err) : (int)cli.exit_code;
    if (fflush(stdout) != 0 && code == EXIT_FINE)
        code = EXIT_FAILED;
    secret_release(&cli.token);
    arena_free(&cli.arena);
    return code;
}

/* How many of the arguments from argv[1] on are global options and their values, before the first word. */
static int leading_options(int count, char **argv)
{
    int at = 1;
    while (at < count && argv[at][0] == '-' && argv[at][1] != '\0') {
        bool takes_next = false;
        for (size_t i = 0; i < COUNT_OF(GLOBALS); i++) {
            bool is_long = strncmp(argv[at], "--", 2) == 0 && strcmp(argv[at] + 2, GLOBALS[i].name) == 0;
            bool is_short = argv[at][1] == GLOBALS[i].key && argv[at][2] == '\0';
            takes_next = takes_next || (GLOBALS[i].arg != NULL && (is_long || is_short));
        }
        at += takes_next ? 2 : 1;
    }
    return at > count ? count - 1 : at - 1;
}

static int show_help(size_t count, char **words)
{
    const Command *asked = count > 0 ? find_command(words, count) : NULL;
    if (count == 0)
        help_overview(stdout);
    else if (asked != NULL)
        help_command(stdout, asked);
    else if (count == 1 && is_noun(str_from_c(words[0])))
        help_noun(stdout, str_from_c(words[0]));
    else
        return no_command(count, words);
    return EXIT_FINE;
}

static bool asks_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Splits argv in the words of the command, its options (global ones may stand before the words), and what is behind --.
 */
int cli_main(int argc, char **argv)
{
    crypto_start();
    json_start();
    client_start();
    log_start("reeve", LOG_WARN, true);
    int count = argc;
    for (int i = argc - 1; i >= 1; i--)
        if (strcmp(argv[i], "--") == 0)
            count = i;
    if (count > 1 && asks_help(argv[1]))
        return show_help((size_t)(count - 2), argv + 2);
    if (count > 1 && strcmp(argv[1], "--version") == 0) {
        printf("reeve %s\n", REEVE_VERSION);
        return EXIT_FINE;
    }
    int leading = leading_options(count, argv);
    char **given = argv + 1 + leading;
    const Command *command = find_command(given, (size_t)(count - 1 - leading));
    if (command == NULL) {
        if (count - leading > 2 && asks_help(argv[count - 1]))
            return show_help((size_t)(count - 2 - leading), given);
        return no_command((size_t)(count - 1 - leading), given);
    }
    int words = (int)word_count(command->words);
    memmove(argv + 1 + words, argv + 1, (size_t)leading * sizeof(*argv));
    argv[words] = argv[0];
    char **rest = count < argc ? argv + count + 1 : NULL;
    return run_command(command, count - words, argv + words, rest, count < argc ? argc - count - 1 : 0);
}
