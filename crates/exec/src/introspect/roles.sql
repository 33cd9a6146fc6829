-- What all databases share, as far as one database is concerned: the roles asked for, the database, memberships.
-- Any database, any role, versions 13 and later; one row of JSON. The time follows these roles, not the server's:
-- roles are found by name or number. (Only the owners of databases have no index.) A comment that is far longer than
-- ours is not read: the owner of a database can write one of any size.
-- $1: roles asked for, $2: database, $3: leaving roles, $4 and $5: settings for the session, names and values.
asked AS MATERIALIZED (
  SELECT r.oid
  FROM pg_catalog.pg_roles r
  WHERE r.rolname = ANY ($1)
),
base AS MATERIALIZED (
  SELECT
    d.oid, d.datdba, d.datallowconn, d.datconnlimit,
    coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba)) AS acl
  FROM pg_catalog.pg_database d
  WHERE d.datname = $2
),
item AS MATERIALIZED (
  SELECT
    a.grantee, a.grantor,
    pg_catalog.string_agg(
      a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type
    ) AS privileges
  FROM base, pg_catalog.aclexplode(base.acl) a
  GROUP BY a.grantee, a.grantor
),
-- Who may act for the roles asked for and for the owner. OFFSET keeps the planner from reading all memberships of
-- the server once instead of some by index.
below (role) AS (
  SELECT asked.oid FROM asked
  UNION
  SELECT base.datdba FROM base
  UNION
  SELECT m.member
  FROM below
  CROSS JOIN LATERAL (
    SELECT a.member FROM pg_catalog.pg_auth_members a WHERE a.roleid = below.role OFFSET 0
  ) m
),
-- For whom the roles asked for may act.
above (role) AS (
  SELECT asked.oid FROM asked
  UNION
  SELECT m.roleid
  FROM above
  CROSS JOIN LATERAL (
    SELECT a.roleid FROM pg_catalog.pg_auth_members a WHERE a.member = above.role OFFSET 0
  ) m
),
-- The last two columns came with version 16.
membership AS MATERIALIZED (
  SELECT
    m.roleid, m.member, m.grantor,
    pg_catalog.jsonb_build_array(
      m.roleid::pg_catalog.int8, m.member::pg_catalog.int8, m.grantor::pg_catalog.int8, m.admin_option,
      pg_catalog.to_jsonb(m) -> 'inherit_option', pg_catalog.to_jsonb(m) -> 'set_option'
    ) AS entry
  FROM below
  CROSS JOIN LATERAL (
    SELECT a.* FROM pg_catalog.pg_auth_members a WHERE a.roleid = below.role OFFSET 0
  ) m
  UNION
  SELECT
    m.roleid, m.member, m.grantor,
    pg_catalog.jsonb_build_array(
      m.roleid::pg_catalog.int8, m.member::pg_catalog.int8, m.grantor::pg_catalog.int8, m.admin_option,
      pg_catalog.to_jsonb(m) -> 'inherit_option', pg_catalog.to_jsonb(m) -> 'set_option'
    ) AS entry
  FROM above
  CROSS JOIN LATERAL (
    SELECT a.* FROM pg_catalog.pg_auth_members a WHERE a.member = above.role OFFSET 0
  ) m
),
-- current_user is looked up by name: numbers of roles are not to be had otherwise.
me AS MATERIALIZED (
  SELECT r.oid
  FROM pg_catalog.pg_roles r
  WHERE r.rolname = current_user
),
known (role) AS (
  SELECT me.oid FROM me
  UNION SELECT asked.oid FROM asked
  UNION SELECT base.datdba FROM base
  UNION SELECT item.grantee FROM item
  UNION SELECT item.grantor FROM item
  UNION SELECT m.roleid FROM membership m
  UNION SELECT m.member FROM membership m
  UNION SELECT m.grantor FROM membership m
)
SELECT pg_catalog.json_build_object(
  'settings', (
    SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, false))
    FROM ROWS FROM (pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.text[])) AS s (name, value)
  ),
  'admin', (SELECT me.oid::pg_catalog.int8 FROM me),
  'system_identifier', (SELECT control.system_identifier FROM control),
  'roles', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', r.oid::pg_catalog.int8,
      'name', r.rolname,
      'superuser', r.rolsuper,
      'inherit', r.rolinherit,
      'create_role', r.rolcreaterole,
      'create_db', r.rolcreatedb,
      'login', r.rolcanlogin,
      'replication', r.rolreplication,
      'bypass_rls', r.rolbypassrls,
      'expires', coalesce(pg_catalog.isfinite(r.rolvaliduntil), false)
    ))
    FROM pg_catalog.pg_roles r
    WHERE r.oid = ANY (ARRAY(SELECT known.role FROM known))
  ),
  'asked', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'oid', r.oid::pg_catalog.int8,
      'comment', (
        SELECT CASE WHEN pg_catalog.octet_length(c.description) <= 8192 THEN c.description END
        FROM pg_catalog.pg_shdescription c
        WHERE c.objoid = r.oid AND c.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      ),
      'verifier', (SELECT stored.verifier FROM stored WHERE stored.oid = r.oid),
      'sessions', CASE WHEN r.rolname = ANY ($3) THEN (
        SELECT pg_catalog.count(*)
        FROM pg_catalog.pg_stat_activity a
        WHERE a.usesysid = r.oid AND a.pid <> pg_catalog.pg_backend_pid()
      ) ELSE 0 END,
      'owned_databases', (
        SELECT pg_catalog.json_agg(d.datname ORDER BY d.datname)
        FROM pg_catalog.pg_database d
        WHERE d.datdba = r.oid
      )
    ))
    FROM pg_catalog.pg_roles r
    WHERE r.oid = ANY (ARRAY(SELECT asked.oid FROM asked))
  ),
  'memberships', (SELECT pg_catalog.json_agg(m.entry) FROM membership m),
  'database', (
    SELECT pg_catalog.json_build_object(
      'oid', base.oid::pg_catalog.int8,
      'owner', base.datdba::pg_catalog.int8,
      'allow_connections', base.datallowconn,
      'invalid', base.datconnlimit = -2,
      'comment', (
        SELECT CASE WHEN pg_catalog.octet_length(c.description) <= 8192 THEN c.description END
        FROM pg_catalog.pg_shdescription c
        WHERE c.objoid = base.oid AND c.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
      ),
      'acl', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
          item.grantee::pg_catalog.int8, item.grantor::pg_catalog.int8, item.privileges
        ))
        FROM item
      )
    )
    FROM base
  )
)
