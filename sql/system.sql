-- name: installation_exists
-- roles: api
-- Whether the database is there and holds an installation.
select id from reeve.installation;
