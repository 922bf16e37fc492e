/*
 * noun.h: what all plain things have in common: they are created, changed under the version the caller knows, removed;
 * each change leaves a leaf in the audit log and, where gateways care, tells the publisher.
 *
 *     const Noun CONNECTION = { .name = "connection", .prefix = "con", .fields = &CONNECTION_FIELDS,
 *         .insert = &SQL_CONNECTION_INSERT, .lock = &SQL_CONNECTION_LOCK, .update = &SQL_CONNECTION_UPDATE,
 *         .remove = &SQL_CONNECTION_DELETE, .check = check_connection, .publishes = true };
 *
 * The struct has members `id` (Uuid) and, when it can change, `version` (int64_t). Statements take and fill the struct.
 */
#ifndef DOMAIN_NOUN_H
#define DOMAIN_NOUN_H

#include "domain/ctx.h"

/* A member that names another thing: bodies may give its name where the struct wants its id. */
typedef struct NounRef {
    const char *member, *prefix;
    const Stmt *find; /* `id` by `:name` */
} NounRef;

typedef struct Noun {
    const char *name;   /* "connection": audit actions are connection.created, .updated, .deleted */
    const char *prefix; /* of its TypeID */
    const FieldTable *fields;
    const Stmt *insert; /* may return columns: version, created_at… */
    const Stmt *lock;   /* by Ref, for update */
    const Stmt *update; /* returns version and updated_at */
    const Stmt *remove;
    /* What must hold before it is written; was is NULL for a new one. May complete `now`. */
    Err (*check)(Ctx *ctx, const void *was, void *now);
    /* What must hold before it is removed. */
    Err (*may_remove)(Ctx *ctx, const void *was);
    const char *const *fixed; /* members that never change, NULL-terminated */
    const NounRef *refs;      /* ends with member NULL */
    const Stmt *room;         /* `count` of those that are there, and how many there may be */
    int64_t most;
    bool publishes; /* gateways see it */
} Noun;

/* Puts ids in the place of names in a body; a name that is not there stays, and will not decode. */
CHECKED Err refs_resolve(Ctx *ctx, const NounRef *refs, json_t *object);
Uuid noun_id(const Noun *noun, const void *item);
CHECKED Err noun_create(Ctx *ctx, const Noun *noun, void *item);
/* The row, locked; ERR_NOT_FOUND without it, ERR_PRECONDITION when the caller named another version. */
CHECKED Err noun_lock(Ctx *ctx, const Noun *noun, const Ref *ref, void *ret_item);
CHECKED Err noun_save(Ctx *ctx, const Noun *noun, const void *was, void *now);
CHECKED Err noun_remove(Ctx *ctx, const Noun *noun, void *item);

/* ERR_CONFLICT "too-many" when the statement counts `most` or more. */
CHECKED Err room_check(Ctx *ctx, const Stmt *room, int64_t most, const char *name);

/* A leaf of the audit log in this transaction: "connection.updated". The detail is a JSON object without any secret,
 * and is taken. */
CHECKED Err audit(Ctx *ctx, const char *action, const char *prefix, Uuid id, json_t *detail);

#endif
