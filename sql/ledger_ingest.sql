-- Taking events in. Run in one transaction whose scope (app.orgs) is what the data plane may serve.

-- name: ledger_scope_set
-- roles: ingest worker
-- The organizations this transaction may touch.
select set_config('app.orgs', :orgs::uuid[]::text, true);

-- name: ledger_partition_oldest
-- roles: ingest
-- The first day that still takes events; earlier ids are quarantined.
select coalesce(min(day), 'infinity'::date)::timestamp at time zone 'UTC' as oldest,
       coalesce(max(day) + 1, '-infinity'::date)::timestamp at time zone 'UTC' as newest
  from ledger.partition;

-- name: ledger_ingest
-- roles: ingest
-- Stores events that are not there yet with their attempts and units, and one row that says so for rating. Answers with
-- the ids that are new. meters and quantities of unit i stand at m_first .. m_last of the flat arrays.
with stored as (
    insert into ledger.event (org, id, digest, data_plane, epoch, sequence, project, workflow, revision, client_key,
           dialect, stream, outcome, status, end_user, labels, correlation_id, trace_id, request_id, queue_us,
           first_byte_us, total_us)
    select e.org, e.id, e.digest, :data_plane::uuid, e.epoch, e.sequence, e.project,
           e.workflow,
           e.revision,
           e.client_key,
           e.dialect, e.stream, e.outcome, nullif(e.status, -1), nullif(e.end_user, ''), nullif(e.labels, '')::jsonb,
           nullif(e.correlation_id, ''), nullif(e.trace_id, ''), nullif(e.request_id, ''), nullif(e.queue_us, -1),
           nullif(e.first_byte_us, -1), nullif(e.total_us, -1)
      from unnest(:e_org::uuid[], :e_id::uuid[], :e_digest::bytea[], :e_epoch::bigint[], :e_sequence::bigint[],
               :e_project::uuid[], :e_workflow::uuid[], :e_revision::uuid[], :e_client_key::uuid[], :e_dialect::text[],
               :e_stream::boolean[], :e_outcome::text[], :e_status::bigint[], :e_end_user::text[], :e_labels::text[],
               :e_correlation_id::text[], :e_trace_id::text[], :e_request_id::text[], :e_queue_us::bigint[],
               :e_first_byte_us::bigint[], :e_total_us::bigint[])
           as e(org, id, digest, epoch, sequence, project, workflow, revision, client_key, dialect, stream, outcome,
               status, end_user, labels, correlation_id, trace_id, request_id, queue_us, first_byte_us, total_us)
        on conflict do nothing
    returning org, id
), attempts as (
    insert into ledger.attempt (org, event, n, connection, provider, model_asked, model_answered, outcome, status,
           secret, secret_version, connect_us, first_byte_us, total_us, provider_request_id, lease)
    select stored.org, stored.id, a.n, a.connection, a.provider,
           nullif(a.model_asked, ''), nullif(a.model_answered, ''), a.outcome, nullif(a.status, -1),
           a.secret, nullif(a.secret_version, -1),
           nullif(a.connect_us, -1), nullif(a.first_byte_us, -1), nullif(a.total_us, -1),
           nullif(a.provider_request_id, ''), a.lease
      from unnest(:a_event::uuid[], :a_n::bigint[], :a_connection::uuid[], :a_provider::text[], :a_model_asked::text[],
               :a_model_answered::text[], :a_outcome::text[], :a_status::bigint[], :a_secret::uuid[],
               :a_secret_version::bigint[], :a_connect_us::bigint[], :a_first_byte_us::bigint[], :a_total_us::bigint[],
               :a_provider_request_id::text[], :a_lease::uuid[])
           as a(event, n, connection, provider, model_asked, model_answered, outcome, status, secret, secret_version,
               connect_us, first_byte_us, total_us, provider_request_id, lease)
      join stored on stored.id = a.event
), units as (
    insert into ledger.unit (org, event, attempt, n, model, meters, quantities, usage_raw, normaliser, residual, stream)
    select stored.org, stored.id, u.attempt, u.n, nullif(u.model, ''),
           (:m_code::bigint[])[u.m_first : u.m_last]::smallint[], (:m_quantity::bigint[])[u.m_first : u.m_last],
           nullif(u.usage_raw, ''), nullif(u.normaliser, -1), u.residual, u.stream
      from unnest(:u_event::uuid[], :u_attempt::bigint[], :u_n::bigint[], :u_model::text[], :u_m_first::bigint[],
               :u_m_last::bigint[], :u_usage_raw::bytea[], :u_normaliser::bigint[], :u_residual::bigint[],
               :u_stream::boolean[])
           as u(event, attempt, n, model, m_first, m_last, usage_raw, normaliser, residual, stream)
      join stored on stored.id = u.event
), batch as (
    insert into ledger.batch (data_plane, tenants, events)
    select :data_plane::uuid, array_agg(org), array_agg(id) from stored having count(*) > 0
)
select id from stored;

-- name: ledger_source_seen
-- roles: ingest
-- Numbers of a data plane that have arrived, whatever became of their events.
insert into ledger.source as s (data_plane, epoch, seen, last_event)
select :data_plane::uuid, x.epoch, x.seen::int8multirange, x.last_event
  from unnest(:epochs::bigint[], :ranges::text[], :last_events::timestamptz[]) as x(epoch, seen, last_event)
    on conflict (data_plane, epoch) do update
   set seen = s.seen + excluded.seen, last_event = greatest(s.last_event, excluded.last_event), updated_at = now();

-- name: ledger_digests
-- roles: ingest
-- What is stored under these ids.
select e.org, e.id, e.digest
  from unnest(:orgs::uuid[], :ids::uuid[]) as k(org, id)
  join ledger.event e on e.org = k.org and e.id = k.id;

-- name: ledger_quarantine
-- roles: ingest
-- Events whose id no open partition takes.
insert into ledger.quarantine (org, event, digest, data_plane, reason, body)
select q.org, q.id, q.digest, :data_plane::uuid, q.reason, q.body
  from unnest(:orgs::uuid[], :ids::uuid[], :digests::bytea[], :reasons::text[], :bodies::bytea[])
       as q(org, id, digest, reason, body)
    on conflict do nothing;

-- name: ledger_served
-- roles: ingest
-- Of these projects, those that the calling data plane may report for.
select org, project as id from ledger.served(:orgs, :ids);
