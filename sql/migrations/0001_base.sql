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
    only_one   boolean not null default true,
    name       text not null,
    created_at timestamptz not null default now(),
    constraint installation_pk primary key (id),
    constraint installation_exists unique (only_one),
    constraint installation_only_one check (only_one),
    constraint installation_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$')
);
comment on constraint installation_exists on reeve.installation is 'This database holds an installation already.';
grant select on reeve.installation to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

-- The installation is itself an organization, the one with its id: operators, fleets and the log of logs belong to it.
-- So every row of every tenant table has an organization, and nothing needs a null tenant.
create table reeve.organization (
    id         uuid not null,
    name       text not null,
    level      text not null default 'organization',
    version    bigint not null default 1,
    created_at timestamptz not null default now(),
    deleted_at timestamptz,
    constraint organization_pk primary key (id),
    constraint organization_name_taken unique (name),
    constraint organization_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint organization_level_known check (level in ('organization', 'installation'))
);
comment on constraint organization_name_taken on reeve.organization is 'An organization with this name already exists.';
comment on constraint organization_name_shape on reeve.organization is
    'A name is 1 to 64 of a-z, 0-9, _ and -, and starts with a letter or digit.';

-- Whether this transaction acts for the installation.
create function reeve.is_installation() returns boolean
    language sql stable parallel safe
    return exists (select from reeve.installation where id = reeve.current_org());
grant execute on function reeve.is_installation() to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

alter table reeve.organization enable row level security;
alter table reeve.organization force row level security;
create policy organization_own on reeve.organization
    using (id = reeve.current_org() or (select reeve.is_installation()))
    with check (id = reeve.current_org() or (select reeve.is_installation()));
create policy organization_definer on reeve.organization to reeve_owner using (true) with check (true);
grant select, insert, update on reeve.organization to reeve_api;
grant select on reeve.organization to reeve_worker, reeve_publish, reeve_ingest;

-- --- who may call --------------------------------------------------------------------------------------------------

create table reeve.service_account (
    org         uuid not null,
    id          uuid not null,
    name        text not null,
    version     bigint not null default 1,
    created_at  timestamptz not null default now(),
    disabled_at timestamptz,
    constraint service_account_pk primary key (org, id),
    constraint service_account_name_taken unique (org, name),
    constraint service_account_organization_exists foreign key (org) references reeve.organization (id),
    constraint service_account_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$')
);
comment on constraint service_account_name_taken on reeve.service_account is
    'A service account with this name already exists in the organization.';
comment on constraint service_account_name_shape on reeve.service_account is
    'A name is 1 to 64 of a-z, 0-9, _ and -, and starts with a letter or digit.';

create table reeve.token (
    org             uuid not null,
    id              uuid not null,
    service_account uuid not null,
    name            text not null default '',
    digest          bytea not null,
    hint            text not null,
    created_at      timestamptz not null default now(),
    expires_at      timestamptz,
    revoked_at      timestamptz,
    constraint token_pk primary key (org, id),
    constraint token_digest_taken unique (digest),
    constraint token_service_account_exists foreign key (org, service_account)
        references reeve.service_account (org, id),
    constraint token_digest_shape check (octet_length(digest) = 32)
);
comment on index reeve.token_digest_taken is
    'global: the tenant is found by it; 256 random bits say nothing about another tenant';
comment on constraint token_service_account_exists on reeve.token is 'There is no such service account.';
create index token_of_service_account on reeve.token (org, service_account);

create table reeve.role_binding (
    org             uuid not null,
    id              uuid not null,
    service_account uuid not null,
    role            text not null,
    project         uuid,
    created_at      timestamptz not null default now(),
    constraint role_binding_pk primary key (org, id),
    constraint role_binding_exists unique nulls not distinct (org, service_account, role, project),
    constraint role_binding_service_account_exists foreign key (org, service_account)
        references reeve.service_account (org, id),
    constraint role_binding_role_shape check (role ~ '^[a-z][a-z0-9-]{0,63}$')
);
comment on constraint role_binding_exists on reeve.role_binding is 'The service account has this role there already.';
comment on constraint role_binding_service_account_exists on reeve.role_binding is 'There is no such service account.';

do $$
declare
    t text;
begin
    foreach t in array array['service_account', 'token', 'role_binding'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I using (org = reeve.current_org()) '
            'with check (org = reeve.current_org())', t || '_own', t);
        execute format('create policy %I on reeve.%I to reeve_owner using (true) with check (true)', t || '_definer', t);
    end loop;
end
$$;
grant select, insert, update, delete on reeve.service_account, reeve.token, reeve.role_binding to reeve_api;

-- The only way in for a service token: checks its digest and its life, and sets the tenant and the principal for the
-- rest of the transaction. The reasons are told only to the one who holds the token.
create function reeve.auth_begin(digest bytea,
    out level text, out org uuid, out principal uuid, out token uuid, out bindings jsonb)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    found_token reeve.token;
    account     reeve.service_account;
    tenant      reeve.organization;
begin
    select * into found_token from reeve.token t where t.digest = auth_begin.digest;
    if not found then
        raise exception using errcode = 'RV401', message = 'token-unknown';
    elsif found_token.revoked_at is not null then
        raise exception using errcode = 'RV401', message = 'token-revoked';
    elsif found_token.expires_at <= clock_timestamp() then
        raise exception using errcode = 'RV401', message = 'token-expired';
    end if;
    select * into account from reeve.service_account a
     where a.org = found_token.org and a.id = found_token.service_account;
    select * into tenant from reeve.organization o where o.id = found_token.org;
    if account.disabled_at is not null then
        raise exception using errcode = 'RV401', message = 'service-account-disabled';
    elsif tenant.deleted_at is not null then
        raise exception using errcode = 'RV401', message = 'organization-deleted';
    end if;
    level := tenant.level;
    org := found_token.org;
    principal := account.id;
    token := found_token.id;
    select coalesce(jsonb_agg(jsonb_build_object('role', b.role, 'project', b.project) order by b.role, b.project), '[]')
      into bindings from reeve.role_binding b where b.org = found_token.org and b.service_account = account.id;
    perform set_config('app.org', org::text, true), set_config('app.principal', principal::text, true),
        set_config('app.token', token::text, true);
end
$$;
grant execute on function reeve.auth_begin(bytea) to reeve_api;

-- Founds the installation with its first operator. Run by the owner only (`reeved init`): granted to nobody.
create function reeve.installation_found(installation uuid, name text, service_account uuid, binding uuid, role text,
    token uuid, digest bytea, hint text, expires_at timestamptz) returns void
    language sql
    begin atomic
    insert into reeve.installation (id, name) values (installation, name);
    insert into reeve.organization (id, name, level) values (installation, name, 'installation');
    insert into reeve.service_account (org, id, name) values (installation, service_account, 'operator');
    insert into reeve.role_binding (org, id, service_account, role)
        values (installation, binding, service_account, role);
    insert into reeve.token (org, id, service_account, name, digest, hint, expires_at)
        values (installation, token, service_account, 'first', digest, hint, expires_at);
    end;

-- --- idempotency ---------------------------------------------------------------------------------------------------

-- One row a POST with an Idempotency-Key, written in the transaction of its change. No secret is stored for replay:
-- `reply` is what a second asking gets, `subject` the thing that was made.
create table reeve.idempotency (
    org            uuid not null,
    principal      uuid not null,
    key            text not null,
    request_digest bytea not null,
    status         integer not null,
    reply          jsonb,
    subject        uuid,
    created_at     timestamptz not null default now(),
    constraint idempotency_key_in_use primary key (org, principal, key),
    constraint idempotency_organization_exists foreign key (org) references reeve.organization (id),
    constraint idempotency_key_shape check (length(key) between 1 and 200),
    constraint idempotency_digest_shape check (octet_length(request_digest) = 32)
);
comment on constraint idempotency_key_in_use on reeve.idempotency is
    'A request with this Idempotency-Key is being served at this moment; ask again.';
create index idempotency_by_age on reeve.idempotency using brin (created_at);
alter table reeve.idempotency enable row level security;
alter table reeve.idempotency force row level security;
create policy idempotency_own on reeve.idempotency using (org = reeve.current_org())
    with check (org = reeve.current_org());
create policy idempotency_definer on reeve.idempotency for select to reeve_owner using (true);
create policy idempotency_definer_delete on reeve.idempotency for delete to reeve_owner using (true);
grant select, insert, update on reeve.idempotency to reeve_api;

-- Forgets the keys older than `before`, of all organizations.
create function reeve.idempotency_forget(before timestamptz) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    with gone as (delete from reeve.idempotency where created_at < before returning 1)
    select count(*) from gone
    $$;
grant execute on function reeve.idempotency_forget(timestamptz) to reeve_worker;

-- --- leases of background jobs -------------------------------------------------------------------------------------

-- Who does a background job now. The epoch rises with each new holder; a write of the job locks the row with its epoch
-- in the same transaction, so a holder that slept through its lease cannot write any more.
create table reeve.job_lease (
    job    text not null,
    holder uuid not null,
    epoch  bigint not null,
    until  timestamptz not null,
    constraint job_lease_pk primary key (job)
);
grant select, insert, update on reeve.job_lease to reeve_worker, reeve_publish;

-- --- the audit log -------------------------------------------------------------------------------------------------

-- One Merkle tree an organization (RFC 6962), leaves appended in transaction order. A change inserts its leaf
-- unsequenced (position null) in its own transaction; the sequencer gives positions to the leaves of all transactions
-- below the snapshot's xmin, which are final, so that no leaf can appear before one already placed.
create table reeve.audit_leaf (
    org      uuid not null,
    id       uuid not null,
    xid      xid8 not null default pg_current_xact_id(),
    position bigint,
    bytes    bytea not null,
    constraint audit_leaf_pk primary key (org, id),
    constraint audit_leaf_position_taken unique (org, position),
    constraint audit_leaf_organization_exists foreign key (org) references reeve.organization (id),
    constraint audit_leaf_size check (octet_length(bytes) between 2 and 65536),
    constraint audit_leaf_position_sign check (position >= 0)
);
create index audit_leaf_unsequenced on reeve.audit_leaf (org, xid, id) where position is null;

-- The hash of every complete subtree: level 0 are the leaves' hashes. Proofs read a logarithm of them.
create table reeve.audit_node (
    org   uuid not null,
    level smallint not null,
    index bigint not null,
    hash  bytea not null,
    constraint audit_node_pk primary key (org, level, index),
    constraint audit_node_hash_shape check (octet_length(hash) = 32)
);

-- The tree's size and right edge; the row lock on it is what orders sequencers.
create table reeve.audit_log (
    org         uuid not null,
    size        bigint not null default 0,
    edge        bytea not null default '',
    signed_size bigint not null default 0,
    constraint audit_log_pk primary key (org),
    constraint audit_log_organization_exists foreign key (org) references reeve.organization (id),
    constraint audit_log_signed_within check (signed_size between 0 and size)
);

-- Signed tree heads (C2SP checkpoints). Those of organizations are leaves of the installation's log: the log of logs.
create table reeve.audit_checkpoint (
    org       uuid not null,
    size      bigint not null,
    root      bytea not null,
    note      text not null,
    signed_at timestamptz not null default now(),
    constraint audit_checkpoint_pk primary key (org, size),
    constraint audit_checkpoint_log_exists foreign key (org) references reeve.audit_log (org),
    constraint audit_checkpoint_root_shape check (octet_length(root) = 32)
);

do $$
declare
    t text;
begin
    foreach t in array array['audit_leaf', 'audit_node', 'audit_log', 'audit_checkpoint'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I using (org = reeve.current_org()) '
            'with check (org = reeve.current_org())', t || '_own', t);
    end loop;
end
$$;
create policy audit_leaf_definer on reeve.audit_leaf for select to reeve_owner using (true);
create policy audit_log_definer on reeve.audit_log for select to reeve_owner using (true);

grant select, insert on reeve.audit_leaf to reeve_api, reeve_worker, reeve_publish;
grant update (position) on reeve.audit_leaf to reeve_worker;
grant select on reeve.audit_node, reeve.audit_log, reeve.audit_checkpoint to reeve_api, reeve_publish;
grant select, insert on reeve.audit_node, reeve.audit_log, reeve.audit_checkpoint to reeve_worker;
grant update on reeve.audit_log to reeve_worker;

-- Organizations with leaves that can be sequenced now.
create function reeve.audit_waiting(most bigint) returns setof uuid
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select distinct org from reeve.audit_leaf
     where position is null and xid < pg_snapshot_xmin(pg_current_snapshot())
     limit most
    $$;

-- Organizations whose log has grown past its last checkpoint.
create function reeve.audit_unsigned(most bigint) returns setof uuid
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$ select org from reeve.audit_log where size > signed_size limit most $$;
grant execute on function reeve.audit_waiting(bigint), reeve.audit_unsigned(bigint) to reeve_worker;
