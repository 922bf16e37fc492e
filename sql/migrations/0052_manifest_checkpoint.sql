-- How far the installation's audit log (the log of logs) had grown as a manifest was signed: a longer one makes another
-- manifest, at most every minute. The publisher reads the signed head itself as the installation's tenant.
alter table reeve.manifest add column checkpoint_size bigint not null default 0;
alter table reeve.manifest alter column checkpoint_size drop default;
alter table reeve.manifest add constraint manifest_checkpoint_sign check (checkpoint_size >= 0);
