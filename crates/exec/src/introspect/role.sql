-- The number of a role.
-- $1: its name.
SELECT r.oid::pg_catalog.int8
FROM pg_catalog.pg_roles r
WHERE r.rolname = $1
