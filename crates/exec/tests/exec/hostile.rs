//! What tenants do on purpose.

use std::{collections::BTreeSet, fmt::Write as _};

use plan::{Action, testing::ident};
use testbed::{postgres::run, unique};

use crate::support::{Admin, MAJORS, leave, own_superuser, place, rounds, sql};

#[tokio::test]
async fn a_view_that_unfolds_without_end_is_not_unfolded() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        // Each has twice as much in it as the one before: whoever follows them needs more memory than there is.
        let mut made = "CREATE VIEW public.v0 AS SELECT".to_owned();
        for number in 1..40 {
            let below = number - 1;
            write!(
                made,
                "; CREATE VIEW public.v{number} AS SELECT FROM public.v{below} a, public.v{below} b"
            )
            .unwrap();
        }
        place.sql(format!("SET ROLE {}; {made}", place.owner)).await;
        place.sql(format!("REVOKE SELECT ON public.v39 FROM {}", place.reader)).await;
        place.converge(&desired).await;
        let granted =
            format!("SELECT has_table_privilege('{}', 'public.v39', 'SELECT')", place.reader.as_str());
        assert_eq!(place.ask(granted).await.as_deref(), Some("t"), "on {}", place.postgres);
    }
}

#[tokio::test]
async fn a_table_that_its_owner_may_not_read_holds_up_nobody() {
    for major in MAJORS {
        let place = place(major, Admin::Limited).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let made = "CREATE SCHEMA shop; CREATE TABLE shop.blind (n int); CREATE TABLE shop.other (n int)";
        place.sql_as(&place.owner, made).await.unwrap();
        place.converge(&desired).await;
        let (owner, reader) = (&place.owner, &place.reader);
        // The admin role may read what any of them may.
        let taken = format!(
            "REVOKE ALL ON shop.blind FROM {owner}, {reader}, {}; REVOKE ALL ON shop.other FROM {reader}",
            place.writer
        );
        place.sql_as(owner, taken).await.unwrap();
        place.converge(&desired).await;
        place.sql_as(reader, "SELECT * FROM shop.blind, shop.other").await.unwrap();
    }
}

#[tokio::test]
async fn a_leaving_role_cannot_hold_the_door_open() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = own_superuser(place(major, admin).await).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            let connect = async || {
                let password = place.secrets.0[&place.writer].expose();
                place.postgres.connect("postgres", place.writer.as_str(), password).await
            };
            let mut session = connect().await.unwrap();
            // Its own row, which NOLOGIN has to change.
            run(&mut session, format!("BEGIN; ALTER ROLE {} PASSWORD 'x'", place.writer)).await.unwrap();
            leave(&mut desired, &place.writer);
            let mut sessions = place.sessions();
            let catalog = sessions.read(&desired).await.unwrap();
            let first = sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap();
            assert_eq!(first.end, exec::End::Stale);
            let catalog = sessions.read(&desired).await.unwrap();
            let second = sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap();
            let exec::End::Refused(refused) = second.end else { panic!("{:?}", second.end) };
            assert_eq!(refused.action, Action::RevokeLogin { role: place.writer.clone() });
            // The rest is done without it, and with that its session ends.
            let around = plan::Desired { refused: vec![refused], ..desired.clone() };
            let withheld = rounds(&mut sessions, &around).await.unwrap().withheld;
            assert!(withheld.iter().any(|one| one.role() == Some(&place.writer)), "{withheld:?}");
            assert!(run(&mut session, "SELECT 1").await.is_err(), "on {}", place.postgres);
            sessions.close().await;
            assert_eq!(place.converge(&desired).await.role(&place.writer), None, "on {}", place.postgres);
        }
    }
}

#[tokio::test]
async fn an_owner_cannot_keep_a_leaving_role_by_holding_the_database() {
    for major in [13, 18] {
        let place = own_superuser(place(major, Admin::Superuser).await).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let stranger = unique("stranger");
        sql(place.postgres, "postgres", format!("CREATE ROLE {stranger}")).await;
        let password = place.secrets.0[&place.owner].expose();
        let mut owner =
            place.postgres.connect(place.database.as_str(), place.owner.as_str(), password).await.unwrap();
        let held = format!("BEGIN; GRANT CONNECT ON DATABASE {} TO {stranger}", place.database);
        run(&mut owner, held).await.unwrap();
        leave(&mut desired, &place.writer);
        let mut sessions = place.sessions();
        for _ in 0..2 {
            let catalog = sessions.read(&desired).await.unwrap();
            sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap();
        }
        sessions.close().await;
        let login = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", place.writer.as_str());
        assert_eq!(place.ask(login).await.as_deref(), Some("f"), "on {}", place.postgres);
        run(&mut owner, "COMMIT").await.unwrap();
        assert_eq!(place.converge(&desired).await.role(&ident(place.writer.as_str())), None);
    }
}

/// What a user leaves behind that runs as its owner.
const ARMED: [&str; 17] = [
    "CREATE TABLE shop.armed (n int); CREATE RULE r AS ON INSERT TO shop.armed DO ALSO DELETE FROM store.stock",
    "CREATE TABLE shop.armed (n int); \
     CREATE FUNCTION shop.f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'; \
     CREATE INDEX ON shop.armed (shop.f(n))",
    "CREATE TABLE shop.armed (n int); \
     CREATE FUNCTION shop.g(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; \
     CREATE INDEX ON shop.armed (n) WHERE shop.g(n)",
    "CREATE FUNCTION shop.d(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
     CREATE TYPE shop.r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = shop.d); CREATE TABLE shop.armed (n shop.r)",
    "CREATE VIEW shop.armed AS SELECT 1 AS n; CREATE RULE r AS ON INSERT TO shop.armed DO INSTEAD DELETE FROM store.stock",
    "CREATE FUNCTION shop.m() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
     CREATE MATERIALIZED VIEW shop.armed AS SELECT shop.m()",
    "CREATE TABLE shop.keys (n int PRIMARY KEY); \
     CREATE TABLE shop.armed (n int REFERENCES shop.keys ON DELETE CASCADE); \
     CREATE FUNCTION shop.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
     CREATE TRIGGER t BEFORE DELETE ON shop.armed FOR EACH ROW EXECUTE FUNCTION shop.t()",
    "CREATE TABLE shop.keys (n int PRIMARY KEY); \
     CREATE FUNCTION shop.c(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; \
     CREATE TABLE shop.armed (n int CHECK (shop.c(n)) REFERENCES shop.keys ON DELETE SET NULL)",
    "CREATE TABLE shop.keys (n int PRIMARY KEY); \
     CREATE FUNCTION shop.d() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
     CREATE TABLE shop.armed (n int DEFAULT shop.d() REFERENCES shop.keys ON UPDATE SET DEFAULT)",
    "CREATE TABLE shop.keys (n int PRIMARY KEY); \
     CREATE TABLE shop.armed (n int REFERENCES shop.keys ON UPDATE CASCADE) PARTITION BY LIST (n)",
    "CREATE TABLE shop.armed (n int); \
     CREATE FUNCTION shop.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'; \
     CREATE TRIGGER t BEFORE DELETE ON shop.armed FOR EACH ROW EXECUTE FUNCTION shop.t(); \
     ALTER TABLE shop.armed ENABLE ALWAYS TRIGGER t",
    "CREATE DOMAIN shop.own AS int; CREATE TABLE shop.armed (n int PRIMARY KEY, m shop.own REFERENCES shop.armed)",
    "CREATE FUNCTION shop.ok(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; \
     CREATE DOMAIN shop.own AS int CHECK (shop.ok(VALUE)); CREATE TYPE shop.pair AS (n shop.own); \
     CREATE MATERIALIZED VIEW shop.armed AS SELECT ('(1)'::text)::shop.pair AS p",
    // PostgreSQL's own functions that run what a text says.
    "CREATE MATERIALIZED VIEW shop.armed AS SELECT ts_rewrite('a'::tsquery, 'SELECT $$a$$::tsquery, $$b$$::tsquery')",
    "CREATE TABLE shop.keys (n int PRIMARY KEY); \
     CREATE TABLE shop.armed (n int CHECK (ts_rewrite('a', 'SELECT $$a$$::tsquery, $$b$$::tsquery') <> '') \
     REFERENCES shop.keys ON DELETE SET NULL)",
    "CREATE FUNCTION shop.m() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
     CREATE VIEW shop.below AS SELECT shop.m() AS n; CREATE VIEW shop.between AS SELECT * FROM shop.below; \
     CREATE MATERIALIZED VIEW shop.armed AS SELECT n FROM shop.between",
    // Expressions came with version 14.
    "CREATE TABLE shop.armed (n int); \
     DO $do$ BEGIN \
       IF current_setting('server_version_num')::int >= 140000 THEN \
         EXECUTE 'CREATE STATISTICS shop.s ON n, \
                  (ts_rewrite($x$a$x$::tsquery, $x$SELECT $$a$$::tsquery, $$b$$::tsquery$x$)::text) FROM shop.armed'; \
       ELSE CREATE RULE r AS ON INSERT TO shop.armed DO NOTHING; \
       END IF; \
     END $do$",
];

/// What is no danger: it calls PostgreSQL's own functions only, or runs with the rights of whoever writes.
const FINE: &str = "CREATE TABLE store.fine (n text, e timestamptz DEFAULT now(), u uuid DEFAULT gen_random_uuid(), \
                    s serial CHECK (s > random() - 1)); CREATE MATERIALIZED VIEW store.counted AS SELECT count(*) FROM pg_class;  CREATE INDEX ON store.fine (lower(n)); \
                    CREATE INDEX ON store.fine (e) WHERE n <> ''; CREATE TABLE store.key (n int PRIMARY KEY); \
                    CREATE TABLE store.chained (n int DEFAULT 1 CHECK (n > 0) REFERENCES store.key ON DELETE CASCADE); \
                    CREATE FUNCTION store.free() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                    CREATE TRIGGER t BEFORE INSERT ON store.fine FOR EACH ROW EXECUTE FUNCTION store.free()";

#[tokio::test]
async fn what_runs_as_its_owner_when_others_use_or_maintain_it_is_given_to_nobody() {
    for major in 13..=18 {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let schema = |number: usize| format!("CREATE SCHEMA shop{number}");
        let schemas: Vec<_> = (0..ARMED.len()).map(schema).collect();
        let stock = "CREATE SCHEMA store; CREATE TABLE store.stock (n int)";
        place.sql_as(&place.owner, format!("{stock}; {}", schemas.join("; "))).await.unwrap();
        place.converge(&desired).await;
        place.sql_as(&place.writer, FINE).await.unwrap();
        for (number, made) in ARMED.iter().enumerate() {
            place.sql_as(&place.writer, made.replace("shop.", &format!("shop{number}."))).await.unwrap();
        }
        leave(&mut desired, &place.writer);
        let mut sessions = place.sessions();
        let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
        let catalog = sessions.read(&desired).await.unwrap();
        sessions.close().await;
        let said: String = said.iter().map(ToString::to_string).collect();
        assert!(said.contains(r#""shop0"."armed""#), "{said} on {}", place.postgres);
        let writer = catalog.role_oid(&place.writer).unwrap();
        let armed = catalog.dependencies[&writer][&place.database].armed_relations.iter();
        let found: BTreeSet<_> = armed.map(ToString::to_string).collect();
        let wanted = (0..ARMED.len()).map(|number| format!(r#""shop{number}"."armed""#)).collect();
        assert_eq!(found, wanted, "on {}", place.postgres);
        let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ',') FROM pg_class \
                      WHERE relname IN ('armed', 'fine')";
        assert_eq!(place.ask(owners).await.as_deref(), Some(place.writer.as_str()), "a departure is whole");
        let login = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", place.writer.as_str());
        assert_eq!(place.ask(login).await.as_deref(), Some("f"), "it is shut out all the same");
        for (number, made) in ARMED.iter().enumerate() {
            let kinds = ["MATERIALIZED VIEW", "VIEW"];
            let is_it = |kind: &&&str| made.contains(&format!("CREATE {kind} shop.armed"));
            let kind = kinds.iter().find(is_it).unwrap_or(&"TABLE");
            place.sql(format!("DROP {kind} shop{number}.armed")).await;
        }
        assert_eq!(place.converge(&desired).await.role(&place.writer), None);
        assert_eq!(place.ask(owners).await.as_deref(), Some(place.owner.as_str()));
    }
}

#[tokio::test]
async fn a_subscription_is_given_to_nobody_who_may_write_more() {
    for major in [16, 18] {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let (writer, database) = (&place.writer, &place.database);
        place
            .sql(format!(
                "GRANT pg_create_subscription TO {writer}; GRANT CREATE ON DATABASE {database} TO {writer}"
            ))
            .await;
        let made = "CREATE SUBSCRIPTION stream CONNECTION 'host=127.0.0.1 port=1 password=x' PUBLICATION p \
                    WITH (connect = false)";
        place.sql_as(writer, made).await.unwrap();
        leave(&mut desired, writer);
        let mut sessions = place.sessions();
        let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
        sessions.close().await;
        assert!(
            said.iter().any(|one| one.to_string().contains("subscription stream")),
            "{said:?} on {major}"
        );
        let owner = "SELECT subowner::regrole::text FROM pg_subscription WHERE subname = 'stream'";
        assert_eq!(place.ask(owner).await.as_deref(), Some(writer.as_str()));
        place.sql("ALTER SUBSCRIPTION stream SET (slot_name = NONE)").await;
        place.sql("DROP SUBSCRIPTION stream").await;
        assert_eq!(place.converge(&desired).await.role(writer), None);
    }
}

#[tokio::test]
async fn nothing_that_runs_by_itself_is_left_to_a_superuser() {
    // Up to 14 everyone may create in the maintenance database.
    let place = place(13, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    let table = unique("trap");
    let password = place.secrets.0[&place.reader].expose();
    let mut session = place.postgres.connect("postgres", place.reader.as_str(), password).await.unwrap();
    let made = format!(
        "CREATE TABLE public.{table} (n int); GRANT INSERT ON public.{table} TO PUBLIC; \
         CREATE RULE r AS ON INSERT TO public.{table} DO ALSO \
           UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname = '{}'",
        place.writer.as_str()
    );
    run(&mut session, made).await.unwrap();
    drop(session);
    leave(&mut desired, &place.reader);
    let mut sessions = place.sessions();
    let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
    sessions.close().await;
    assert!(said.iter().any(|one| one.to_string().contains(&table)), "{said:?}");
    let password = place.secrets.0[&place.writer].expose();
    let mut thief = place.postgres.connect("postgres", place.writer.as_str(), password).await.unwrap();
    run(&mut thief, format!("INSERT INTO public.{table} VALUES (1)")).await.unwrap_err();
    sql(place.postgres, "postgres", format!("DROP TABLE public.{table}")).await;
    assert_eq!(place.converge(&desired).await.role(&place.reader), None);
}

#[tokio::test]
async fn a_table_that_others_may_refer_to_is_not_left_to_a_superuser() {
    let place = place(13, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    let table = unique("lent");
    let connect = async |role| {
        let password = place.secrets.0[role].expose();
        place.postgres.connect("postgres", role.as_str(), password).await.unwrap()
    };
    let made = format!(
        "CREATE TABLE public.{table} (n int PRIMARY KEY); INSERT INTO public.{table} VALUES (1); \
         GRANT REFERENCES (n) ON public.{table} TO {}",
        place.writer
    );
    run(&mut connect(&place.reader).await, made).await.unwrap();
    leave(&mut desired, &place.reader);
    let mut sessions = place.sessions();
    let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
    sessions.close().await;
    assert!(said.iter().any(|one| one.to_string().contains(&table)), "{said:?}");
    // It runs as the owner of the table that it refers to.
    let trap = format!(
        "CREATE TYPE public.{table}_type AS (n int); \
         CREATE FUNCTION public.{table}_cast(public.{table}_type) RETURNS int LANGUAGE plpgsql AS \
           $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$; \
         CREATE CAST (public.{table}_type AS int) WITH FUNCTION public.{table}_cast(public.{table}_type) AS IMPLICIT; \
         CREATE TABLE public.{table}_trap (n public.{table}_type REFERENCES public.{table}); \
         INSERT INTO public.{table}_trap VALUES (ROW(1))"
    );
    let ran = run(&mut connect(&place.writer).await, trap).await.unwrap_err().to_string();
    assert!(ran.contains(&format!("ran as {}", place.reader.as_str())), "{ran}");
    sql(place.postgres, "postgres", format!("DROP TABLE public.{table}")).await;
    assert_eq!(place.converge(&desired).await.role(&place.reader), None);
}

#[tokio::test]
async fn a_view_over_row_policies_is_given_to_nobody_who_sees_more() {
    for (major, kind) in [(13, "VIEW"), (14, "VIEW"), (18, "MATERIALIZED VIEW")] {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let made = "CREATE SCHEMA shop; CREATE TABLE shop.rows AS SELECT 7 AS n; \
                    ALTER TABLE shop.rows ENABLE ROW LEVEL SECURITY; \
                    CREATE POLICY none ON shop.rows USING (false)";
        place.sql_as(&place.owner, made).await.unwrap();
        place.converge(&desired).await;
        let made = format!("CREATE {kind} shop.peek AS SELECT * FROM shop.rows");
        place.sql_as(&place.writer, made).await.unwrap();
        leave(&mut desired, &place.writer);
        let mut sessions = place.sessions();
        let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
        sessions.close().await;
        assert!(said.iter().any(|one| one.to_string().contains("peek")), "{said:?} on {}", place.postgres);
        place.sql_as(&place.reader, "SELECT 1 / count(*) FROM shop.peek").await.unwrap_err();
    }
}

#[tokio::test]
async fn whoever_owns_the_database_cannot_give_what_is_not_taken_back() {
    for major in [15, 17, 18] {
        let place = place(major, Admin::Limited).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let (owner, reader) = (&place.owner, &place.reader);
        // Its own entry, given by `pg_database_owner`, makes it the one that the server takes to give and take.
        let given = format!(
            "GRANT CREATE ON SCHEMA public TO {reader}; \
             GRANT USAGE, CREATE ON SCHEMA public TO {owner} WITH GRANT OPTION"
        );
        place.sql_as(owner, given).await.unwrap();
        place.converge(&desired).await;
        place.sql_as(reader, "CREATE TABLE public.mine (n int)").await.unwrap_err();
    }
}
