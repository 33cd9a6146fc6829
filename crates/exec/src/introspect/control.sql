control AS (
  SELECT c.system_identifier::pg_catalog.text AS system_identifier
  FROM pg_catalog.pg_control_system() c
),
