-- The first statement of a session: is it the one that was asked for, and what is this server?
-- Nothing is verified yet, so that it relies on no search_path: key words, qualified names, qualified operators.
-- $1: name of the setting that carries the nonce.
SELECT pg_catalog.json_build_object(
  'version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
  'session_user', session_user::pg_catalog.text,
  'current_user', current_user::pg_catalog.text,
  'search_path', pg_catalog.current_setting('search_path'),
  'nonce', pg_catalog.current_setting($1, true),
  'in_recovery', pg_catalog.pg_is_in_recovery(),
  'read_only_by', CASE WHEN pg_catalog.current_setting('default_transaction_read_only')::pg_catalog.bool THEN (
    SELECT s.source
    FROM pg_catalog.pg_settings s
    WHERE s.name OPERATOR(pg_catalog.=) 'default_transaction_read_only'
  ) END,
  'superuser', pg_catalog.current_setting('is_superuser')::pg_catalog.bool,
  'event_triggers', pg_catalog.current_setting('event_triggers', true)::pg_catalog.bool,
  'encrypted', coalesce((
    SELECT a.ssl
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a
  ), false),
  'reads_verifiers', pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'),
  'reads_control', pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
)
