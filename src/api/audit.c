/*
 * audit.c: /v1/audit: the organization's log, its checkpoints and the proofs that anyone can check.
 */
#include "domain/audit.h"

#include "api/route.h"
#include "base/json.h"

typedef struct AuditItem {
    int64_t number; /* position + 1 */
    Json leaf;
    Bytes bytes;
} AuditItem;
static const Field audit_item_fields[] = {
    FIELD(AuditItem, number, .read_only = true, .doc = "The leaf's place in the log, from 1."),
    FIELD(AuditItem, leaf, .read_only = true, .doc = "Who did what to what, when, by which request."),
    FIELD(AuditItem, bytes, .read_only = true, .doc = "The leaf exactly as it was hashed."),
};
static const FieldTable AUDIT_ITEM_FIELDS = FIELD_TABLE(AuditItem, audit_item_fields);

static const JsonLimits LEAF_LIMITS = { .bytes_max = AUDIT_LEAF_BYTES_MAX, .depth_max = 32, .tokens_max = 20000 };

static void forget_json(void *value)
{
    json_decref(value);
}

static Err to_item(Ctx *ctx, const AuditLeaf *leaf, AuditItem *ret_item)
{
    json_t *value;
    TRY(json_parse(bytes_str(leaf->bytes), LEAF_LIMITS, &value));
    arena_defer(ctx->arena, forget_json, value);
    *ret_item = (AuditItem){ .number = leaf->position + 1, .leaf = { value }, .bytes = leaf->bytes };
    return OK;
}

static Err list_leaves(Ctx *ctx, const Req *req, Reply *reply)
{
    int64_t limit, from = 0;
    Uuid after;
    List leaves;
    TRY(req_page(req, &limit, &after));
    for (size_t i = 8; i < sizeof(after.b); i++)
        from = from << 8 | after.b[i];
    TRY(audit_leaves(ctx->db, ctx->arena, from, limit + 1, &leaves));
    AuditItem *items = NEW(ctx->arena, AuditItem, leaves.count);
    for (size_t i = 0; i < leaves.count; i++)
        TRY(to_item(ctx, (const AuditLeaf *)leaves.items + i, &items[i]));
    reply_list(reply, req, &AUDIT_ITEM_FIELDS, (List){ items, leaves.count }, limit);
    return OK;
}

static Err get_checkpoint(Ctx *ctx, const Req *req, Reply *reply)
{
    (void)req;
    AuditCheckpoint checkpoint = { 0 };
    TRY(audit_checkpoint_latest(ctx->db, ctx->arena, &checkpoint));
    reply_one(reply, &AUDIT_CHECKPOINT_FIELDS, &checkpoint);
    return OK;
}

typedef struct ProofAsk {
    int64_t number, from, size;
} ProofAsk;
static const Field inclusion_fields[] = {
    FIELD(ProofAsk, number, .required = true, .min = 1, .max = INT64_MAX, .doc = "The leaf's place, from 1."),
    FIELD(ProofAsk, size, .required = true, .min = 1, .max = INT64_MAX, .doc = "Of the tree to prove it in."),
};
static const FieldTable INCLUSION_FIELDS = FIELD_TABLE(ProofAsk, inclusion_fields);
static const Field consistency_fields[] = {
    FIELD(ProofAsk, from, .required = true, .min = 1, .max = INT64_MAX, .doc = "Size of the earlier tree."),
    FIELD(ProofAsk, size, .required = true, .min = 1, .max = INT64_MAX, .doc = "Size of the later tree."),
};
static const FieldTable CONSISTENCY_FIELDS = FIELD_TABLE(ProofAsk, consistency_fields);

static void reply_proof(Ctx *ctx, Reply *reply, const AuditProof *proof)
{
    json_t *body = json_object(), *hashes = json_array();
    for (size_t i = 0; i < proof->count; i++)
        json_array_append_new(hashes, json_from_str(digest_text(ctx->arena, proof->hashes[i])));
    json_object_set_new(body, "hashes", hashes);
    reply_json(reply, body);
}

static Err get_inclusion(Ctx *ctx, const Req *req, Reply *reply)
{
    ProofAsk ask = { 0 };
    AuditProof proof;
    TRY(req_query(req, &INCLUSION_FIELDS, &ask));
    TRY(audit_inclusion(ctx->db, ctx->arena, ask.number - 1, ask.size, &proof));
    reply_proof(ctx, reply, &proof);
    return OK;
}

static Err get_consistency(Ctx *ctx, const Req *req, Reply *reply)
{
    ProofAsk ask = { 0 };
    AuditProof proof;
    TRY(req_query(req, &CONSISTENCY_FIELDS, &ask));
    TRY(audit_consistency(ctx->db, ctx->arena, ask.from, ask.size, &proof));
    reply_proof(ctx, reply, &proof);
    return OK;
}

extern const Route AUDIT_ROUTES[];
const Route AUDIT_ROUTES[] = {
    ROUTE(GET, "/v1/audit", AUDIT_READ, .says = "Read the audit log in its order.", .look = list_leaves, .pages = true,
        .reply = &AUDIT_ITEM_FIELDS),
    ROUTE(GET, "/v1/audit/checkpoint", AUDIT_READ, .says = "The newest signed head of the log.", .look = get_checkpoint,
        .reply = &AUDIT_CHECKPOINT_FIELDS),
    ROUTE(GET, "/v1/audit/inclusion", AUDIT_READ, .says = "Prove that a leaf is in the log.", .look = get_inclusion,
        .query = &INCLUSION_FIELDS),
    ROUTE(GET, "/v1/audit/consistency", AUDIT_READ, .says = "Prove that the log only grew.", .look = get_consistency,
        .query = &CONSISTENCY_FIELDS),
    ROUTE_END,
};
