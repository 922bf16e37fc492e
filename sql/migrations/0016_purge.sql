-- What a deleted project leaves is destroyed when its grace time ends: its key first of all, so that no copy of a sealed
-- version can be opened any more (a backup opens until it expires itself).

do $$
declare
    t text;
begin
    foreach t in array array['secret', 'connection', 'project_key'] loop
        execute format('create policy %I on reeve.%I to reeve_owner using (true)', t || '_purge', t);
    end loop;
end
$$;

create function reeve.projects_purge(before timestamptz) returns bigint
    language sql security definer
    set search_path = pg_catalog, pg_temp
    as $$
    delete from reeve.connection c using reeve.project p
     where p.org = c.org and p.id = c.project and p.purge_at <= before;
    delete from reeve.secret s using reeve.project p
     where p.org = s.org and p.id = s.project and p.purge_at <= before;
    with gone as (
        delete from reeve.project_key k using reeve.project p
         where p.org = k.org and p.id = k.project and p.purge_at <= before
        returning 1)
    select count(*) from gone
    $$;
grant execute on function reeve.projects_purge(timestamptz) to reeve_worker;
