/* audit.c: leaves, tree and heads of an organization's log. See audit.h. */
#include "domain/audit.h"

#include "base/json.h"
#include "store/sql.h"

#include <string.h>

#define BATCH_LEAVES_MAX 1000
#define NODES_MAX 512 /* looked at for one proof: two sides of a tree of 63 levels, and room */

/* --- records -------------------------------------------------------------------------------------------------------
 */

static const Field audit_leaf_fields[] = {
    FIELD(AuditLeaf, id, .prefix = "aud"),
    FIELD(AuditLeaf, position, .read_only = true),
    FIELD(AuditLeaf, bytes, .read_only = true),
};
const FieldTable AUDIT_LEAF_FIELDS = FIELD_TABLE(AuditLeaf, audit_leaf_fields);

static const Field audit_checkpoint_fields[] = {
    FIELD(AuditCheckpoint, size, .read_only = true),
    FIELD(AuditCheckpoint, root, .read_only = true),
    FIELD(AuditCheckpoint, note, .read_only = true),
    FIELD(AuditCheckpoint, signed_at, .read_only = true),
};
const FieldTable AUDIT_CHECKPOINT_FIELDS = FIELD_TABLE(AuditCheckpoint, audit_checkpoint_fields);

typedef struct Actor {
    Uuid org;
    Uuid principal;
    Uuid token;
    Str request;
} Actor;
static const Field actor_fields[] = {
    FIELD(Actor, org, .internal = true),
    FIELD(Actor, principal, .internal = true),
    FIELD(Actor, token, .internal = true),
    FIELD(Actor, request, .internal = true),
};
static const FieldTable ACTOR = FIELD_TABLE(Actor, actor_fields);

typedef struct Log {
    int64_t size;
    Bytes edge;
    int64_t signed_size;
    int64_t old_size;
} Log;
static const Field log_fields[] = {
    FIELD(Log, size, .internal = true),
    FIELD(Log, edge, .internal = true),
    FIELD(Log, signed_size, .internal = true),
    FIELD(Log, old_size, .internal = true),
};
static const FieldTable LOG = FIELD_TABLE(Log, log_fields);

typedef struct Page {
    int64_t position;
    int64_t most;
    Uuid id;
} Page;
static const Field page_fields[] = {
    FIELD(Page, position, .internal = true),
    FIELD(Page, most, .internal = true),
    FIELD(Page, id, .internal = true),
};
static const FieldTable PAGE = FIELD_TABLE(Page, page_fields);

typedef struct Org {
    Uuid org;
    Uuid id;
} Org;
static const Field org_fields[] = {
    FIELD(Org, org, .internal = true),
    FIELD(Org, id, .internal = true),
};
static const FieldTable ORG = FIELD_TABLE(Org, org_fields);

/* --- appending -----------------------------------------------------------------------------------------------------
 */

static json_t *typeid_or_null(Arena *arena, const char *prefix, Uuid id)
{
    return uuid_is_zero(id) ? json_null() : json_from_str(typeid_format(arena, str_from_c(prefix), id));
}

/* Sorted members make the same facts the same bytes; what counts afterwards is the bytes. */
static Err leaf_bytes(Arena *arena, const json_t *leaf, Bytes *ret_bytes)
{
    size_t len = json_dumpb(leaf, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
    if (len < 2 || len > AUDIT_LEAF_BYTES_MAX)
        return FAIL(ERR_TOO_LARGE, "audit-leaf-too-large", "The change is too large for the audit log.");
    char *text = arena_alloc(arena, len, 1);
    json_dumpb(leaf, text, len, JSON_COMPACT | JSON_SORT_KEYS);
    *ret_bytes = (Bytes){ .ptr = (uint8_t *)text, .len = len };
    return OK;
}

Err audit_append(
    Db *db, Arena *arena, const char *action, const char *prefix, Uuid object, Uuid project, const json_t *detail)
{
    Actor actor = { 0 };
    TRY(db_one(db, arena, &SQL_AUDIT_CONTEXT, REC_NONE, REC(&ACTOR, &actor)));
    if (uuid_is_zero(actor.org))
        return FAIL(ERR_INTERNAL, "audit-without-tenant", "A change was to be logged outside any organization.");
    Time now = time_now();
    AuditLeaf leaf = { .id = uuid_v7(now) };
    _cleanup_(json_release) json_t *json = json_pack("{s:i, s:o, s:o, s:s, s:{s:o, s:o}, s:o, s:o, s:o, s:o, s:O?}",
        "v", 1, "id", typeid_or_null(arena, "aud", leaf.id), "at", json_from_str(time_format(arena, now)), "action",
        action, "actor", "principal", typeid_or_null(arena, "sva", actor.principal), "token",
        typeid_or_null(arena, "tok", actor.token), "org", typeid_or_null(arena, "org", actor.org), "object",
        typeid_or_null(arena, prefix, object), "project", typeid_or_null(arena, "prj", project), "request",
        str_is_empty(actor.request) ? json_null() : json_from_str(actor.request), "detail", detail);
    if (json == NULL)
        die("an audit leaf could not be made");
    TRY(leaf_bytes(arena, json, &leaf.bytes));
    return db_exec(db, arena, &SQL_AUDIT_INSERT, REC(&AUDIT_LEAF_FIELDS, &leaf), NULL);
}

/* --- reading -------------------------------------------------------------------------------------------------------
 */

Err audit_leaves(Db *db, Arena *arena, int64_t position, int64_t most, List *ret_leaves)
{
    Page page = { .position = position, .most = most };
    return db_list(db, arena, &SQL_AUDIT_LEAVES, REC(&PAGE, &page), &AUDIT_LEAF_FIELDS, ret_leaves);
}

Err audit_leaf_get(Db *db, Arena *arena, Uuid id, AuditLeaf *ret_leaf)
{
    Page page = { .id = id };
    return db_one(db, arena, &SQL_AUDIT_LEAF_GET, REC(&PAGE, &page), REC(&AUDIT_LEAF_FIELDS, ret_leaf));
}

Err audit_checkpoint_latest(Db *db, Arena *arena, AuditCheckpoint *ret_checkpoint)
{
    return db_one(db, arena, &SQL_AUDIT_CHECKPOINT_LATEST, REC_NONE, REC(&AUDIT_CHECKPOINT_FIELDS, ret_checkpoint));
}

Str audit_origin(Arena *arena, Uuid installation, Uuid org)
{
    Str root = typeid_format(arena, STR("ins"), installation);
    if (uuid_eq(installation, org))
        return arena_fmt(arena, "reeve/" STR_FMT, STR_ARG(root));
    Str own = typeid_format(arena, STR("org"), org);
    return arena_fmt(arena, "reeve/" STR_FMT "/" STR_FMT, STR_ARG(root), STR_ARG(own));
}

/* --- proofs from stored nodes --------------------------------------------------------------------------------------
 */

/*
 * A proof is computed twice by the same code: the first time it notes which complete subtrees it would look at, then
 * they are read in one statement, and the second time it computes with them.
 */
typedef struct Node {
    int64_t level;
    int64_t index;
    Bytes hash;
} Node;
static const Field node_fields[] = {
    FIELD(Node, level, .internal = true),
    FIELD(Node, index, .internal = true),
    FIELD(Node, hash, .internal = true),
};
static const FieldTable NODE = FIELD_TABLE(Node, node_fields);

typedef struct NodePlaces {
    Ints levels;
    Ints indexes;
    BytesList hashes;
} NodePlaces;
static const Field node_places_fields[] = {
    FIELD(NodePlaces, levels, .internal = true),
    FIELD(NodePlaces, indexes, .internal = true),
    FIELD(NodePlaces, hashes, .internal = true),
};
static const FieldTable NODE_PLACES = FIELD_TABLE(NodePlaces, node_places_fields);

typedef struct Tree {
    bool reading;      /* second pass */
    NodePlaces wanted; /* first pass */
    List nodes;        /* of Node, second pass */
    bool missing;
    Digest proof[AUDIT_PROOF_MAX];
    size_t proof_count;
} Tree;

static Digest tree_node(Tree *tree, int64_t level, int64_t index)
{
    Digest digest = { 0 };
    if (!tree->reading) {
        if (tree->wanted.levels.count == NODES_MAX)
            die("a proof looks at more than %d nodes", NODES_MAX);
        tree->wanted.levels.items[tree->wanted.levels.count++] = level;
        tree->wanted.indexes.items[tree->wanted.indexes.count++] = index;
        return digest;
    }
    const Node *nodes = tree->nodes.items;
    for (size_t i = 0; i < tree->nodes.count; i++)
        if (nodes[i].level == level && nodes[i].index == index && nodes[i].hash.len == sizeof(digest.b)) {
            memcpy(digest.b, nodes[i].hash.ptr, sizeof(digest.b));
            return digest;
        }
    tree->missing = true;
    return digest;
}

static int log2_of(int64_t n)
{
    return 63 - __builtin_clzll((uint64_t)n);
}

/* The largest power of two below n ≥ 2. */
static int64_t split_of(int64_t n)
{
    return INT64_C(1) << log2_of(n - 1);
}

/* MTH of leaves [start, end), RFC 6962 section 2.1. */
static Digest tree_hash(Tree *tree, int64_t start, int64_t end)
{
    int64_t n = end - start;
    if ((n & (n - 1)) == 0)
        return tree_node(tree, log2_of(n), start >> log2_of(n));
    int64_t middle = start + split_of(n);
    Digest left = tree_hash(tree, start, middle);
    return merkle_node(left, tree_hash(tree, middle, end));
}

static void proof_add(Tree *tree, Digest hash)
{
    if (tree->proof_count == AUDIT_PROOF_MAX)
        die("a proof of more than %d hashes", AUDIT_PROOF_MAX);
    tree->proof[tree->proof_count++] = hash;
}

/* PATH, section 2.1.1 */
static void tree_inclusion(Tree *tree, int64_t position, int64_t start, int64_t end)
{
    if (end - start == 1)
        return;
    int64_t middle = start + split_of(end - start);
    if (position < middle) {
        tree_inclusion(tree, position, start, middle);
        proof_add(tree, tree_hash(tree, middle, end));
    } else {
        tree_inclusion(tree, position, middle, end);
        proof_add(tree, tree_hash(tree, start, middle));
    }
}

/* SUBPROOF, section 2.1.2; `whole`: the old tree is a complete subtree that the verifier knows already */
static void tree_consistency(Tree *tree, int64_t old_size, int64_t start, int64_t end, bool whole)
{
    if (old_size == end - start) {
        if (!whole)
            proof_add(tree, tree_hash(tree, start, end));
        return;
    }
    int64_t half = split_of(end - start);
    if (old_size <= half) {
        tree_consistency(tree, old_size, start, start + half, whole);
        proof_add(tree, tree_hash(tree, start + half, end));
    } else {
        tree_consistency(tree, old_size - half, start + half, end, false);
        proof_add(tree, tree_hash(tree, start, start + half));
    }
}

typedef enum Question { ASK_ROOT, ASK_INCLUSION, ASK_CONSISTENCY } Question;

static void answer(Tree *tree, Question question, int64_t at, int64_t size)
{
    tree->proof_count = 0;
    if (question == ASK_ROOT)
        proof_add(tree, tree_hash(tree, 0, size));
    else if (question == ASK_INCLUSION)
        tree_inclusion(tree, at, 0, size);
    else if (at > 0 && at < size)
        tree_consistency(tree, at, 0, size, true);
}

static Err check_range(Db *db, Arena *arena, int64_t at, int64_t size)
{
    Log log = { 0 };
    Err err = db_one(db, arena, &SQL_AUDIT_LOG_GET, REC_NONE, REC(&LOG, &log));
    if (err.kind != ERR_NONE && err.kind != ERR_NOT_FOUND)
        return err;
    if (at < 0 || at > size || size > log.size)
        return FAIL_FMT(arena, ERR_INVALID, "audit-range", "The log has %lld leaves.", (long long)log.size);
    return OK;
}

static Err ask(Db *db, Arena *arena, Question question, int64_t at, int64_t size, AuditProof *ret_proof)
{
    TRY(check_range(db, arena, at, size));
    Tree *tree = NEW(arena, Tree, 1);
    tree->wanted.levels.items = NEW(arena, int64_t, NODES_MAX);
    tree->wanted.indexes.items = NEW(arena, int64_t, NODES_MAX);
    answer(tree, question, at, size);
    TRY(db_list(db, arena, &SQL_AUDIT_NODES, REC(&NODE_PLACES, &tree->wanted), &NODE, &tree->nodes));
    tree->reading = true;
    answer(tree, question, at, size);
    if (tree->missing)
        return FAIL(ERR_SEALED, "audit-tree-damaged", "Nodes of the audit tree are missing from the database.");
    *ret_proof = (AuditProof){ .hashes = tree->proof, .count = tree->proof_count };
    return OK;
}

Err audit_inclusion(Db *db, Arena *arena, int64_t position, int64_t size, AuditProof *ret_proof)
{
    if (position >= size)
        return FAIL(ERR_INVALID, "audit-range", "The leaf lies outside a tree of that size.");
    return ask(db, arena, ASK_INCLUSION, position, size, ret_proof);
}

Err audit_consistency(Db *db, Arena *arena, int64_t old_size, int64_t size, AuditProof *ret_proof)
{
    return ask(db, arena, ASK_CONSISTENCY, old_size, size, ret_proof);
}

Err audit_root(Db *db, Arena *arena, int64_t size, Digest *ret_root)
{
    if (size == 0) {
        *ret_root = merkle_root(&(MerkleEdge){ 0 });
        return OK;
    }
    AuditProof proof;
    TRY(ask(db, arena, ASK_ROOT, 0, size, &proof));
    *ret_root = proof.hashes[0];
    return OK;
}

/* --- sequencing ----------------------------------------------------------------------------------------------------
 */

typedef struct Placing {
    Uuids ids;
    Ints positions;
} Placing;
static const Field placing_fields[] = {
    FIELD(Placing, ids, .internal = true),
    FIELD(Placing, positions, .internal = true),
};
static const FieldTable PLACING = FIELD_TABLE(Placing, placing_fields);

static void note_node(Arena *arena, NodePlaces *made, int64_t level, int64_t index, Digest hash)
{
    made->levels.items[made->levels.count++] = level;
    made->indexes.items[made->indexes.count++] = index;
    made->hashes.items[made->hashes.count++] = arena_bytes(arena, digest_bytes(&hash));
}

/* merkle_append, noting every subtree that the leaf completes. */
static void grow(Arena *arena, MerkleEdge *edge, Digest leaf, NodePlaces *made)
{
    int64_t position = (int64_t)edge->size;
    size_t top = (size_t)__builtin_popcountll(edge->size);
    Digest node = leaf;
    int level = 0;
    note_node(arena, made, 0, position, node);
    while (edge->size >> level & 1) {
        node = merkle_node(edge->nodes[--top], node);
        level++;
        note_node(arena, made, level, position >> level, node);
    }
    merkle_append(edge, leaf);
}

/* One transaction of audit_sequence, its tenant set and its log locked. */
static Err place_leaves(Db *db, Arena *arena, Log *log, const List *leaves)
{
    MerkleEdge edge;
    TRY(merkle_edge_load((uint64_t)log->size, log->edge, &edge));
    const AuditLeaf *items = leaves->items;
    Placing placing = { { NEW(arena, Uuid, leaves->count), leaves->count },
        { NEW(arena, int64_t, leaves->count), leaves->count } };
    size_t room = 2 * leaves->count + MERKLE_LEVELS_MAX; /* n leaves complete fewer than 2 n + log subtrees */
    NodePlaces made = { { NEW(arena, int64_t, room), 0 }, { NEW(arena, int64_t, room), 0 },
        { NEW(arena, Bytes, room), 0 } };
    for (size_t i = 0; i < leaves->count; i++) {
        placing.ids.items[i] = items[i].id;
        placing.positions.items[i] = (int64_t)edge.size;
        grow(arena, &edge, merkle_leaf(items[i].bytes), &made);
    }
    Log grown = { .size = (int64_t)edge.size, .edge = merkle_edge_bytes(arena, &edge), .old_size = log->size };
    int64_t placed = 0, updated = 0;
    const DbCall calls[] = {
        { .stmt = &SQL_AUDIT_PLACE, .in = REC(&PLACING, &placing), .ret_rows = &placed },
        { .stmt = &SQL_AUDIT_NODES_INSERT, .in = REC(&NODE_PLACES, &made) },
        { .stmt = &SQL_AUDIT_LOG_GROW, .in = REC(&LOG, &grown), .ret_rows = &updated },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    if (placed != (int64_t)leaves->count || updated != 1)
        return FAIL(ERR_INTERNAL, "audit-sequence", "The audit log changed under its lock.");
    return OK;
}

static Err sequence(Db *db, Arena *arena, const Lease *lease, Uuid org, int64_t *ret_count)
{
    TRY(lease_hold(db, arena, lease));
    TRY(tx_set_tenant(db, org));
    Log log = { 0 };
    List leaves = { 0 };
    Page page = { .most = BATCH_LEAVES_MAX };
    const DbCall calls[] = {
        { .stmt = &SQL_AUDIT_LOG_MAKE },
        { .stmt = &SQL_AUDIT_LOG_LOCK, .out = REC(&LOG, &log) },
        { .stmt = &SQL_AUDIT_CLAIM, .in = REC(&PAGE, &page), .list = &AUDIT_LEAF_FIELDS, .ret_list = &leaves },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    if (leaves.count > 0)
        TRY(place_leaves(db, arena, &log, &leaves));
    *ret_count = (int64_t)leaves.count;
    return OK;
}

/* Runs a step inside a transaction that the step decides about. */
#define IN_TRANSACTION(db, step)                                                                                       \
    do {                                                                                                               \
        TRY(tx_begin(db));                                                                                             \
        Err step_err_ = (step);                                                                                        \
        if (step_err_.kind != ERR_NONE) {                                                                              \
            tx_rollback(db);                                                                                           \
            return step_err_;                                                                                          \
        }                                                                                                              \
        return tx_commit(db);                                                                                          \
    } while (0)

Err audit_sequence(Db *db, Arena *arena, const Lease *lease, Uuid org, int64_t *ret_count)
{
    *ret_count = 0;
    IN_TRANSACTION(db, sequence(db, arena, lease, org, ret_count));
}

/* --- signing -------------------------------------------------------------------------------------------------------
 */

static Err read_head(Db *db, Arena *arena, Uuid org, Org *ret_installation, Log *ret_log)
{
    TRY(tx_begin_read(db));
    Err err = tx_set_tenant(db, org);
    if (err.kind == ERR_NONE)
        err = db_one(db, arena, &SQL_AUDIT_INSTALLATION, REC_NONE, REC(&ORG, ret_installation));
    if (err.kind == ERR_NONE)
        err = db_one(db, arena, &SQL_AUDIT_LOG_GET, REC_NONE, REC(&LOG, ret_log));
    tx_rollback(db);
    return err;
}

static Err log_of_logs(Db *db, Arena *arena, Uuid installation, Uuid org, const Checkpoint *checkpoint)
{
    TRY(tx_set_tenant(db, installation));
    _cleanup_(json_release) json_t *detail = json_object();
    json_object_set_new(detail, "origin", json_from_str(checkpoint->origin));
    json_object_set_new(detail, "size", json_integer((json_int_t)checkpoint->size));
    json_object_set_new(detail, "root", json_from_str(digest_text(arena, checkpoint->root)));
    return audit_append(db, arena, "audit.checkpoint", "org", org, (Uuid){ 0 }, detail);
}

static Err store_checkpoint(
    Db *db, Arena *arena, const Lease *lease, Uuid installation, Uuid org, const Checkpoint *checkpoint, Str note)
{
    TRY(lease_hold(db, arena, lease));
    TRY(tx_set_tenant(db, org));
    AuditCheckpoint row = { .size = (int64_t)checkpoint->size, .root = digest_bytes(&checkpoint->root), .note = note };
    int64_t inserted = 0;
    const DbCall calls[] = {
        { .stmt = &SQL_AUDIT_CHECKPOINT_INSERT, .in = REC(&AUDIT_CHECKPOINT_FIELDS, &row), .ret_rows = &inserted },
        { .stmt = &SQL_AUDIT_LOG_SIGNED, .in = REC(&AUDIT_CHECKPOINT_FIELDS, &row) },
    };
    TRY(db_pipeline(db, arena, calls, COUNT_OF(calls)));
    /* The installation's own checkpoints are not leaves of itself: that would never end. */
    if (inserted == 1 && !uuid_eq(installation, org))
        TRY(log_of_logs(db, arena, installation, org, checkpoint));
    return OK;
}

static Err store_in_transaction(
    Db *db, Arena *arena, const Lease *lease, Uuid installation, Uuid org, const Checkpoint *checkpoint, Str note)
{
    IN_TRANSACTION(db, store_checkpoint(db, arena, lease, installation, org, checkpoint, note));
}

Err audit_sign(Db *db, Arena *arena, const Lease *lease, Uuid org, const CheckpointSigner *signer)
{
    Org installation = { 0 };
    Log log = { 0 };
    TRY(read_head(db, arena, org, &installation, &log));
    if (log.size == log.signed_size)
        return OK;
    MerkleEdge edge;
    TRY(merkle_edge_load((uint64_t)log.size, log.edge, &edge));
    const Checkpoint checkpoint = {
        .origin = audit_origin(arena, installation.id, org), .size = (uint64_t)log.size, .root = merkle_root(&edge)
    };
    Str note;
    TRY(signer->sign(signer->context, arena, &checkpoint, &note));
    return store_in_transaction(db, arena, lease, installation.id, org, &checkpoint, note);
}

static Err orgs_of(Db *db, Arena *arena, const Stmt *stmt, int64_t most, Uuids *ret_orgs)
{
    Page page = { .most = most };
    List rows = { 0 };
    TRY(db_list(db, arena, stmt, REC(&PAGE, &page), &ORG, &rows));
    Uuids orgs = { NEW(arena, Uuid, rows.count), rows.count };
    for (size_t i = 0; i < rows.count; i++)
        orgs.items[i] = ((const Org *)rows.items)[i].org;
    *ret_orgs = orgs;
    return OK;
}

Err audit_waiting(Db *db, Arena *arena, int64_t most, Uuids *ret_orgs)
{
    return orgs_of(db, arena, &SQL_AUDIT_WAITING, most, ret_orgs);
}

Err audit_unsigned(Db *db, Arena *arena, int64_t most, Uuids *ret_orgs)
{
    return orgs_of(db, arena, &SQL_AUDIT_UNSIGNED, most, ret_orgs);
}
