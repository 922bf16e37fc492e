-- The audit log: leaves of changes, the tree over them, and its signed heads.

-- name: audit_context
-- roles: api worker publish
-- Who does this, for the leaf that is written next.
select current_org() as org,
       current_principal() as principal,
       nullif(current_setting('app.token', true), '')::uuid as token,
       nullif(current_setting('app.request', true), '') as request;

-- name: audit_insert
-- roles: api worker publish
-- An unsequenced leaf in the transaction of its change.
insert into audit_leaf (org, id, bytes)
values (current_org(), :id, :bytes);

-- name: audit_leaves
-- roles: api worker
-- Sequenced leaves from a position on.
select id, position, bytes
  from audit_leaf
 where org = current_org() and position >= :position
 order by position
 limit :most;

-- name: audit_leaf_get
-- roles: api worker
-- One leaf; its position is -1 until it is sequenced.
select id, coalesce(position, -1) as position, bytes
  from audit_leaf
 where org = current_org() and id = :id;

-- name: audit_nodes
-- roles: api worker
-- Some nodes of the tree, by place.
select n.level::bigint as level, n.index, n.hash
  from unnest(:levels::bigint[], :indexes::bigint[]) as wanted (level, index)
  join audit_node n on n.org = current_org() and n.level = wanted.level and n.index = wanted.index;

-- name: audit_checkpoint_latest
-- roles: api worker publish
-- The newest signed head of the tenant's log.
select size, root, note, signed_at
  from audit_checkpoint
 where org = current_org()
 order by size desc
 limit 1;

-- name: audit_checkpoint_get
-- roles: api worker publish
-- The signed head of a given size.
select size, root, note, signed_at
  from audit_checkpoint
 where org = current_org() and size = :size;

-- --- the sequencer ---

-- name: audit_installation
-- roles: worker publish
-- The id of the installation, whose log is the log of logs.
select id from installation;

-- name: audit_waiting
-- roles: worker
-- Organizations with leaves to sequence.
select audit_waiting as org from audit_waiting(:most);

-- name: audit_unsigned
-- roles: worker
-- Organizations whose log wants a checkpoint.
select audit_unsigned as org from audit_unsigned(:most);

-- name: audit_log_make
-- roles: worker
-- The tenant's log, if this is its first leaf.
insert into audit_log (org) values (current_org()) on conflict do nothing;

-- name: audit_log_lock
-- roles: worker
-- Size and right edge, locked until the end of the transaction: one sequencer at a time.
select size, edge, signed_size from audit_log where org = current_org() for update;

-- name: audit_log_get
-- roles: api worker
-- Size and right edge.
select size, edge, signed_size from audit_log where org = current_org();

-- name: audit_claim
-- roles: worker
-- Leaves of transactions that are over for everyone, in transaction order.
select id, bytes
  from audit_leaf
 where org = current_org()
   and position is null
   and xid < pg_snapshot_xmin(pg_current_snapshot())
 order by xid, id
 limit :most;

-- name: audit_place
-- roles: worker
-- Gives leaves their positions.
update audit_leaf l
   set position = placed.position
  from unnest(:ids::uuid[], :positions::bigint[]) as placed (id, position)
 where l.org = current_org() and l.id = placed.id and l.position is null;

-- name: audit_nodes_insert
-- roles: worker
-- Complete subtrees that the new leaves made.
insert into audit_node (org, level, index, hash)
select current_org(), level, index, hash
  from unnest(:levels::bigint[], :indexes::bigint[], :hashes::bytea[]) as made (level, index, hash);

-- name: audit_log_grow
-- roles: worker
-- The new size and right edge.
update audit_log set size = :size, edge = :edge where org = current_org() and size = :old_size;

-- name: audit_checkpoint_insert
-- roles: worker
-- A signed head; nothing when it is there already.
insert into audit_checkpoint (org, size, root, note)
values (current_org(), :size, :root, :note)
on conflict do nothing;

-- name: audit_log_signed
-- roles: worker
-- How far the log is signed; never backwards.
update audit_log set signed_size = :size where org = current_org() and signed_size < :size;
