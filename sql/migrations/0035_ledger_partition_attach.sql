-- A new day is made aside and then attached: that leaves the tables open to readers and writers. Made in place, it locked all
-- four against everything, one after the other, and deadlocked with whoever read them in another order.
create or replace function ledger.partition_make(day date) returns boolean
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    as $$
declare
    parent text;
    child  text;
begin
    perform pg_advisory_xact_lock(7021, 1);
    if exists (select from ledger.partition p where p.day = partition_make.day) then
        return false;
    end if;
    foreach parent in array array['event', 'attempt', 'unit', 'charge'] loop
        child := parent || '_' || to_char(day, 'YYYYMMDD');
        execute format('create table ledger.%I (like ledger.%I including all)', child, parent);
        -- Nobody is granted a partition; the policies of the parent rule. Closed all the same.
        execute format('alter table ledger.%I enable row level security', child);
        execute format('alter table ledger.%I force row level security', child);
        execute format('create policy %I on ledger.%I using (org = reeve.current_org())', child || '_own', child);
        execute format('alter table ledger.%I attach partition ledger.%I for values from (%L) to (%L)', parent, child,
            ledger.id_floor(day::timestamp at time zone 'UTC'), ledger.id_floor((day + 1)::timestamp at time zone 'UTC'));
    end loop;
    insert into ledger.partition (day) values (partition_make.day);
    return true;
end
$$;
