/* call.c: one call of the admin API, its errors in people's words, its retries. */
#include "cli/cli.h"

#include "base/id.h"
#include "base/json.h"
#include "http/client.h"

#include <string.h>
#include <time.h>

#define ANSWER_BYTES_MAX ((size_t)(64 * 1024 * 1024))
#define TRIES_MAX 4
#define PAGES_MAX 10000

static const JsonLimits ANSWER_LIMITS = { .bytes_max = ANSWER_BYTES_MAX, .depth_max = 64, .tokens_max = 20000000 };

void answer_release(Answer *answer)
{
    json_release(&answer->body);
}

Str path_escape(Arena *arena, Str text)
{
    static const char SAFE[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:,";
    char *out = arena_alloc(arena, text.len * 3 + 1, 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\0' && strchr(SAFE, text.ptr[i]) != NULL)
            out[len++] = text.ptr[i];
        else
            len += (size_t)snprintf(out + len, 4, "%%%02X", (unsigned char)text.ptr[i]);
    }
    return str_n(out, len);
}

/* A status without a problem document's help: which kind of error. */
static ErrKind kind_of_status(int status)
{
    static const struct {
        int status;
        ErrKind kind;
    } ROWS[] = { { 401, ERR_UNAUTHENTICATED }, { 403, ERR_FORBIDDEN }, { 404, ERR_NOT_FOUND }, { 405, ERR_METHOD },
        { 409, ERR_CONFLICT }, { 412, ERR_PRECONDITION }, { 413, ERR_TOO_LARGE }, { 428, ERR_PRECONDITION },
        { 429, ERR_LIMITED }, { 503, ERR_UNAVAILABLE }, { 504, ERR_TIMEOUT } };
    for (size_t i = 0; i < COUNT_OF(ROWS); i++)
        if (ROWS[i].status == status)
            return ROWS[i].kind;
    return status >= 500 ? ERR_INTERNAL : ERR_INVALID;
}

static Err problem(Cli *cli, const Answer *answer)
{
    const json_t *errors = json_object_get(answer->body, "errors");
    Str detail = json_str(answer->body, "detail");
    Err err = { .kind = kind_of_status(answer->status), .code = json_str(answer->body, "code") };
    err.code = arena_str(cli->arena, err.code.len > 0 ? err.code : STR("http-error"));
    err.detail = detail.len > 0 ? arena_fmt(cli->arena, STR_FMT " (" STR_FMT ", request " STR_FMT ")", STR_ARG(detail),
                                      STR_ARG(err.code), STR_ARG(answer->request_id))
                                : arena_fmt(cli->arena, "the server answered with status %d", answer->status);
    err.fields.count = json_array_size(errors);
    err.fields.items = NEW(cli->arena, FieldErr, err.fields.count);
    for (size_t i = 0; i < err.fields.count; i++) {
        const json_t *bad = json_array_get(errors, i);
        err.fields.items[i].pointer = arena_str(cli->arena, json_str(bad, "pointer"));
        err.fields.items[i].detail = arena_str(cli->arena, json_str(bad, "detail"));
    }
    return err;
}

static Err once(Cli *cli, const Call *call, Str body, Str etag, Str idempotency_key, Answer *ret_answer)
{
    Header headers[6];
    size_t count = 0;
    headers[count++] = (Header){ STR("accept"), call->accept.len > 0 ? call->accept : STR("application/json") };
    headers[count++] = (Header){ STR("user-agent"), STR("reeve/" REEVE_VERSION) };
    if (body.len > 0)
        headers[count++] =
            (Header){ STR("content-type"), call->content_type.len > 0 ? call->content_type : STR("application/json") };
    if (etag.len > 0)
        headers[count++] = (Header){ STR("if-match"), etag };
    if (strcmp(call->method, "POST") == 0)
        headers[count++] = (Header){ STR("idempotency-key"), idempotency_key };
    bool has_token = !call->anonymous && cli->token.len > 0;
    TransferOptions options = {
        .method = call->method,
        .url = arena_fmt(cli->arena, STR_FMT STR_FMT, STR_ARG(cli->url), STR_ARG(call->path)),
        .headers = headers,
        .header_count = count,
        .secret_header = has_token ? STR("authorization") : (Str){ 0 },
        .secret_prefix = STR("Bearer "),
        .secret_value = has_token ? secret_bytes(&cli->token) : (Bytes){ 0 },
        .body = body,
        .connect_timeout_us = 5 * US_PER_S,
        .first_byte_timeout_us = 60 * US_PER_S,
        .idle_timeout_us = 30 * US_PER_S,
        .total_timeout_us = 300 * US_PER_S,
        .header_bytes_max = 64 * 1024,
        .ca_pem = cli->ca_pem,
        .allow_private = true,
    };
    HttpReply reply;
    TRY(http_fetch(cli->arena, &options, ANSWER_BYTES_MAX, &reply));
    *ret_answer = (Answer){ .status = reply.status,
        .text = reply.body,
        .etag = http_reply_header(&reply, STR("etag")),
        .request_id = http_reply_header(&reply, STR("x-request-id")) };
    if (str_contains(http_reply_header(&reply, STR("content-type")), STR("json")) && reply.body.len > 0)
        return json_parse(reply.body, ANSWER_LIMITS, &ret_answer->body);
    return OK;
}

static void pause_before_try(int tries)
{
    uint64_t ms = random_below(UINT64_C(100) << tries) + 20;
    struct timespec wait = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&wait, NULL);
}

/* The same call, as people would type it; the token stays in its file. */
static Err print_curl(Cli *cli, const Call *call, Str body)
{
    printf("curl -sS -X %s", call->method);
    if (!call->anonymous && cli->token.len > 0)
        printf(" -H \"Authorization: Bearer $(cat \"$REEVE_TOKEN_FILE\")\"");
    if (call->if_match)
        printf(" -H 'If-Match: *'");
    if (strcmp(call->method, "POST") == 0)
        printf(" -H \"Idempotency-Key: $(uuidgen)\"");
    if (body.len > 0) {
        printf(" -H 'Content-Type: application/json' --data-binary '");
        for (size_t i = 0; i < body.len; i++)
            body.ptr[i] == '\'' ? (void)printf("'\\''") : (void)putchar(body.ptr[i]);
        putchar('\'');
    }
    printf(" '" STR_FMT STR_FMT "'\n", STR_ARG(cli->url), STR_ARG(call->path));
    return OK;
}

static Err unreachable(Cli *cli, Err err)
{
    return FAIL_FMT(cli->arena, ERR_UNAVAILABLE, "unreachable", "could not reach " STR_FMT " (" STR_FMT ")",
        STR_ARG(cli->url), STR_ARG(err.code));
}

static Err etag_of(Cli *cli, const Call *call, Str *ret_etag)
{
    _cleanup_(answer_release) Answer before = { 0 };
    Str path, query;
    str_cut(call->path, '?', &path, &query);
    Call get = { .method = "GET", .path = call->etag_of.len > 0 ? call->etag_of : path };
    TRY(cli_call(cli, &get, &before));
    *ret_etag = before.etag.len > 0 ? arena_str(cli->arena, before.etag) : STR("*");
    return OK;
}

Err cli_call(Cli *cli, const Call *call, Answer *ret_answer)
{
    TRY(context_resolve(cli));
    bool reads = strcmp(call->method, "GET") == 0;
    Call actual = *call;
    Str body = call->raw_body, etag = { 0 };
    if (call->body != NULL)
        body = json_write(cli->arena, call->body);
    if (cli->globals.dry_run && !reads)
        actual.path = arena_fmt(
            cli->arena, STR_FMT "%sdry_run=true", STR_ARG(call->path), str_contains(call->path, STR("?")) ? "&" : "?");
    /* Commands of several calls need the answers of their reads; what they would change is what is printed. */
    if (cli->globals.curl && (!reads || call->show || cli->command->run == NULL))
        return print_curl(cli, &actual, body);
    if (call->if_match)
        TRY(etag_of(cli, call, &etag));
    Str key = uuid_format(cli->arena, uuid_v7(time_now()));
    for (int tries = 1;; tries++) {
        _cleanup_(answer_release) Answer answer = { 0 };
        Err err = once(cli, &actual, body, etag, key, &answer);
        if (err.kind == ERR_NONE && answer.status >= 200 && answer.status <= 299) {
            *ret_answer = TAKE(answer);
            return OK;
        }
        /* The same Idempotency-Key: trying a POST again cannot do it twice. */
        bool again = err.kind == ERR_UNAVAILABLE || (err.kind == ERR_NONE && answer.status == 503);
        if (!again || tries == TRIES_MAX)
            return err.kind == ERR_NONE                                     ? problem(cli, &answer)
                   : err.kind == ERR_UNAVAILABLE || err.kind == ERR_TIMEOUT ? unreachable(cli, err)
                                                                            : err;
        pause_before_try(tries);
    }
}

Err cli_get(Cli *cli, Str path, json_t **ret_body)
{
    _cleanup_(answer_release) Answer answer = { 0 };
    TRY(cli_call(cli, &(Call){ .method = "GET", .path = path }, &answer));
    if (answer.body == NULL)
        return FAIL(ERR_INTERNAL, "bad-answer", "the server's answer is not JSON");
    *ret_body = TAKE(answer.body);
    return OK;
}

Err cli_get_all(Cli *cli, Str path, json_t **ret_items)
{
    _cleanup_(json_release) json_t *items = json_array();
    Str next = path;
    for (int page = 0; page < PAGES_MAX; page++) {
        _cleanup_(json_release) json_t *body = NULL;
        TRY(cli_get(cli, next, &body));
        const json_t *data = json_object_get(body, "data");
        if (!json_is_array(data))
            return FAIL(ERR_INTERNAL, "bad-answer", "the server's answer is not a list");
        json_array_extend(items, (json_t *)(uintptr_t)data);
        Str token = json_str(body, "next_page_token");
        if (token.len == 0)
            break;
        next = arena_fmt(cli->arena, STR_FMT "%spage_token=" STR_FMT, STR_ARG(path),
            str_contains(path, STR("?")) ? "&" : "?", STR_ARG(path_escape(cli->arena, token)));
    }
    *ret_items = TAKE(items);
    return OK;
}
