-- What the publisher makes of the rows: objects, shards and manifests, and the provider keys sealed for fleets. Data
-- planes read them through functions that look at the fleet of their credential; the API role reads no table here.

-- The publish counter of a project: every object and tombstone takes the next number, so versions only rise. It has no
-- foreign key: it outlives the project, as its tombstone does.
create table reeve.snapshot_counter (
    org     uuid not null,
    project uuid not null,
    version bigint not null,
    constraint snapshot_counter_pk primary key (org, project)
);

-- The current entries of every fleet's shards. `content` is the digest of the object without its version: equal content
-- is not published again.
create table reeve.snapshot_entry (
    org     uuid not null,
    project uuid not null,
    fleet   uuid not null,
    kind    text not null,
    shard   bigint not null,
    version bigint not null,
    length  bigint not null,
    digest  bytea not null,
    content bytea not null,
    constraint snapshot_entry_pk primary key (org, project, fleet, kind),
    constraint snapshot_entry_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade,
    constraint snapshot_entry_shard_range check (shard between 0 and 255)
);
create index snapshot_entry_of_shard on reeve.snapshot_entry (fleet, shard);
comment on index reeve.snapshot_entry_of_shard is 'global: shards belong to fleets';

-- Immutable bytes by content; kept for a while after they were replaced, for those who still fetch.
create table reeve.snapshot_object (
    org         uuid not null,
    digest      bytea not null,
    project     uuid not null,
    kind        text not null,
    fleet       uuid,
    body        bytea not null,
    created_at  timestamptz not null default now(),
    replaced_at timestamptz,
    constraint snapshot_object_pk primary key (org, digest)
);
create index snapshot_object_by_digest on reeve.snapshot_object (digest);
comment on index reeve.snapshot_object_by_digest is 'global: data planes ask by digest; fleet_may_serve decides';
create index snapshot_object_of_project on reeve.snapshot_object (org, project, kind);
create index snapshot_object_replaced on reeve.snapshot_object (replaced_at) where replaced_at is not null;
comment on index reeve.snapshot_object_replaced is 'global: the publisher sweeps what was replaced';

create table reeve.snapshot_shard (
    fleet       uuid not null,
    digest      bytea not null,
    number      bigint not null,
    body        bytea not null,
    created_at  timestamptz not null default now(),
    replaced_at timestamptz,
    constraint snapshot_shard_pk primary key (fleet, digest),
    constraint snapshot_shard_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade
);
create index snapshot_shard_of_number on reeve.snapshot_shard (fleet, number);

create table reeve.manifest (
    fleet       uuid not null,
    seq         bigint not null,
    digest      bytea not null,
    jws         text not null,
    generation  bigint not null,
    settings    text not null,
    shards      bytea not null,
    issued_at   timestamptz not null,
    hard_expiry timestamptz not null,
    constraint manifest_seq_taken primary key (fleet, seq),
    constraint manifest_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade,
    constraint manifest_shards_shape check (octet_length(shards) = 8192)
);
comment on column reeve.manifest.shards is 'the 256 digests, one behind the other';

-- A secret version sealed for a fleet's generation: once, and never again.
create table reeve.sealed_secret (
    org        uuid not null,
    project    uuid not null,
    secret     uuid not null,
    number     bigint not null,
    fleet      uuid not null,
    generation bigint not null,
    jwe        text not null,
    sealed_at  timestamptz not null default now(),
    constraint sealed_secret_pk primary key (org, project, secret, number, fleet, generation),
    constraint sealed_secret_version_exists foreign key (org, project, secret, number)
        references reeve.secret_version (org, project, secret, number) on delete cascade,
    constraint sealed_secret_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade
);

do $$
declare
    t text;
begin
    foreach t in array array['snapshot_counter', 'snapshot_entry', 'snapshot_object', 'snapshot_shard', 'manifest',
                             'sealed_secret'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I to reeve_publish using (true) with check (true)', t || '_publish', t);
        execute format('create policy %I on reeve.%I to reeve_owner using (true) with check (true)', t || '_definer', t);
        execute format('comment on policy %I on reeve.%I is ''global: the publisher makes what fleets pull''',
            t || '_publish', t);
        execute format('grant select, insert, update, delete on reeve.%I to reeve_publish', t);
    end loop;
end
$$;
grant update (offered_seq) on reeve.data_plane to reeve_publish;

-- --- what a data plane may ask; its fleet stands in app.fleet (data_plane_begin) ------------------------------------

create function reeve.current_fleet() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.fleet', true), '')::uuid;

-- The newest manifest; its text only when it is newer than `after`.
create function reeve.snapshot_newest(after bigint, out seq bigint, out digest bytea, out jws text)
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select m.seq, m.digest, case when m.seq > snapshot_newest.after then m.jws end
      from reeve.manifest m
     where m.fleet = nullif(current_setting('app.fleet', true), '')::uuid
     order by m.seq desc
     limit 1
    $$;

-- A shard of the fleet, or an object of an organization that the fleet may serve.
create function reeve.snapshot_bytes(want bytea) returns bytea
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select s.body from reeve.snapshot_shard s
     where s.fleet = nullif(current_setting('app.fleet', true), '')::uuid and s.digest = want
    union all
    select o.body from reeve.snapshot_object o
     where o.digest = want
       and (o.fleet is null or o.fleet = nullif(current_setting('app.fleet', true), '')::uuid)
       and reeve.fleet_may_serve(o.org)
     limit 1
    $$;

-- What the keeper needs for the calling data plane's keyring.
create function reeve.snapshot_keyring_ask(out fleet uuid, out generation bigint, out kms_uri text, out wrapped bytea,
    out cert text, out request text)
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select d.fleet, k.generation, k.kms_uri, k.wrapped, d.cert, d.request
      from reeve.data_plane d
      join reeve.fleet f on f.id = d.fleet
      join reeve.fleet_key k on k.fleet = f.id and k.generation = f.generation
     where d.id = nullif(current_setting('app.principal', true), '')::uuid
       and d.fleet = nullif(current_setting('app.fleet', true), '')::uuid
    $$;

-- What a data plane says of itself. Numbers only rise, and never above what was published.
create function reeve.snapshot_ack(seq bigint, state text, code text, detail text, pointer text) returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    update reeve.data_plane d
       set verified_seq = case when snapshot_ack.state in ('verified', 'active')
                               then greatest(d.verified_seq, least(snapshot_ack.seq, d.offered_seq)) else d.verified_seq end,
           active_seq   = case when snapshot_ack.state = 'active'
                               then least(snapshot_ack.seq, d.offered_seq) else d.active_seq end,
           ack_state    = snapshot_ack.state,
           ack_code     = snapshot_ack.code,
           ack_detail   = snapshot_ack.detail,
           ack_pointer  = snapshot_ack.pointer,
           last_seen_at = now()
     where d.id = nullif(current_setting('app.principal', true), '')::uuid
       and d.fleet = nullif(current_setting('app.fleet', true), '')::uuid
    $$;

grant execute on function reeve.current_fleet(), reeve.snapshot_newest(bigint), reeve.snapshot_bytes(bytea),
    reeve.snapshot_keyring_ask(), reeve.snapshot_ack(bigint, text, text, text, text) to reeve_api;
