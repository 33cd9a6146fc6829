-- How many sessions a role has. $1: the role.
SELECT pg_catalog.count(*)
FROM pg_catalog.pg_stat_activity a
WHERE a.usename = $1 AND a.pid <> pg_catalog.pg_backend_pid()
