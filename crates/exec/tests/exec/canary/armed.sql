-- What runs with the rights of its owner, whoever writes to it or maintains it, or writes to what it refers to. It
-- stands in the schema `:schema`; the author is `:author`.
SET search_path = '';
CREATE TABLE :schema.armed (n pg_catalog.int4);
INSERT INTO :schema.armed SELECT * FROM pg_catalog.generate_series(1, 100);
CREATE FUNCTION :schema.loaded(pg_catalog.int4) RETURNS pg_catalog.int4 IMMUTABLE LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing(':author: index'); RETURN $1; END $$;
CREATE INDEX ON :schema.armed (:schema.loaded(n));
CREATE INDEX ON :schema.armed (n) WHERE canary.sing(':author: index predicate');
CREATE RULE also AS ON INSERT TO :schema.armed DO ALSO SELECT canary.sing(':author: rule');
DO $do$
BEGIN
  -- Expressions came with version 14.
  IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 140000 THEN
    EXECUTE 'CREATE STATISTICS :schema.known ON (:schema.loaded(n)), n FROM :schema.armed';
  END IF;
END $do$;
-- What is deleted with the key it refers to, its owner deletes.
CREATE TABLE :schema.keys (n pg_catalog.int4 PRIMARY KEY);
CREATE TABLE :schema.chained (n pg_catalog.int4 REFERENCES :schema.keys ON DELETE CASCADE);
INSERT INTO :schema.keys SELECT * FROM pg_catalog.generate_series(1, 9);
INSERT INTO :schema.chained SELECT * FROM pg_catalog.generate_series(1, 9);
CREATE FUNCTION :schema.on_cascade() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing(':author: trigger behind a foreign key'); RETURN OLD; END $$;
CREATE TRIGGER on_cascade BEFORE DELETE ON :schema.chained FOR EACH ROW EXECUTE FUNCTION :schema.on_cascade();
CREATE MATERIALIZED VIEW :schema.frozen AS SELECT canary.sing(':author: materialized view') AS heard;
