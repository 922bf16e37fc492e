-- name: service_account_insert
-- roles: api
-- A new service account of the tenant.
insert into reeve.service_account (org, id, name, description)
values (reeve.current_org(), :id, :name, coalesce(:description::text, ''))
returning description, version, created_at, updated_at;

-- name: service_account_ensure
-- roles: api
-- The service account of this name, made when there is none.
insert into reeve.service_account as a (org, id, name) values (reeve.current_org(), :id, :name)
    on conflict (org, name) do update set updated_at = now(), version = a.version + 1
returning id, name, description, version, created_at, updated_at;

-- name: service_account_get
-- roles: api
-- One service account by id or name.
select id, name, description, version, created_at, updated_at
  from reeve.service_account where org = reeve.current_org() and (id = :id or name = :name);

-- name: service_account_find
-- roles: api
-- The id behind a name.
select id from reeve.service_account where org = reeve.current_org() and name = :name;

-- name: service_account_list
-- roles: api
-- The tenant's service accounts.
select id, name, description, version, created_at, updated_at
  from reeve.service_account
 where org = reeve.current_org() and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: service_account_lock
-- roles: api
-- One service account, for a change.
select id, name, description, version, created_at, updated_at
  from reeve.service_account where org = reeve.current_org() and (id = :id or name = :name) for update;

-- name: service_account_update
-- roles: api
-- What may be changed of a service account.
update reeve.service_account
   set description = coalesce(:description::text, ''), version = version + 1, updated_at = now()
 where org = reeve.current_org() and id = :id
returning description, version, updated_at;

-- name: service_account_tokens_delete
-- roles: api
-- Its tokens go with it.
delete from reeve.token where org = reeve.current_org() and service_account = :id;

-- name: service_account_bindings_delete
-- roles: api
-- And so do its roles.
delete from reeve.role_binding where org = reeve.current_org() and service_account = :id;

-- name: service_account_delete
-- roles: api
-- Removes a service account; the audit log keeps its name.
delete from reeve.service_account where org = reeve.current_org() and id = :id;

-- name: token_insert
-- roles: api
-- A new token, as a digest.
insert into reeve.token (org, id, service_account, name, digest, hint, expires_at)
values (reeve.current_org(), :id, :service_account, coalesce(:name::text, ''), :digest, :hint, :expires_at)
returning name, 'active' as state, created_at;

-- name: token_replace
-- roles: api
-- Another text for a token that is still good; no row when it is not.
update reeve.token set digest = :digest, hint = :hint
 where org = reeve.current_org() and id = :id and revoked_at is null and expires_at > now()
returning id, service_account, name, hint, 'active' as state, created_at, expires_at, revoked_at;

-- name: token_get
-- roles: api
-- One token, without what it opens.
select id, service_account, name, hint, created_at, expires_at, revoked_at,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'active' end as state
  from reeve.token where org = reeve.current_org() and id = :id;

-- name: token_list
-- roles: api
-- The tenant's tokens.
select id, service_account, name, hint, created_at, expires_at, revoked_at,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired' else 'active' end as state
  from reeve.token
 where org = reeve.current_org() and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: token_revoke
-- roles: api
-- Ends a token now; one that ended already stays as it is.
update reeve.token set revoked_at = coalesce(revoked_at, now())
 where org = reeve.current_org() and id = :id
returning id, service_account, name, hint, 'revoked' as state, created_at, expires_at, revoked_at;

-- name: binding_insert
-- roles: api
-- Gives a role.
insert into reeve.role_binding (org, id, service_account, role, project)
values (reeve.current_org(), :id, :service_account, :role, :project)
returning created_at;

-- name: binding_ensure
-- roles: api
-- Gives a role at the organization unless it is there.
insert into reeve.role_binding (org, id, service_account, role)
values (reeve.current_org(), :id, :service_account, :role)
    on conflict do nothing;

-- name: binding_project_exists
-- roles: api
-- Whether the project is the tenant's.
select id from reeve.project where org = reeve.current_org() and id = :project and deleted_at is null;

-- name: binding_list
-- roles: api
-- Who has which role.
select id, service_account, role, project, created_at
  from reeve.role_binding
 where org = reeve.current_org() and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: binding_lock
-- roles: api
-- One binding, for its removal.
select id, service_account, role, project, created_at
  from reeve.role_binding where org = reeve.current_org() and id = :id for update;

-- name: binding_delete
-- roles: api
-- Takes a role away.
delete from reeve.role_binding where org = reeve.current_org() and id = :id;
