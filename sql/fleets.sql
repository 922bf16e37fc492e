-- name: fleet_insert
-- roles: api
-- A new fleet at generation 1.
insert into reeve.fleet (id, name, generation, max_stale_s, hard_expiry_s)
values (:id, :name, :generation, :max_stale_s, :hard_expiry_s)
returning version, created_at, updated_at;

-- name: fleet_key_insert
-- roles: api
-- The wrapped key of a generation.
insert into reeve.fleet_key (fleet, generation, kms_uri, wrapped, statement)
values (:id, :generation, :kms_uri, :wrapped, coalesce(:statement::text, ''));

-- name: fleet_get
-- roles: api
-- One fleet by id or name.
select id, name, generation, max_stale_s, hard_expiry_s, version, created_at, updated_at
  from reeve.fleet where id = :id or name = :name;

-- name: fleet_list
-- roles: api
-- The fleets of the installation.
select id, name, generation, max_stale_s, hard_expiry_s, version, created_at, updated_at
  from reeve.fleet
 where :after::uuid is null or id > :after
 order by id
 limit :limit;

-- name: fleet_lock
-- roles: api
-- One fleet, for a change.
select id, name, generation, max_stale_s, hard_expiry_s, version, created_at, updated_at
  from reeve.fleet where id = :id or name = :name for update;

-- name: fleet_update
-- roles: api
-- What may be changed of a fleet.
update reeve.fleet
   set max_stale_s = :max_stale_s, hard_expiry_s = :hard_expiry_s, version = version + 1, updated_at = now()
 where id = :id
returning version, updated_at;

-- name: fleet_advance
-- roles: api
-- The next generation is the current one now.
update reeve.fleet set generation = :generation, version = version + 1, updated_at = now()
 where id = :id
returning version, updated_at;

-- name: fleet_delete
-- roles: api
-- Removes a fleet without data planes.
delete from reeve.fleet where id = :id;

-- name: organization_find
-- roles: api
-- An organization by id or name.
select id, name, now() as created_at from reeve.organization
 where level = 'organization' and deleted_at is null and (id = :id or name = :name);

-- name: fleet_serve
-- roles: api
-- The fleet may serve the organization.
insert into reeve.fleet_organization (org, fleet) values (:id, :fleet) on conflict do nothing;

-- name: fleet_stop_serving
-- roles: api
-- The fleet may serve the organization no longer.
delete from reeve.fleet_organization where org = :id and fleet = :fleet;

-- name: fleet_organization_list
-- roles: api
-- Whom a fleet may serve.
select o.id, o.name, f.created_at
  from reeve.fleet_organization f
  join reeve.organization o on o.id = f.org
  join reeve.fleet x on x.id = f.fleet
 where (x.id = :id or x.name = :name) and (:after::uuid is null or o.id > :after)
 order by o.id
 limit :limit;

-- name: fleet_exists
-- roles: api
-- Whether a fleet is there, by id or name.
select id from reeve.fleet where id = :id or name = :name;

-- name: data_plane_list
-- roles: api
-- The data planes of a fleet.
select d.id, d.fleet, d.name, case when d.revoked_at is null then 'enrolled' else 'revoked' end as state, d.generation,
       d.offered_seq, d.verified_seq, d.active_seq, d.ack_state, d.ack_code, d.ack_detail, d.ack_pointer, d.enrolled_at,
       d.last_seen_at, d.revoked_at
  from reeve.data_plane d
  join reeve.fleet f on f.id = d.fleet
 where (f.id = :id or f.name = :name) and (:after::uuid is null or d.id > :after)
 order by d.id
 limit :limit;

-- name: data_plane_get
-- roles: api
-- One data plane of a fleet.
select d.id, d.fleet, d.name, case when d.revoked_at is null then 'enrolled' else 'revoked' end as state, d.generation,
       d.offered_seq, d.verified_seq, d.active_seq, d.ack_state, d.ack_code, d.ack_detail, d.ack_pointer, d.enrolled_at,
       d.last_seen_at, d.revoked_at
  from reeve.data_plane d
  join reeve.fleet f on f.id = d.fleet
 where (f.id = :parent or f.name = :parent_name) and d.id = :id;

-- name: data_plane_revoke
-- roles: api
-- Ends a data plane's credential now.
update reeve.data_plane d set revoked_at = coalesce(d.revoked_at, now())
  from reeve.fleet f
 where f.id = d.fleet and (f.id = :parent or f.name = :parent_name) and d.id = :id
returning d.id, d.fleet, d.name, 'revoked' as state, d.generation, d.offered_seq, d.verified_seq, d.active_seq,
          d.ack_state, d.ack_code, d.ack_detail, d.ack_pointer, d.enrolled_at, d.last_seen_at, d.revoked_at;

-- name: enrolment_begin
-- roles: api
-- The fleet that a join certificate names, and its key.
select installation, fleet, generation, kms_uri, wrapped from reeve.enrolment_begin(:want, :request_id);

-- name: data_plane_known
-- roles: api
-- Whether the data plane is enrolled already.
select id as data_plane from reeve.data_plane_find(:want);

-- name: data_plane_enrol
-- roles: api
-- Enrols a data plane; false when it was already.
select reeve.data_plane_enrol(:data_plane, :fleet, :name, :sign_key, :encrypt_key, :cert_digest, :cert_text, :request,
                              :generation) as is_new;

-- name: data_plane_find
-- roles: api
-- The key by which a data plane proves itself.
select id, sign_key, revoked_at, installation from reeve.data_plane_find(:want);

-- name: data_plane_token_issue
-- roles: api
-- Takes an assertion, once, and keeps the digest of the token it gave.
select reeve.data_plane_token_issue(:data_plane, :jti, :jti_expires_at, :digest, :expires_at);
