-- The usage report: sums of sums, grouped by what was asked for.

-- name: usage_report
-- roles: api
-- One row a group, in the order of the groups. Without a grouping or filter by meter the rows of whole groups are
-- summed; with one, those of single meters. Whole days, from days_from to days_to, come from the daily sums.
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
               sum(quantity) as quantity, sum(amount) as amount, sum(unrated) as unrated_quantity,
               sum(attempts)::bigint as attempts, sum(events)::bigint as events
          from (select * from ledger.rollup_hour
                 where org = reeve.current_org() and hour >= :from_time and hour < :days_from
                union all
                select org, day::timestamp at time zone 'UTC', project, workflow, client_key, connection, provider, model,
                       outcome, meter, quantity, amount, unrated, attempts, events
                  from ledger.rollup_day
                 where org = reeve.current_org() and day >= (:days_from at time zone 'UTC')::date
                   and day < (:days_to at time zone 'UTC')::date
                union all
                select * from ledger.rollup_hour
                 where org = reeve.current_org() and hour >= :days_to and hour < :to_time) r
         where (:project::uuid is null or project = :project)
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

-- name: usage_verify
-- roles: api
-- What is wrong with the caller's account between two hours, counted: in one statement, so that all is of one moment.
with span as (
    select ledger.id_floor(:from_time) as lowest, ledger.id_floor(:to_time) as highest, ledger.complete_to() as complete
), stored as (
    select * from ledger.rollup_hour where org = reeve.current_org() and hour >= :from_time and hour < :to_time
), hours as (
    select count(*) as wrong
      from ledger.recount(array[reeve.current_org()], :from_time, :to_time) again
      full join stored r using (org, hour, project, workflow, client_key, connection, provider, model, outcome, meter)
     where (again.quantity, again.amount, again.unrated, again.attempts, again.events)
           is distinct from (r.quantity, r.amount, r.unrated, r.attempts, r.events)
), days as (
    select count(*) as wrong
      from (select org, (hour at time zone 'UTC')::date as day, project, workflow, client_key, connection, provider, model,
                   outcome, meter, sum(quantity) as quantity, sum(amount) as amount, sum(unrated) as unrated,
                   sum(attempts) as attempts, sum(events) as events
              from ledger.rollup_hour
             where org = reeve.current_org() and hour >= date_trunc('day', :from_time, 'UTC')
               and hour < date_trunc('day', :to_time + interval '1 day' - interval '1 microsecond', 'UTC')
             group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) again
      full join (select * from ledger.rollup_day
                  where org = reeve.current_org() and day >= (:from_time at time zone 'UTC')::date
                    and day < ((:to_time + interval '1 day' - interval '1 microsecond') at time zone 'UTC')::date) r
        using (org, day, project, workflow, client_key, connection, provider, model, outcome, meter)
     where (again.quantity, again.amount, again.unrated, again.attempts, again.events)
           is distinct from (r.quantity, r.amount, r.unrated, r.attempts, r.events)
), lineless as (
    select count(*) as events
      from ledger.event e, span
     where e.org = reeve.current_org() and e.id >= lowest and e.id < highest and e.received_at < complete
       and (not exists (select from ledger.charge c where c.org = e.org and c.event = e.id)
            or exists (select from ledger.attempt a
                        where a.org = e.org and a.event = e.id
                          and not exists (select from ledger.charge c
                                           where c.org = a.org and c.event = a.event and c.attempt = a.n)))
), lines as (
    select count(*) filter (where c.residual <> 0) as residual,
           count(*) filter (where c.reason in ('bad-usage', 'overflow')) as unreadable,
           count(*) filter (where c.reason in ('unknown-usage', 'indeterminate')) as unknown
      from ledger.charge c, span
     where c.org = reeve.current_org() and c.event >= lowest and c.event < highest and not c.reversal
       and not exists (select from ledger.charge later
                        where later.org = c.org and later.event = c.event and later.attempt = c.attempt
                          and later.unit = c.unit and later.reversal and later.run > c.run)
)
select hours.wrong as hours_wrong, days.wrong as days_wrong, lineless.events as lineless, lines.residual, lines.unreadable,
       lines.unknown, (select coalesce(sum(unrated), 0) from stored where meter = 0)::text as unrated,
       (select count(*) from ledger.quarantine q where q.org = reeve.current_org()) as quarantined,
       ledger.missing_numbers()::text as missing, span.complete as complete_to
  from span, hours, days, lineless, lines;
