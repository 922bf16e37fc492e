/*
 * noun.c: create, lock, save and remove, the same for every plain thing.
 */
#include "domain/noun.h"

#include "base/json.h"
#include "domain/audit.h"

#include <assert.h>

#include <string.h>

static void *member(const Noun *noun, const void *item, Str name, FieldKind kind)
{
    const Field *field = field_find(noun->fields, name);
    if (field == NULL || field->kind != kind)
        return NULL;
    return (char *)(uintptr_t)item + field->offset;
}

static Err resolve(Ctx *ctx, const NounRef *ref, json_t *object)
{
    Ref row = { .name = json_str(object, ref->member) };
    if (name_check(row.name).kind != ERR_NONE)
        return OK;
    Err err = db_one(ctx->db, ctx->arena, ref->find, REC(&REF_FIELDS, &row), REC(&REF_FIELDS, &row));
    if (err.kind == ERR_NOT_FOUND)
        return OK;
    TRY(err);
    Str id = typeid_format(ctx->arena, str_from_c(ref->prefix), row.id);
    json_object_set_new(object, ref->member, json_from_str(id));
    return OK;
}

Err refs_resolve(Ctx *ctx, const NounRef *refs, json_t *object)
{
    for (; refs != NULL && refs->member != NULL; refs++)
        TRY(resolve(ctx, refs, object));
    return OK;
}

Uuid noun_id(const Noun *noun, const void *item)
{
    const Uuid *id = member(noun, item, STR("id"), FIELD_UUID);
    assert(id != NULL);
    return *id;
}

Err audit(Ctx *ctx, const char *action, const char *prefix, Uuid id, json_t *detail)
{
    json_object_del(detail, "hint"); /* the log is for ever: not even four characters of a key stand in it */
    Err err = audit_append(ctx->db, ctx->arena, action, prefix, id, ctx->project, detail);
    json_release(&detail);
    return err;
}

static Err after_change(Ctx *ctx, const Noun *noun, const char *what, const void *item)
{
    Str action = arena_fmt(ctx->arena, "%s.%s", noun->name, what);
    TRY(audit(ctx, action.ptr, noun->prefix, noun_id(noun, item), fields_encode(ctx->arena, noun->fields, item)));
    return noun->publishes ? publish_enqueue(ctx, ctx->project, action) : OK;
}

typedef struct Room {
    int64_t count;
} Room;
static const Field room_fields[] = { FIELD(Room, count, .internal = true) };
static const FieldTable ROOM_FIELDS = FIELD_TABLE(Room, room_fields);

Err room_check(Ctx *ctx, const Stmt *room, int64_t most, const char *name)
{
    Room there = { 0 };
    TRY(db_one(ctx->db, ctx->arena, room, REC_NONE, REC(&ROOM_FIELDS, &there)));
    if (there.count < most)
        return OK;
    return FAIL_FMT(ctx->arena, ERR_CONFLICT, "too-many",
        "There are %lld of the kind %s, and more than %lld cannot be.", (long long)there.count, name, (long long)most);
}

Err noun_create(Ctx *ctx, const Noun *noun, void *item)
{
    Uuid *id = member(noun, item, STR("id"), FIELD_UUID);
    assert(id != NULL);
    if (uuid_is_zero(*id))
        *id = uuid_v7(ctx->now);
    if (noun->room != NULL)
        TRY(room_check(ctx, noun->room, noun->most, noun->name));
    if (noun->check != NULL)
        TRY(noun->check(ctx, NULL, item));
    TRY(db_one(ctx->db, ctx->arena, noun->insert, REC(noun->fields, item), REC(noun->fields, item)));
    return after_change(ctx, noun, "created", item);
}

Err noun_lock(Ctx *ctx, const Noun *noun, const Ref *ref, void *ret_item)
{
    Ref in = *ref;
    TRY(db_one(ctx->db, ctx->arena, noun->lock, REC(&REF_FIELDS, &in), REC(noun->fields, ret_item)));
    const int64_t *version = member(noun, ret_item, STR("version"), FIELD_INT);
    return version == NULL ? OK : ctx_match(ctx, *version);
}

static Err check_fixed(Ctx *ctx, const Noun *noun, const void *was, const void *now)
{
    if (noun->fixed == NULL)
        return OK;
    _cleanup_(json_release) json_t *before = fields_encode(ctx->arena, noun->fields, was);
    _cleanup_(json_release) json_t *after = fields_encode(ctx->arena, noun->fields, now);
    FieldErrs bad = { .items = NEW(ctx->arena, FieldErr, 16) };
    for (const char *const *name = noun->fixed; *name != NULL && bad.count < 16; name++)
        if (!json_equal(json_object_get(before, *name), json_object_get(after, *name)))
            bad.items[bad.count++] = (FieldErr){ arena_fmt(ctx->arena, "/%s", *name), STR("cannot be changed") };
    if (bad.count == 0)
        return OK;
    Err err = FAIL(ERR_INVALID, "invalid-body", "The request body has members that cannot be accepted.");
    err.fields = bad;
    return err;
}

Err noun_save(Ctx *ctx, const Noun *noun, const void *was, void *now)
{
    TRY(check_fixed(ctx, noun, was, now));
    if (noun->check != NULL)
        TRY(noun->check(ctx, was, now));
    TRY(db_one(ctx->db, ctx->arena, noun->update, REC(noun->fields, now), REC(noun->fields, now)));
    return after_change(ctx, noun, "updated", now);
}

Err noun_remove(Ctx *ctx, const Noun *noun, void *item)
{
    if (noun->may_remove != NULL)
        TRY(noun->may_remove(ctx, item));
    TRY(db_exec(ctx->db, ctx->arena, noun->remove, REC(noun->fields, item), NULL));
    return after_change(ctx, noun, "deleted", item);
}
