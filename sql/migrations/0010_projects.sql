-- Organizations get their policy; projects, their keys, and the beginning of every call.

alter table reeve.organization
    add column display_name     text not null default '',
    add column plaintext_intake boolean not null default false,
    add column updated_at       timestamptz not null default now();

alter table reeve.service_account
    add column description text not null default '',
    add column updated_at  timestamptz not null default now();

-- The one secret the API keeps: it makes page tokens ours.
alter table reeve.installation
    add column page_key bytea not null default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

create function reeve.current_project() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('app.project', true), '')::uuid;
grant execute on function reeve.current_project() to reeve_api, reeve_worker, reeve_publish, reeve_ingest;

create table reeve.project (
    org          uuid not null,
    id           uuid not null,
    name         text not null,
    display_name text not null default '',
    description  text not null default '',
    version      bigint not null default 1,
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    archived_at  timestamptz,
    deleted_at   timestamptz,
    purge_at     timestamptz,
    live         boolean generated always as (case when deleted_at is null then true end) stored,
    constraint project_pk primary key (org, id),
    constraint project_name_taken unique (org, name, live),
    constraint project_organization_exists foreign key (org) references reeve.organization (id),
    constraint project_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint project_purge_follows_deletion check ((deleted_at is null) = (purge_at is null))
);
comment on constraint project_name_taken on reeve.project is
    'A project with this name already exists in the organization.';
comment on constraint project_name_shape on reeve.project is
    'A name is 1 to 64 of a-z, 0-9, _ and -, and starts with a letter or digit.';

alter table reeve.project enable row level security;
alter table reeve.project force row level security;
create policy project_own on reeve.project using (org = reeve.current_org()) with check (org = reeve.current_org());
create policy project_definer on reeve.project for select to reeve_owner using (true);
grant select, insert, update on reeve.project to reeve_api;
grant select on reeve.project to reeve_worker, reeve_publish, reeve_ingest;

-- A project's key, wrapped by the KMS. A new version replaces, a deleted project's are destroyed.
create table reeve.project_key (
    org        uuid not null,
    project    uuid not null,
    version    bigint not null,
    kms_uri    text not null,
    wrapped    bytea not null,
    created_at timestamptz not null default now(),
    constraint project_key_version_taken primary key (org, project, version),
    constraint project_key_project_exists foreign key (org, project) references reeve.project (org, id),
    constraint project_key_version_positive check (version > 0)
);
comment on constraint project_key_version_taken on reeve.project_key is
    'The project got its key at this moment; ask again.';
alter table reeve.project_key enable row level security;
alter table reeve.project_key force row level security;
create policy project_key_own on reeve.project_key using (org = reeve.current_org())
    with check (org = reeve.current_org());
grant select, insert, delete on reeve.project_key to reeve_api;
grant select on reeve.project_key to reeve_publish;
grant select, delete on reeve.project_key to reeve_worker;

-- The beginning of every call: who it is (auth_begin), which organization and project the path means, and which roles
-- hold there. What is not there, or is another's, comes back null and is "not found".
create function reeve.call_begin(digest bytea, request text, want_org uuid, want_org_name text, want_project uuid,
    want_project_name text,
    out level text, out org uuid, out home uuid, out principal uuid, out token uuid, out project uuid,
    out project_archived boolean, out project_deleted boolean, out org_roles text[], out project_roles text[],
    out page_key bytea, out installation uuid)
    language plpgsql
    set search_path = pg_catalog, pg_temp
    as $$
declare
    a record;
begin
    select * into a from reeve.auth_begin(digest);
    level := a.level;
    org := a.org;
    home := a.org;
    principal := a.principal;
    token := a.token;
    perform set_config('app.request', coalesce(request, ''), true), set_config('app.project', '', true);
    select i.id, i.page_key into installation, page_key from reeve.installation i;
    if want_org is not null or want_org_name is not null then
        select o.id into org from reeve.organization o
         where (o.id = want_org or o.name = want_org_name) and o.deleted_at is null and o.level = 'organization';
        perform set_config('app.org', coalesce(org::text, ''), true);
    end if;
    if want_project is not null or want_project_name is not null then
        select p.id, p.archived_at is not null, p.deleted_at is not null
          into project, project_archived, project_deleted
          from reeve.project p
         where p.org = call_begin.org and (p.id = want_project or (p.name = want_project_name and p.deleted_at is null));
        perform set_config('app.project', coalesce(project::text, ''), true);
    end if;
    select coalesce(array_agg(b ->> 'role') filter (where b ->> 'project' is null), '{}'),
           coalesce(array_agg(b ->> 'role') filter (where (b ->> 'project')::uuid = call_begin.project), '{}')
      into org_roles, project_roles
      from jsonb_array_elements(a.bindings) b;
    project_archived := coalesce(project_archived, false);
    project_deleted := coalesce(project_deleted, false);
end
$$;
grant execute on function reeve.call_begin(bytea, text, uuid, text, uuid, text) to reeve_api;

-- One of two requests with one Idempotency-Key waits for nothing: it is told that the other is being served.
create function reeve.idempotency_lock(key text) returns boolean
    language sql
    return pg_try_advisory_xact_lock(
        hashtextextended(key || current_setting('app.org') || current_setting('app.principal'), 1));
grant execute on function reeve.idempotency_lock(text) to reeve_api;
