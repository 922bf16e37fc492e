-- Statements of the store floor itself.

-- name: tenant_set
-- roles: api worker publish ingest migrate
-- Makes an organization the tenant of this transaction: for background work that takes it from its job's row.
select set_config('app.org', :org::uuid::text, true);
