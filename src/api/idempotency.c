/*
 * idempotency.c: a POST with an Idempotency-Key happens once. Its row is written in the transaction of the change; it
 * holds the answer, but never a token: a second asking replaces the unused one by a fresh one.
 */
#include "call.h"

#include "store/sql.h"

typedef struct Idempotency {
    Str key;
    Bytes request_digest;
    int64_t status;
    Json reply;
    Uuid subject;
    bool locked;
} Idempotency;

static const Field idempotency_fields[] = {
    FIELD(Idempotency, key, .internal = true),
    FIELD(Idempotency, request_digest, .internal = true),
    FIELD(Idempotency, status, .internal = true),
    FIELD(Idempotency, reply, .internal = true),
    FIELD(Idempotency, subject, .internal = true),
    FIELD(Idempotency, locked, .internal = true),
};
static const FieldTable IDEMPOTENCY_FIELDS = FIELD_TABLE(Idempotency, idempotency_fields);

static Err find(Ctx *ctx, const Call *call, Idempotency *row, bool *ret_found)
{
    *row = (Idempotency){ .key = call->req.idempotency_key };
    Err err = db_one(
        ctx->db, ctx->arena, &SQL_IDEMPOTENCY_FIND, REC(&IDEMPOTENCY_FIELDS, row), REC(&IDEMPOTENCY_FIELDS, row));
    if (err.kind == ERR_NOT_FOUND) {
        *ret_found = false;
        return OK;
    }
    TRY(err);
    *ret_found = true;
    if (!bytes_eq(row->request_digest, digest_bytes(&call->req.fingerprint)))
        return FAIL(ERR_INVALID, "idempotency-mismatch",
            "This Idempotency-Key was used for another request; a new request needs a new key.");
    return OK;
}

static Err replay(Ctx *ctx, Call *call, const Idempotency *row)
{
    Reply *reply = &call->reply;
    reply->status = (int)row->status;
    reply->empty = row->status == 204;
    reply->replayed = true;
    if (row->reply.value != NULL)
        reply_json(reply, json_deep_copy(row->reply.value));
    int64_t version;
    if (json_i64(reply->body, "version", &version))
        reply->etag = etag_of(ctx->arena, version);
    reply->location = row->status == 201 ? json_str(reply->body, "id") : STR("");
    if (!call->req.route->reveals)
        return OK;
    _cleanup_(secret_release) Secret token = { 0 };
    TRY(call->req.route->reshow(ctx, row->subject, &token));
    reply_reveal(reply, &token);
    return OK;
}

Err idempotency_find(Ctx *ctx, Call *call, bool *ret_done)
{
    Idempotency row;
    return find(ctx, call, &row, ret_done);
}

Err idempotency_begin(Ctx *ctx, Call *call, bool *ret_done)
{
    Idempotency row = { .key = call->req.idempotency_key };
    TRY(db_one(
        ctx->db, ctx->arena, &SQL_IDEMPOTENCY_LOCK, REC(&IDEMPOTENCY_FIELDS, &row), REC(&IDEMPOTENCY_FIELDS, &row)));
    if (!row.locked)
        return FAIL(ERR_CONFLICT, "idempotency-in-flight",
            "A request with this Idempotency-Key is being served at this moment; ask again.");
    TRY(find(ctx, call, &row, ret_done));
    return *ret_done ? replay(ctx, call, &row) : OK;
}

Err idempotency_end(Ctx *ctx, Call *call)
{
    Idempotency row = { .key = call->req.idempotency_key,
        .request_digest = digest_bytes(&call->req.fingerprint),
        .status = call->reply.status,
        .reply = { call->reply.body },
        .subject = call->reply.subject };
    return db_exec(ctx->db, ctx->arena, &SQL_IDEMPOTENCY_INSERT, REC(&IDEMPOTENCY_FIELDS, &row), NULL);
}
