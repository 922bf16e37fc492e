/*
 * cli.h: the command line `reeve`: one command table, from which parsing, help, completions and the manual come.
 *
 * A command is a row: its words, its positional arguments, its options, and either the admin API call it stands for
 * (method, path, where each argument goes) or a function of its own. Output goes to stdout, everything said to people
 * to stderr; secrets come from a prompt, standard input or a file, never from argv.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/arena.h"

#include "crypto/secret.h"

#include <jansson.h>
#include <stdio.h>

typedef enum ExitCode {
    EXIT_FINE = 0,
    EXIT_FAILED = 1,
    EXIT_DIFFERENT = 2,
    EXIT_USAGE = 64,
    EXIT_UNREACHABLE = 69,
    EXIT_TRY_AGAIN = 75,
    EXIT_DENIED = 77,
} ExitCode;

typedef enum OptionKind {
    OPTION_TEXT,     /* a JSON string */
    OPTION_NUMBER,   /* a JSON integer */
    OPTION_FLAG,     /* true */
    OPTION_DURATION, /* "24h" to seconds */
    OPTION_LIST,     /* may be repeated: a JSON array of strings */
    OPTION_JSON,     /* inline JSON */
} OptionKind;

/* One option of a command. `member` is where its value goes: a body member, or with "?name" a query parameter, or NULL
 * for commands with a function of their own. */
typedef struct Option {
    const char *name; /* "overlap" */
    const char *arg;  /* "DURATION"; NULL for flags */
    const char *doc;
    const char *member;
    OptionKind kind;
    bool required;
} Option;

typedef struct Cli Cli;

typedef struct Command {
    const char *words;     /* "secret rotate" */
    const char *arguments; /* "SECRET [NOTE]": upper-case names, brackets when optional, "..." takes the rest */
    const char *summary;
    const char *method;    /* of the call it stands for; NULL with run */
    const char *path;      /* "/v1/projects/{project}/secrets/{SECRET}": names of arguments, {project} of --project */
    const char *body;      /* "NAME=name": arguments that are body members, comma-separated */
    const Option *options; /* ends with a NULL name */
    const char *columns;   /* of the table, comma-separated */
    const char *example;
    Err (*run)(Cli *cli);
    bool destructive; /* asks, or wants --yes */
} Command;

/* What stands before the command's own options: global to all. */
typedef struct Globals {
    Str context, url, token_file, ca_file, root_hash;
    Str organization, project;
    Str output, columns;
    bool dry_run, curl, no_input, yes, quiet;
} Globals;

#define CLI_VALUES_MAX 64
#define CLI_ARGUMENTS_MAX 16

typedef struct Cli {
    Arena *arena;
    const Command *command;
    Globals globals;
    Str arguments[CLI_ARGUMENTS_MAX]; /* positional, in order */
    size_t argument_count;
    char **rest; /* what stands behind `--` */
    int rest_count;
    struct {
        const Option *option;
        Str value;
    } values[CLI_VALUES_MAX];
    size_t value_count;
    /* resolved by context_resolve */
    Str url, ca_pem, root_hash;
    Secret token;
    ExitCode exit_code; /* of a run that succeeded in saying something else than 0 */
} Cli;

extern const Command *const COMMAND_TABLES[]; /* tables ending in a row without words; NULL ends the list */

int cli_main(int argc, char **argv);

CHECKED Err rest_run(Cli *cli); /* a command whose row has a method and a path */

/* --- find.c: words to rows --- */
size_t command_word_count(const char *words);
const Command *command_find(
    char *const *given, size_t given_count);        /* the row with the most words that match; or NULL */
int command_none(size_t count, char *const *words); /* says what is near; the exit code */
bool command_has_noun(Str word);

/* --- ask.c: what a command was given, and what it asks people for --- */
Str cli_argument(const Cli *cli, const char *name); /* the empty Str when it was not given */
Str cli_option(const Cli *cli, const char *name);   /* the last value given; ptr NULL when none */
size_t cli_option_all(const Cli *cli, const char *name, Str *out, size_t max);
bool cli_flag(const Cli *cli, const char *name);
void cli_say(const Cli *cli, const char *format, ...) PRINTF(2, 3); /* to stderr, unless --quiet */
CHECKED Err cli_project(Cli *cli, Str *ret_project);
CHECKED Err cli_confirm(const Cli *cli, const char *what); /* ERR_INVALID "not-confirmed" */
/* A file that holds a secret; an error names it. */
CHECKED Err cli_secret_file(Cli *cli, Str path, size_t bytes_max, Secret *ret_secret);
/* Plaintext from --from-file (or "-", standard input), or a prompt without echo. */
CHECKED Err cli_read_secret(Cli *cli, const char *prompt, size_t bytes_max, Secret *ret_secret);

/* --- context.c: which installation, as whom --- */
CHECKED Err context_resolve(Cli *cli);
/* Pins the root's hash the first time it is seen; another one later is refused. */
CHECKED Err context_pin_root(Cli *cli, Str hash);
Str context_folder(Arena *arena); /* $XDG_CONFIG_HOME/reeve */

/* --- call.c: the admin API --- */
typedef struct Call {
    const char *method;
    Str path;     /* with query */
    json_t *body; /* borrowed; NULL for none */
    bool anonymous;
    bool show;     /* with --curl this read is what is printed, though its command has a function of its own */
    bool if_match; /* sends the ETag that a GET of the same path answers, */
    Str etag_of;   /* or of this path */
    Str content_type, accept;
    Str raw_body;
} Call;
typedef struct Answer {
    int status;
    json_t *body; /* the caller's reference; NULL when there is none */
    Str text, etag, request_id;
} Answer;
void answer_release(Answer *answer);
/* A problem document becomes an Err: its kind gives the exit code; detail holds every bad member. */
CHECKED Err cli_call(Cli *cli, const Call *call, Answer *ret_answer);
CHECKED Err cli_get(Cli *cli, Str path, json_t **ret_body);
CHECKED Err cli_get_all(Cli *cli, Str path, json_t **ret_items); /* follows next_page_token */
Str path_escape(Arena *arena, Str text);
ExitCode exit_code_of(Err err);

/* --- output.c --- */
CHECKED Err output_check(const Cli *cli);
CHECKED Err output_items(Cli *cli, const json_t *items, const char *columns); /* a list */
CHECKED Err output_item(Cli *cli, const json_t *item, const char *columns);   /* one thing */

/* --- help.c --- */
void help_overview(FILE *out);
void help_noun(FILE *out, Str noun);
void help_command(FILE *out, const Command *command);
void help_usage(FILE *out, const Command *command); /* one line */
void help_completion(FILE *out, Str shell);
void help_manual(FILE *out);

#endif
