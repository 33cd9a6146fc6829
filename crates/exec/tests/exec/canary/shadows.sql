-- Everything that the operator's queries use, under the same name in `public`, which comes first from now on: functions
-- and aggregates, operators on all types, types with the casts to them, and catalogs.
SET search_path = '';
-- Functions of the same signature, and operators on the same types. What PL/pgSQL cannot take is left out.
DO $do$
DECLARE
  shadowed record;
  made text;
BEGIN
  FOR shadowed IN
    SELECT p.oid, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments,
      pg_catalog.pg_get_function_result(p.oid) AS result, NULL::pg_catalog.name AS operator, NULL::text AS sides
    FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND p.prokind = 'f'
      AND p.proname IN (
        'acldefault', 'aclexplode', 'array_cat', 'concat', 'current_database', 'current_setting', 'has_table_privilege',
        'has_function_privilege', 'has_column_privilege', 'has_any_column_privilege', 'isfinite', 'json_build_array',
        'json_build_object', 'jsonb_build_array', 'octet_length', 'pg_advisory_lock', 'pg_advisory_unlock_all',
        'pg_advisory_xact_lock', 'pg_backend_pid', 'pg_control_system', 'pg_is_in_recovery', 'pg_options_to_table',
        'pg_relation_size', 'pg_stat_get_activity', 'pg_terminate_backend', 'quote_ident', 'row_number', 'set_config',
        'to_jsonb', 'unnest', 'version', 'oid', 'text', 'int8', 'name', 'bool', 'regclass'
      )
    UNION ALL
    SELECT p.oid, 'operator_' || o.oid, pg_catalog.pg_get_function_identity_arguments(p.oid),
      pg_catalog.pg_get_function_result(p.oid), o.oprname,
      pg_catalog.format('LEFTARG = %s, RIGHTARG = %s', o.oprleft::pg_catalog.regtype, o.oprright::pg_catalog.regtype)
    FROM pg_catalog.pg_operator o
    JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
    WHERE o.oprnamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND o.oprkind = 'b'
      AND o.oprname IN ('=', '<>', '<', '<=', '>=', '~', '!~', '||', '->', '@>')
  LOOP
    BEGIN
      made := pg_catalog.format(
        'CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS ' ||
        '$f$ BEGIN PERFORM canary.scream(%L); RAISE EXCEPTION ''unreached''; END $f$',
        shadowed.proname, shadowed.arguments, shadowed.result,
        pg_catalog.concat(coalesce('operator ' || shadowed.operator, 'function ' || shadowed.proname), ' ', shadowed.arguments)
      );
      EXECUTE made;
      IF shadowed.operator IS NOT NULL THEN
        EXECUTE pg_catalog.format(
          'CREATE OPERATOR public.%s (FUNCTION = public.%I, %s)', shadowed.operator, shadowed.proname, shadowed.sides
        );
      END IF;
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
END $do$;
-- Aggregates.
CREATE FUNCTION public.gather_text(pg_catalog.text, pg_catalog.text, pg_catalog.text) RETURNS pg_catalog.text
  LANGUAGE plpgsql AS $$ BEGIN PERFORM canary.scream('aggregate string_agg'); RETURN $1; END $$;
CREATE AGGREGATE public.string_agg(pg_catalog.text, pg_catalog.text)
  (SFUNC = public.gather_text, STYPE = pg_catalog.text, INITCOND = '');
CREATE FUNCTION public.gather_json(pg_catalog.json, anyelement) RETURNS pg_catalog.json
  LANGUAGE plpgsql AS $$ BEGIN PERFORM canary.scream('aggregate json_agg'); RETURN $1; END $$;
CREATE AGGREGATE public.json_agg(anyelement) (SFUNC = public.gather_json, STYPE = pg_catalog.json, INITCOND = '[]');
CREATE AGGREGATE public.jsonb_agg(anyelement) (SFUNC = public.gather_json, STYPE = pg_catalog.json, INITCOND = '[]');
CREATE FUNCTION public.gather_bool(pg_catalog.bool, pg_catalog.bool) RETURNS pg_catalog.bool
  LANGUAGE plpgsql AS $$ BEGIN PERFORM canary.scream('aggregate bool_or'); RETURN $1; END $$;
CREATE AGGREGATE public.bool_or(pg_catalog.bool)
  (SFUNC = public.gather_bool, STYPE = pg_catalog.bool, INITCOND = 'f');
CREATE AGGREGATE public.bool_and(pg_catalog.bool)
  (SFUNC = public.gather_bool, STYPE = pg_catalog.bool, INITCOND = 't');
CREATE FUNCTION public.gather_count(pg_catalog.int8) RETURNS pg_catalog.int8
  LANGUAGE plpgsql AS $$ BEGIN PERFORM canary.scream('aggregate count'); RETURN $1; END $$;
CREATE AGGREGATE public.count(*) (SFUNC = public.gather_count, STYPE = pg_catalog.int8, INITCOND = '0');
-- Types, whose values are checked by a function.
DO $do$
DECLARE
  shadowed name;
BEGIN
  FOREACH shadowed IN ARRAY ARRAY['bool', 'char', 'int2', 'int4', 'int8', 'name', 'oid', 'regclass', 'text'] LOOP
    EXECUTE pg_catalog.format(
      'CREATE DOMAIN public.%I AS pg_catalog.%I CHECK (canary.scream(%L))', shadowed, shadowed, 'domain ' || shadowed
    );
  END LOOP;
END $do$;
-- Catalogs, where looking at a row calls a function.
DO $do$
DECLARE
  shadowed record;
BEGIN
  FOR shadowed IN
    SELECT c.relname, pg_catalog.string_agg(
      pg_catalog.format('NULL::%s AS %I', pg_catalog.format_type(a.atttypid, NULL), a.attname), ', ' ORDER BY a.attnum
    ) AS columns
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND (a.attnum > 0 OR a.attname = 'oid')
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND c.relkind IN ('r', 'v')
      AND a.atttypid NOT IN (SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typtype = 'p')
      AND a.attname <> 'stxdexpr'
    GROUP BY c.relname
  LOOP
    EXECUTE pg_catalog.format(
      'CREATE VIEW public.%I AS SELECT %s FROM pg_catalog.generate_series(1, 1) WHERE canary.scream(%L)',
      shadowed.relname, shadowed.columns, 'view ' || shadowed.relname
    );
  END LOOP;
END $do$;
