control AS (
  SELECT NULL::pg_catalog.text AS system_identifier
),
