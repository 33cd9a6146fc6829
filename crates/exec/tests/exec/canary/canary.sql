-- What every trick calls. It leaves a line in the server's log, which no rollback takes back: which trick, made by
-- whom, in whose session, with whose rights. Whoever runs this owns the canary.
CREATE SCHEMA canary;
GRANT USAGE ON SCHEMA canary TO PUBLIC;
-- For what the tenants themselves run now and then.
CREATE FUNCTION canary.sing(trick pg_catalog.text) RETURNS pg_catalog.bool IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  RAISE LOG 'canary: % / % / %', session_user, current_user, trick;
  RETURN true;
END $$;
-- For what nobody runs but whom it is meant for.
CREATE FUNCTION canary.scream(trick pg_catalog.text) RETURNS pg_catalog.bool IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  RAISE LOG 'canary: % / % / %', session_user, current_user, trick;
  RAISE EXCEPTION 'the canary was disturbed: %', trick;
END $$;
