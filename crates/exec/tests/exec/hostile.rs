//! What tenants do on purpose.

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
            made += &format!(
                "; CREATE VIEW public.v{number} AS SELECT FROM public.v{below} a, public.v{below} b"
            );
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
        let taken = format!(
            "REVOKE ALL ON shop.blind FROM {owner}, {reader}; REVOKE ALL ON shop.other FROM {reader}"
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
