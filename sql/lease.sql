-- Leases of background jobs: who does a job, and the epoch that fences off whoever did it before.

-- name: lease_claim
-- roles: worker publish
-- Takes or renews the lease of a job; no row when another holds it.
insert into job_lease (job, holder, epoch, until)
values (:job, :holder, 1, now() + :ttl_ms::bigint * interval '1 millisecond')
on conflict (job) do update
   set epoch  = job_lease.epoch + (job_lease.holder <> excluded.holder)::int,
       holder = excluded.holder,
       until  = excluded.until
 where job_lease.holder = excluded.holder
    or job_lease.until < now()
returning epoch;

-- name: lease_hold
-- roles: worker publish
-- Inside a writing transaction: nobody can take the lease before it ends. No row when it is lost already.
select epoch
  from job_lease
 where job = :job and holder = :holder and epoch = :epoch
   for share;

-- name: lease_drop
-- roles: worker publish
-- Gives the lease up, so that another need not wait for its end.
update job_lease
   set until = '-infinity'
 where job = :job and holder = :holder;
