-- What a data plane may report for: the projects, also deleted ones, of the organizations its fleet serves. The fleet is
-- the credential's, set when the call began.
create function ledger.served(orgs uuid[], projects uuid[]) returns table (org uuid, project uuid)
    language sql stable security definer
    set search_path = pg_catalog, pg_temp
    as $$
    select p.org, p.id
      from unnest(orgs, projects) as asked(org, project)
      join reeve.fleet_organization f
        on f.org = asked.org and f.fleet = nullif(current_setting('app.fleet', true), '')::uuid
      join reeve.project p on p.org = asked.org and p.id = asked.project
    $$;
grant execute on function ledger.served(uuid[], uuid[]) to reeve_ingest;
