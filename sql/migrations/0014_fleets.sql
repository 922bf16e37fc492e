-- Fleets and data planes belong to the installation: they have no organization of their own. Tenants do not see them.

create table reeve.fleet (
    id            uuid not null,
    name          text not null,
    generation    bigint not null default 1,
    max_stale_s   bigint not null default 300,
    hard_expiry_s bigint not null default 604800,
    version       bigint not null default 1,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    constraint fleet_pk primary key (id),
    constraint fleet_name_taken unique (name),
    constraint fleet_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint fleet_expiry_follows_staleness check (hard_expiry_s > max_stale_s and max_stale_s > 0)
);
comment on constraint fleet_name_taken on reeve.fleet is 'A fleet with this name already exists.';
comment on constraint fleet_expiry_follows_staleness on reeve.fleet is 'hard_expiry_s must be greater than max_stale_s.';

create table reeve.fleet_key (
    fleet      uuid not null,
    generation bigint not null,
    kms_uri    text not null,
    wrapped    bytea not null,
    statement  text not null default '',
    created_at timestamptz not null default now(),
    constraint fleet_key_generation_taken primary key (fleet, generation),
    constraint fleet_key_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade
);
comment on constraint fleet_key_generation_taken on reeve.fleet_key is 'The fleet has this generation already.';

-- Which organizations a fleet may serve.
create table reeve.fleet_organization (
    org        uuid not null,
    fleet      uuid not null,
    created_at timestamptz not null default now(),
    constraint fleet_organization_pk primary key (org, fleet),
    constraint fleet_organization_organization_exists foreign key (org) references reeve.organization (id),
    constraint fleet_organization_fleet_exists foreign key (fleet) references reeve.fleet (id) on delete cascade
);
comment on constraint fleet_organization_organization_exists on reeve.fleet_organization is
    'There is no such organization.';
create index fleet_organization_by_fleet on reeve.fleet_organization (fleet);
comment on index reeve.fleet_organization_by_fleet is 'global: fleets belong to the installation';

create table reeve.data_plane (
    id            uuid not null,
    fleet         uuid not null,
    name          text not null,
    sign_key      bytea not null,
    encrypt_key   bytea not null,
    cert_digest   bytea not null,
    cert          text not null,
    request       text not null,
    offered_seq   bigint not null default 0,
    verified_seq  bigint not null default 0,
    active_seq    bigint not null default 0,
    ack_state     text,
    ack_code      text,
    ack_detail    text,
    ack_pointer   text,
    generation    bigint not null default 1,
    enrolled_at   timestamptz not null default now(),
    last_seen_at  timestamptz,
    revoked_at    timestamptz,
    constraint data_plane_pk primary key (id),
    constraint data_plane_cert_used unique (cert_digest),
    constraint data_plane_fleet_exists foreign key (fleet) references reeve.fleet (id),
    constraint data_plane_keys_shape check (octet_length(sign_key) = 32 and octet_length(encrypt_key) = 32)
);
comment on constraint data_plane_cert_used on reeve.data_plane is 'This join token was used by another data plane.';
comment on constraint data_plane_fleet_exists on reeve.data_plane is 'There is no such fleet, or it still has data planes.';
create index data_plane_of_fleet on reeve.data_plane (fleet, id);

create table reeve.data_plane_token (
    digest     bytea not null,
    data_plane uuid not null,
    expires_at timestamptz not null,
    constraint data_plane_token_pk primary key (digest),
    constraint data_plane_token_data_plane_exists foreign key (data_plane) references reeve.data_plane (id)
        on delete cascade
);
create index data_plane_token_by_expiry on reeve.data_plane_token (expires_at);
create index data_plane_token_of_data_plane on reeve.data_plane_token (data_plane);

-- Assertions are taken once: their ids wait here until they would have expired anyway.
create table reeve.data_plane_assertion (
    data_plane uuid not null,
    jti        text not null,
    expires_at timestamptz not null,
    constraint data_plane_assertion_used primary key (data_plane, jti)
);
comment on constraint data_plane_assertion_used on reeve.data_plane_assertion is 'This assertion was used already.';

do $$
declare
    t text;
begin
    foreach t in array array['fleet', 'fleet_key', 'data_plane', 'data_plane_token', 'data_plane_assertion'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I to reeve_api using ((select reeve.is_installation())) '
            'with check ((select reeve.is_installation()))', t || '_operators', t);
        execute format('create policy %I on reeve.%I to reeve_owner using (true) with check (true)', t || '_definer', t);
        execute format('create policy %I on reeve.%I to reeve_publish, reeve_worker using (true) with check (true)',
            t || '_daemon', t);
    end loop;
end
$$;
alter table reeve.fleet_organization enable row level security;
alter table reeve.fleet_organization force row level security;
create policy fleet_organization_own on reeve.fleet_organization
    using (org = reeve.current_org() or (select reeve.is_installation()))
    with check ((select reeve.is_installation()));
create policy fleet_organization_definer on reeve.fleet_organization to reeve_owner using (true);
create policy fleet_organization_daemon on reeve.fleet_organization to reeve_publish, reeve_worker using (true);
comment on policy fleet_organization_daemon on reeve.fleet_organization is
    'global: a manifest is made for a fleet, from all the organizations it may serve';

grant select, insert, update, delete on reeve.fleet to reeve_api;
grant select, insert on reeve.fleet_key to reeve_api;
grant select, insert, delete on reeve.fleet_organization to reeve_api;
grant select, insert, update on reeve.data_plane to reeve_api;
grant select on reeve.fleet, reeve.fleet_key, reeve.fleet_organization, reeve.data_plane to reeve_publish, reeve_worker;
grant delete, select on reeve.data_plane_token, reeve.data_plane_assertion to reeve_worker;

-- The beginning of a data plane's call. It sets the principal and the fleet; the tenant stays empty: a data plane has
-- none, and what it may touch is decided by fleet_may_serve.
create function reeve.data_plane_begin(digest bytea, request text, out data_plane uuid, out fleet uuid,
    out generation bigint, out installation uuid)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    t reeve.data_plane_token;
    d reeve.data_plane;
begin
    select * into t from reeve.data_plane_token x where x.digest = data_plane_begin.digest;
    if not found then
        raise exception using errcode = 'RV401', message = 'token-unknown';
    elsif t.expires_at <= clock_timestamp() then
        raise exception using errcode = 'RV401', message = 'token-expired';
    end if;
    select * into d from reeve.data_plane x where x.id = t.data_plane;
    if d.revoked_at is not null then
        raise exception using errcode = 'RV401', message = 'data-plane-revoked';
    end if;
    data_plane := d.id;
    fleet := d.fleet;
    select f.generation into generation from reeve.fleet f where f.id = d.fleet;
    select i.id into installation from reeve.installation i;
    perform set_config('app.org', '', true), set_config('app.project', '', true),
        set_config('app.principal', d.id::text, true), set_config('app.fleet', d.fleet::text, true),
        set_config('app.request', coalesce(request, ''), true);
end
$$;

-- Whether the calling data plane's fleet may serve an organization.
create function reeve.fleet_may_serve(org uuid) returns boolean
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select exists (select from reeve.fleet_organization f
                    where f.org = fleet_may_serve.org
                      and f.fleet = nullif(current_setting('app.fleet', true), '')::uuid)
    $$;

-- The keys by which a data plane proves itself, for enrolment and token exchange: no tenant, no secret.
create function reeve.data_plane_find(want uuid, out id uuid, out fleet uuid, out sign_key bytea, out encrypt_key bytea,
    out cert_digest bytea, out revoked_at timestamptz, out installation uuid)
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select d.id, d.fleet, d.sign_key, d.encrypt_key, d.cert_digest, d.revoked_at, (select i.id from reeve.installation i)
      from reeve.data_plane d where d.id = want
    $$;

-- Exchanges an assertion, verified by the caller, for an access token's digest; each assertion once.
create function reeve.data_plane_token_issue(data_plane uuid, jti text, jti_expires_at timestamptz, digest bytea,
    expires_at timestamptz) returns void
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    insert into reeve.data_plane_assertion (data_plane, jti, expires_at) values (data_plane, jti, jti_expires_at);
    insert into reeve.data_plane_token (digest, data_plane, expires_at) values (digest, data_plane, expires_at);
    $$;

-- What an enrolment needs to know of its fleet.
create function reeve.enrolment_begin(want uuid, request text, out installation uuid, out fleet uuid,
    out generation bigint, out kms_uri text, out wrapped bytea)
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    select i.id into installation from reeve.installation i;
    select f.id, f.generation, k.kms_uri, k.wrapped into fleet, generation, kms_uri, wrapped
      from reeve.fleet f join reeve.fleet_key k on k.fleet = f.id and k.generation = f.generation where f.id = want;
    generation := coalesce(generation, 0);
    perform set_config('app.org', coalesce(installation::text, ''), true),
        set_config('app.request', coalesce(request, ''), true);
end
$$;

-- Enrols, in the name of the installation. The same keys again are the same data plane.
create function reeve.data_plane_enrol(data_plane uuid, fleet uuid, name text, sign_key bytea, encrypt_key bytea,
    cert_digest bytea, cert text, request text, generation bigint) returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    known reeve.data_plane;
begin
    perform set_config('app.principal', data_plane::text, true);
    select * into known from reeve.data_plane d where d.id = data_plane for update;
    if found then
        if known.revoked_at is not null then
            raise exception using errcode = 'RV403', message = 'data-plane-revoked';
        elsif known.fleet <> data_plane_enrol.fleet or known.encrypt_key <> data_plane_enrol.encrypt_key
            or known.cert_digest <> data_plane_enrol.cert_digest then
            raise exception using errcode = 'RV409', message = 'data-plane-enrolled-otherwise';
        end if;
        return false;
    end if;
    insert into reeve.data_plane (id, fleet, name, sign_key, encrypt_key, cert_digest, cert, request, generation)
        values (data_plane, fleet, name, sign_key, encrypt_key, cert_digest, cert, request, generation);
    return true;
end
$$;

-- Forgets tokens and assertions that ended before `before`.
create function reeve.data_plane_tokens_forget(before timestamptz) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    with gone as (delete from reeve.data_plane_token where expires_at < before returning 1),
         used as (delete from reeve.data_plane_assertion where expires_at < before returning 1)
    select (select count(*) from gone) + (select count(*) from used)
    $$;

grant execute on function reeve.data_plane_begin(bytea, text), reeve.fleet_may_serve(uuid)
    to reeve_api, reeve_ingest, reeve_publish;
grant execute on function reeve.data_plane_find(uuid),
    reeve.data_plane_token_issue(uuid, text, timestamptz, bytea, timestamptz), reeve.enrolment_begin(uuid, text),
    reeve.data_plane_enrol(uuid, uuid, text, bytea, bytea, bytea, text, text, bigint) to reeve_api;
grant execute on function reeve.data_plane_tokens_forget(timestamptz) to reeve_worker;
