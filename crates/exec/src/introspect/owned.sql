-- What a role has in this database that would gain its heir's rights, or give others rights of the heir.
-- $1: the role, $2: the role that had it before this transaction gave it to $1; then it is about that only, and $2
-- tells what views could read. Otherwise both are the same. (A row that this transaction wrote has an xmin that is not
-- older than it.)
routine AS MATERIALIZED (
  SELECT
    n.nspname AS schema, p.proname AS name, p.prosecdef AS definer,
    (
      SELECT pg_catalog.json_agg(pg_catalog.json_build_array(tn.nspname, t.typname) ORDER BY a.place)
      FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a (type, place)
      JOIN pg_catalog.pg_type t ON t.oid = a.type
      JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    ) AS arguments
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE p.proowner = $1::pg_catalog.int8::pg_catalog.oid
    AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR pg_catalog.age(p.xmin) <= 0)
),
view AS MATERIALIZED (
  SELECT
    c.oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind,
    coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner)) AS acl,
    NOT EXISTS (
      SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) o
      WHERE o.option_name = 'security_invoker' AND o.option_value::pg_catalog.bool
    ) AND c.relkind = 'v' AS definer
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relowner = $1::pg_catalog.int8::pg_catalog.oid
    AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR pg_catalog.age(c.xmin) <= 0)
    AND c.relkind IN ('v', 'm')
    AND c.relpersistence <> 't'
),
-- Code that is neither PostgreSQL's own nor an extension's: functions, operators, and types whose values run functions.
-- Whoever owns an extension can put functions into it; what it came with belongs to a superuser.
foreign_code AS MATERIALIZED (
  SELECT f.classid, f.oid
  FROM (
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AS classid, p.oid, p.proowner AS owner
    FROM pg_catalog.pg_proc p
    UNION ALL
    SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid, o.oid, o.oprowner
    FROM pg_catalog.pg_operator o
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typowner
    FROM pg_catalog.pg_type t
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
    WHERE t.typtype IN ('d', 'r', 'm') OR e.typtype IN ('d', 'r', 'm')
      -- A composite type may have a domain in it.
      OR EXISTS (
        SELECT FROM pg_catalog.pg_class k
        WHERE k.oid IN (t.typrelid, e.typrelid) AND k.relkind = 'c'
      )
  ) f
  WHERE f.oid >= 16384
    AND NOT (
      EXISTS (
        SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = f.classid AND d.objid = f.oid AND d.deptype = 'e'
      )
      AND EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = f.owner AND r.rolsuper)
    )
),
-- PostgreSQL's own functions that run what a text says, or do more than reckon: nothing depends on what they call. What
-- is often a default is none of them.
loose AS MATERIALIZED (
  SELECT p.oid
  FROM pg_catalog.pg_proc p
  WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
    AND (
      p.provolatile = 'v' AND p.proname NOT IN (
        'clock_timestamp', 'currval', 'gen_random_uuid', 'lastval', 'nextval', 'random', 'random_normal',
        'timeofday', 'uuidv4', 'uuidv7'
      )
      OR p.proname ~ '_to_xml|^ts_(rewrite|stat)$|^pg_input_|^jsonb?_populate_record'
    )
),
-- Views and materialized views with all views that they read.
reading (reader, relation) AS (
  SELECT c.oid, c.oid
  FROM pg_catalog.pg_class c
  WHERE c.relowner = $1::pg_catalog.int8::pg_catalog.oid AND c.relkind = 'm'
  UNION
  SELECT r.reader, b.oid
  FROM reading r
  JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.relation
  JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
    AND d.objid = w.oid
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  JOIN pg_catalog.pg_class b ON b.oid = d.refobjid AND b.relkind = 'v'
),
-- What the role's relations calculate with.
expression AS (
  SELECT k.conrelid AS relation, 'c' AS kind, k.conbin::pg_catalog.text AS tree
  FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'c'
  UNION ALL
  SELECT a.adrelid, 'c', a.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef a
  UNION ALL
  SELECT s.stxrelid, 's', pg_catalog.to_jsonb(s) ->> 'stxexprs' FROM pg_catalog.pg_statistic_ext s
  UNION ALL
  SELECT r.reader, 'm', w.ev_action::pg_catalog.text
  FROM reading r
  JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.relation
),
-- Those that call such a function.
loosely AS MATERIALIZED (
  SELECT e.relation, e.kind
  FROM expression e
  JOIN pg_catalog.pg_class c ON c.oid = e.relation AND c.relowner = $1::pg_catalog.int8::pg_catalog.oid
  CROSS JOIN LATERAL pg_catalog.regexp_matches(e.tree, ':funcid ([0-9]+)', 'g') AS m (found)
  JOIN loose l ON l.oid = m.found[1]::pg_catalog.oid
),
-- Tables whose triggers, checks and defaults run such code when a row is written.
coded AS MATERIALIZED (
  SELECT w.relation
  FROM (
    SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass::pg_catalog.oid AS classid, t.oid, t.tgrelid AS relation
    FROM pg_catalog.pg_trigger t
    WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, k.oid, k.conrelid
    FROM pg_catalog.pg_constraint k
    WHERE k.contype = 'c' AND k.conrelid <> 0
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid, a.oid, a.adrelid
    FROM pg_catalog.pg_attrdef a
  ) w
  JOIN pg_catalog.pg_depend d ON d.classid = w.classid AND d.objid = w.oid
  JOIN foreign_code f ON f.classid = d.refclassid AND f.oid = d.refobjid
  UNION
  SELECT l.relation FROM loosely l WHERE l.kind = 'c'
),
-- Tables at both ends of a foreign key between columns of different types, one of which is somebody's own: rows that
-- refer to each other are compared by the owner of those that are looked for, and a cast may call a function.
converted AS MATERIALIZED (
  SELECT r.relation
  FROM pg_catalog.pg_constraint k
  CROSS JOIN ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS u (referring, referred)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.referring
  JOIN pg_catalog.pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.referred
  CROSS JOIN LATERAL (VALUES (k.conrelid), (k.confrelid)) r (relation)
  WHERE k.contype = 'f'
    AND a.atttypid <> b.atttypid
    AND (a.atttypid >= 16384 OR b.atttypid >= 16384)
),
-- What runs with the rights of its owner: when anyone writes to it, or to what its foreign keys refer to, or refers to
-- it, or whenever it is analyzed.
armed AS MATERIALIZED (
  SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relowner = $1::pg_catalog.int8::pg_catalog.oid
    AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR pg_catalog.age(c.xmin) <= 0)
    AND c.relkind IN ('r', 'p', 'f', 'm', 'v')
    AND c.relpersistence <> 't'
    AND (
      -- All rules but the one that makes a view.
      EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid AND w.ev_type <> '1')
      OR EXISTS (
        SELECT FROM reading r
        JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.relation
        JOIN pg_catalog.pg_depend d
          ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
        JOIN foreign_code f ON f.classid = d.refclassid AND f.oid = d.refobjid
        WHERE r.reader = c.oid
      )
      OR EXISTS (SELECT FROM loosely l WHERE l.relation = c.oid AND l.kind IN ('m', 's'))
      OR EXISTS (
        SELECT FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_depend d
          ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
        JOIN foreign_code f ON f.classid = d.refclassid AND f.oid = d.refobjid
        WHERE i.indrelid = c.oid
      )
      OR EXISTS (
        SELECT FROM pg_catalog.pg_statistic_ext s
        JOIN pg_catalog.pg_depend d
          ON d.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass AND d.objid = s.oid
        JOIN foreign_code f ON f.classid = d.refclassid AND f.oid = d.refobjid
        WHERE s.stxrelid = c.oid
      )
      -- The values of a range type are compared by a function of its own.
      OR EXISTS (
        SELECT FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN foreign_code f ON f.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND f.oid = t.oid
        WHERE a.attrelid = c.oid AND NOT a.attisdropped
          AND EXISTS (SELECT FROM pg_catalog.pg_range r WHERE r.rngsubdiff >= 16384)
      )
      -- What follows from a change of the rows that it refers to, its owner does; of partitions, which have owners of
      -- their own, whoever owns the whole. Changes that are replicated, the owner makes too (16 and later).
      OR EXISTS (
        SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'f'
          AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
          AND (
            c.relkind = 'p'
            OR c.oid IN (SELECT coded.relation FROM coded)
            OR EXISTS (
              SELECT FROM pg_catalog.pg_attribute a
              JOIN foreign_code f ON f.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND f.oid = a.atttypid
              WHERE a.attrelid = c.oid AND NOT a.attisdropped
            )
          )
      )
      OR EXISTS (
        SELECT FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('A', 'R')
      )
      OR c.oid IN (SELECT converted.relation FROM converted)
    )
),
-- Tables that others may make such foreign keys to, or put such triggers on, later.
lent AS MATERIALIZED (
  SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relowner = $1::pg_catalog.int8::pg_catalog.oid
    AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR pg_catalog.age(c.xmin) <= 0)
    AND c.relkind IN ('r', 'p', 'f')
    AND c.relpersistence <> 't'
    AND (
      EXISTS (
        SELECT FROM pg_catalog.aclexplode(c.relacl) a
        WHERE a.privilege_type IN ('REFERENCES', 'TRIGGER') AND a.grantee <> c.relowner
      )
      OR EXISTS (
        SELECT FROM pg_catalog.pg_attribute t
        CROSS JOIN pg_catalog.aclexplode(t.attacl) a
        WHERE t.attrelid = c.oid AND NOT t.attisdropped
          AND a.privilege_type = 'REFERENCES' AND a.grantee <> c.relowner
      )
    )
)
SELECT pg_catalog.json_build_object(
  'lent_relations', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(l.schema, l.name, l.kind)) FROM lent l
  ),
  'armed_relations', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.schema, a.name, a.kind)) FROM armed a
  ),
  'subscriptions', (
    SELECT pg_catalog.json_agg(pg_catalog.quote_ident(s.subname) ORDER BY s.subname)
    FROM pg_catalog.pg_subscription s
    WHERE s.subowner = $1::pg_catalog.int8::pg_catalog.oid
      -- Not everybody may read a subscription's xmin.
      AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR EXISTS (
        SELECT FROM pg_catalog.pg_shdepend g
        WHERE g.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass
          AND g.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
          AND g.refobjid = $1::pg_catalog.int8::pg_catalog.oid
          AND g.deptype = 'o'
          AND pg_catalog.age(g.xmin) <= 0
      ))
      AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
  ),
  -- REASSIGN gives those too, of every session. What has no rules reads and writes nothing else.
  'temporary_relations', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname, c.relkind))
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relowner = $1::pg_catalog.int8::pg_catalog.oid
      AND ($1::pg_catalog.int8 = $2::pg_catalog.int8 OR pg_catalog.age(c.xmin) <= 0)
      AND c.relpersistence = 't'
      AND EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid)
  ),
  'definer_routines', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.schema, r.name, r.arguments))
    FROM routine r
    WHERE r.definer
  ),
  'routine_schemas', (SELECT pg_catalog.json_agg(DISTINCT r.schema) FROM routine r),
  'definer_views', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(v.schema, v.name, v.kind))
    FROM view v
    WHERE v.definer
  ),
  -- Those that read what the role itself may not, or not all of it.
  'overreaching_views', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(v.schema, v.name, v.kind))
    FROM view v
    WHERE EXISTS (
      SELECT FROM pg_catalog.pg_rewrite w
      JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid <> v.oid
      JOIN pg_catalog.pg_class b ON b.oid = d.refobjid AND b.relkind IN ('r', 'p', 'v', 'm', 'f')
      WHERE w.ev_class = v.oid
        -- What came from the same role.
        AND ($1::pg_catalog.int8 = $2::pg_catalog.int8
          OR b.relowner <> $1::pg_catalog.int8::pg_catalog.oid OR pg_catalog.age(b.xmin) > 0)
        AND (
          NOT (
            pg_catalog.has_table_privilege($2::pg_catalog.int8::pg_catalog.oid, b.oid, 'SELECT')
            OR CASE
              WHEN d.refobjsubid > 0
              THEN pg_catalog.has_column_privilege(
                $2::pg_catalog.int8::pg_catalog.oid, b.oid, d.refobjsubid::pg_catalog.int2, 'SELECT'
              )
              ELSE pg_catalog.has_any_column_privilege($2::pg_catalog.int8::pg_catalog.oid, b.oid, 'SELECT')
            END
          )
          -- Row policies hold for the role and may not for its heir.
          OR b.relrowsecurity AND (b.relforcerowsecurity OR b.relowner <> $2::pg_catalog.int8::pg_catalog.oid)
        )
    )
  ),
  'exposed_views', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
      pg_catalog.json_build_array(v.schema, v.name, v.kind), a.grantee::pg_catalog.int8
    ))
    FROM view v
    CROSS JOIN LATERAL (
      SELECT DISTINCT x.grantee FROM pg_catalog.aclexplode(v.acl) x
    ) a
    WHERE a.grantee <> $1::pg_catalog.int8::pg_catalog.oid
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
    WHERE r.oid = ANY (ARRAY(
      SELECT a.grantee FROM view, pg_catalog.aclexplode(view.acl) a
      UNION SELECT t.owner FROM event_trigger t
      UNION SELECT t.function_owner FROM event_trigger t
    ))
  )
)
