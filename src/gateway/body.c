/* body.c: see gateway/body.h. */
#include "gateway/body.h"

#include <string.h>

#define INCLUDE_USAGE "\"include_usage\":true"

static Err bad_member(Arena *arena, ChatBody *ret_body, const char *name, const char *wanted)
{
    ret_body->bad_param = str_from_c(name);
    return FAIL_FMT(arena, ERR_INVALID, "bad-member", "'%s' must be %s.", name, wanted);
}

/* Where and how include_usage has to be set in the stream_options that are there. */
static Err read_stream_options(Arena *arena, const Member *options, ChatBody *ret_body)
{
    Member members[SCAN_MEMBERS_MAX];
    size_t count;
    ret_body->usage_at = options->value;
    if (options->kind == SCAN_NULL) {
        ret_body->usage_edit = USAGE_REPLACE;
        ret_body->usage_text = STR("{" INCLUDE_USAGE "}");
        return OK;
    }
    if (options->kind != SCAN_OBJECT)
        return bad_member(arena, ret_body, "stream_options", "an object");
    TRY(scan_object(arena, options->value, SCAN_DEPTH_MAX, members, COUNT_OF(members), &count));
    const Member *asked = member_find(members, count, STR("include_usage"));
    if (asked == NULL) {
        ret_body->usage_edit = USAGE_EXTEND;
        ret_body->usage_text = count == 0 ? STR(INCLUDE_USAGE) : STR(INCLUDE_USAGE ",");
        return OK;
    }
    if (asked->kind == SCAN_TRUE) {
        ret_body->usage_edit = USAGE_KEEP;
        return OK;
    }
    if (asked->kind != SCAN_FALSE && asked->kind != SCAN_NULL)
        return bad_member(arena, ret_body, "stream_options.include_usage", "a boolean");
    ret_body->usage_edit = USAGE_REPLACE;
    ret_body->usage_at = asked->value;
    ret_body->usage_text = STR("true");
    return OK;
}

static Err read_stream(Arena *arena, const Member *members, size_t count, const DialectRow *dialect, ChatBody *ret_body)
{
    const Member *stream = member_find(members, count, STR("stream"));
    if (stream != NULL && stream->kind != SCAN_TRUE && stream->kind != SCAN_FALSE && stream->kind != SCAN_NULL)
        return bad_member(arena, ret_body, "stream", "a boolean");
    ret_body->stream = stream != NULL && stream->kind == SCAN_TRUE;
    if (!ret_body->stream || !dialect->asks_for_usage)
        return OK;
    const Member *options = member_find(members, count, STR("stream_options"));
    ret_body->usage_edit = USAGE_INSERT;
    ret_body->usage_text = STR("\"stream_options\":{" INCLUDE_USAGE "},");
    if (options != NULL)
        TRY(read_stream_options(arena, options, ret_body));
    ret_body->hide_usage = ret_body->usage_edit != USAGE_KEEP;
    return OK;
}

static Err read_model(Arena *arena, const Member *members, size_t count, ChatBody *ret_body)
{
    const Member *model = member_find(members, count, STR("model"));
    ret_body->bad_param = STR("model");
    if (model == NULL)
        return FAIL(ERR_INVALID, "model-missing", "'model' is missing: it names the workflow to use.");
    if (model->kind != SCAN_STRING || model->value.len - 2 > BODY_MODEL_MAX)
        return bad_member(arena, ret_body, "model", "a string of at most 256 bytes");
    ret_body->model = member_str(arena, model);
    ret_body->model_value = model->value;
    ret_body->bad_param = STR("");
    return OK;
}

static Str end_user_of(Arena *arena, const Member *member)
{
    if (member == NULL || member->kind != SCAN_STRING || member->value.len - 2 > BODY_END_USER_MAX)
        return STR("");
    return member_str(arena, member);
}

/* OpenAI: user, or its newer name safety_identifier. Anthropic: metadata.user_id. */
static Err read_end_user(Arena *arena, const Member *members, size_t count, Dialect dialect, ChatBody *ret_body)
{
    if (dialect == DIALECT_OPENAI) {
        const Member *user = member_find(members, count, STR("user"));
        if (user == NULL)
            user = member_find(members, count, STR("safety_identifier"));
        ret_body->end_user = end_user_of(arena, user);
        return OK;
    }
    Member inner[SCAN_MEMBERS_MAX];
    size_t inner_count;
    const Member *metadata = member_find(members, count, STR("metadata"));
    if (metadata == NULL || metadata->kind != SCAN_OBJECT)
        return OK;
    TRY(scan_object(arena, metadata->value, SCAN_DEPTH_MAX, inner, COUNT_OF(inner), &inner_count));
    ret_body->end_user = end_user_of(arena, member_find(inner, inner_count, STR("user_id")));
    return OK;
}

static void read_output_max(const Member *members, size_t count, ChatBody *ret_body)
{
    const Member *most = member_find(members, count, STR("max_completion_tokens"));
    if (most == NULL)
        most = member_find(members, count, STR("max_tokens"));
    int64_t value;
    if (most != NULL && member_i64(most, &value) && value > 0)
        ret_body->output_max = value;
}

Err body_read(Arena *arena, Str text, Dialect dialect, ChatBody *ret_body)
{
    Member members[SCAN_MEMBERS_MAX];
    size_t count;
    *ret_body = (ChatBody){ .text = text };
    TRY(scan_object(arena, text, SCAN_DEPTH_MAX, members, COUNT_OF(members), &count));
    TRY(read_model(arena, members, count, ret_body));
    TRY(read_stream(arena, members, count, dialect_row(dialect), ret_body));
    TRY(read_end_user(arena, members, count, dialect, ret_body));
    read_output_max(members, count, ret_body);
    return OK;
}

/* One replacement of `cut` bytes at `at` by `put`. */
typedef struct Splice {
    size_t at, cut;
    Str put;
} Splice;

static size_t offset_in(Str text, Str slice)
{
    return (size_t)(slice.ptr - text.ptr);
}

static Splice usage_splice(const ChatBody *body)
{
    switch (body->usage_edit) {
    case USAGE_INSERT: { /* behind the opening brace; there is at least `model` to follow the comma */
        size_t brace = 0;
        (void)str_find(body->text, '{', &brace);
        return (Splice){ .at = brace + 1, .put = body->usage_text };
    }
    case USAGE_EXTEND:
        return (Splice){ .at = offset_in(body->text, body->usage_at) + 1, .put = body->usage_text };
    case USAGE_REPLACE:
        return (
            Splice){ .at = offset_in(body->text, body->usage_at), .cut = body->usage_at.len, .put = body->usage_text };
    case USAGE_KEEP:
        break;
    }
    return (Splice){ .at = 0 };
}

Str body_edit(Arena *arena, const ChatBody *body, Str target_model)
{
    Splice model = { .at = offset_in(body->text, body->model_value),
        .cut = body->model_value.len,
        .put = json_quote(arena, target_model) };
    Splice usage = usage_splice(body);
    bool usage_first = usage.at <= model.at;
    const Splice splices[] = { usage_first ? usage : model, usage_first ? model : usage };

    char *out = NEW(arena, char, body->text.len + model.put.len + usage.put.len + 1);
    size_t len = 0, at = 0;
    for (size_t i = 0; i < COUNT_OF(splices); i++) {
        memcpy(out + len, body->text.ptr + at, splices[i].at - at);
        len += splices[i].at - at;
        if (splices[i].put.len > 0)
            memcpy(out + len, splices[i].put.ptr, splices[i].put.len);
        len += splices[i].put.len;
        at = splices[i].at + splices[i].cut;
    }
    memcpy(out + len, body->text.ptr + at, body->text.len - at);
    return str_n(out, len + body->text.len - at);
}
