-- Settings that could not stand in the startup packet. $1: names, $2: values.
SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, false))
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s (name, value)
