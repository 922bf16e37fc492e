-- What the check of an organization's account needs: its sums made again, and the numbers its data planes still owe.
grant execute on function ledger.recount(uuid[], timestamptz, timestamptz) to reeve_api;

-- How many events the data planes of the fleets that serve this organization have numbered and not delivered. They may be
-- another organization's: their content is not known.
create function ledger.missing_numbers() returns numeric
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select coalesce(sum(upper(r) - lower(r)), 0)
      from reeve.fleet_organization f
      join reeve.data_plane d on d.fleet = f.fleet
      join ledger.gap g on g.data_plane = d.id, unnest(g.missing) r
     where f.org = reeve.current_org()
    $$;
grant execute on function ledger.missing_numbers() to reeve_api;
