-- name: organization_insert
-- roles: api
-- A new organization, made in the name of the installation.
insert into reeve.organization (id, name, display_name, plaintext_intake)
values (:id, :name, coalesce(:display_name::text, ''), coalesce(:plaintext_intake, false))
returning display_name, version, created_at, updated_at;

-- name: organization_get
-- roles: api
-- The tenant itself.
select id, name, display_name, plaintext_intake, version, created_at, updated_at
  from reeve.organization where id = reeve.current_org();

-- name: organization_list
-- roles: api
-- The organizations of the installation.
select id, name, display_name, plaintext_intake, version, created_at, updated_at
  from reeve.organization
 where level = 'organization' and deleted_at is null and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: organization_lock
-- roles: api
-- The tenant itself, for a change.
select id, name, display_name, plaintext_intake, version, created_at, updated_at
  from reeve.organization where id = reeve.current_org() for update;

-- name: organization_update
-- roles: api
-- What may be changed of an organization.
update reeve.organization
   set display_name = coalesce(:display_name::text, ''), plaintext_intake = :plaintext_intake, version = version + 1,
       updated_at = now()
 where id = :id
returning display_name, version, updated_at;

-- name: organization_delete
-- roles: api
-- Ends an organization: its tokens stop working, its projects leave every gateway.
update reeve.organization set deleted_at = now(), version = version + 1, updated_at = now() where id = :id;
