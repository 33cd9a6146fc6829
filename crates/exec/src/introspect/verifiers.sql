WITH RECURSIVE
-- For whoever may read pg_authid. The permission is checked even where no row is wanted.
stored AS MATERIALIZED (
  SELECT a.oid, a.rolpassword AS verifier
  FROM pg_catalog.pg_authid a
  WHERE a.rolname = ANY ($1)
),
