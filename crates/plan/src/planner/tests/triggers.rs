//! Event triggers that would run a tenant's code.

use expect_test::expect;

use super::{check, leaving};
use crate::testing::{Builder, converge, desired, ident};
use crate::{Access, Dependencies, Disposition, TriggerEvent, plan};

/// A shop that a reader is yet to get.
fn shop() -> Builder {
    let builder = Builder::provisioned(16, &desired(&[])).role("stranger");
    builder.schema("shop", "owner").table("shop", "orders", "owner")
}

#[test]
fn what_would_run_a_strangers_code_waits_and_logins_do_not() {
    let builder = shop().event_trigger("postgres", "stranger", &[]);
    let wanted = desired(&["reader read shop"]);
    check(
        &wanted,
        &builder,
        expect![[r#"
            CREATE ROLE "reader" NOLOGIN
            COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-reader","uid":"uid-reader"}'
            GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "reader"
            ALTER ROLE "reader" PASSWORD '…'
            ALTER ROLE "reader" LOGIN
            -- privileges in the database are not changed: event trigger watch would run function public.note with the operator's rights, and FUNCTION public.note() belongs to stranger, which is no superuser: ALTER FUNCTION public.note() OWNER TO one, or ALTER EVENT TRIGGER watch DISABLE
        "#]],
    );
}

#[test]
fn only_what_fires_the_trigger_waits() {
    let builder = shop().event_trigger("stranger", "postgres", &["ALTER DEFAULT PRIVILEGES"]);
    let wanted = desired(&["reader read shop"]);
    let mut catalog = builder.catalog;
    let plans = converge(&wanted, &mut catalog);
    let said: Vec<_> = plans[0].actions.iter().map(ToString::to_string).collect();
    assert!(said.contains(&r#"GRANT SELECT ON TABLE "shop"."orders" TO "reader""#.to_owned()), "{said:#?}");
    assert!(!said.iter().any(|said| said.starts_with("ALTER DEFAULT")), "{said:#?}");
    let [withheld] = &plans[0].withheld[..] else { panic!("{:?}", plans[0].withheld) };
    assert_eq!(withheld.role(), Some(&ident("reader")));
    assert!(withheld.to_string().contains("ALTER EVENT TRIGGER watch OWNER TO"), "{withheld}");
}

#[test]
fn triggers_of_superusers_the_operator_and_other_events_hold_up_nothing() {
    let wanted = desired(&["reader read shop"]);
    let all = plan(&wanted, &shop().catalog);
    let superusers = shop().event_trigger("postgres", "postgres", &[]).catalog;
    assert_eq!(plan(&wanted, &superusers), all);
    let other_commands = shop().event_trigger("postgres", "stranger", &["CREATE TABLE"]).catalog;
    assert_eq!(plan(&wanted, &other_commands), all);
    for event in [TriggerEvent::Login, TriggerEvent::Rewrite, TriggerEvent::Drop] {
        let mut builder = shop().event_trigger("postgres", "stranger", &["GRANT"]);
        builder.catalog.contents.as_mut().unwrap().event_triggers[0].event = event;
        assert_eq!(plan(&wanted, &builder.catalog), all, "{event:?}");
    }
}

#[test]
fn a_departure_that_would_run_a_strangers_code_is_none_but_for_its_login() {
    let mut wanted = desired(&["writer readwrite"]);
    let mut builder = Builder::provisioned(16, &wanted).role("stranger");
    wanted.grantees.clear();
    wanted.logins.remove(&ident("writer"));
    wanted.leaving.insert(ident("writer"), leaving(Disposition::Drop, "writer"));
    builder = builder.event_trigger("postgres", "stranger", &["DROP OWNED"]);
    let event_triggers = builder.catalog.contents.as_ref().unwrap().event_triggers.clone();
    let found =
        Dependencies { allow_connections: true, named: true, event_triggers, ..Dependencies::default() };
    let writer = builder.oid("writer");
    builder.catalog.dependencies.entry(writer).or_default().insert(ident("app"), found);
    check(
        &wanted,
        &builder,
        expect![[r#"
            ALTER ROLE "writer" NOLOGIN
            REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM "writer"
            -- role "writer" cannot go: it has something in database "app", whose event trigger watch would run function public.note with the operator's rights, and FUNCTION public.note() belongs to stranger, which is no superuser: ALTER FUNCTION public.note() OWNER TO one, or ALTER EVENT TRIGGER watch DISABLE
        "#]],
    );
}

#[test]
fn a_downgraded_role_keeps_what_it_owns_where_disarming_would_run_a_strangers_code() {
    let before = desired(&["writer readwrite"]);
    let builder = Builder::provisioned(16, &before).role("stranger").schema("shop", "owner");
    let mut builder =
        builder.table("shop", "stock", "writer").event_trigger("stranger", "stranger", &["ALTER VIEW"]);
    let event_triggers = builder.catalog.contents.as_ref().unwrap().event_triggers.clone();
    let found =
        Dependencies { allow_connections: true, owns: true, event_triggers, ..Dependencies::default() };
    let writer = builder.oid("writer");
    builder.catalog.dependencies.entry(writer).or_default().insert(ident("app"), found);
    let mut after = before;
    after.grantees.get_mut(&ident("writer")).unwrap().access = Access::Read;
    let plan = plan(&after, &builder.catalog);
    assert!(!plan.actions.iter().any(|action| action.to_string().starts_with("REASSIGN")), "{plan:?}");
    assert!(plan.withheld.iter().any(|one| one.to_string().contains("cannot go")), "{plan:?}");
    converge(&after, &mut builder.catalog);
    // Once the trigger is gone nothing holds it up.
    builder.catalog.contents.as_mut().unwrap().event_triggers.clear();
    builder
        .catalog
        .dependencies
        .get_mut(&writer)
        .unwrap()
        .get_mut(&ident("app"))
        .unwrap()
        .event_triggers
        .clear();
    let plan = crate::plan(&after, &builder.catalog);
    assert!(plan.actions.iter().any(|action| action.to_string().starts_with("REASSIGN")), "{plan:?}");
}
