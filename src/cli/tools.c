/* tools.c: commands that are no noun's: any call, a program run with a key of its own, a look at one's set-up. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/json.h"
#include "http/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BODY_BYTES_MAX ((size_t)(4 * 1024 * 1024))

static const JsonLimits BODY_LIMITS = { .bytes_max = BODY_BYTES_MAX, .depth_max = 32, .tokens_max = 500000 };

static Err read_body(Cli *cli, json_t **ret_body)
{
    Str data = cli_option(cli, "data");
    if (data.ptr == NULL)
        return OK;
    if (!str_eq(data, STR("-")))
        return json_parse(data, BODY_LIMITS, ret_body);
    char *room = arena_alloc(cli->arena, BODY_BYTES_MAX + 1, 1);
    size_t len = fread(room, 1, BODY_BYTES_MAX + 1, stdin);
    return json_parse(str_n(room, len), BODY_LIMITS, ret_body);
}

static Err api(Cli *cli)
{
    _cleanup_(json_release) json_t *body = NULL;
    _cleanup_(answer_release) Answer answer = { 0 };
    Str method = cli_argument(cli, "METHOD"), path = cli_argument(cli, "PATH");
    if (!str_starts_with(path, STR("/")))
        return FAIL(ERR_INVALID, "usage", "the path begins with /, as in: reeve api GET /v1/projects");
    TRY(read_body(cli, &body));
    bool matches = str_eq(method, STR("PATCH")) || str_eq(method, STR("PUT")) || str_eq(method, STR("DELETE"));
    Call call = { .method = arena_c(cli->arena, method), .path = path, .body = body, .if_match = matches };
    TRY(cli_call(cli, &call, &answer));
    if (answer.body != NULL)
        return output_item(cli, answer.body, "");
    printf(STR_FMT, STR_ARG(answer.text));
    return OK;
}

/* A client key that ends by itself, for one run. */
static Err mint_key(Cli *cli, Str *ret_key)
{
    Str project;
    int64_t seconds = 8 * 3600;
    Str ttl = cli_option(cli, "ttl");
    if (ttl.ptr != NULL)
        TRY(duration_parse(ttl, &seconds));
    TRY(context_resolve(cli));
    TRY(cli_project(cli, &project));
    Time now = time_now();
    _cleanup_(json_release) json_t *body = json_object();
    _cleanup_(answer_release) Answer answer = { 0 };
    json_object_set_new(body, "name",
        json_from_str(arena_fmt(cli->arena, "run-%lld-%d", (long long)(now.us / US_PER_S), (int)getpid())));
    json_object_set_new(body, "expires_at",
        json_from_str(time_format(cli->arena, (Time){ time_add_s(now, seconds).us / US_PER_S * US_PER_S })));
    Call call = { .method = "POST",
        .path =
            arena_fmt(cli->arena, "/v1/projects/" STR_FMT "/client-keys", STR_ARG(path_escape(cli->arena, project))),
        .body = body };
    TRY(cli_call(cli, &call, &answer));
    *ret_key = arena_str(cli->arena, json_str(answer.body, "token"));
    return ret_key->len > 0 ? OK : FAIL(ERR_INTERNAL, "bad-answer", "the server's answer has no key");
}

#define KEY_WAIT_S 10

/* A key is good when its snapshot has reached the gateway, a moment after it was made. A call without a model tells: it
 * is refused for its key or for its body, reaches no provider and costs nothing. */
static bool gateway_knows(Cli *cli, Str gateway, Str key)
{
    Header type = { STR("content-type"), STR("application/json") };
    TransferOptions options = { .method = "POST",
        .url = arena_fmt(cli->arena, STR_FMT "/v1/chat/completions", STR_ARG(gateway)),
        .headers = &type,
        .header_count = 1,
        .body = STR("{}"),
        .secret_header = STR("authorization"),
        .secret_prefix = STR("Bearer "),
        .secret_value = str_bytes(key),
        .connect_timeout_us = 2 * US_PER_S,
        .first_byte_timeout_us = 5 * US_PER_S,
        .idle_timeout_us = 5 * US_PER_S,
        .total_timeout_us = 5 * US_PER_S,
        .header_bytes_max = 64 * 1024,
        .ca_pem = cli->ca_pem,
        .allow_private = true };
    HttpReply reply;
    Err err = http_fetch(cli->arena, &options, BODY_BYTES_MAX, &reply);
    return err.kind == ERR_NONE && reply.status != 401;
}

static void wait_for_key(Cli *cli, Str gateway, Str key)
{
    Time end = time_add_s(time_now(), KEY_WAIT_S);
    while (!gateway_knows(cli, gateway, key)) {
        if (time_now().us > end.us) {
            cli_say(cli, "note: the gateway does not know the new key yet");
            return;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
}

static Err run_program(Cli *cli)
{
    Str gateway = cli_option(cli, "gateway"), key;
    if (gateway.ptr == NULL)
        gateway = str_from_c(getenv("REEVE_GATEWAY"));
    if (cli->rest_count == 0 || gateway.len == 0)
        return FAIL(ERR_INVALID, "usage", "usage: reeve run --gateway URL -- PROGRAM [ARGUMENTS]");
    TRY(mint_key(cli, &key));
    if (cli->globals.curl || cli->globals.dry_run)
        return OK;
    wait_for_key(cli, gateway, key);
    const char *secret = arena_c(cli->arena, key);
    const char *openai = arena_fmt(cli->arena, STR_FMT "/v1", STR_ARG(gateway)).ptr;
    setenv("OPENAI_BASE_URL", openai, 1);
    setenv("OPENAI_API_KEY", secret, 1);
    setenv("ANTHROPIC_BASE_URL", arena_c(cli->arena, gateway), 1);
    setenv("ANTHROPIC_AUTH_TOKEN", secret, 1);
    char **argv = NEW(cli->arena, char *, (size_t)cli->rest_count + 1);
    memcpy(argv, cli->rest, (size_t)cli->rest_count * sizeof(char *));
    execvp(argv[0], argv);
    cli->exit_code = (ExitCode)(access(argv[0], F_OK) == 0 ? 126 : 127);
    fprintf(stderr, "reeve: could not run %s\n", argv[0]);
    return OK;
}

static Err completion(Cli *cli)
{
    Str shell = cli_argument(cli, "SHELL");
    if (!str_eq(shell, STR("bash")) && !str_eq(shell, STR("zsh")) && !str_eq(shell, STR("fish")))
        return FAIL(ERR_INVALID, "usage", "completions exist for bash, zsh and fish");
    help_completion(stdout, shell);
    return OK;
}

static Err manual(Cli *cli)
{
    (void)cli;
    help_manual(stdout);
    return OK;
}

static void report(const char *what, Err err)
{
    printf("%-28s %s\n", what, err.kind == ERR_NONE ? "ok" : "FAILED");
    if (err.kind != ERR_NONE)
        printf("    " STR_FMT "\n", STR_ARG(err.detail));
}

static Err doctor(Cli *cli)
{
    _cleanup_(json_release) json_t *who = NULL;
    _cleanup_(answer_release) Answer ready = { 0 };
    Err resolved = context_resolve(cli);
    report("context", resolved);
    TRY(resolved);
    Err health =
        cli_call(cli, &(Call){ .method = "GET", .path = STR("/readyz?verbose=true"), .anonymous = true }, &ready);
    report("control plane is ready", health);
    Err known = cli_get(cli, STR("/v1/whoami"), &who);
    report("token is accepted", known);
    cli->exit_code = health.kind != ERR_NONE || known.kind != ERR_NONE ? EXIT_FAILED : EXIT_FINE;
    return OK;
}

static const Option API_OPTIONS[] = {
    { "data", "JSON", "the request body; - reads standard input", NULL, OPTION_TEXT, false },
    { 0 },
};
static const Option RUN_OPTIONS[] = {
    { "gateway", "URL", "address of the gateway (or REEVE_GATEWAY)", NULL, OPTION_TEXT, false },
    { "ttl", "DURATION", "how long the key lives at most (8h)", NULL, OPTION_DURATION, false },
    { 0 },
};

const Command TOOL_COMMANDS[] = {
    { .words = "run",
        .options = RUN_OPTIONS,
        .run = run_program,
        .summary = "Run a program with base URLs and a short-lived client key in its environment",
        .example = "reeve run -p search --gateway http://127.0.0.1:8088 -- node app.js" },
    { .words = "api",
        .arguments = "METHOD PATH",
        .options = API_OPTIONS,
        .run = api,
        .summary = "Make any call of the admin API",
        .example = "reeve api GET /v1/projects" },
    { .words = "doctor", .run = doctor, .summary = "Check the context, the control plane and the token" },
    { .words = "completion",
        .arguments = "SHELL",
        .run = completion,
        .summary = "Print completions for bash, zsh or fish" },
    { .words = "manual", .run = manual, .summary = "Print the manual page" },
    { 0 },
};
