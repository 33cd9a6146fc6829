-- Relations of this database that somebody else has, or waits to have, for itself.
SELECT pg_catalog.json_build_array(n.nspname, c.relname)
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.mode = 'AccessExclusiveLock'
  -- A prepared transaction has no process.
  AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
