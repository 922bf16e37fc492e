/* tap.c: see gateway/tap.h. */
#include "gateway/tap.h"

#include "gateway/scan.h"
#include "gateway/sse.h"

#include <string.h>

typedef struct Members {
    Member items[SCAN_MEMBERS_MAX];
    size_t count;
} Members;

void tap_init(Tap *tap, Dialect dialect, bool hide_usage)
{
    *tap = (Tap){ .dialect = dialect, .hide_usage = hide_usage, .usage = buf_new(TAP_USAGE_MAX) };
}

void tap_release(Tap *tap)
{
    buf_release(&tap->usage);
}

static bool members_of(Arena *arena, Str json, Members *ret_members)
{
    Err err =
        scan_object(arena, json, SCAN_DEPTH_MAX, ret_members->items, COUNT_OF(ret_members->items), &ret_members->count);
    return err.kind == ERR_NONE;
}

static const Member *member_of(const Members *members, Str name, ScanKind kind)
{
    const Member *member = member_find(members->items, members->count, name);
    return member != NULL && member->kind == kind ? member : NULL;
}

static void keep_model(Tap *tap, Arena *arena, const Members *members)
{
    const Member *model = member_of(members, STR("model"), SCAN_STRING);
    if (model == NULL || tap->model_len > 0)
        return;
    Str text = str_first(member_str(arena, model), sizeof tap->model);
    if (!str_is_utf8(text))
        return;
    memcpy(tap->model, text.ptr, text.len);
    tap->model_len = text.len;
}

/* The only usage, or the newest: OpenAI repeats a cumulative one in some dialects. */
static void keep_usage(Tap *tap, const Members *members)
{
    const Member *usage = member_of(members, STR("usage"), SCAN_OBJECT);
    if (usage == NULL)
        return;
    buf_clear(&tap->usage);
    buf_add(&tap->usage, usage->value);
    tap->usage_seen = true;
}

static void add_usage(Tap *tap, const Members *members)
{
    const Member *usage = member_of(members, STR("usage"), SCAN_OBJECT);
    if (usage == NULL)
        return;
    if (tap->usage_seen)
        buf_add(&tap->usage, STR("\n"));
    buf_add(&tap->usage, usage->value);
    tap->usage_seen = true;
}

static bool has_finish_reason(Str data)
{
    static const char key[] = "\"finish_reason\":";
    const char *found = memmem(data.ptr, data.len, key, sizeof key - 1);
    if (found == NULL)
        return false;
    Str rest = str_trim(str_skip(data, (size_t)(found - data.ptr) + sizeof key - 1));
    return str_starts_with(rest, STR("\""));
}

static bool is_usage_chunk(const Members *members)
{
    const Member *choices = member_of(members, STR("choices"), SCAN_ARRAY);
    if (choices == NULL || member_of(members, STR("usage"), SCAN_OBJECT) == NULL)
        return false;
    Str inside = str_n(choices->value.ptr + 1, choices->value.len - 2);
    for (size_t i = 0; i < inside.len; i++)
        if (strchr(" \t\r\n", inside.ptr[i]) == NULL)
            return false;
    return true;
}

/* A chunk that says nothing new: most of a stream. Its model is known, it has no usage object and no error. */
static bool is_plain_chunk(const Tap *tap, Str data)
{
    if (tap->model_len == 0 || memmem(data.ptr, data.len, "\"error\"", 7) != NULL)
        return false;
    const char *usage = memmem(data.ptr, data.len, "\"usage\"", 7);
    if (usage == NULL)
        return true;
    Str rest = str_skip(data, (size_t)(usage - data.ptr) + 7);
    return str_starts_with(rest, STR(":null")) && memmem(rest.ptr, rest.len, "\"usage\"", 7) == NULL;
}

static TapVerdict openai_event(Tap *tap, Arena *arena, SseEvent event)
{
    Members members;
    if (str_eq(str_trim(event.data), STR("[DONE]"))) {
        tap->finished = true;
        return TAP_PASS;
    }
    if (!tap->closing && has_finish_reason(event.data))
        tap->closing = true;
    if (is_plain_chunk(tap, event.data) && !str_eq(event.name, STR("error")))
        return TAP_PASS;
    tap->failed = str_eq(event.name, STR("error"));
    if (!members_of(arena, event.data, &members))
        return tap->failed ? TAP_ERROR : TAP_PASS;
    keep_model(tap, arena, &members);
    keep_usage(tap, &members);
    const Member *error = member_find(members.items, members.count, STR("error"));
    tap->failed = tap->failed || (error != NULL && error->kind != SCAN_NULL);
    if (tap->failed)
        return TAP_ERROR;
    return tap->hide_usage && is_usage_chunk(&members) ? TAP_HIDE : TAP_PASS;
}

/* The event's name, or its data's `type` where a stream leaves the names out. */
static Str anthropic_name(Arena *arena, SseEvent event)
{
    Members members;
    if (!str_is_empty(event.name) || !members_of(arena, event.data, &members))
        return event.name;
    const Member *type = member_of(&members, STR("type"), SCAN_STRING);
    return type == NULL ? STR("") : member_str(arena, type);
}

static void hear_message_start(Tap *tap, Arena *arena, Str data)
{
    Members members, inner;
    if (!members_of(arena, data, &members))
        return;
    const Member *message = member_of(&members, STR("message"), SCAN_OBJECT);
    if (message == NULL || !members_of(arena, message->value, &inner))
        return;
    keep_model(tap, arena, &inner);
    add_usage(tap, &inner);
}

static void hear_message_delta(Tap *tap, Arena *arena, Str data)
{
    Members members;
    if (members_of(arena, data, &members))
        add_usage(tap, &members);
}

static TapVerdict anthropic_event(Tap *tap, Arena *arena, SseEvent event)
{
    Str name = anthropic_name(arena, event);
    if (str_eq(name, STR("content_block_delta")))
        return TAP_PASS;
    if (str_eq(name, STR("ping")))
        return TAP_BLANK;
    if (str_eq(name, STR("message_start")))
        hear_message_start(tap, arena, event.data);
    else if (str_eq(name, STR("message_delta")))
        hear_message_delta(tap, arena, event.data);
    else if (str_eq(name, STR("message_stop")))
        tap->finished = true;
    else if (str_eq(name, STR("error")))
        tap->failed = true;
    return tap->failed ? TAP_ERROR : TAP_PASS;
}

TapVerdict tap_event(Tap *tap, Arena *arena, Str raw)
{
    SseEvent event = sse_read(arena, raw);
    if (!event.has_data)
        return TAP_BLANK;
    return tap->dialect == DIALECT_ANTHROPIC ? anthropic_event(tap, arena, event) : openai_event(tap, arena, event);
}

bool tap_body(Tap *tap, Arena *arena, Str body)
{
    Members members;
    if (!members_of(arena, body, &members))
        return false;
    keep_model(tap, arena, &members);
    keep_usage(tap, &members);
    tap->finished = true;
    return true;
}

Str tap_model(const Tap *tap)
{
    return str_n(tap->model, tap->model_len);
}

Str tap_usage(const Tap *tap)
{
    return buf_overflowed(&tap->usage) ? STR("") : buf_str(&tap->usage);
}

Str tap_error_type(Arena *arena, Str json)
{
    Members members, inner;
    if (!members_of(arena, json, &members))
        return STR("");
    const Member *error = member_of(&members, STR("error"), SCAN_OBJECT);
    if (error == NULL || !members_of(arena, error->value, &inner))
        return STR("");
    const Member *type = member_of(&inner, STR("type"), SCAN_STRING);
    return type == NULL ? STR("") : member_str(arena, type);
}
