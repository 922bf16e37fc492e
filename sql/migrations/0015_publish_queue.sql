-- What the publisher has to look at: one row a change, in the transaction of the change. A row without a project means
-- every project of the organization; a row of the installation itself means the fleets.

create table reeve.publish_queue (
    org     uuid not null,
    id      uuid not null default gen_random_uuid(),
    project uuid,
    reason  text not null,
    xid     xid8 not null default pg_current_xact_id(),
    at      timestamptz not null default clock_timestamp(),
    constraint publish_queue_pk primary key (org, id)
);
alter table reeve.publish_queue enable row level security;
alter table reeve.publish_queue force row level security;
create policy publish_queue_own on reeve.publish_queue using (org = reeve.current_org())
    with check (org = reeve.current_org());
create policy publish_queue_publish on reeve.publish_queue to reeve_publish using (true);
comment on policy publish_queue_publish on reeve.publish_queue is 'global: the publisher takes the queue of all organizations';
create policy publish_queue_definer on reeve.publish_queue to reeve_owner using (true) with check (true);
grant insert on reeve.publish_queue to reeve_api, reeve_worker;
grant select, delete on reeve.publish_queue to reeve_publish;

-- Queues a change of the current tenant and wakes the publisher at commit (equal notifications of one transaction are
-- sent once).
create function reeve.publish_enqueue(project uuid, reason text) returns void
    language sql
    begin atomic
    insert into reeve.publish_queue (org, project, reason) values (reeve.current_org(), project, reason);
    select pg_notify('reeve_publish', '');
    end;
-- Queues every project of an organization, in the name of the installation.
create function reeve.publish_enqueue_organization(org uuid, reason text) returns void
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
begin
    if not reeve.is_installation() then
        raise exception using errcode = 'RV403', message = 'installation-only';
    end if;
    insert into reeve.publish_queue (org, project, reason) values (org, null, reason);
    perform pg_notify('reeve_publish', '');
end
$$;
grant execute on function reeve.publish_enqueue(uuid, text), reeve.publish_enqueue_organization(uuid, text)
    to reeve_api, reeve_worker;
