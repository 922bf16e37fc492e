-- What an operator sees of a data plane is true from its first poll: when it was heard of, and what it runs.

-- A poll. Being seen is written down every few seconds only, never waits for whoever holds the row, and is not worth
-- a sync of the disk.
create function reeve.snapshot_poll(after bigint, out seq bigint, out digest bytea, out jws text)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    select n.seq, n.digest, n.jws into seq, digest, jws from reeve.snapshot_newest(after) n;
    update reeve.data_plane d
       set last_seen_at = now(), offered_seq = greatest(d.offered_seq, snapshot_poll.seq)
     where d.id = (select x.id from reeve.data_plane x
                    where x.id = nullif(current_setting('app.principal', true), '')::uuid
                      and x.fleet = nullif(current_setting('app.fleet', true), '')::uuid
                      and (x.last_seen_at is null or x.last_seen_at < now() - interval '5 seconds'
                           or x.offered_seq < snapshot_poll.seq)
                      for update skip locked);
    if found then
        perform set_config('synchronous_commit', 'off', true);
    end if;
end
$$;
grant execute on function reeve.snapshot_poll(bigint) to reeve_api;

-- What a data plane says of itself. Numbers only rise, and never above what was published: also for one that enrolled
-- after the newest manifest was offered to the others.
create or replace function reeve.snapshot_ack(seq bigint, state text, code text, detail text, pointer text) returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    update reeve.data_plane d
       set verified_seq = case when snapshot_ack.state in ('verified', 'active')
                               then greatest(d.verified_seq, least(snapshot_ack.seq, head.seq)) else d.verified_seq end,
           active_seq   = case when snapshot_ack.state = 'active'
                               then least(snapshot_ack.seq, head.seq) else d.active_seq end,
           offered_seq  = greatest(d.offered_seq, least(snapshot_ack.seq, head.seq)),
           ack_state    = snapshot_ack.state,
           ack_code     = snapshot_ack.code,
           ack_detail   = snapshot_ack.detail,
           ack_pointer  = snapshot_ack.pointer,
           last_seen_at = now()
      from (select coalesce(max(m.seq), 0) as seq from reeve.manifest m
             where m.fleet = nullif(current_setting('app.fleet', true), '')::uuid) head
     where d.id = nullif(current_setting('app.principal', true), '')::uuid
       and d.fleet = nullif(current_setting('app.fleet', true), '')::uuid
    $$;
