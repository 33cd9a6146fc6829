-- What a tenant leaves in the schema `:schema`: everything that runs a function when it is read, written, checked,
-- converted, dropped or given away. The author is `:author`.
SET search_path = '';
CREATE DOMAIN :schema.checked AS pg_catalog.int4 CHECK (canary.sing(':author: domain'));
CREATE TABLE :schema.stock (
  n :schema.checked DEFAULT 1,
  heard pg_catalog.bool DEFAULT canary.sing(':author: default'),
  CONSTRAINT heard CHECK (canary.sing(':author: check constraint'))
);
CREATE FUNCTION :schema.on_change() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing(':author: trigger'); RETURN NEW; END $$;
CREATE TRIGGER on_change BEFORE INSERT OR UPDATE OR DELETE ON :schema.stock
  FOR EACH ROW EXECUTE FUNCTION :schema.on_change();
INSERT INTO :schema.stock VALUES (1), (2);
ALTER TABLE :schema.stock ENABLE ROW LEVEL SECURITY;
CREATE POLICY watched ON :schema.stock USING (canary.sing(':author: row policy'));
CREATE POLICY named ON :schema.stock TO :reader, :writer USING (canary.sing(':author: row policy of a role'));
-- A function that is put in its place when the query is planned.
CREATE FUNCTION :schema.inlined() RETURNS pg_catalog.bool IMMUTABLE LANGUAGE sql AS
  $$ SELECT canary.sing(':author: inlined function') $$;
CREATE VIEW :schema.peek AS
  SELECT s.n, canary.sing(':author: view') AS heard, :schema.inlined() AS inlined FROM :schema.stock s;
-- The key of its partitions is computed.
CREATE TABLE :schema.parts (n pg_catalog.int4) PARTITION BY LIST ((canary.sing(':author: partition key' || n)));
CREATE SEQUENCE :schema.numbers;
CREATE FUNCTION :schema.definer() RETURNS pg_catalog.bool SECURITY DEFINER LANGUAGE plpgsql AS
  $$ BEGIN RETURN canary.sing(':author: security definer'); END $$;
CREATE PROCEDURE :schema.proceed() SECURITY DEFINER LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing(':author: procedure'); END $$;
-- A type that is converted by a function, and one whose values are compared by one.
CREATE TYPE :schema.pair AS (a pg_catalog.int4, b pg_catalog.int4);
CREATE FUNCTION :schema.converted(:schema.pair) RETURNS pg_catalog.text IMMUTABLE LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing(':author: cast'); RETURN ''; END $$;
CREATE CAST (:schema.pair AS pg_catalog.text) WITH FUNCTION :schema.converted(:schema.pair) AS IMPLICIT;
CREATE FUNCTION :schema.compared(:schema.pair, :schema.pair) RETURNS pg_catalog.bool IMMUTABLE LANGUAGE plpgsql AS
  $$ BEGIN RETURN canary.sing(':author: operator'); END $$;
CREATE OPERATOR :schema.= (FUNCTION = :schema.compared, LEFTARG = :schema.pair, RIGHTARG = :schema.pair);
CREATE AGGREGATE :schema.summed(pg_catalog.bool) (SFUNC = pg_catalog.booland_statefunc, STYPE = pg_catalog.bool);
SELECT pg_catalog.lo_create(0);
