//! What a role slips in among what it is made to give away.

use std::time::Duration;

use exec::End;
use plan::{Ident, plan};
use sqlx::PgConnection;
use testbed::postgres::{fetch_text, run};
use tokio::time::timeout;

use crate::support::{Admin, MAJORS, Place, place, rounds};

async fn session(place: &Place, role: &Ident) -> PgConnection {
    let password = place.secrets.0[role].expose();
    place.postgres.connect(place.database.as_str(), role.as_str(), password).await.unwrap()
}

#[tokio::test]
async fn a_temporary_view_is_given_to_nobody() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        place.sql_as(&place.owner, "CREATE TABLE public.pay (who text)").await.unwrap();
        place.converge(&desired).await;
        let mut reader = session(&place, &place.reader).await;
        // Whoever owns anything at all has it reassigned: everybody may make large objects.
        let made = "CREATE TEMPORARY VIEW mine AS SELECT * FROM public.pay; GRANT ALL ON mine TO PUBLIC; \
                    CREATE TEMPORARY TABLE ruled (n int); GRANT ALL ON ruled TO PUBLIC; \
                    CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO public.pay VALUES ('me'); \
                    SELECT lo_create(0)";
        run(&mut reader, made).await.unwrap();
        let mut sessions = place.sessions();
        let said = rounds(&mut sessions, &desired).await.unwrap().withheld;
        let catalog = sessions.read(&desired).await.unwrap();
        sessions.close().await;
        let said: String = said.iter().map(ToString::to_string).collect();
        assert!(said.contains("which is temporary"), "{said} on {}", place.postgres);
        let role = catalog.role_oid(&place.reader).unwrap();
        let found = catalog.dependencies[&role][&place.database].temporary_relations.iter();
        let found: Vec<_> = found.map(|relation| relation.name.name.as_str()).collect();
        assert_eq!(found, ["mine", "ruled"], "on {}", place.postgres);
        for taken in ["INSERT INTO mine VALUES ('me')", "INSERT INTO ruled VALUES (1)"] {
            let refusal = run(&mut reader, taken).await.map(|_| ()).unwrap_err().to_string();
            assert!(refusal.contains("permission denied"), "{refusal} on {}", place.postgres);
        }
        run(&mut reader, "DISCARD TEMPORARY").await.unwrap();
        let owners = place.converge(&desired).await.contents.unwrap().owners;
        assert!(!owners.contains(&role), "on {}", place.postgres);
    }
}

#[tokio::test]
async fn what_is_made_while_a_role_gives_all_away_is_not_among_it() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let [mut slow, mut quick] =
            [session(&place, &place.reader).await, session(&place, &place.reader).await];
        let function = |name: &str| {
            format!(
                "CREATE FUNCTION pg_temp.{name}() RETURNS name LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user'"
            )
        };
        run(&mut slow, format!("SELECT lo_create(0); {}", function("seen"))).await.unwrap();
        let mut sessions = place.sessions();
        let catalog = sessions.read(&desired).await.unwrap();
        // The operator comes to it between reading and giving away.
        run(&mut slow, "BEGIN; ALTER FUNCTION pg_temp.seen() COST 2").await.unwrap();
        let slip_in = async {
            let waits = "SELECT 'x' FROM pg_locks WHERE NOT granted \
                         AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
            while fetch_text(&mut quick, waits).await.unwrap().is_none() {}
            run(&mut quick, function("unseen")).await.unwrap();
            run(&mut slow, "ROLLBACK").await.unwrap();
        };
        let next = plan(&desired, &catalog);
        let (applied, slipped_in) =
            tokio::join!(sessions.apply(&desired, &next), timeout(Duration::from_secs(30), slip_in));
        slipped_in.expect("the operator waits for the reader");
        assert_eq!(applied.unwrap().end, End::Stale, "on {}", place.postgres);
        let whose = "SELECT pg_get_userbyid(proowner) || prosecdef FROM pg_proc WHERE proname = 'unseen' \
                     AND pronamespace = pg_my_temp_schema()";
        let before = format!("{}true", place.reader.as_str());
        assert_eq!(fetch_text(&mut quick, whose).await.unwrap(), Some(before), "on {}", place.postgres);
        sessions.close().await;
        place.converge(&desired).await;
        let after = format!("{}false", place.owner.as_str());
        assert_eq!(fetch_text(&mut quick, whose).await.unwrap(), Some(after), "on {}", place.postgres);
    }
}
