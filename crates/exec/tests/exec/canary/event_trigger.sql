-- Event triggers that a superuser made: one calls a tenant's function, the other still belongs to whom it was made by,
-- a superuser no more.
SET search_path = '';
CREATE FUNCTION public.notice() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM canary.sing('event trigger ' || TG_EVENT || ' ' || TG_TAG);
  -- A role that was set is no fence.
  RESET ROLE;
  PERFORM canary.sing('event trigger ' || TG_EVENT || ' ' || TG_TAG || ' after RESET ROLE');
END $$;
ALTER FUNCTION public.notice() OWNER TO :owner;
CREATE EVENT TRIGGER at_start ON ddl_command_start EXECUTE FUNCTION public.notice();
CREATE EVENT TRIGGER at_end ON ddl_command_end EXECUTE FUNCTION public.notice();
CREATE EVENT TRIGGER at_drop ON sql_drop EXECUTE FUNCTION public.notice();
ALTER EVENT TRIGGER at_drop ENABLE ALWAYS;
CREATE FUNCTION public.seen() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM canary.sing('event trigger of a former superuser'); END $$;
CREATE EVENT TRIGGER left_behind ON ddl_command_end EXECUTE FUNCTION public.seen();
ALTER EVENT TRIGGER left_behind OWNER TO :former;
-- It fires where event triggers that replay nothing are off.
CREATE EVENT TRIGGER elsewhere ON ddl_command_end EXECUTE FUNCTION public.notice();
ALTER EVENT TRIGGER elsewhere ENABLE REPLICA;
-- This one fires nowhere.
CREATE EVENT TRIGGER asleep ON ddl_command_end EXECUTE FUNCTION public.notice();
ALTER EVENT TRIGGER asleep DISABLE;
DO $do$
BEGIN
  -- At the login of anybody, from version 17 on.
  IF pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000 THEN
    EXECUTE 'CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.notice()';
    EXECUTE 'ALTER EVENT TRIGGER at_login ENABLE ALWAYS';
  END IF;
END $do$;
