-- The roles and the database of an installation. Run once by a superuser, again without harm:
--
--     psql -v ON_ERROR_STOP=1 -v database=reeve -f bootstrap.sql
--
-- reeve_owner owns everything and cannot log in. reeve_migrate logs in, has no rights of its own, and becomes the owner
-- with SET ROLE for the time of a migration. The four roles of the daemon own nothing, bypass nothing, and get each
-- right by a GRANT in the migration that makes the table. Passwords, certificates and pg_hba.conf are the operator's.

\if :{?database}
\else
\set database reeve
\endif

do $$
declare
    role_name text;
begin
    if not exists (select from pg_roles where rolname = 'reeve_owner') then
        create role reeve_owner nologin nosuperuser nobypassrls nocreatedb nocreaterole noinherit;
    end if;
    foreach role_name in array array['reeve_migrate', 'reeve_api', 'reeve_worker', 'reeve_publish', 'reeve_ingest'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I login nosuperuser nobypassrls nocreatedb nocreaterole noinherit', role_name);
        end if;
        -- pg_temp stands last, so that a temporary object never shadows one of ours.
        execute format('alter role %I set search_path = reeve, ledger, pg_temp', role_name);
        execute format('alter role %I set timezone = %L', role_name, 'UTC');
    end loop;
end
$$;

grant reeve_owner to reeve_migrate;

select format('create database %I owner reeve_owner encoding %L locale %L template template0', :'database', 'UTF8', 'C.UTF-8')
 where not exists (select from pg_database where datname = :'database')
\gexec

revoke all on database :"database" from public;
grant connect on database :"database" to reeve_migrate, reeve_api, reeve_worker, reeve_publish, reeve_ingest;

\connect :"database"

revoke all on schema public from public;
