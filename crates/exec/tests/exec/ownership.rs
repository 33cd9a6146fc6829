//! Whose roles and databases are, whatever happens to their marks.

use exec::{End, Password, scram};
use plan::testing::ident;
use plan::{
    Action, Catalog, Desired, Disposition, Ident, Leaving, Managed, Origin, Plan, Recorded, Refusal, Withheld,
};
use testbed::postgres::{fetch_rows, run};
use testbed::{eventually, unique};

use crate::support::{Admin, Place, by_hand, leave, own_superuser, place, sql};

/// Those whose rules about comments, ADMIN options and `public` differ.
const MAJORS: [u16; 4] = [13, 15, 16, 18];

/// What somebody does to a role behind our back, and what makes it ours again.
const TAMPERED: [(&str, Refusal); 7] = [
    ("COMMENT ON ROLE {role} IS NULL", Refusal::NotOurs),
    ("COMMENT ON ROLE {role} IS 'nightly reports'", Refusal::NotOurs),
    ("COMMENT ON ROLE {role} IS '{forged}'", Refusal::NotOurs),
    ("ALTER ROLE {role} RENAME TO {role}_old; CREATE ROLE {role} LOGIN PASSWORD 'theirs'", Refusal::NotOurs),
    ("ALTER ROLE {role} SUPERUSER", Refusal::Reserved),
    ("ALTER ROLE {role} CREATEROLE", Refusal::Reserved),
    ("ALTER ROLE {role} REPLICATION", Refusal::Reserved),
];

fn tampering(text: &str, role: &Ident) -> String {
    let forged = r#"{"postgres-provisioner":"v1","installation":"test","resource":"digest-x","uid":"uid-x"}"#;
    text.replace("{role}", role.as_str()).replace("{forged}", forged)
}

/// Everything that could be done to roles of these names.
async fn roles(place: &Place, role: &Ident) -> Vec<Vec<Option<String>>> {
    let sql = format!(
        "SELECT to_jsonb(a)::text, shobj_description(a.oid, 'pg_authid') FROM pg_authid a
         WHERE rolname LIKE '{}%' ORDER BY oid",
        role.as_str()
    );
    fetch_rows(&mut place.postgres.admin("postgres").await, sql).await.unwrap()
}

/// The role gets another password, so that there is something to do to it.
fn change_password(place: &mut Place, desired: &mut Desired, role: &Ident) {
    let password = Password::new(unique("changed"));
    desired.logins.get_mut(role).unwrap().password = Some(scram::verifier(&password).unwrap().into());
    place.secrets.0.insert(role.clone(), password);
}

fn refusal_of(plan: &Plan, name: &Ident) -> Option<Refusal> {
    plan.withheld.iter().find_map(|withheld| match withheld {
        Withheld::Role { role, refusal, .. } if role == name => Some(*refusal),
        _ => None,
    })
}

fn is_touched(plan: &Plan, role: &Ident) -> bool {
    plan.actions.iter().any(|action| action.roles().contains(&role))
}

/// What the server has by now, and what would be done.
async fn look(place: &Place, desired: &Desired) -> (Catalog, Plan) {
    let mut sessions = place.sessions();
    let catalog = sessions.read(desired).await.unwrap();
    sessions.close().await;
    let plan = plan::plan(desired, &catalog);
    (catalog, plan)
}

#[tokio::test]
async fn what_becomes_somebody_elses_after_it_was_planned_for_is_not_touched() {
    for major in MAJORS {
        let mut place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        let cases =
            TAMPERED.into_iter().flat_map(|(text, refusal)| [(text, refusal, false), (text, refusal, true)]);
        let cases: Vec<_> = cases.map(|case| (place.another(&mut desired, "x"), case)).collect();
        place.converge(&desired).await;
        for (role, (text, refusal, leaves)) in cases {
            let mut desired = desired.clone();
            if leaves {
                leave(&mut desired, &role);
                // Or else that would prove it.
                place.secrets.0.remove(&role);
            } else {
                change_password(&mut place, &mut desired, &role);
            }
            let mut sessions = place.sessions();
            let catalog = sessions.read(&desired).await.unwrap();
            let planned = plan::plan(&desired, &catalog);
            assert!(is_touched(&planned, &role));
            sql(place.postgres, "postgres", tampering(text, &role)).await;
            let before = roles(&place, &role).await;
            let applied = sessions.apply(&desired, &planned).await.unwrap();
            assert_eq!((applied.end, applied.done), (End::Stale, Vec::new()), "{text} on {major}");
            sessions.close().await;
            let (_, next) = look(&place, &desired).await;
            let refusal = if leaves { Refusal::NotOurs } else { refusal };
            assert_eq!(
                (refusal_of(&next, &role), is_touched(&next, &role)),
                (Some(refusal), false),
                "{text}"
            );
            assert_eq!(roles(&place, &role).await, before, "{text} on {major}");
        }
    }
}

#[tokio::test]
async fn what_becomes_a_superuser_in_the_middle_of_a_transaction_is_left_as_it_was() {
    for major in [13, 18] {
        let mut place = own_superuser(place(major, Admin::Superuser).await).await;
        let mut desired = place.desired();
        let catalog = place.converge(&desired).await;
        let (reader, writer) = (place.reader.clone(), place.writer.clone());
        // Its comment is written first, and waits for somebody who writes it too.
        sql(place.postgres, "postgres", format!("COMMENT ON ROLE {reader} IS 'lost'")).await;
        let oid = catalog.role_oid(&reader).unwrap();
        let recorded = Recorded { system_identifier: None, oid, origin: Origin::Created };
        desired.logins.get_mut(&reader).unwrap().recorded = Some(recorded);
        change_password(&mut place, &mut desired, &writer);
        let mut sessions = place.sessions();
        let catalog = sessions.read(&desired).await.unwrap();
        let planned = plan::plan(&desired, &catalog);
        assert_eq!(planned.actions.len(), 2, "{planned:?}");
        let mut other = place.postgres.admin("postgres").await;
        run(&mut other, format!("BEGIN; COMMENT ON ROLE {reader} IS 'theirs'")).await.unwrap();
        let waits = format!(
            "SELECT FROM pg_stat_activity WHERE usename = '{}' AND wait_event_type = 'Lock'",
            place.server.user
        );
        let tamper = async {
            eventually("our comment to wait", std::time::Duration::from_secs(10), async || {
                let rows =
                    fetch_rows(&mut place.postgres.admin("postgres").await, waits.as_str()).await.unwrap();
                (!rows.is_empty()).then_some(())
            })
            .await;
            sql(place.postgres, "postgres", format!("ALTER ROLE {writer} SUPERUSER")).await;
            let before = roles(&place, &writer).await;
            run(&mut other, "ROLLBACK").await.unwrap();
            before
        };
        let (applied, before) = tokio::join!(sessions.apply(&desired, &planned), tamper);
        assert_eq!(applied.unwrap().end, End::Stale, "on {major}");
        assert_eq!(roles(&place, &writer).await, before, "on {major}");
    }
}

#[tokio::test]
async fn what_cannot_be_undone_is_looked_at_once_more() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    let stranger = unique("stranger");
    sql(place.postgres, "postgres", format!("CREATE ROLE {stranger} LOGIN PASSWORD 'x'")).await;
    let mut session = place.postgres.connect("postgres", &stranger, "x").await.unwrap();
    let role = ident(&stranger);
    let mut sessions = place.sessions();
    sessions.read(&desired).await.unwrap();
    for action in
        [Action::TerminateSessions { role }, Action::DropInvalidDatabase { database: place.database.clone() }]
    {
        let applied = sessions.apply(&desired, &by_hand([action])).await.unwrap();
        assert_eq!((applied.end, applied.done), (End::Stale, Vec::new()));
    }
    run(&mut session, "SELECT 1").await.unwrap();
    place.sql("SELECT 1").await;
}

#[tokio::test]
async fn a_lost_mark_is_written_again_where_the_status_remembers_the_very_role() {
    for major in MAJORS {
        let mut place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        let cases = TAMPERED.map(|case| (place.another(&mut desired, "x"), case));
        let catalog = place.converge(&desired).await;
        for (role, (text, refusal)) in cases {
            sql(place.postgres, "postgres", tampering(text, &role)).await;
            let is_it = text.starts_with("COMMENT");
            let mut desired = desired.clone();
            change_password(&mut place, &mut desired, &role);
            let mut look_with = async |identifier: Option<&str>| {
                desired.logins.get_mut(&role).unwrap().recorded = Some(Recorded {
                    system_identifier: identifier.map(str::to_owned),
                    oid: catalog.role_oid(&role).unwrap(),
                    origin: Origin::Created,
                });
                look(&place, &desired).await.1
            };
            // Another server's role of that number is another role.
            assert_eq!(refusal_of(&look_with(Some("7")).await, &role), Some(refusal), "{text} on {major}");
            let next = look_with(catalog.server.system_identifier.as_deref()).await;
            assert_eq!(refusal_of(&next, &role), (!is_it).then_some(refusal), "{text} on {major}");
            assert_eq!(is_touched(&next, &role), is_it, "{text} on {major}");
        }
    }
}

#[tokio::test]
async fn another_installation_touches_nothing() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        let catalog = place.converge(&desired).await;
        let mut theirs = desired.clone();
        let number = |oid| Some(Recorded { system_identifier: None, oid, origin: Origin::Created });
        for (name, login) in &mut theirs.logins {
            login.claim.marker.installation = "another".into();
            login.recorded = number(catalog.role_oid(name).unwrap());
        }
        let Managed::Yes { claim, .. } = &mut theirs.managed else { panic!() };
        claim.marker.installation = "another".into();
        let (_, next) = look(&place, &theirs).await;
        assert_eq!(next.actions, [], "on {major}");
        assert_eq!(refusal_of(&next, &place.reader), Some(Refusal::NotOurs), "on {major}");
        // Nor when its resources go.
        let login = theirs.logins.remove(&place.reader).unwrap();
        theirs.grantees.remove(&place.reader);
        let disposition = Disposition::Drop;
        let leaving = Leaving { claim: login.claim, recorded: login.recorded, disposition };
        theirs.leaving.insert(place.reader.clone(), leaving);
        assert_eq!(look(&place, &theirs).await.1.actions, [], "on {major}");
        place.converge(&desired).await;
    }
}

#[tokio::test]
async fn a_databases_owner_can_write_its_mark_and_gains_nothing() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        let catalog = place.converge(&desired).await;
        let marks = [
            r#"{"postgres-provisioner":"v1","installation":"test","resource":"r","uid":"uid-x"}"#,
            r#"{"postgres-provisioner":"v1","installation":"another","resource":"r","uid":"uid-x"}"#,
            r#"{"postgres-provisioner":"v9"}"#,
            "",
        ];
        for mark in marks {
            let comment = format!("COMMENT ON DATABASE {} IS '{mark}'", place.database);
            place.sql_as(&place.owner, comment).await.unwrap();
            // The mark of another does not make it the other's.
            let mut other = desired.clone();
            other.managed = Managed::Yes {
                owner: place.writer.clone(),
                template: ident("template0"),
                claim: plan::testing::claim("x"),
                recorded: None,
                prune: plan::Prune::IfCreated,
            };
            let (_, next) = look(&place, &other).await;
            assert!(
                next.withheld.iter().any(|one| matches!(one, Withheld::Database { .. })),
                "{mark} on {major}"
            );
            assert!(next.actions.is_empty(), "{next:?}");
            let mut remembered = desired.clone();
            let Managed::Yes { recorded, .. } = &mut remembered.managed else { panic!() };
            let oid = catalog.database.as_ref().unwrap().oid;
            *recorded = Some(Recorded { system_identifier: None, oid, origin: Origin::Created });
            let found = place.converge(&remembered).await.database.unwrap();
            assert!(found.comment.unwrap().contains("uid-app"), "{mark} on {major}");
        }
    }
}

/// Who may write on whom, as the rules of ownership suppose.
#[tokio::test]
async fn nobody_marks_a_role_but_those_who_administer_it() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        place.converge(&place.desired()).await;
        let (reader, owner) = (&place.reader, &place.owner);
        for (by, statement) in [
            (reader, format!("COMMENT ON ROLE {reader} IS 'mine'")),
            (owner, format!("COMMENT ON ROLE {owner} IS 'mine'")),
            (owner, format!("COMMENT ON ROLE {reader} IS 'mine'")),
            (reader, format!("ALTER ROLE {reader} RENAME TO {reader}_x").replace("\"_x", "_x\"")),
            (owner, format!("ALTER ROLE {owner} CREATEDB")),
            (owner, format!("ALTER DATABASE {} RENAME TO renamed", place.database)),
            (reader, format!("COMMENT ON DATABASE {} IS 'mine'", place.database)),
        ] {
            place.sql_as(by, statement.as_str()).await.expect_err(&statement);
        }
        place.sql_as(reader, format!("ALTER ROLE {reader} SET work_mem = '8MB'")).await.unwrap();

        // Up to 15 CREATEROLE is administration of everyone who is no superuser.
        let (creator, root) = (unique("creator"), unique("root"));
        let made =
            format!("CREATE ROLE {creator} LOGIN CREATEROLE PASSWORD 'x'; CREATE ROLE {root} SUPERUSER");
        sql(place.postgres, "postgres", made).await;
        let mut session = place.postgres.connect("postgres", &creator, "x").await.unwrap();
        let forged = run(&mut session, format!("COMMENT ON ROLE {reader} IS 'forged'")).await;
        assert_eq!(forged.is_ok(), major <= 15, "on {major}: {forged:?}");
        run(&mut session, format!("COMMENT ON ROLE {root} IS 'forged'")).await.unwrap_err();
    }
}
