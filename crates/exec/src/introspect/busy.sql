-- Those of some relations of this database that somebody else has, or waits to have, for itself: of all, there can be as
-- many as there are locks.
-- $1: schemas, $2: names.
SELECT pg_catalog.json_build_array(n.nspname, c.relname)
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.mode = 'AccessExclusiveLock'
  AND (n.nspname::pg_catalog.text, c.relname::pg_catalog.text) IN (
    SELECT a.schema, a.name
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS a (schema, name)
  )
  -- A prepared transaction has no process.
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
