-- What is in a database, as far as privileges are concerned. Any role, versions 13 and later; one row of JSON.
-- Lists of privileges are numbered: `acls` holds every distinct one once, schemas and relations refer to it by its
-- place. The time follows the objects of this database and its distinct lists.
-- $1: roles asked for.
asked AS MATERIALIZED (
  SELECT r.oid
  FROM pg_catalog.pg_roles r
  WHERE r.rolname = ANY ($1)
),
-- Members of extensions are not ours.
extension AS MATERIALIZED (
  SELECT d.classid, d.objid
  FROM pg_catalog.pg_depend d
  WHERE d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
),
-- array_cat decompresses a long list once; aclexplode would do it again for each row that it gives.
schema AS MATERIALIZED (
  SELECT
    n.oid, n.nspname AS name, n.nspowner AS owner,
    pg_catalog.array_cat(
      coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)), '{}'::pg_catalog.aclitem[]
    ) AS acl
  FROM pg_catalog.pg_namespace n
  WHERE n.nspname !~ '^pg_'
    AND n.nspname <> 'information_schema'
    AND NOT EXISTS (
      SELECT FROM extension e
      WHERE e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND e.objid = n.oid
    )
),
relation AS MATERIALIZED (
  SELECT
    c.oid, c.relnamespace AS schema, c.relname AS name, c.relkind AS kind, c.relowner AS owner,
    pg_catalog.array_cat(
      coalesce(
        c.relacl,
        pg_catalog.acldefault(
          CASE c.relkind WHEN 'S' THEN 's'::pg_catalog."char" ELSE 'r'::pg_catalog."char" END, c.relowner
        )
      ),
      '{}'::pg_catalog.aclitem[]
    ) AS acl
  FROM pg_catalog.pg_class c
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND c.relnamespace IN (SELECT schema.oid FROM schema)
    AND NOT EXISTS (
      SELECT FROM extension e
      WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid
    )
),
-- Those on which the roles asked for have something.
extension_relation AS MATERIALIZED (
  SELECT
    c.relnamespace AS schema, c.relname AS name, c.relkind AS kind, c.relowner AS owner,
    pg_catalog.array_cat(c.relacl, '{}'::pg_catalog.aclitem[]) AS acl
  FROM extension e
  JOIN pg_catalog.pg_class c ON c.oid = e.objid
  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND c.relnamespace IN (SELECT schema.oid FROM schema)
    AND EXISTS (
      SELECT FROM pg_catalog.aclexplode(c.relacl) a
      WHERE a.grantee IN (SELECT asked.oid FROM asked)
    )
),
list AS MATERIALIZED (
  SELECT l.acl, pg_catalog.row_number() OVER () AS place
  FROM (
    SELECT relation.acl FROM relation
    UNION SELECT schema.acl FROM schema
    UNION SELECT extension_relation.acl FROM extension_relation
  ) l
),
list_item AS MATERIALIZED (
  SELECT
    list.place, a.grantee, a.grantor,
    pg_catalog.string_agg(
      a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type
    ) AS privileges
  FROM list, pg_catalog.aclexplode(list.acl) a
  GROUP BY list.place, a.grantee, a.grantor
),
default_acl AS MATERIALIZED (
  SELECT
    d.oid, d.defaclrole AS creator, d.defaclnamespace AS schema, d.defaclobjtype AS kind,
    pg_catalog.array_cat(d.defaclacl, '{}'::pg_catalog.aclitem[]) AS acl
  FROM pg_catalog.pg_default_acl d
),
default_item AS MATERIALIZED (
  SELECT
    d.oid, a.grantee, a.grantor,
    pg_catalog.string_agg(
      a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type
    ) AS privileges
  FROM default_acl d, pg_catalog.aclexplode(d.acl) a
  GROUP BY d.oid, a.grantee, a.grantor
),
column_item AS MATERIALIZED (
  SELECT
    r.schema, r.name AS relation, r.kind, r.owner, c.attname AS name, a.grantee, a.grantor,
    pg_catalog.string_agg(
      a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type
    ) AS privileges
  FROM pg_catalog.pg_attribute c
  JOIN relation r ON r.oid = c.attrelid
  CROSS JOIN pg_catalog.aclexplode(c.attacl) a
  WHERE c.attacl IS NOT NULL
    AND NOT c.attisdropped
    AND a.grantee IN (SELECT asked.oid FROM asked)
  GROUP BY 1, 2, 3, 4, 5, 6, 7
),
-- Who makes objects here.
creator (role) AS (
  SELECT schema.owner FROM schema
  UNION SELECT relation.owner FROM relation
  UNION SELECT d.creator FROM default_acl d
  UNION SELECT a.grantee FROM schema, pg_catalog.aclexplode(schema.acl) a WHERE a.privilege_type = 'CREATE'
),
-- OFFSET keeps the planner from reading all memberships of the server once instead of some by index.
below (role) AS (
  SELECT creator.role FROM creator
  UNION
  SELECT m.member
  FROM below
  CROSS JOIN LATERAL (
    SELECT a.member FROM pg_catalog.pg_auth_members a WHERE a.roleid = below.role OFFSET 0
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
),
temporary AS MATERIALIZED (
  SELECT n.oid
  FROM pg_catalog.pg_namespace n
  WHERE n.nspname ~ '^pg_temp_'
),
-- Owners of anything but large objects, what is temporary (it goes with its session), and what REASSIGN does not give
-- to another: default privileges and user mappings. pg_shdepend knows all owners, but finds no end of privileges
-- before it tells that a role owns nothing.
owner (role) AS (
  SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.relpersistence <> 't'
  UNION SELECT p.proowner FROM pg_catalog.pg_proc p WHERE p.pronamespace NOT IN (SELECT temporary.oid FROM temporary)
  UNION SELECT t.typowner FROM pg_catalog.pg_type t WHERE t.typnamespace NOT IN (SELECT temporary.oid FROM temporary)
  UNION SELECT n.nspowner FROM pg_catalog.pg_namespace n
  UNION SELECT o.oprowner FROM pg_catalog.pg_operator o
  UNION SELECT o.opcowner FROM pg_catalog.pg_opclass o
  UNION SELECT o.opfowner FROM pg_catalog.pg_opfamily o
  UNION SELECT c.collowner FROM pg_catalog.pg_collation c
  UNION SELECT c.conowner FROM pg_catalog.pg_conversion c
  UNION SELECT l.lanowner FROM pg_catalog.pg_language l
  UNION SELECT c.cfgowner FROM pg_catalog.pg_ts_config c
  UNION SELECT d.dictowner FROM pg_catalog.pg_ts_dict d
  UNION SELECT e.extowner FROM pg_catalog.pg_extension e
  UNION SELECT w.fdwowner FROM pg_catalog.pg_foreign_data_wrapper w
  UNION SELECT s.srvowner FROM pg_catalog.pg_foreign_server s
  UNION SELECT t.evtowner FROM pg_catalog.pg_event_trigger t
  UNION SELECT p.pubowner FROM pg_catalog.pg_publication p
  UNION SELECT s.stxowner FROM pg_catalog.pg_statistic_ext s
  UNION SELECT s.subowner FROM pg_catalog.pg_subscription s
  WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
),
known (role) AS (
  SELECT creator.role FROM creator
  UNION SELECT i.grantee FROM list_item i
  UNION SELECT i.grantor FROM list_item i
  UNION SELECT x.owner FROM extension_relation x
  UNION SELECT i.grantee FROM default_item i
  UNION SELECT i.grantor FROM default_item i
  UNION SELECT i.grantee FROM column_item i
  UNION SELECT i.grantor FROM column_item i
  UNION SELECT m.roleid FROM membership m
  UNION SELECT m.member FROM membership m
  UNION SELECT m.grantor FROM membership m
  UNION SELECT t.owner FROM event_trigger t
  UNION SELECT t.function_owner FROM event_trigger t
)
SELECT pg_catalog.json_build_object(
  'schemas', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      schema.oid::pg_catalog.int8, schema.name, schema.owner::pg_catalog.int8, list.place
    ))
    FROM schema
    JOIN list ON list.acl = schema.acl
  ),
  'relations', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      g.schema::pg_catalog.int8, g.kind, g.owner::pg_catalog.int8, g.place, g.names
    ))
    FROM (
      SELECT r.schema, r.kind, r.owner, list.place, pg_catalog.json_agg(r.name) AS names
      FROM relation r
      JOIN list ON list.acl = r.acl
      GROUP BY r.schema, r.kind, r.owner, list.place
    ) g
  ),
  'extensions', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      x.schema::pg_catalog.int8, x.kind, x.owner::pg_catalog.int8, list.place, pg_catalog.json_build_array(x.name)
    ))
    FROM extension_relation x
    JOIN list ON list.acl = x.acl
  ),
  'acls', (
    SELECT pg_catalog.json_agg(g.items ORDER BY g.place)
    FROM (
      SELECT list.place, pg_catalog.json_agg(pg_catalog.json_build_array(
        i.grantee::pg_catalog.int8, i.grantor::pg_catalog.int8, i.privileges
      )) FILTER (WHERE i.place IS NOT NULL) AS items
      FROM list
      LEFT JOIN list_item i ON i.place = list.place
      GROUP BY list.place
    ) g
  ),
  'columns', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      i.schema::pg_catalog.int8, i.relation, i.kind, i.owner::pg_catalog.int8, i.name,
      pg_catalog.json_build_array(i.grantee::pg_catalog.int8, i.grantor::pg_catalog.int8, i.privileges)
    ))
    FROM column_item i
  ),
  'defaults', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      d.creator::pg_catalog.int8, d.schema::pg_catalog.int8, d.kind, g.items
    ))
    FROM default_acl d
    LEFT JOIN (
      SELECT i.oid, pg_catalog.json_agg(pg_catalog.json_build_array(
        i.grantee::pg_catalog.int8, i.grantor::pg_catalog.int8, i.privileges
      )) AS items
      FROM default_item i
      GROUP BY i.oid
    ) g ON g.oid = d.oid
  ),
  'owners', (
    SELECT pg_catalog.json_agg(asked.oid::pg_catalog.int8)
    FROM asked
    -- What initdb made has the bootstrap superuser for its owner.
    WHERE asked.oid <> 10
      AND (
        asked.oid IN (SELECT owner.role FROM owner)
        -- There can be millions of them: then it is better to look through the privileges.
        OR CASE
          WHEN pg_catalog.pg_relation_size('pg_catalog.pg_largeobject_metadata'::pg_catalog.regclass) < 1000000
          THEN asked.oid IN (SELECT l.lomowner FROM pg_catalog.pg_largeobject_metadata l)
          ELSE EXISTS (
            SELECT FROM pg_catalog.pg_shdepend s
            WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
              AND s.refobjid = asked.oid
              AND s.deptype = 'o'
              AND s.classid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass
              AND s.dbid = (
                SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
              )
          )
        END
      )
  ),
  'event_triggers', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      t.name, t.owner::pg_catalog.int8, t.event, t.tags, t.function, t.function_owner::pg_catalog.int8
    ) ORDER BY t.name)
    FROM event_trigger t
  ),
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
  'memberships', (SELECT pg_catalog.json_agg(m.entry) FROM membership m)
)
