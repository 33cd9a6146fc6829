-- What the owner of a database may set for every session in it, as far as it leaves sessions of tests usable.
ALTER DATABASE :database SET search_path = pg_temp, public, pg_catalog;
-- Ignored: whoever logs in stays who it is.
ALTER DATABASE :database SET session_authorization = :owner;
ALTER DATABASE :database SET default_transaction_isolation = 'serializable';
ALTER DATABASE :database SET default_transaction_deferrable = on;
ALTER DATABASE :database SET row_security = off;
ALTER DATABASE :database SET quote_all_identifiers = on;
ALTER DATABASE :database SET transform_null_equals = on;
ALTER DATABASE :database SET array_nulls = off;
ALTER DATABASE :database SET check_function_bodies = off;
ALTER DATABASE :database SET standard_conforming_strings = off;
ALTER DATABASE :database SET client_min_messages = 'error';
ALTER DATABASE :database SET jit_above_cost = 0;
