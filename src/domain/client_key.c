/*
 * client_key.c: client keys.
 */
#include "domain/client_key.h"

#include "crypto/token.h"
#include "domain/secret_record.h"
#include "snapshot/object.h"
#include "store/sql.h"

static const Field client_key_fields[] = {
    FIELD(ClientKey, id, .prefix = "cky", .read_only = true),
    FIELD(ClientKey, name, .required = true, .name_like = true, .doc = "Unique among the project's live keys."),
    FIELD(ClientKey, hint, .read_only = true, .doc = "The key's first characters."),
    FIELD(ClientKey, state, .read_only = true, .doc = "active, retiring, expired or revoked"),
    FIELD(ClientKey, expires_at, .doc = "Never when not given."),
    FIELD(ClientKey, created_at, .read_only = true),
    FIELD(ClientKey, revoked_at, .read_only = true),
    FIELD(ClientKey, replaced_by, .prefix = "cky", .read_only = true),
    FIELD(ClientKey, digest, .internal = true),
};
const FieldTable CLIENT_KEY_FIELDS = FIELD_TABLE(ClientKey, client_key_fields);

static const Field rotate_fields[] = {
    FIELD(ClientKeyRotate, overlap_s, .min = 0, .max = OVERLAP_S_MAX,
        .doc = "How long the former key still works; 900 when not given, 0 ends it at once."),
    FIELD(ClientKeyRotate, expires_at, .doc = "Of the new key; never when not given."),
};
const FieldTable CLIENT_KEY_ROTATE_FIELDS = FIELD_TABLE(ClientKeyRotate, rotate_fields);

static Err mint(Ctx *ctx, ClientKey *key, Secret *ret_text)
{
    TRY(token_new(STR("key"), ret_text));
    Str text = bytes_str(secret_bytes(ret_text));
    Digest digest = token_digest(text);
    key->digest = arena_bytes(ctx->arena, digest_bytes(&digest));
    key->hint = token_hint(ctx->arena, text);
    return OK;
}

static Err after_change(Ctx *ctx, const char *action, const ClientKey *key)
{
    TRY(audit(ctx, action, "cky", key->id, fields_encode(ctx->arena, &CLIENT_KEY_FIELDS, key)));
    return publish_enqueue(ctx, ctx->project, str_from_c(action));
}

static Err insert(Ctx *ctx, ClientKey *key, Secret *ret_text)
{
    if (!time_is_none(key->expires_at) && !time_before(ctx->now, key->expires_at))
        return FAIL(ERR_INVALID, "expiry-past", "expires_at must be in the future.");
    TRY(room_check(ctx, &SQL_CLIENT_KEY_ROOM, PROJECT_CLIENT_KEYS_MAX, "client-key"));
    TRY(mint(ctx, key, ret_text));
    return db_one(
        ctx->db, ctx->arena, &SQL_CLIENT_KEY_INSERT, REC(&CLIENT_KEY_FIELDS, key), REC(&CLIENT_KEY_FIELDS, key));
}

Err client_key_issue(Ctx *ctx, ClientKey *key, Secret *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    key->id = uuid_v7(ctx->now);
    TRY(insert(ctx, key, &text));
    TRY(after_change(ctx, "client-key.created", key));
    *ret_text = TAKE(text);
    return OK;
}

Err client_key_reshow(Ctx *ctx, Uuid id, Secret *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    ClientKey key = { .id = id };
    TRY(mint(ctx, &key, &text));
    Err err = db_one(
        ctx->db, ctx->arena, &SQL_CLIENT_KEY_REPLACE, REC(&CLIENT_KEY_FIELDS, &key), REC(&CLIENT_KEY_FIELDS, &key));
    if (err.kind == ERR_NOT_FOUND)
        return FAIL(ERR_CONFLICT, "client-key-ended", "The key of that call was revoked or replaced meanwhile.");
    TRY(err);
    TRY(after_change(ctx, "client-key.reissued", &key));
    *ret_text = TAKE(text);
    return OK;
}

static Err lock(Ctx *ctx, const Ref *ref, ClientKey *ret_key)
{
    Ref in = *ref;
    return db_one(ctx->db, ctx->arena, &SQL_CLIENT_KEY_LOCK, REC(&REF_FIELDS, &in), REC(&CLIENT_KEY_FIELDS, ret_key));
}

Err client_key_rotate(Ctx *ctx, const Ref *ref, const ClientKeyRotate *in, ClientKey *ret_key, Secret *ret_text)
{
    _cleanup_(secret_release) Secret text = { 0 };
    ClientKey old = { 0 };
    TRY(lock(ctx, ref, &old));
    if (!str_eq(old.state, STR("active")))
        return FAIL(ERR_CONFLICT, "client-key-ended", "The key was revoked or replaced, or has expired.");
    ClientKey key = { .id = uuid_v7(ctx->now), .name = old.name, .expires_at = in->expires_at };
    Time end = time_add_s(ctx->now, in->overlap_s.set ? in->overlap_s.value : CLIENT_KEY_OVERLAP_S_DEFAULT);
    if (time_is_none(old.expires_at) || time_before(end, old.expires_at))
        old.expires_at = end;
    old.replaced_by = key.id;
    TRY(db_exec(ctx->db, ctx->arena, &SQL_CLIENT_KEY_RETIRE, REC(&CLIENT_KEY_FIELDS, &old), NULL));
    TRY(insert(ctx, &key, &text));
    TRY(after_change(ctx, "client-key.rotated", &key));
    *ret_key = key;
    *ret_text = TAKE(text);
    return OK;
}

Err client_key_revoke(Ctx *ctx, const Ref *ref, ClientKey *ret_key)
{
    TRY(lock(ctx, ref, ret_key));
    TRY(db_one(ctx->db, ctx->arena, &SQL_CLIENT_KEY_REVOKE, REC(&CLIENT_KEY_FIELDS, ret_key),
        REC(&CLIENT_KEY_FIELDS, ret_key)));
    return after_change(ctx, "client-key.revoked", ret_key);
}
