-- The ledger: what gateways report, as it came; what it costs, line by line; the sums of the lines.
--
-- event ─▶ attempt ─▶ unit are written once and never changed; a charge row is added by rating, and taken back only by a
-- reversal that another run adds. All four are partitioned by the day inside the event's id (a UUIDv7), so an id alone
-- says where its rows are, duplicates are found for ever by the primary key, and old days go by dropping a partition.
-- No event makes a partition: the worker makes them ahead, and an id outside the open ones waits in quarantine.

-- Which organizations this transaction may touch, when it is not one tenant's: a batch of a data plane, a pass of rating.
create function ledger.scope() returns uuid[]
    language sql stable parallel safe
    return coalesce(nullif(current_setting('app.orgs', true), '')::uuid[], '{}'::uuid[]);
grant execute on function ledger.scope() to reeve_ingest, reeve_worker;

create table ledger.meter (
    code   smallint not null,
    name   text not null,
    tokens boolean not null default true,
    constraint meter_pk primary key (code),
    constraint meter_name_taken unique (name)
);
insert into ledger.meter (code, name) values
    (1, 'input_uncached'), (2, 'cache_read'), (3, 'cache_write_5m'), (4, 'cache_write_1h'), (5, 'cache_write_other'),
    (6, 'output'), (7, 'reasoning'), (8, 'audio_in'), (9, 'audio_out'), (10, 'image_in'), (11, 'image_out'),
    (12, 'video_in'), (13, 'tool_prompt'), (14, 'prediction_rejected'), (15, 'cache_read_audio'), (16, 'web_search'),
    (17, 'request');
update ledger.meter set tokens = false where name in ('web_search', 'request');
grant select on ledger.meter to reeve_api, reeve_worker, reeve_ingest;

-- --- what happened -------------------------------------------------------------------------------------------------

create table ledger.event (
    org            uuid not null,
    id             uuid not null,
    digest         bytea not null,
    data_plane     uuid not null,
    epoch          bigint not null,
    sequence       bigint not null,
    project        uuid not null,
    workflow       uuid,
    revision       uuid,
    client_key     uuid,
    dialect        text not null,
    stream         boolean not null,
    outcome        text not null,
    status         integer,
    end_user       text,
    labels         jsonb,
    correlation_id text,
    trace_id       text,
    request_id     text,
    queue_us       bigint,
    first_byte_us  bigint,
    total_us       bigint,
    received_at    timestamptz not null default now(),
    constraint event_pk primary key (org, id)
) partition by range (id);

create table ledger.attempt (
    org                 uuid not null,
    event               uuid not null,
    n                   smallint not null,
    connection          uuid,
    provider            text not null,
    model_asked         text,
    model_answered      text,
    outcome             text not null,
    status              integer,
    secret              uuid,
    secret_version      bigint,
    connect_us          bigint,
    first_byte_us       bigint,
    total_us            bigint,
    provider_request_id text,
    lease               uuid,
    constraint attempt_pk primary key (org, event, n)
) partition by range (event);

-- One priced quantity vector, with the provider's own bytes. `meters` and `quantities` are the gateway's reading: the
-- ledger reads `usage_raw` again, and its own reading is on the charge row.
create table ledger.unit (
    org        uuid not null,
    event      uuid not null,
    attempt    smallint not null,
    n          smallint not null,
    model      text,
    meters     smallint[] not null,
    quantities bigint[] not null,
    usage_raw  bytea,
    normaliser integer,
    residual   bigint,
    stream     boolean not null,
    constraint unit_pk primary key (org, event, attempt, n)
) partition by range (event);

-- --- what it costs -------------------------------------------------------------------------------------------------

-- Who wrote charge rows and why: run 0 is rating as events come; every other run is a re-rating.
create table ledger.rating_run (
    id         bigint not null generated always as identity (start with 1),
    reason     text not null,
    tenant     uuid,
    from_time  timestamptz,
    to_time    timestamptz,
    created_at timestamptz not null default now(),
    constraint rating_run_pk primary key (id)
);

-- One line an attempt's unit and run; unit 0 is an attempt without usage, attempt 0 an event without an attempt. amount = Σ quantity × rate over the meters
-- that have a rate; a meter without one has rate -1 and its quantity is in `unrated`. A reversal has the negated line.
create table ledger.charge (
    org        uuid not null,
    event      uuid not null,
    attempt    smallint not null,
    unit       smallint not null,
    run        bigint not null default 0,
    reversal   boolean not null default false,
    model      text not null,
    reason     text not null,
    meters     smallint[] not null,
    quantities bigint[] not null,
    rates      bigint[] not null,
    amount     bigint not null,
    unrated    bigint not null,
    residual   bigint not null,
    flags      integer not null,
    normaliser integer not null,
    counted    smallint not null,
    constraint charge_pk primary key (org, event, attempt, unit, run, reversal)
) partition by range (event);
comment on column ledger.charge.counted is 'bit 1: stands for its attempt in counts; bit 2: for its event';

create table ledger.rollup_hour (
    org        uuid not null,
    hour       timestamptz not null,
    project    uuid not null,
    workflow   uuid not null,
    client_key uuid not null,
    connection uuid not null,
    provider   text not null,
    model      text not null,
    outcome    text not null,
    meter      smallint not null,
    quantity   numeric(38, 0) not null,
    amount     numeric(38, 0) not null,
    unrated    numeric(38, 0) not null,
    attempts   bigint not null,
    events     bigint not null,
    constraint rollup_hour_pk
        primary key (org, hour, project, workflow, client_key, connection, provider, model, outcome, meter)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on column ledger.rollup_hour.meter is
    '0: the whole group (quantity: its tokens); -1: its attempts without any meter; else the meter';

create table ledger.rollup_day (
    org        uuid not null,
    day        date not null,
    project    uuid not null,
    workflow   uuid not null,
    client_key uuid not null,
    connection uuid not null,
    provider   text not null,
    model      text not null,
    outcome    text not null,
    meter      smallint not null,
    quantity   numeric(38, 0) not null,
    amount     numeric(38, 0) not null,
    unrated    numeric(38, 0) not null,
    attempts   bigint not null,
    events     bigint not null,
    constraint rollup_day_pk
        primary key (org, day, project, workflow, client_key, connection, provider, model, outcome, meter)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- --- what could not be taken in ------------------------------------------------------------------------------------

create table ledger.quarantine (
    org         uuid not null,
    event       uuid not null,
    digest      bytea not null,
    data_plane  uuid not null,
    reason      text not null,
    body        bytea not null,
    received_at timestamptz not null default now(),
    constraint quarantine_pk primary key (org, event, digest),
    constraint quarantine_body_size check (octet_length(body) <= 262144)
);

do $$
declare
    t text;
begin
    foreach t in array array['event', 'attempt', 'unit', 'charge', 'rollup_hour', 'rollup_day', 'quarantine'] loop
        execute format('alter table ledger.%I enable row level security', t);
        execute format('alter table ledger.%I force row level security', t);
        execute format('create policy %I on ledger.%I to reeve_api using (org = reeve.current_org()) '
            'with check (org = reeve.current_org())', t || '_own', t);
        execute format('create policy %I on ledger.%I to reeve_ingest, reeve_worker '
            'using (org = any ((select ledger.scope())::uuid[])) '
            'with check (org = any ((select ledger.scope())::uuid[]))', t || '_scope', t);
        execute format('create policy %I on ledger.%I to reeve_owner using (true) with check (true)', t || '_definer', t);
    end loop;
end
$$;
grant select, insert on ledger.event, ledger.attempt, ledger.unit, ledger.quarantine to reeve_ingest;
grant select on ledger.event, ledger.attempt, ledger.unit, ledger.quarantine to reeve_worker, reeve_api;
grant select, insert on ledger.charge to reeve_worker;
grant select, insert, update, delete on ledger.rollup_hour, ledger.rollup_day to reeve_worker;
grant select on ledger.charge, ledger.rollup_hour, ledger.rollup_day to reeve_api;
grant select, insert on ledger.rating_run to reeve_worker;

-- --- order: what was stored by which transaction, and what a data plane has delivered --------------------------------

-- One row an ingesting transaction. Rating reads them by xid below the snapshot's xmin: a transaction that began earlier
-- and commits later can never be passed over. A batch holds ids and no customer's data.
create table ledger.batch (
    xid         xid8 not null default pg_current_xact_id(),
    data_plane  uuid not null,
    tenants     uuid[] not null,
    events      uuid[] not null,
    received_at timestamptz not null default now(),
    constraint batch_pk primary key (xid)
);
grant select, insert on ledger.batch to reeve_ingest;
grant select, delete on ledger.batch to reeve_worker;

create table ledger.cursor (
    name       text not null,
    position   xid8 not null,
    updated_at timestamptz not null default now(),
    constraint cursor_pk primary key (name)
);
insert into ledger.cursor (name, position) values ('rating', '0');
grant select, update on ledger.cursor to reeve_worker;

-- The numbers a data plane has delivered in an epoch; what is missing below the highest is a gap, and visible.
create table ledger.source (
    data_plane uuid not null,
    epoch      bigint not null,
    seen       int8multirange not null,
    last_event timestamptz not null,
    updated_at timestamptz not null default now(),
    constraint source_pk primary key (data_plane, epoch)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
grant select, insert, update on ledger.source to reeve_ingest;
grant select on ledger.source to reeve_worker;

create view ledger.gap with (security_invoker = true) as
    select data_plane, epoch, int8multirange(int8range(1, upper(seen))) - seen as missing
      from ledger.source
     where seen <> int8multirange(int8range(1, upper(seen)));
grant select on ledger.gap to reeve_worker;

-- --- partitions ----------------------------------------------------------------------------------------------------

create table ledger.partition (
    day       date not null,
    made_at   timestamptz not null default now(),
    constraint partition_pk primary key (day)
);
grant select on ledger.partition to reeve_ingest, reeve_worker;

-- The smallest version 7 id of a moment.
create function ledger.id_floor(moment timestamptz) returns uuid
    language sql immutable strict parallel safe
    return (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;
grant execute on function ledger.id_floor(timestamptz) to reeve_api, reeve_worker, reeve_ingest;

create function ledger.partition_make(day date) returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    parent text;
    child  text;
begin
    perform pg_advisory_xact_lock(7021, 1);
    if exists (select from ledger.partition p where p.day = partition_make.day) then
        return false;
    end if;
    foreach parent in array array['event', 'attempt', 'unit', 'charge'] loop
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        execute format('create table ledger.%I partition of ledger.%I for values from (%L) to (%L)', child, parent,
            ledger.id_floor(day::timestamp at time zone 'UTC'), ledger.id_floor((day + 1)::timestamp at time zone 'UTC'));
        -- Nobody is granted a partition; the policies of the parent rule. Closed all the same.
        execute format('alter table ledger.%I enable row level security', child);
        execute format('alter table ledger.%I force row level security', child);
        execute format('create policy %I on ledger.%I using (org = reeve.current_org())', child || '_own', child);
    end loop;
    insert into ledger.partition (day) values (partition_make.day);
    return true;
end
$$;

-- Days that are not there yet, from today to `ahead` days on.
create function ledger.partitions_ahead(ahead integer) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select count(*) filter (where ledger.partition_make(d::date))
      from generate_series((now() at time zone 'UTC')::date, (now() at time zone 'UTC')::date + ahead, '1 day') d
    $$;
grant execute on function ledger.partitions_ahead(integer) to reeve_worker;

select ledger.partition_make(d::date)
  from generate_series((now() at time zone 'UTC')::date - 2, (now() at time zone 'UTC')::date + 2, '1 day') d;

-- --- prices --------------------------------------------------------------------------------------------------------

-- The COST book says what providers charge. A plan says what a project pays; without one it pays the cost.
create table ledger.price_book (
    name     text not null,
    kind     text not null,
    revision bigint not null default 0,
    constraint price_book_pk primary key (name),
    constraint price_book_kind_known check (kind in ('cost', 'plan'))
);
insert into ledger.price_book (name, kind) values ('cost', 'cost');

create table ledger.price_import (
    id          uuid not null,
    book        text not null,
    source      text not null,
    digest      bytea not null,
    report      jsonb not null,
    imported_at timestamptz not null default now(),
    constraint price_import_pk primary key (id),
    constraint price_import_book_exists foreign key (book) references ledger.price_book (name)
);

-- A rate holds from its date until the next row of the same key; null ends it. Only ever added to.
create table ledger.rate (
    book         text not null,
    provider     text not null,
    model        text not null,
    meter        smallint not null,
    service_tier text not null default '',
    above_input  bigint not null default 0,
    valid_from   timestamptz not null,
    pico         bigint,
    import       uuid not null,
    constraint rate_taken primary key (book, provider, model, meter, service_tier, above_input, valid_from),
    constraint rate_book_exists foreign key (book) references ledger.price_book (name),
    constraint rate_import_exists foreign key (import) references ledger.price_import (id),
    constraint rate_sign check (pico >= 0),
    constraint rate_above_sign check (above_input >= 0)
);
comment on constraint rate_taken on ledger.rate is 'There is a rate of this key and date already; choose a later date.';

-- Other names of a model, tried in order: what a provider answers is often not what its price list says.
create table ledger.model_alias (
    book     text not null,
    provider text not null,
    kind     text not null,
    pattern  text not null,
    model    text not null,
    rank     bigint not null,
    constraint model_alias_taken primary key (book, provider, kind, pattern),
    constraint model_alias_book_exists foreign key (book) references ledger.price_book (name),
    constraint model_alias_kind_known check (kind in ('exact', 'prefix', 'suffix', 'contains'))
);

-- Which plan a project is on, from when: room for plans.
create table ledger.project_plan (
    org        uuid not null,
    project    uuid not null,
    valid_from timestamptz not null,
    book       text not null,
    constraint project_plan_pk primary key (org, project, valid_from),
    constraint project_plan_book_exists foreign key (book) references ledger.price_book (name)
);
alter table ledger.project_plan enable row level security;
alter table ledger.project_plan force row level security;
create policy project_plan_own on ledger.project_plan to reeve_api using (org = reeve.current_org())
    with check (org = reeve.current_org());
create policy project_plan_scope on ledger.project_plan for select to reeve_worker
    using (org = any ((select ledger.scope())::uuid[]));

grant select on ledger.price_book, ledger.rate, ledger.model_alias to reeve_worker, reeve_api;
grant select on ledger.price_import, ledger.project_plan to reeve_api;
grant select on ledger.project_plan to reeve_worker;
grant insert on ledger.price_import, ledger.rate, ledger.model_alias to reeve_api;
grant update (revision) on ledger.price_book to reeve_api;
grant update (model, rank) on ledger.model_alias to reeve_api;

-- --- how far the account is complete --------------------------------------------------------------------------------

-- Everything stored before this moment is rated, and no data plane of the installation has a gap before it.
create function ledger.complete_to() returns timestamptz
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select least(now(),
        (select min(b.received_at) from ledger.batch b
          where b.xid > (select c.position from ledger.cursor c where c.name = 'rating')))
    $$;
grant execute on function ledger.complete_to() to reeve_api, reeve_worker;
