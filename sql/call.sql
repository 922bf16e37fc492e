-- name: call_begin
-- roles: api
-- Who calls, for which tenant and project, with which roles; sets them for the transaction.
select * from reeve.call_begin(:digest, :request, :want_org, :want_org_name, :want_project, :want_project_name);

-- name: data_plane_begin
-- roles: api ingest
-- Which data plane calls, and of which fleet.
select data_plane, fleet, generation, installation from reeve.data_plane_begin(:digest, :request);

-- name: idempotency_lock
-- roles: api
-- False while another request with the key is being served.
select reeve.idempotency_lock(:key) as locked;

-- name: idempotency_find
-- roles: api
-- The answer that an earlier request with the key got.
select request_digest, status::bigint, reply, subject
  from reeve.idempotency
 where org = reeve.current_org() and principal = reeve.current_principal() and key = :key;

-- name: idempotency_insert
-- roles: api
-- Keeps the answer for a second asking.
insert into reeve.idempotency (org, principal, key, request_digest, status, reply, subject)
values (reeve.current_org(), reeve.current_principal(), :key, :request_digest, :status::bigint::integer, :reply, :subject);

-- name: publish_enqueue
-- roles: api
-- Tells the publisher that a project's configuration changed.
select reeve.publish_enqueue(:project, :reason);

-- name: publish_enqueue_organization
-- roles: api
-- Tells the publisher that all of an organization has to be looked at.
select reeve.publish_enqueue_organization(:id, :reason);
