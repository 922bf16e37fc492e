-- name: workflow_insert
-- roles: api
-- A new workflow of the project.
insert into reeve.workflow (org, project, id, name, dialect, description)
values (reeve.current_org(), reeve.current_project(), :id, :name, :dialect, coalesce(:description::text, ''))
returning description, version, created_at, updated_at;

-- name: workflow_get
-- roles: api
-- One workflow by id or name.
select w.id, w.name, w.dialect, w.description, w.version, w.release, w.created_at, w.updated_at,
       (select max(r.number) from reeve.revision r
         where r.org = w.org and r.project = w.project and r.workflow = w.id) as revision
  from reeve.workflow w
 where w.org = reeve.current_org() and w.project = reeve.current_project() and (w.id = :id or w.name = :name);

-- name: workflow_list
-- roles: api
-- The project's workflows.
select w.id, w.name, w.dialect, w.description, w.version, w.release, w.created_at, w.updated_at,
       (select max(r.number) from reeve.revision r
         where r.org = w.org and r.project = w.project and r.workflow = w.id) as revision
  from reeve.workflow w
 where w.org = reeve.current_org() and w.project = reeve.current_project() and (:after::uuid is null or w.id > :after)
 order by w.id
 limit :limit;

-- name: workflow_lock
-- roles: api
-- One workflow, for a change.
select id, name, dialect, description, version, release, created_at, updated_at,
       (select max(r.number) from reeve.revision r
         where r.org = w.org and r.project = w.project and r.workflow = w.id) as revision
  from reeve.workflow w
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name)
   for update of w;

-- name: workflow_update
-- roles: api
-- What may be changed of a workflow.
update reeve.workflow
   set description = coalesce(:description::text, ''), version = version + 1, updated_at = now()
 where org = reeve.current_org() and project = reeve.current_project() and id = :id
returning description, version, updated_at;

-- name: workflow_delete
-- roles: api
-- Removes a workflow with its revisions and releases; the audit log keeps them.
delete from reeve.workflow where org = reeve.current_org() and project = reeve.current_project() and id = :id;

-- name: target_connection
-- roles: api
-- The connection a target names.
select name, dialect from reeve.connection
 where org = reeve.current_org() and project = reeve.current_project() and id = :connection;

-- name: revision_insert
-- roles: api
-- The next revision of a workflow whose row is locked.
insert into reeve.revision (org, project, workflow, id, number, targets, retry, note)
select reeve.current_org(), reeve.current_project(), :workflow, :id,
       coalesce((select max(number) from reeve.revision
                  where org = reeve.current_org() and project = reeve.current_project() and workflow = :workflow), 0) + 1,
       :targets, :retry, coalesce(:note::text, '')
returning number, note, created_by, created_at;

-- name: revision_targets_insert
-- roles: api
-- Which connections it uses.
insert into reeve.revision_target (org, project, workflow, revision, position, connection)
select reeve.current_org(), reeve.current_project(), :workflow, :id, t.position, t.connection
  from unnest(:positions::bigint[], :connections::uuid[]) as t (position, connection);

-- name: workflow_exists
-- roles: api
-- Whether a workflow is there, by id or name.
select id from reeve.workflow
 where org = reeve.current_org() and project = reeve.current_project() and (id = :id or name = :name);

-- name: revision_list
-- roles: api
-- A workflow's revisions.
select r.id, r.workflow, r.number, r.targets, r.retry, r.note, r.created_by, r.created_at
  from reeve.revision r
  join reeve.workflow w on w.org = r.org and w.project = r.project and w.id = r.workflow
 where r.org = reeve.current_org() and r.project = reeve.current_project() and (w.id = :id or w.name = :name)
   and (:after::uuid is null or r.id > :after)
 order by r.id
 limit :limit;

-- name: revision_get
-- roles: api
-- One revision of a workflow by its number or id.
select r.id, r.workflow, r.number, r.targets, r.retry, r.note, r.created_by, r.created_at
  from reeve.revision r
  join reeve.workflow w on w.org = r.org and w.project = r.project and w.id = r.workflow
 where r.org = reeve.current_org() and r.project = reeve.current_project() and (w.id = :parent or w.name = :parent_name)
   and (r.id = :id or r.number = :number);

-- name: revision_find
-- roles: api
-- A workflow's revision by id or number.
select id, number from reeve.revision
 where org = reeve.current_org() and project = reeve.current_project() and workflow = :workflow
   and (id = :id or number = :number);

-- name: revision_check
-- roles: api
-- The targets of a revision with what their connections speak now.
select t.position, t.connection, c.name, c.dialect
  from reeve.revision_target t
  left join reeve.connection c on c.org = t.org and c.project = t.project and c.id = t.connection
 where t.org = reeve.current_org() and t.project = reeve.current_project() and t.workflow = :workflow and t.revision = :id
 order by t.position
 limit 16;

-- name: release_insert
-- roles: api
-- The next release of a workflow whose row is locked.
insert into reeve.release (org, project, workflow, number, salt)
select reeve.current_org(), reeve.current_project(), :workflow,
       coalesce((select max(number) from reeve.release
                  where org = reeve.current_org() and project = reeve.current_project() and workflow = :workflow), 0) + 1,
       :salt
returning number, created_by, created_at;

-- name: release_stages_insert
-- roles: api
-- Its shares.
insert into reeve.release_stage (org, project, workflow, release, position, revision, percent)
select reeve.current_org(), reeve.current_project(), :workflow, :number, s.position, s.revision, s.percent
  from unnest(:positions::bigint[], :revisions::uuid[], :percents::bigint[]) as s (position, revision, percent);

-- name: release_make_current
-- roles: api
-- From now on this release counts.
update reeve.workflow set release = :number, version = version + 1, updated_at = now()
 where org = reeve.current_org() and project = reeve.current_project() and id = :workflow
returning version;

-- name: release_current
-- roles: api
-- The current release of a workflow.
select r.workflow, r.number, w.version, r.salt, r.created_by, r.created_at
  from reeve.workflow w
  join reeve.release r on r.org = w.org and r.project = w.project and r.workflow = w.id and r.number = w.release
 where w.org = reeve.current_org() and w.project = reeve.current_project() and (w.id = :id or w.name = :name);

-- name: release_before
-- roles: api
-- The release before the current one, other than by its stages.
select r.workflow, r.number, r.salt, r.created_by, r.created_at
  from reeve.release r
 where r.org = reeve.current_org() and r.project = reeve.current_project() and r.workflow = :workflow
   and r.number < :number
   and (select jsonb_agg(jsonb_build_array(s.revision, s.percent) order by s.position) from reeve.release_stage s
         where s.org = r.org and s.project = r.project and s.workflow = r.workflow and s.release = r.number)
       is distinct from
       (select jsonb_agg(jsonb_build_array(s.revision, s.percent) order by s.position) from reeve.release_stage s
         where s.org = r.org and s.project = r.project and s.workflow = r.workflow and s.release = :number)
 order by r.number desc
 limit 1;

-- name: release_stages
-- roles: api
-- The shares of a release.
select s.revision, v.number, s.percent
  from reeve.release_stage s
  join reeve.revision v on v.org = s.org and v.project = s.project and v.workflow = s.workflow and v.id = s.revision
 where s.org = reeve.current_org() and s.project = reeve.current_project() and s.workflow = :workflow
   and s.release = :number
 order by s.position
 limit 16;
