-- The newest manifest's number of every fleet: what a replica compares to know whom to wake. Numbers of fleets say
-- nothing of a tenant.
create function reeve.snapshot_heads() returns table (fleet uuid, seq bigint)
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$ select m.fleet, max(m.seq) from reeve.manifest m group by m.fleet $$;
grant execute on function reeve.snapshot_heads() to reeve_api;
