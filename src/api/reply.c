/*
 * reply.c: what a handler answers, kept until the transaction has committed.
 */
#include "call.h"

#include "base/encode.h"

#include <string.h>

static void reply_body(Reply *reply, json_t *value)
{
    json_release(&reply->body);
    reply->body = value;
}

void reply_clear(Reply *reply)
{
    json_release(&reply->body);
    json_release(&reply->before);
    secret_release(&reply->token);
    *reply = (Reply){ .arena = reply->arena };
}

Str etag_of(Arena *arena, int64_t version)
{
    return arena_fmt(arena, "\"%lld\"", (long long)version);
}

void reply_one(Reply *reply, const FieldTable *table, const void *item)
{
    reply_body(reply, fields_encode(reply->arena, table, item));
    int64_t version;
    if (json_i64(reply->body, "version", &version))
        reply->etag = etag_of(reply->arena, version);
}

void reply_created(Reply *reply, const FieldTable *table, const void *item, Uuid id)
{
    reply_one(reply, table, item);
    reply->subject = id;
    reply->location = json_str(reply->body, "id");
}

/* The place in the list of one item: its id, or its number in an id's last eight bytes. */
static Uuid item_key(const FieldTable *table, const char *item)
{
    const Field *id = field_find(table, STR("id"));
    if (id != NULL && id->kind == FIELD_UUID)
        return *(const Uuid *)(const void *)(item + id->offset);
    const Field *number = field_find(table, STR("number"));
    assert(number != NULL && number->kind == FIELD_INT);
    uint64_t value = (uint64_t) * (const int64_t *)(const void *)(item + number->offset);
    Uuid key = { { 0 } };
    for (int i = 15; i >= 8; i--, value >>= 8)
        key.b[i] = (uint8_t)value;
    return key;
}

void reply_list(Reply *reply, const Req *req, const FieldTable *table, List items, int64_t limit)
{
    json_t *data = json_array(), *next = json_null();
    size_t count = items.count > (size_t)limit ? (size_t)limit : items.count;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(data, fields_encode(reply->arena, table, (char *)items.items + i * table->size));
    if (items.count > count && count > 0)
        next = json_from_str(page_token_make(req, item_key(table, (char *)items.items + (count - 1) * table->size)));
    json_t *body = json_object();
    json_object_set_new(body, "data", data);
    json_object_set_new(body, "next_page_token", next);
    reply_body(reply, body);
}

void reply_json(Reply *reply, json_t *value)
{
    reply_body(reply, value);
}

void reply_raw(Reply *reply, const char *content_type, Str body)
{
    reply->content_type = content_type;
    reply->raw = body;
}

void reply_none(Reply *reply)
{
    reply->empty = true;
}

void reply_status(Reply *reply, int status)
{
    reply->status = status;
}

void reply_header(Reply *reply, Str name, Str value)
{
    assert(reply->header_count < REPLY_HEADERS_MAX);
    reply->headers[reply->header_count++] = (Header){ .name = name, .value = value };
}

void reply_before(Reply *reply, const FieldTable *table, const void *item)
{
    json_release(&reply->before);
    reply->before = fields_encode(reply->arena, table, item);
}

void reply_reveal_as(Reply *reply, const char *member, const Secret *token)
{
    secret_release(&reply->token);
    reply->token = secret_copy(secret_bytes(token));
    reply->token_member = member;
}

void reply_reveal(Reply *reply, const Secret *token)
{
    reply_reveal_as(reply, "token", token);
}

void reply_park(Reply *reply, Uuid key, int64_t wait_us)
{
    reply->park_key = key;
    reply->park_us = wait_us > 0 ? wait_us : 1;
}

/* What a dry run shows: the answer that the change would have had, and what it would have replaced. */
void reply_dry_run(Reply *reply, const Route *route)
{
    json_t *change = json_object();
    json_object_set_new(change, "dry_run", json_true());
    json_object_set_new(change, "action", json_string(ACTIONS[route->action].name));
    json_object_set_new(change, "status", json_integer(reply->empty ? 204 : reply->status));
    json_object_set(change, "before", reply->before != NULL ? reply->before : json_null());
    json_object_set(change, "after", reply->body != NULL ? reply->body : json_null());
    reply_body(reply, change);
    secret_release(&reply->token);
    reply->status = 200;
    reply->empty = false;
    reply->etag = reply->location = STR("");
}

Str reply_text(Reply *reply)
{
    if (reply->empty)
        return STR("");
    if (reply->raw.ptr != NULL)
        return reply->raw;
    if (reply->token.ptr != NULL) {
        json_object_set_new(reply->body, reply->token_member, json_from_str(bytes_str(secret_bytes(&reply->token))));
        secret_release(&reply->token);
    }
    return reply->body == NULL ? STR("{}") : json_write(reply->arena, reply->body);
}
