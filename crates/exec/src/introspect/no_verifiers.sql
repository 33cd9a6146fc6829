WITH RECURSIVE
stored AS MATERIALIZED (
  SELECT NULL::pg_catalog.oid AS oid, NULL::pg_catalog.text AS verifier
),
