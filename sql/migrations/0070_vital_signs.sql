-- What /metrics says of the work that is waiting: numbers of the whole installation, no tenant's.
create function reeve.vital_signs(out publish_waiting bigint, out publish_lag_ms bigint, out audit_unsequenced bigint,
    out rating_batches bigint, out rating_lag_ms bigint, out manifests bigint, out data_planes bigint,
    out data_planes_behind bigint)
    language plpgsql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    select count(*), coalesce(extract(epoch from clock_timestamp() - min(q.at)) * 1000, 0)::bigint
      into publish_waiting, publish_lag_ms from reeve.publish_queue q;
    select count(*) into audit_unsequenced from reeve.audit_leaf l where l.position is null;
    select count(*), coalesce(extract(epoch from clock_timestamp() - min(b.received_at)) * 1000, 0)::bigint
      into rating_batches, rating_lag_ms
      from ledger.batch b where b.xid >= (select c.position from ledger.cursor c where c.name = 'rating');
    select coalesce(sum(h.seq), 0)::bigint into manifests from reeve.snapshot_heads() h;
    select count(*), count(*) filter (where d.active_seq < h.seq) into data_planes, data_planes_behind
      from reeve.data_plane d left join reeve.snapshot_heads() h on h.fleet = d.fleet where d.revoked_at is null;
end
$$;
grant execute on function reeve.vital_signs() to reeve_worker;
