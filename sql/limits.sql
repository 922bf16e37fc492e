-- name: secret_room
-- roles: api
-- How many secrets the project has.
select count(*) as count from reeve.secret where org = reeve.current_org() and project = reeve.current_project();

-- name: connection_room
-- roles: api
-- How many connections the project has.
select count(*) as count from reeve.connection where org = reeve.current_org() and project = reeve.current_project();

-- name: workflow_room
-- roles: api
-- How many workflows the project has.
select count(*) as count from reeve.workflow where org = reeve.current_org() and project = reeve.current_project();

-- name: client_key_room
-- roles: api
-- How many client keys of the project still work.
select count(*) as count from reeve.client_key
 where org = reeve.current_org() and project = reeve.current_project() and revoked_at is null
   and (expires_at is null or expires_at > now());

-- name: project_room
-- roles: api
-- How many projects the organization has.
select count(*) as count from reeve.project where org = reeve.current_org() and deleted_at is null;
