-- What a session of the tenant has for itself, under names that the operator's queries use.
SET search_path = '';
CREATE TEMPORARY VIEW pg_class AS SELECT c.relname FROM pg_catalog.pg_class c WHERE canary.scream('temporary view');
CREATE TEMPORARY TABLE pg_roles (rolname pg_catalog.name DEFAULT canary.sing('temporary table')::pg_catalog.text);
CREATE DOMAIN pg_temp.int8 AS pg_catalog.int8 CHECK (canary.scream('temporary domain'));
CREATE FUNCTION pg_temp.array_cat(pg_catalog.aclitem[], pg_catalog.aclitem[]) RETURNS pg_catalog.aclitem[]
  LANGUAGE plpgsql AS $$ BEGIN PERFORM canary.scream('temporary function'); RETURN $1; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO PUBLIC;
