-- In which databases roles have something, in any; what they have on shared objects (rights on a database, a
-- tablespace) in one more row each, which names the maintenance database. Ownership of databases and what concerns
-- the database at hand is read elsewhere.
-- $1: roles, $2: the maintenance database, $3: the database at hand.
SELECT pg_catalog.json_build_array(
  r.oid::pg_catalog.int8,
  s.dbid = 0,
  d.datname,
  pg_catalog.bool_and(d.datallowconn AND d.datconnlimit <> -2),
  (
    SELECT pg_catalog.json_build_array(t.oid::pg_catalog.int8, t.rolname)
    FROM pg_catalog.pg_roles t
    WHERE t.oid = d.datdba
  ),
  pg_catalog.bool_or(o.owns),
  pg_catalog.bool_or(NOT o.owns)
)
FROM pg_catalog.pg_roles r
JOIN pg_catalog.pg_shdepend s
  ON s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid
CROSS JOIN LATERAL (
  SELECT s.deptype = 'o' AND s.classid NOT IN (
    'pg_catalog.pg_default_acl'::pg_catalog.regclass, 'pg_catalog.pg_user_mapping'::pg_catalog.regclass
  ) AS owns
) o
JOIN pg_catalog.pg_database d
  ON CASE WHEN s.dbid = 0 THEN d.datname = $2 ELSE d.oid = s.dbid END
WHERE r.rolname = ANY ($1)
  AND NOT (s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND (
    s.deptype = 'o' OR s.objid = (SELECT t.oid FROM pg_catalog.pg_database t WHERE t.datname = $3)
  ))
GROUP BY r.oid, s.dbid = 0, d.datname, d.datdba
ORDER BY s.dbid = 0
