-- name: project_insert
-- roles: api
-- A new project of the tenant.
insert into reeve.project (org, id, name, display_name, description)
values (reeve.current_org(), :id, :name, coalesce(:display_name::text, ''), coalesce(:description::text, ''))
returning org, 'active' as state, display_name, description, version, created_at, updated_at;

-- name: project_get
-- roles: api
-- The project of the path.
select id, org, name, display_name, description, version, created_at, updated_at, archived_at, deleted_at, purge_at,
       case when deleted_at is not null then 'deleted' when archived_at is not null then 'archived' else 'active' end as state
  from reeve.project
 where org = reeve.current_org() and id = reeve.current_project();

-- name: project_list
-- roles: api
-- The tenant's projects, in the order they were made.
select id, org, name, display_name, description, version, created_at, updated_at, archived_at, deleted_at, purge_at,
       case when deleted_at is not null then 'deleted' when archived_at is not null then 'archived' else 'active' end as state
  from reeve.project
 where org = reeve.current_org() and (:after::uuid is null or id > :after) and (deleted_at is null or :show_deleted)
 order by id
 limit :limit;

-- name: project_list_seen
-- roles: api
-- The projects at which the caller has one of the roles.
select p.id, p.org, p.name, p.display_name, p.description, p.version, p.created_at, p.updated_at, p.archived_at,
       p.deleted_at, p.purge_at,
       case when p.deleted_at is not null then 'deleted' when p.archived_at is not null then 'archived' else 'active' end as state
  from reeve.project p
 where p.org = reeve.current_org() and (:after::uuid is null or p.id > :after) and (p.deleted_at is null or :show_deleted)
   and exists (select from reeve.role_binding b
                where b.org = p.org and b.service_account = reeve.current_principal() and b.project = p.id
                  and b.role = any (:roles::text[]))
 order by p.id
 limit :limit;

-- name: project_seen_by
-- roles: api
-- Whether the caller has one of the roles at any project.
select b.id from reeve.role_binding b
 where b.org = reeve.current_org() and b.service_account = reeve.current_principal() and b.project is not null
   and b.role = any (:roles::text[])
 limit 1;

-- name: project_lock
-- roles: api
-- The project of the path, for a change.
select id, org, name, display_name, description, version, created_at, updated_at, archived_at, deleted_at, purge_at,
       case when deleted_at is not null then 'deleted' when archived_at is not null then 'archived' else 'active' end as state
  from reeve.project
 where org = reeve.current_org() and id = reeve.current_project()
   for update;

-- name: project_update
-- roles: api
-- What may be changed of a project.
update reeve.project
   set display_name = coalesce(:display_name::text, ''), description = coalesce(:description::text, ''),
       version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id
returning display_name, description, version, updated_at;

-- name: project_archive
-- roles: api
-- Archives an active project; no row when it is not.
update reeve.project set archived_at = now(), version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id and archived_at is null and deleted_at is null
returning 'archived' as state, version, updated_at, archived_at;

-- name: project_restore
-- roles: api
-- Brings an archived project back; no row when it is not archived.
update reeve.project set archived_at = null, version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id and archived_at is not null and deleted_at is null
returning 'active' as state, version, updated_at, archived_at;

-- name: project_delete
-- roles: api
-- Deletes a project for now; it is purged after its grace time.
update reeve.project
   set deleted_at = now(), purge_at = now() + interval '30 days', version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id and deleted_at is null
returning 'deleted' as state, version, updated_at, deleted_at, purge_at;

-- name: project_undelete
-- roles: api
-- Brings a deleted project back, if its name is still free.
update reeve.project set deleted_at = null, purge_at = null, version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id and deleted_at is not null and purge_at > now()
returning case when archived_at is null then 'active' else 'archived' end as state, version, updated_at, deleted_at,
          purge_at;

-- name: project_find
-- roles: api
-- The id behind a name.
select id from reeve.project where org = reeve.current_org() and name = :name and deleted_at is null;
