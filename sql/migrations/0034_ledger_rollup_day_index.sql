-- A project's bill of a year, among thousands of other projects.
create index rollup_day_project on ledger.rollup_day (org, project, day);
