/*
 * nouns.c: the commit steps that plain things share.
 */
#include "call.h"

#include <string.h>

static Err last_ref(const Req *req, Ref *ret_ref)
{
    ReadIn in;
    TRY(req_read_in(req, &in));
    *ret_ref =
        (Ref){ .id = in.id, .name = in.name, .parent = in.parent, .parent_name = in.parent_name, .number = in.number };
    return OK;
}

Err noun_post(Ctx *ctx, const Req *req, Reply *reply)
{
    const Noun *noun = req->route->noun;
    void *item = arena_alloc(ctx->arena, 1, noun->fields->size);
    TRY(req_resolve(ctx, req, noun->refs));
    TRY(req_body(req, noun->fields, item));
    TRY(noun_create(ctx, noun, item));
    reply_created(reply, noun->fields, item, noun_id(noun, item));
    return OK;
}

Err noun_patch(Ctx *ctx, const Req *req, Reply *reply)
{
    const Noun *noun = req->route->noun;
    void *was = arena_alloc(ctx->arena, 1, noun->fields->size), *now = arena_alloc(ctx->arena, 1, noun->fields->size);
    Ref ref;
    TRY(last_ref(req, &ref));
    TRY(noun_lock(ctx, noun, &ref, was));
    reply_before(reply, noun->fields, was);
    memcpy(now, was, noun->fields->size);
    TRY(req_resolve(ctx, req, noun->refs));
    TRY(req_body(req, noun->fields, now));
    TRY(noun_save(ctx, noun, was, now));
    reply_one(reply, noun->fields, now);
    return OK;
}

Err noun_delete(Ctx *ctx, const Req *req, Reply *reply)
{
    const Noun *noun = req->route->noun;
    void *item = arena_alloc(ctx->arena, 1, noun->fields->size);
    Ref ref;
    TRY(last_ref(req, &ref));
    TRY(noun_lock(ctx, noun, &ref, item));
    reply_before(reply, noun->fields, item);
    TRY(noun_remove(ctx, noun, item));
    reply_none(reply);
    return OK;
}
