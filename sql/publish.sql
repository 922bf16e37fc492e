-- The publisher: from rows to objects, shards and manifests.

-- name: publish_queue_list
-- roles: publish
-- What changed, oldest first.
select org, id, project from publish_queue order by at limit :limit;

-- name: publish_queue_delete
-- roles: publish
-- What was published; rows that came meanwhile stay.
delete from publish_queue q
 using unnest(:orgs::uuid[], :ids::uuid[]) as done (org, id)
 where q.org = done.org and q.id = done.id;

-- name: publish_installation
-- roles: publish
-- The installation's id.
select id from installation;

-- name: publish_fleets
-- roles: publish
-- Every fleet with its key and the head of its manifests.
select f.id as fleet, f.generation, f.max_stale_s, f.hard_expiry_s, k.kms_uri, k.wrapped,
       coalesce(m.seq, 0) as seq, m.digest, m.hard_expiry, m.issued_at, m.settings, m.shards,
       coalesce(m.checkpoint_size, 0) as checkpoint_size
  from fleet f
  join fleet_key k on k.fleet = f.id and k.generation = f.generation
  left join lateral (select * from manifest m where m.fleet = f.id order by m.seq desc limit 1) m on true
 order by f.id;

-- name: publish_fleet_organizations
-- roles: publish
-- Which organizations which fleet may serve.
select org, fleet from fleet_organization order by fleet, org;

-- name: publish_revoked
-- roles: publish
-- Revoked data planes.
select id, fleet from data_plane where revoked_at is not null order by fleet, revoked_at desc, id limit :limit;

-- name: publish_fleet_projects
-- roles: publish
-- Projects that a fleet has entries of.
select distinct org, project from snapshot_entry where fleet = :fleet and kind <> 'tombstone';

-- name: publish_projects
-- roles: publish
-- All projects of the tenant, deleted ones too.
select org, id as project from project where org = current_org();

-- name: publish_project
-- roles: publish
-- Whether a project of the tenant is served.
select archived_at is null and deleted_at is null as live from project where org = current_org() and id = :project;

-- name: publish_connections
-- roles: publish
-- A project's connections.
select id, name, dialect, base_url, secret from connection where org = current_org() and project = :project order by id;

-- name: publish_workflows
-- roles: publish
-- A project's workflows with the salt of the current release.
select w.id, w.name, w.dialect, coalesce(r.salt, '') as salt
  from workflow w
  left join release r on r.org = w.org and r.project = w.project and r.workflow = w.id and r.number = w.release
 where w.org = current_org() and w.project = :project
 order by w.id;

-- name: publish_stages
-- roles: publish
-- The shares of the current releases.
select s.workflow, s.revision, s.percent
  from workflow w
  join release_stage s on s.org = w.org and s.project = w.project and s.workflow = w.id and s.release = w.release
 where w.org = current_org() and w.project = :project
 order by s.workflow, s.position;

-- name: publish_revisions
-- roles: publish
-- The revisions that current releases name.
select r.workflow, r.id, r.number, r.targets, r.retry
  from workflow w
  join revision r on r.org = w.org and r.project = w.project and r.workflow = w.id
 where w.org = current_org() and w.project = :project
   and exists (select from release_stage s
                where s.org = w.org and s.project = w.project and s.workflow = w.id and s.release = w.release
                  and s.revision = r.id)
 order by r.workflow, r.number;

-- name: publish_client_keys
-- roles: publish
-- Client keys that are good now or will end later.
select id, digest, expires_at as not_after
  from client_key
 where org = current_org() and project = :project and revoked_at is null and (expires_at is null or expires_at > now())
 order by id;

-- name: publish_secret_versions
-- roles: publish
-- Sealed versions that may be used, with the project key that sealed them.
select s.id as secret, s.origin, v.number, v.state, v.not_after, v.envelope, v.key_version, k.kms_uri, k.wrapped
  from secret s
  join secret_version v on v.org = s.org and v.project = s.project and v.secret = s.id
  join project_key k on k.org = v.org and k.project = v.project and k.version = v.key_version
 where s.org = current_org() and s.project = :project
   and v.state in ('active', 'retiring') and (v.not_after is null or v.not_after > now())
 order by s.id, v.state, v.number desc;

-- name: publish_sealed
-- roles: publish
-- What is sealed already for fleets.
select secret, number, fleet, generation, jwe from sealed_secret where org = :org and project = :project;

-- name: publish_sealed_insert
-- roles: publish
-- Sealed once; a second seal of the same is dropped.
insert into sealed_secret (org, project, secret, number, fleet, generation, jwe)
values (:org, :project, :secret, :number, :fleet, :generation, :jwe)
on conflict do nothing;

-- name: publish_counter
-- roles: publish
-- The last number a project's objects took.
select coalesce((select version from snapshot_counter where org = :org and project = :project), 0) as version;

-- name: publish_counter_set
-- roles: publish
-- Numbers only rise.
insert into snapshot_counter (org, project, version) values (:org, :project, :version)
on conflict (org, project) do update set version = greatest(snapshot_counter.version, excluded.version);

-- name: publish_entries_of_project
-- roles: publish
-- A project's entries in every fleet.
select org, project, fleet, kind, version, length, digest, content
  from snapshot_entry where org = :org and project = :project;

-- name: publish_entries_of_shard
-- roles: publish
-- The entries of one shard of a fleet.
select org, project, kind, version, length, digest from snapshot_entry where fleet = :fleet and shard = :shard;

-- name: publish_entries_delete
-- roles: publish
-- A project's entries in a fleet, before its new ones.
delete from snapshot_entry where org = :org and project = :project and fleet = :fleet;

-- name: publish_entry_insert
-- roles: publish
-- An entry of a fleet's shard.
insert into snapshot_entry (org, project, fleet, kind, shard, version, length, digest, content)
values (:org, :project, :fleet, :kind, :shard, :version, :length, :digest, :content);

-- name: publish_object_insert
-- roles: publish
-- Immutable bytes.
insert into snapshot_object (org, digest, project, kind, fleet, body)
values (:org, :digest, :project, :kind, :fleet, :body)
on conflict (org, digest) do update set replaced_at = null;

-- name: publish_objects_replaced
-- roles: publish
-- Marks a project's objects that no entry names any more.
update snapshot_object o set replaced_at = now()
 where o.org = :org and o.project = :project and o.replaced_at is null
   and not exists (select from snapshot_entry e
                    where e.org = o.org and e.project = o.project and e.digest = o.digest);

-- name: publish_shard_replace
-- roles: publish
-- The shard of that number is replaced.
update snapshot_shard set replaced_at = now() where fleet = :fleet and number = :shard and replaced_at is null;

-- name: publish_shard_insert
-- roles: publish
-- A shard's bytes.
insert into snapshot_shard (fleet, digest, number, body) values (:fleet, :digest, :shard, :body)
on conflict (fleet, digest) do update set replaced_at = null;

-- name: publish_manifest_insert
-- roles: publish
-- The next manifest of a fleet; its number is free, or another was faster.
insert into manifest (fleet, seq, digest, jws, generation, settings, shards, issued_at, hard_expiry, checkpoint_size)
values (:fleet, :seq, :digest, :jws, :generation, :settings, :shards, :issued_at, :hard_expiry, :checkpoint_size);

-- name: publish_offered
-- roles: publish
-- The manifest is offered to the fleet's data planes.
update data_plane set offered_seq = :seq where fleet = :fleet and revoked_at is null;

-- name: publish_notify
-- roles: publish
-- Wakes those who wait for a fleet's manifest, at commit.
select pg_notify('reeve_manifest', :fleet::uuid::text || ' ' || :seq::bigint::text)::text as nothing;

-- name: publish_sweep_objects
-- roles: publish
-- Objects replaced long enough ago.
delete from snapshot_object where replaced_at < now() - interval '1 hour';

-- name: publish_sweep_shards
-- roles: publish
-- Shards replaced long enough ago.
delete from snapshot_shard where replaced_at < now() - interval '1 hour';

-- name: publish_sweep_manifests
-- roles: publish
-- Manifests of a fleet far behind its head.
delete from manifest m
 using (select fleet, max(seq) as seq from manifest group by fleet) head
 where m.fleet = head.fleet and m.seq < head.seq - 1000;
