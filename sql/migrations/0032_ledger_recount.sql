-- The hourly sums made again from the lines: for the check that sums are what their lines say, and for rebuilding them.
create function ledger.recount(orgs uuid[], from_time timestamptz, to_time timestamptz)
    returns table (org uuid, hour timestamptz, project uuid, workflow uuid, client_key uuid, connection uuid,
        provider text, model text, outcome text, meter smallint, quantity numeric, amount numeric, unrated numeric,
        attempts bigint, events bigint)
    language sql stable
    begin atomic
    with line as (
        select c.org, date_trunc('hour', reeve.uuid_time(c.event), 'UTC') as hour, e.project,
               coalesce(e.workflow, '00000000-0000-0000-0000-000000000000') as workflow,
               coalesce(e.client_key, '00000000-0000-0000-0000-000000000000') as client_key,
               coalesce(a.connection, '00000000-0000-0000-0000-000000000000') as connection,
               coalesce(a.provider, '') as provider, c.model, coalesce(a.outcome, e.outcome) as outcome,
               case when c.reversal then -1 else 1 end as sign, c.counted, c.meters, c.quantities, c.rates,
               c.amount, c.unrated
          from ledger.charge c
          join ledger.event e on e.org = c.org and e.id = c.event
          left join ledger.attempt a on a.org = c.org and a.event = c.event and a.n = c.attempt
         where c.org = any (orgs) and c.event >= ledger.id_floor(from_time) and c.event < ledger.id_floor(to_time)
    ), part as (
        select l.org, l.hour, l.project, l.workflow, l.client_key, l.connection, l.provider, l.model, l.outcome,
               0 as meter,
               coalesce((select sum(q.quantity) from unnest(l.meters, l.quantities) as q(meter, quantity)
                  join ledger.meter m on m.code = q.meter and m.tokens), 0) as quantity,
               l.amount::numeric as amount, l.unrated::numeric as unrated, l.sign * (l.counted & 1) as attempts,
               l.sign * (l.counted >> 1) as events
          from line l
        union all
        select l.org, l.hour, l.project, l.workflow, l.client_key, l.connection, l.provider, l.model, l.outcome,
               coalesce(q.meter, -1), coalesce(q.quantity, 0),
               case when q.rate >= 0 then q.quantity::numeric * q.rate else 0 end,
               case when q.rate < 0 then q.quantity else 0 end, l.sign * (l.counted & 1), l.sign * (l.counted >> 1)
          from line l
          left join lateral unnest(l.meters, l.quantities, l.rates) as q(meter, quantity, rate) on true
    )
    select p.org, p.hour, p.project, p.workflow, p.client_key, p.connection, p.provider, p.model, p.outcome,
           p.meter::smallint, sum(p.quantity), sum(p.amount), sum(p.unrated), sum(p.attempts), sum(p.events)
      from part p
     group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
    end;
grant execute on function ledger.recount(uuid[], timestamptz, timestamptz) to reeve_worker;
