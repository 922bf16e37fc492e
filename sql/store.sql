-- Statements of the store floor itself.

-- name: tenant_set
-- roles: api worker publish ingest migrate
-- Makes an organization the tenant of this transaction: for background work that takes it from its job's row.
select set_config('app.org', :org::uuid::text, true);

-- name: commit_mark
-- roles: api worker publish ingest migrate
-- Leaves the number of a transaction, in the round trip of its COMMIT; fails when the row was closed.
insert into reeve.commit_mark as m (session, mark)
values (:session, :mark)
on conflict (session) do update
   set mark = case when m.mark >= 0 then excluded.mark end, at = now();

-- name: commit_ask
-- roles: api worker publish ingest migrate
-- Whether the transaction with this number was saved; when not, it never will be.
insert into reeve.commit_mark as m (session, mark)
values (:session, -1)
on conflict (session) do update
   set mark = case when m.mark = :mark then m.mark else -1 end, at = now()
returning mark = :mark as committed;
