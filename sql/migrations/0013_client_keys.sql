-- What applications present to a gateway: only the digest is kept, and distributed.

create table reeve.client_key (
    org        uuid not null,
    project    uuid not null,
    id         uuid not null,
    name       text not null,
    digest     bytea not null,
    hint       text not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    replaced_by uuid,
    created_at timestamptz not null default now(),
    live       boolean generated always as (case when revoked_at is null and replaced_by is null then true end) stored,
    constraint client_key_pk primary key (org, project, id),
    constraint client_key_name_taken unique (org, project, name, live),
    constraint client_key_digest_taken unique (digest),
    constraint client_key_project_exists foreign key (org, project) references reeve.project (org, id),
    constraint client_key_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint client_key_digest_shape check (octet_length(digest) = 32)
);
comment on constraint client_key_name_taken on reeve.client_key is
    'A client key with this name already exists in the project.';
comment on index reeve.client_key_digest_taken is
    'global: a gateway finds the project by it; 256 random bits say nothing about another tenant';
alter table reeve.client_key enable row level security;
alter table reeve.client_key force row level security;
create policy client_key_own on reeve.client_key using (org = reeve.current_org())
    with check (org = reeve.current_org());
grant select, insert, update on reeve.client_key to reeve_api;
grant select on reeve.client_key to reeve_worker, reeve_publish, reeve_ingest;
