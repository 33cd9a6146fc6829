-- Who holds our advisory lock in this database. Any role that may connect can take it.
-- $1: the lock's class.
SELECT a.usename::pg_catalog.text
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory'
  AND l.granted
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  AND l.classid = $1::pg_catalog.int8::pg_catalog.oid
  AND l.objid = 0
  AND l.objsubid = 2
