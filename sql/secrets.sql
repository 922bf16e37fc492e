-- name: secret_policy
-- roles: api
-- Whether provider keys may arrive unsealed.
select plaintext_intake from reeve.organization where id = reeve.current_org();

-- name: project_key_newest
-- roles: api
-- The wrapped key under which the project's next sealed version goes.
select version as key_version, kms_uri, wrapped from reeve.project_key
 where org = reeve.current_org() and project = reeve.current_project()
 order by version desc
 limit 1;

-- name: project_key_insert
-- roles: api
-- The project's first key.
insert into reeve.project_key (org, project, version, kms_uri, wrapped)
values (reeve.current_org(), reeve.current_project(), :key_version, :kms_uri, :wrapped);

-- name: secret_insert
-- roles: api
-- A new secret, bound to its origin.
insert into reeve.secret (org, project, id, name, origin)
values (reeve.current_org(), reeve.current_project(), :id, :name, :origin)
returning version, created_at, updated_at;

-- name: secret_get
-- roles: api
-- One secret by id or name.
select s.id, s.name, s.origin, s.version, s.created_at, s.updated_at, v.number as active, v.hint
  from reeve.secret s
  left join reeve.secret_version v
    on v.org = s.org and v.project = s.project and v.secret = s.id and v.state = 'active'
 where s.org = reeve.current_org() and s.project = reeve.current_project() and (s.id = :id or s.name = :name);

-- name: secret_find
-- roles: api
-- The id behind a name.
select id from reeve.secret
 where org = reeve.current_org() and project = reeve.current_project() and name = :name;

-- name: secret_exists
-- roles: api
-- Whether a secret is there, by id or name.
select id from reeve.secret
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name);

-- name: secret_list
-- roles: api
-- The project's secrets.
select s.id, s.name, s.origin, s.version, s.created_at, s.updated_at, v.number as active, v.hint
  from reeve.secret s
  left join reeve.secret_version v
    on v.org = s.org and v.project = s.project and v.secret = s.id and v.state = 'active'
 where s.org = reeve.current_org() and s.project = reeve.current_project() and (:after::uuid is null or s.id > :after)
 order by s.id
 limit :limit;

-- name: secret_lock
-- roles: api
-- One secret, for a change.
select id, name, origin, version, created_at, updated_at from reeve.secret
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name)
   for update;

-- name: secret_next
-- roles: api
-- What the next version of a secret will be.
select s.id, s.name, s.origin,
       coalesce((select max(v.number) from reeve.secret_version v
                  where v.org = s.org and v.project = s.project and v.secret = s.id), 0) + 1 as number,
       (select count(*) from reeve.secret_version v
         where v.org = s.org and v.project = s.project and v.secret = s.id and v.state <> 'revoked'
           and (v.not_after is null or v.not_after > now())) as live
  from reeve.secret s
 where s.org = reeve.current_org() and s.project = reeve.current_project() and (s.id = :id or s.name = :name);

-- name: secret_delete
-- roles: api
-- Removes a secret with its sealed bytes.
delete from reeve.secret where org = reeve.current_org() and project = reeve.current_project() and id = :id;

-- name: secret_uses
-- roles: api
-- The connections that use a secret.
select id from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and secret = :id;

-- name: secret_touch
-- roles: api
-- The secret has another version now.
update reeve.secret set version = version + 1, updated_at = now()
 where org = reeve.current_org() and project = reeve.current_project() and id = :id;

-- name: secret_version_insert
-- roles: api
-- A sealed version.
insert into reeve.secret_version (org, project, secret, number, state, key_version, envelope, hint)
values (reeve.current_org(), reeve.current_project(), :id, :number, :state, :key_version, :envelope,
        coalesce(:hint::text, ''))
returning number, state, hint, not_after, created_at, revoked_at;

-- name: secret_version_list
-- roles: api
-- The versions of a secret.
select v.number, v.hint, v.not_after, v.created_at, v.revoked_at,
       case when v.state = 'retiring' and v.not_after <= now() then 'revoked' else v.state end as state
  from reeve.secret_version v
  join reeve.secret s on s.org = v.org and s.project = v.project and s.id = v.secret
 where v.org = reeve.current_org() and v.project = reeve.current_project() and (s.id = :id or s.name = :name)
   and v.number > :after_number
 order by v.number
 limit :limit;

-- name: secret_version_lock
-- roles: api
-- One version of a secret whose row is locked.
select number, hint, not_after, created_at, revoked_at,
       case when state = 'retiring' and not_after <= now() then 'revoked' else state end as state
  from reeve.secret_version
 where org = reeve.current_org() and project = reeve.current_project() and secret = :id and number = :number;

-- name: secret_retire_active
-- roles: api
-- The active version serves until not_after, or ends now.
update reeve.secret_version
   set state = :state, not_after = :not_after, revoked_at = case when :state = 'revoked' then now() end
 where org = reeve.current_org() and project = reeve.current_project() and secret = :id and state = 'active';

-- name: secret_version_activate
-- roles: api
-- A pending version becomes the active one.
update reeve.secret_version set state = 'active'
 where org = reeve.current_org() and project = reeve.current_project() and secret = :id and number = :number
returning number, state, hint, not_after, created_at, revoked_at;

-- name: secret_version_revoke
-- roles: api
-- Ends a version now.
update reeve.secret_version set state = 'revoked', revoked_at = coalesce(revoked_at, now())
 where org = reeve.current_org() and project = reeve.current_project() and secret = :id and number = :number
returning number, state, hint, not_after, created_at, revoked_at;
