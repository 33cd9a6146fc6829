-- A foreign table whose server nobody answers at: whoever asks it fails.
SET search_path = '';
CREATE SERVER nobody FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER nobody OPTIONS (password 'x');
CREATE FOREIGN TABLE :schema.far (n pg_catalog.int4 DEFAULT canary.sing(':author: default of a foreign table')::pg_catalog.int4)
  SERVER nobody;
