-- name: client_key_insert
-- roles: api
-- A new client key, as a digest.
insert into reeve.client_key (org, project, id, name, digest, hint, expires_at)
values (reeve.current_org(), reeve.current_project(), :id, :name, :digest, :hint, :expires_at)
returning 'active' as state, created_at;

-- name: client_key_replace
-- roles: api
-- Another text for a key that is still good; no row when it is not.
update reeve.client_key set digest = :digest, hint = :hint
 where org = reeve.current_org() and project = reeve.current_project() and id = :id and revoked_at is null
   and replaced_by is null and (expires_at is null or expires_at > now())
returning id, name, hint, 'active' as state, expires_at, created_at, revoked_at, replaced_by;

-- name: client_key_get
-- roles: api
-- One client key by id, or the live one of a name.
select id, name, hint, expires_at, created_at, revoked_at, replaced_by,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
            when replaced_by is not null then 'retiring' else 'active' end as state
  from reeve.client_key
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or (name = :name and live));

-- name: client_key_list
-- roles: api
-- The project's client keys.
select id, name, hint, expires_at, created_at, revoked_at, replaced_by,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
            when replaced_by is not null then 'retiring' else 'active' end as state
  from reeve.client_key
 where org = reeve.current_org() and project = reeve.current_project() and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: client_key_lock
-- roles: api
-- One client key, for a change.
select id, name, hint, expires_at, created_at, revoked_at, replaced_by,
       case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
            when replaced_by is not null then 'retiring' else 'active' end as state
  from reeve.client_key
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or (name = :name and live))
   for update;

-- name: client_key_retire
-- roles: api
-- A key that another replaces works until its end.
update reeve.client_key set expires_at = :expires_at, replaced_by = :replaced_by
 where org = reeve.current_org() and project = reeve.current_project() and id = :id;

-- name: client_key_revoke
-- roles: api
-- Ends a key now.
update reeve.client_key set revoked_at = coalesce(revoked_at, now())
 where org = reeve.current_org() and project = reeve.current_project() and id = :id
returning 'revoked' as state, revoked_at;
