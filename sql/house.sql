-- name: house_forget_keys
-- roles: worker
-- Idempotency keys are kept for a day.
select reeve.idempotency_forget(:before) as count;

-- name: house_forget_tokens
-- roles: worker
-- Data planes' tokens and assertions that have ended.
select reeve.data_plane_tokens_forget(:before) as count;

-- name: house_purge_projects
-- roles: worker
-- What deleted projects leave when their grace time has ended.
select reeve.projects_purge(:before) as count;
