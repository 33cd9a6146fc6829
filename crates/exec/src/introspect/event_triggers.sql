-- The event triggers that fire in this session: whose they are, and whose code they run. Where a superuser's session
-- turned them off (17 and later), there are none.
event_trigger AS MATERIALIZED (
  SELECT
    pg_catalog.quote_ident(t.evtname) AS name, t.evtowner AS owner, t.evtevent AS event, t.evttags AS tags,
    pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(p.proname)) AS function,
    p.proowner AS function_owner
  FROM pg_catalog.pg_event_trigger t
  JOIN pg_catalog.pg_proc p ON p.oid = t.evtfoid
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE t.evtenabled IN (
      'A', CASE pg_catalog.current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END
    )
    AND coalesce(pg_catalog.current_setting('event_triggers', true)::pg_catalog.bool, true)
),
