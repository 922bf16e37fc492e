-- Rating: forward through the batches of committed transactions; charge rows, rollups and the cursor move together.

-- name: ledger_cursor_take
-- roles: worker
-- The place of rating, locked until the end of the transaction: one replica rates at a time, and one that lost its
-- connection has lost its place with it. No row: another replica has it.
select position from ledger.cursor where name = 'rating' for update skip locked;

-- name: ledger_cursor_put
-- roles: worker
-- Moves the place forward.
update ledger.cursor set position = :position::xid8, updated_at = now()
 where name = 'rating' and position < :position::xid8;

-- name: ledger_batches_next
-- roles: worker
-- Batches behind the cursor whose transactions, and all before them, are over.
select b.xid as position, b.tenants, b.events
  from ledger.batch b
 where b.xid > :position::xid8 and b.xid < pg_snapshot_xmin(pg_current_snapshot())
 order by b.xid
 limit :most;

-- name: ledger_rating_rows
-- roles: worker
-- Events with their attempts and units, in the order given.
select e.org, e.id as event, e.project, e.workflow, e.client_key, e.outcome as event_outcome,
       coalesce(a.n, 0)::bigint as attempt, a.connection, a.provider, a.model_asked, a.model_answered, a.outcome,
       coalesce(u.n, 0)::bigint as unit, u.model as unit_model, u.usage_raw, u.meters::bigint[], u.quantities,
       coalesce(u.stream, false) as stream
  from unnest(:tenants::uuid[], :events::uuid[]) with ordinality as k(org, id, place)
  join ledger.event e on e.org = k.org and e.id = k.id and e.id between :lowest and :highest
  left join ledger.attempt a on a.org = k.org and a.event = k.id and a.event between :lowest and :highest
  left join ledger.unit u
    on u.org = k.org and u.event = k.id and u.attempt = a.n and u.event between :lowest and :highest
 order by k.place, a.n, u.n;

-- name: ledger_charge_insert
-- roles: worker
-- Charge rows of one run. meters, quantities and rates of row i stand at m_first .. m_last of the flat arrays.
insert into ledger.charge (org, event, attempt, unit, run, reversal, model, reason, meters, quantities, rates, amount,
       unrated, residual, flags, normaliser, counted)
select c.org, c.event, c.attempt, c.unit, :run::bigint, c.reversal, c.model, c.reason,
       (:m_code::bigint[])[c.m_first : c.m_last]::smallint[], (:m_quantity::bigint[])[c.m_first : c.m_last],
       (:m_rate::bigint[])[c.m_first : c.m_last], c.amount, c.unrated, c.residual, c.flags, c.normaliser, c.counted
  from unnest(:org::uuid[], :event::uuid[], :attempt::bigint[], :unit::bigint[], :reversal::boolean[], :model::text[],
           :reason::text[], :m_first::bigint[], :m_last::bigint[], :amount::bigint[], :unrated::bigint[],
           :residual::bigint[], :flags::bigint[], :normaliser::bigint[], :counted::bigint[])
       as c(org, event, attempt, unit, reversal, model, reason, m_first, m_last, amount, unrated, residual, flags,
           normaliser, counted);

-- name: ledger_rollup_hour_add
-- roles: worker
-- Adds to the hourly sums, in key order.
insert into ledger.rollup_hour as r (org, hour, project, workflow, client_key, connection, provider, model, outcome,
       meter, quantity, amount, unrated, attempts, events)
select c.org, c.time, c.project, coalesce(c.workflow, '00000000-0000-0000-0000-000000000000'),
       coalesce(c.client_key, '00000000-0000-0000-0000-000000000000'),
       coalesce(c.connection, '00000000-0000-0000-0000-000000000000'), c.provider, c.model, c.outcome, c.meter,
       c.quantity::numeric, c.amount::numeric, c.unrated::numeric, c.attempts, c.events
  from unnest(:org::uuid[], :time::timestamptz[], :project::uuid[], :workflow::uuid[], :client_key::uuid[],
           :connection::uuid[], :provider::text[], :model::text[], :outcome::text[], :meter::bigint[],
           :quantity::text[], :amount::text[], :unrated::text[], :attempts::bigint[], :events::bigint[])
       as c(org, time, project, workflow, client_key, connection, provider, model, outcome, meter, quantity, amount,
           unrated, attempts, events)
    on conflict on constraint rollup_hour_pk do update
   set quantity = r.quantity + excluded.quantity, amount = r.amount + excluded.amount,
       unrated = r.unrated + excluded.unrated, attempts = r.attempts + excluded.attempts,
       events = r.events + excluded.events;

-- name: ledger_rollup_day_add
-- roles: worker
-- Adds to the daily sums, in key order.
insert into ledger.rollup_day as r (org, day, project, workflow, client_key, connection, provider, model, outcome,
       meter, quantity, amount, unrated, attempts, events)
select c.org, (c.time at time zone 'UTC')::date, c.project,
       coalesce(c.workflow, '00000000-0000-0000-0000-000000000000'),
       coalesce(c.client_key, '00000000-0000-0000-0000-000000000000'),
       coalesce(c.connection, '00000000-0000-0000-0000-000000000000'), c.provider, c.model, c.outcome, c.meter,
       c.quantity::numeric, c.amount::numeric, c.unrated::numeric, c.attempts, c.events
  from unnest(:org::uuid[], :time::timestamptz[], :project::uuid[], :workflow::uuid[], :client_key::uuid[],
           :connection::uuid[], :provider::text[], :model::text[], :outcome::text[], :meter::bigint[],
           :quantity::text[], :amount::text[], :unrated::text[], :attempts::bigint[], :events::bigint[])
       as c(org, time, project, workflow, client_key, connection, provider, model, outcome, meter, quantity, amount,
           unrated, attempts, events)
    on conflict on constraint rollup_day_pk do update
   set quantity = r.quantity + excluded.quantity, amount = r.amount + excluded.amount,
       unrated = r.unrated + excluded.unrated, attempts = r.attempts + excluded.attempts,
       events = r.events + excluded.events;

-- name: ledger_partitions_ahead
-- roles: worker
-- Makes the days ahead that are not there yet.
select ledger.partitions_ahead(:ahead::integer) as made;

-- name: ledger_batches_forget
-- roles: worker
-- Batches that were rated long ago; their events stay.
delete from ledger.batch
 where xid < (select position from ledger.cursor where name = 'rating') and received_at < now() - interval '7 days';

-- name: ledger_price_book_get
-- roles: worker api
-- A book and how often it changed.
select name as book, revision from ledger.price_book where name = :book;

-- name: ledger_rates
-- roles: worker api
-- All rates of a book.
select provider, model, meter, service_tier, above_input, valid_from, pico from ledger.rate where book = :book;

-- name: ledger_aliases
-- roles: worker api
-- All other names of a book's models.
select provider, kind, pattern, model, rank from ledger.model_alias where book = :book;

-- name: ledger_tenant_events
-- roles: worker
-- Ids of an organization's events between two ids, in pages.
select array_agg(org) as tenants, array_agg(id) as events
  from (select org, id from ledger.event
         where org = :org and id >= :lowest and id < :highest and (:after::uuid is null or id > :after)
         order by id limit :most) e;

-- name: ledger_charges_current
-- roles: worker
-- The lines that count now: those not reversed.
select c.org, c.event, c.attempt::bigint, c.unit::bigint, c.run, c.model, c.reason, c.meters::bigint[], c.quantities,
       c.rates, c.amount, c.unrated, c.residual, c.flags::bigint, c.normaliser::bigint, c.counted::bigint
  from unnest(:tenants::uuid[], :events::uuid[]) with ordinality as k(org, id, place)
  join ledger.charge c on c.org = k.org and c.event = k.id and c.event between :lowest and :highest
 where not c.reversal and not exists (
           select from ledger.charge later
            where later.org = c.org and later.event = c.event and later.attempt = c.attempt and later.unit = c.unit
              and later.reversal and later.run > c.run and later.event between :lowest and :highest)
 order by k.place, c.attempt, c.unit;

-- name: ledger_run_insert
-- roles: worker
-- Opens a re-rating run.
insert into ledger.rating_run (reason, tenant, from_time, to_time)
values (:reason, :org, :from_time::timestamptz, :to_time::timestamptz)
returning id as run;

-- name: ledger_rollup_recount
-- roles: worker
-- The hourly sums of some organizations between two hours, made again from the lines, against what is stored: how many
-- keys differ.
select count(*) as differences
  from ledger.recount(:orgs::uuid[], :from_time, :to_time) again
  full join (select * from ledger.rollup_hour
              where org = any (:orgs::uuid[]) and hour >= :from_time::timestamptz and hour < :to_time::timestamptz) r
    using (org, hour, project, workflow, client_key, connection, provider, model, outcome, meter)
 where (again.quantity, again.amount, again.unrated, again.attempts, again.events)
       is distinct from (r.quantity, r.amount, r.unrated, r.attempts, r.events);

-- name: ledger_rollup_forget_hours
-- roles: worker
-- Removes hourly sums, to be made again in the same transaction.
delete from ledger.rollup_hour
 where org = any (:orgs::uuid[]) and hour >= :from_time::timestamptz and hour < :to_time::timestamptz;

-- name: ledger_rollup_forget_days
-- roles: worker
-- Removes daily sums, to be made again in the same transaction.
delete from ledger.rollup_day
 where org = any (:orgs::uuid[]) and day >= (:from_time::timestamptz at time zone 'UTC')::date
   and day < (:to_time::timestamptz at time zone 'UTC')::date;

-- name: ledger_rollup_again_hours
-- roles: worker
-- Makes hourly sums again from the lines.
insert into ledger.rollup_hour (org, hour, project, workflow, client_key, connection, provider, model, outcome, meter,
       quantity, amount, unrated, attempts, events)
select org, hour, project, workflow, client_key, connection, provider, model, outcome, meter, quantity, amount, unrated,
       attempts, events
  from ledger.recount(:orgs::uuid[], :from_time, :to_time);

-- name: ledger_rollup_again_days
-- roles: worker
-- Makes daily sums again from the hourly ones.
insert into ledger.rollup_day (org, day, project, workflow, client_key, connection, provider, model, outcome, meter,
       quantity, amount, unrated, attempts, events)
select org, (hour at time zone 'UTC')::date, project, workflow, client_key, connection, provider, model, outcome, meter,
       sum(quantity), sum(amount), sum(unrated), sum(attempts), sum(events)
  from ledger.rollup_hour
 where org = any (:orgs::uuid[]) and hour >= :from_time::timestamptz and hour < :to_time::timestamptz
 group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
