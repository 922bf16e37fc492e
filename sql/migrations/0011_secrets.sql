-- Secrets, their sealed versions, and the connections that use them. The origin of a secret is fixed for ever: it stands
-- in the sealed bytes, and a connection whose base URL has another origin is refused.

create table reeve.secret (
    org        uuid not null,
    project    uuid not null,
    id         uuid not null,
    name       text not null,
    origin     text not null,
    version    bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint secret_pk primary key (org, project, id),
    constraint secret_name_taken unique (org, project, name),
    constraint secret_origin_known unique (org, project, id, origin),
    constraint secret_project_exists foreign key (org, project) references reeve.project (org, id),
    constraint secret_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint secret_origin_shape check (origin ~ '^https?://[^/?#@ ]+$')
);
comment on constraint secret_pk on reeve.secret is 'A secret with this id exists already.';
comment on constraint secret_name_taken on reeve.secret is 'A secret with this name already exists in the project.';

create table reeve.secret_version (
    org         uuid not null,
    project     uuid not null,
    secret      uuid not null,
    number      bigint not null,
    state       text not null,
    key_version bigint not null,
    envelope    bytea not null,
    hint        text not null default '',
    not_after   timestamptz,
    created_at  timestamptz not null default now(),
    revoked_at  timestamptz,
    constraint secret_version_taken primary key (org, project, secret, number),
    constraint secret_version_secret_exists foreign key (org, project, secret)
        references reeve.secret (org, project, id) on delete cascade,
    constraint secret_version_key_exists foreign key (org, project, key_version)
        references reeve.project_key (org, project, version),
    constraint secret_version_state_known check (state in ('pending', 'active', 'retiring', 'revoked')),
    constraint secret_version_number_positive check (number > 0),
    constraint secret_version_retiring_ends check (state <> 'retiring' or not_after is not null)
);
comment on constraint secret_version_taken on reeve.secret_version is
    'The secret got another version at this moment; ask again.';
create unique index secret_version_one_active on reeve.secret_version (org, project, secret) where state = 'active';

create table reeve.connection (
    org        uuid not null,
    project    uuid not null,
    id         uuid not null,
    name       text not null,
    dialect    text not null,
    base_url   text not null,
    origin     text not null,
    secret     uuid, -- null: the provider needs no key
    version    bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint connection_pk primary key (org, project, id),
    constraint connection_name_taken unique (org, project, name),
    constraint connection_origin_is_the_secrets foreign key (org, project, secret, origin)
        references reeve.secret (org, project, id, origin),
    constraint connection_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint connection_dialect_known check (dialect in ('openai', 'anthropic'))
);
comment on constraint connection_name_taken on reeve.connection is
    'A connection with this name already exists in the project.';
comment on constraint connection_origin_is_the_secrets on reeve.connection is
    'The secret is bound to another origin than the base URL has, or a connection still uses it.';
create index connection_of_secret on reeve.connection (org, project, secret);

do $$
declare
    t text;
begin
    foreach t in array array['secret', 'secret_version', 'connection'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I using (org = reeve.current_org()) '
            'with check (org = reeve.current_org())', t || '_own', t);
    end loop;
end
$$;
grant select, insert, update, delete on reeve.secret, reeve.connection to reeve_api;
-- The API writes sealed bytes and never reads them back.
grant select (org, project, secret, number, state, key_version, hint, not_after, created_at, revoked_at), insert,
    update (state, not_after, revoked_at), delete on reeve.secret_version to reeve_api;
grant select on reeve.secret, reeve.secret_version, reeve.connection to reeve_publish;
grant select (org, project, secret, number, state, not_after), update (state, revoked_at) on reeve.secret_version
    to reeve_worker;
grant select on reeve.secret, reeve.connection to reeve_worker;
