-- name: a
-- roles: api
-- x
select E'\'', $q$;:x$q$, /* /* */ */ :a::b, "c" -- d
;