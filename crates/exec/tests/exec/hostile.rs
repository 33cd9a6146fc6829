//! What tenants do on purpose.

use std::fmt::Write as _;

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

/// What a user leaves behind that runs as the owner of its table, with a part of its name.
const ARMED: [&str; 4] = [
    "CREATE TABLE shop.armed (n int); CREATE RULE r AS ON INSERT TO shop.armed DO ALSO DELETE FROM shop.stock",
    "CREATE TABLE shop.armed (n int); \
     CREATE FUNCTION shop.f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'; \
     CREATE INDEX ON shop.armed (shop.f(n))",
    "CREATE TABLE shop.armed (n int); \
     CREATE FUNCTION shop.g(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'; \
     CREATE INDEX ON shop.armed (n) WHERE shop.g(n)",
    "CREATE FUNCTION shop.d(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'; \
     CREATE TYPE shop.r AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = shop.d); CREATE TABLE shop.armed (n shop.r)",
];

#[tokio::test]
async fn what_runs_when_a_table_is_used_or_analyzed_is_given_to_nobody() {
    for major in [13, 18] {
        for made in ARMED {
            let place = place(major, Admin::Superuser).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            place.sql_as(&place.owner, "CREATE SCHEMA shop; CREATE TABLE shop.stock (n int)").await.unwrap();
            place.converge(&desired).await;
            // What calls PostgreSQL's own functions only is no danger.
            let fine = "CREATE TABLE shop.fine (n text, e timestamptz); CREATE INDEX ON shop.fine (lower(n)); \
                        CREATE INDEX ON shop.fine (e) WHERE n <> ''";
            place.sql_as(&place.writer, format!("{fine}; {made}")).await.unwrap();
            leave(&mut desired, &place.writer);
            let mut sessions = place.sessions();
            let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
            sessions.close().await;
            let said: String = said.iter().map(ToString::to_string).collect();
            assert!(said.contains(r#""shop"."armed""#), "{said}, {made} on {}", place.postgres);
            let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'armed'";
            assert_eq!(place.ask(owner).await.as_deref(), Some(place.writer.as_str()));
            let login =
                format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", place.writer.as_str());
            assert_eq!(place.ask(login).await.as_deref(), Some("f"), "it is shut out all the same");
            place.sql("DROP TABLE shop.armed").await;
            assert_eq!(place.converge(&desired).await.role(&place.writer), None);
            let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'fine'";
            assert_eq!(place.ask(owner).await.as_deref(), Some(place.owner.as_str()));
        }
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
