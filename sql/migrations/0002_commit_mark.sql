-- How the outcome of a COMMIT is learnt when its answer was lost.
--
-- pg_xact_status() cannot tell: after a crash the id of a transaction that was lost may be given to another one, whose
-- outcome it then reports. So each writing transaction leaves its number in its connection's row, in the round trip of
-- its COMMIT. Who lost the answer looks for that number and, when it is not there, closes the row with -1: a COMMIT
-- that is still on its way fails at the not-null constraint, so "not saved" stays true.

create table reeve.commit_mark (
    session uuid not null,
    mark    bigint not null,
    at      timestamptz not null default now(),
    constraint commit_mark_pk primary key (session)
) with (fillfactor = 50);
comment on table reeve.commit_mark is 'One row a connection, updated in place.';
grant select, insert, update on reeve.commit_mark to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

create or replace function reeve.idempotency_forget(before timestamptz) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    with gone as (delete from reeve.idempotency where created_at < before returning 1),
         marks as (delete from reeve.commit_mark where at < before - interval '1 day')
    select count(*) from gone
    $$;
