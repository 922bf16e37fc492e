-- The ground everything else stands on: schemas, the tenant, who may call, idempotency, leases, the audit log.
--
-- Rules that every later migration keeps (tests/integration/isolation_test.c reads the catalogue):
--   * a table with a column `org` has row-level security enabled and forced, a policy, `org` first in every key, and
--     composite foreign keys (foreign-key and unique checks ignore row-level security);
--   * a unique index that must not begin with org says why in a comment that starts with `global:`;
--   * every right is granted by name, in the migration that makes the object; nothing is granted to public, TRUNCATE to
--     nobody;
--   * a function that must see across tenants is SECURITY DEFINER with a fixed search_path, and the table it looks at
--     has a policy `to reeve_owner`;
--   * the name of a constraint is an error code, its comment the sentence.

create schema reeve;
create schema ledger;
grant usage on schema reeve, ledger to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

alter default privileges revoke execute on functions from public;

-- Written by the migration runner.
create table reeve.migration (
    number     integer not null,
    name       text not null,
    digest     bytea not null,
    applied_at timestamptz not null default now(),
    constraint migration_number_taken primary key (number)
);
grant select on reeve.migration to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

-- --- helper functions ----------------------------------------------------------------------------------------------

-- The tenant of this transaction; null outside one. The setting is '' (not absent) on a connection that had one before.
create function reeve.current_org() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.org', true), '')::uuid;

create function reeve.current_principal() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.principal', true), '')::uuid;

-- The moment inside a version 7 id, to the millisecond.
create function reeve.uuid_time(id uuid) returns timestamptz
    language sql immutable strict parallel safe
    return timestamptz 'epoch'
        + (('x0000' || translate(left(id::text, 13), '-', ''))::bit(64)::bigint) * interval '1 millisecond';

-- Ends the statement with a problem: refuse('404', 'project-unknown') surfaces as 404 project-unknown.
create function reeve.refuse(status text, code text) returns void
    language plpgsql
    as $$ begin raise exception using errcode = 'RV' || status, message = code; end $$;

grant execute on function reeve.current_org(), reeve.current_principal(), reeve.uuid_time(uuid),
    reeve.refuse(text, text) to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

-- --- the installation and its organizations ------------------------------------------------------------------------

create table reeve.installation (
    id         uuid not null,
    only_one   boolean not nu