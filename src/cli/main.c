/*
 * main.c: finds the command, reads its options, runs it, and says what went wrong. Parsing is argp's: the options of
 * the command's row and the global ones become one argp table.
 */
#include "cli/cli.h"

#include "base/json.h"
#include "base/log.h"
#include "http/client.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    const Command *asked = count > 0 ? command_find(words, count) : NULL;
    if (count == 0)
        help_overview(stdout);
    else if (asked != NULL)
        help_command(stdout, asked);
    else if (count == 1 && command_has_noun(str_from_c(words[0])))
        help_noun(stdout, str_from_c(words[0]));
    else
        return command_none(count, words);
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
    const Command *command = command_find(given, (size_t)(count - 1 - leading));
    if (command == NULL) {
        if (count - leading > 2 && asks_help(argv[count - 1]))
            return show_help((size_t)(count - 2 - leading), given);
        return command_none((size_t)(count - 1 - leading), given);
    }
    int words = (int)command_word_count(command->words);
    memmove(argv + 1 + words, argv + 1, (size_t)leading * sizeof(*argv));
    argv[words] = argv[0];
    char **rest = count < argc ? argv + count + 1 : NULL;
    return run_command(command, count - words, argv + words, rest, count < argc ? argc - count - 1 : 0);
}
