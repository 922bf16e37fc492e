-- Workflows, their immutable revisions, and the releases that say which revision runs where. A release is never edited:
-- rolling back is a new release with the stages of an older one.

create table reeve.workflow (
    org         uuid not null,
    project     uuid not null,
    id          uuid not null,
    name        text not null,
    dialect     text not null,
    description text not null default '',
    version     bigint not null default 1,
    release     bigint,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    constraint workflow_pk primary key (org, project, id),
    constraint workflow_name_taken unique (org, project, name),
    constraint workflow_project_exists foreign key (org, project) references reeve.project (org, id),
    constraint workflow_name_shape check (name ~ '^[a-z0-9][a-z0-9_-]{0,63}$'),
    constraint workflow_dialect_known check (dialect in ('openai', 'anthropic'))
);
comment on constraint workflow_name_taken on reeve.workflow is
    'A workflow with this name already exists in the project.';

create table reeve.revision (
    org        uuid not null,
    project    uuid not null,
    workflow   uuid not null,
    id         uuid not null,
    number     bigint not null,
    targets    jsonb not null,
    retry      jsonb,
    note       text not null default '',
    created_by uuid not null default reeve.current_principal(),
    created_at timestamptz not null default now(),
    constraint revision_pk primary key (org, project, workflow, id),
    constraint revision_number_taken unique (org, project, workflow, number),
    constraint revision_workflow_exists foreign key (org, project, workflow)
        references reeve.workflow (org, project, id) on delete cascade
);
comment on constraint revision_number_taken on reeve.revision is
    'The workflow got another revision at this moment; ask again.';

-- Which connection each target of a revision uses: what a release checks and a deletion asks.
create table reeve.revision_target (
    org        uuid not null,
    project    uuid not null,
    workflow   uuid not null,
    revision   uuid not null,
    position   bigint not null,
    connection uuid not null,
    constraint revision_target_pk primary key (org, project, workflow, revision, position),
    constraint revision_target_revision_exists foreign key (org, project, workflow, revision)
        references reeve.revision (org, project, workflow, id) on delete cascade
);
create index revision_target_of_connection on reeve.revision_target (org, project, connection);

create table reeve.release (
    org        uuid not null,
    project    uuid not null,
    workflow   uuid not null,
    number     bigint not null,
    salt       text not null,
    created_by uuid not null default reeve.current_principal(),
    created_at timestamptz not null default now(),
    constraint release_number_taken primary key (org, project, workflow, number),
    constraint release_workflow_exists foreign key (org, project, workflow)
        references reeve.workflow (org, project, id) on delete cascade
);
comment on constraint release_number_taken on reeve.release is
    'The workflow got another release at this moment; ask again.';

-- The share of each revision in a release; the shares of one release sum up to 100.
create table reeve.release_stage (
    org      uuid not null,
    project  uuid not null,
    workflow uuid not null,
    release  bigint not null,
    position bigint not null,
    revision uuid not null,
    percent  bigint not null,
    constraint release_stage_pk primary key (org, project, workflow, release, position),
    constraint release_stage_release_exists foreign key (org, project, workflow, release)
        references reeve.release (org, project, workflow, number) on delete cascade,
    constraint release_stage_revision_exists foreign key (org, project, workflow, revision)
        references reeve.revision (org, project, workflow, id) on delete cascade,
    constraint release_stage_percent_range check (percent between 1 and 100)
);
comment on constraint release_stage_revision_exists on reeve.release_stage is 'The workflow has no such revision.';

do $$
declare
    t text;
begin
    foreach t in array array['workflow', 'revision', 'revision_target', 'release', 'release_stage'] loop
        execute format('alter table reeve.%I enable row level security', t);
        execute format('alter table reeve.%I force row level security', t);
        execute format('create policy %I on reeve.%I using (org = reeve.current_org()) '
            'with check (org = reeve.current_org())', t || '_own', t);
    end loop;
end
$$;
grant select, insert, update, delete on reeve.workflow to reeve_api;
grant select, insert on reeve.revision, reeve.revision_target, reeve.release, reeve.release_stage to reeve_api;
grant select on reeve.workflow, reeve.revision, reeve.revision_target, reeve.release, reeve.release_stage
    to reeve_worker, reeve_publish, reeve_ingest;
