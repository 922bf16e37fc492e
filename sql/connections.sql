-- name: connection_insert
-- roles: api
-- A new connection of the project.
insert into reeve.connection (org, project, id, name, dialect, base_url, origin, secret)
values (reeve.current_org(), reeve.current_project(), :id, :name, :dialect, :base_url, :origin, :secret)
returning version, created_at, updated_at;

-- name: connection_get
-- roles: api
-- One connection by id or name.
select id, name, dialect, base_url, origin, secret, version, created_at, updated_at
  from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name);

-- name: connection_find
-- roles: api
-- The id behind a name.
select id from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and name = :name;

-- name: connection_list
-- roles: api
-- The project's connections.
select id, name, dialect, base_url, origin, secret, version, created_at, updated_at
  from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and (:after::uuid is null or id > :after)
 order by id
 limit :limit;

-- name: connection_lock
-- roles: api
-- One connection, for a change.
select id, name, dialect, base_url, origin, secret, version, created_at, updated_at
  from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name)
   for update;

-- name: connection_update
-- roles: api
-- What may be changed of a connection.
update reeve.connection
   set base_url = :base_url, origin = :origin, secret = :secret, version = version + 1, updated_at = now()
 where org = reeve.current_org() and project = reeve.current_project() and id = :id
returning version, updated_at;

-- name: connection_delete
-- roles: api
-- Removes a connection.
delete from reeve.connection where org = reeve.current_org() and project = reeve.current_project() and id = :id;

-- name: connection_secret
-- roles: api
-- The origin a secret is bound to.
select origin from reeve.secret
 where org = reeve.current_org() and project = reeve.current_project() and id = :secret;

-- name: connection_uses
-- roles: api
-- The targets of current releases that use the connection.
select t.revision
  from reeve.workflow w
  join reeve.release_stage s on s.org = w.org and s.project = w.project and s.workflow = w.id and s.release = w.release
  join reeve.revision_target t
    on t.org = s.org and t.project = s.project and t.workflow = s.workflow and t.revision = s.revision
 where w.org = reeve.current_org() and w.project = reeve.current_project() and t.connection = :id;
