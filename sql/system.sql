-- name: installation_exists
-- roles: api
-- Whether the database is there and holds an installation.
select id from reeve.installation;

-- name: installation_found
-- roles: migrate
-- Founds the installation with its first operator and token.
select reeve.installation_found(:installation, :name, :service_account, :binding, :role, :token, :digest, :hint,
                                :expires_at);

-- name: installation_token
-- roles: migrate
-- Another token for the first operator of an installation that is there.
insert into reeve.token (org, id, service_account, name, digest, hint, expires_at)
select i.id, :token, a.id, 'bootstrap', :digest, :hint, :expires_at
  from reeve.installation i
  join reeve.service_account a on a.org = i.id and a.name = 'operator'
 where i.id = :installation;

-- name: installation_known
-- roles: migrate
-- The installation that the database holds.
select id as installation from reeve.installation;

-- name: vital_signs
-- roles: worker
-- How much work waits, and for how long.
select * from vital_signs();
