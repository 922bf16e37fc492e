-- What a replica keeps in memory to answer a fleet that wakes at once, instead of a round trip for each data plane. Fleets,
-- digests and numbers say nothing of a tenant.
create function reeve.snapshot_manifest(want_fleet uuid, want_seq bigint) returns text
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$ select m.jws from reeve.manifest m where m.fleet = want_fleet and m.seq = want_seq $$;

-- Data planes whose tokens may still be in somebody's hands: a token lives ten minutes.
create function reeve.snapshot_revoked() returns setof uuid
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$ select d.id from reeve.data_plane d where d.revoked_at > now() - interval '1 hour' $$;
grant execute on function reeve.snapshot_manifest(uuid, bigint), reeve.snapshot_revoked() to reeve_api;

-- A manifest that states no checkpoint vouches for none.
alter table reeve.manifest alter column checkpoint_size set default 0;
