-- The usage report: sums of sums, grouped by what was asked for.

-- name: usage_report
-- roles: api
-- One row a group, in the order of the groups. Without a grouping or filter by meter the rows of whole groups are
-- summed; with one, those of single meters.
select count(*) over () as groups, g.*
  from (select case when :by_organization then org end as organization,
               case when :by_project then project end as project,
               case when :by_workflow then nullif(workflow, '00000000-0000-0000-0000-000000000000') end as workflow,
               case when :by_client_key then nullif(client_key, '00000000-0000-0000-0000-000000000000') end as client_key,
               case when :by_connection then nullif(connection, '00000000-0000-0000-0000-000000000000') end as connection,
               case when :by_provider then provider end as provider,
               case when :by_model then model end as model,
               case when :by_attempt_outcome then outcome end as attempt_outcome,
               case when :by_meter then (select m.name from ledger.meter m where m.code = meter) end as meter,
               case when :by_hour then hour when :by_day then date_trunc('day', hour, 'UTC') end as time,
               sum(quantity)::bigint as quantity, sum(amount) as amount, sum(unrated)::bigint as unrated_quantity,
               sum(attempts)::bigint as attempts, sum(events)::bigint as events
          from ledger.rollup_hour
         where org = reeve.current_org() and hour >= :from_time and hour < :to_time
           and (:project::uuid is null or project = :project)
           and (:project_name::text is null
                or project = (select p.id from reeve.project p where p.org = reeve.current_org() and p.name = :project_name))
           and (:workflow::uuid is null or workflow = :workflow)
           and (:workflow_name::text is null
                or workflow in (select w.id from reeve.workflow w
                                 where w.org = reeve.current_org() and w.name = :workflow_name))
           and (:client_key::uuid is null or client_key = :client_key)
           and (:connection::uuid is null or connection = :connection)
           and (:provider::text is null or provider = :provider)
           and (:model::text is null or model = :model)
           and (:attempt_outcome::text is null or outcome = :attempt_outcome)
           and case when :meter::bigint is not null then meter = :meter
                    when :by_meter then meter <> 0
                    else meter = 0 end
         group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) g
 order by time, organization, project, workflow, client_key, connection, provider, model, attempt_outcome, meter
offset :skip limit :limit;

-- name: usage_complete_to
-- roles: api
-- Up to when everything that arrived is in the report.
select ledger.complete_to() as complete_to;
