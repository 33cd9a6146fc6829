//! Plans on real servers.

use std::{collections::BTreeSet, time::Duration};

use exec::{Applied, End, Password};
use plan::{Action, Desired, Disposition, Leaving, QualifiedName, Refused, Withheld, testing::ident};
use testbed::{
    eventually,
    postgres::{fetch_text, run},
    unique,
};

use crate::support::{Admin, MAJORS, by_hand, leave, place, sql};

#[tokio::test]
async fn a_database_with_users_is_made_and_the_second_plan_is_empty() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let desired = place.desired();
            place.converge(&desired).await;
            if major >= 15 || admin == Admin::Superuser {
                place.sql_as(&place.owner, "CREATE TABLE public.orders (id serial)").await.unwrap();
                place.sql_as(&place.reader, "SELECT FROM public.orders").await.unwrap();
                place.sql_as(&place.writer, "INSERT INTO public.orders DEFAULT VALUES").await.unwrap();
                place.sql_as(&place.reader, "INSERT INTO public.orders DEFAULT VALUES").await.unwrap_err();
            }
            let desired = place.desired();
            place.converge(&desired).await;
        }
    }
}

#[tokio::test]
async fn a_leaving_role_hands_over_what_it_owns_in_every_database() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            place.sql_as(&place.owner, "CREATE SCHEMA shop").await.unwrap();
            place.converge(&desired).await;
            let (writer, reader) = (&place.writer, &place.reader);
            let made = "CREATE TABLE shop.stock (n int); CREATE VIEW shop.few AS SELECT * FROM shop.stock; \
                        CREATE FUNCTION shop.leak(int, text[]) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'";
            place.sql_as(writer, made).await.unwrap();
            place.sql(format!("GRANT SELECT ON shop.few TO {reader}")).await;
            let mut session = place
                .postgres
                .connect(place.database.as_str(), writer.as_str(), place.secrets.0[writer].expose())
                .await
                .unwrap();
            leave(&mut desired, writer);
            let catalog = place.converge(&desired).await;
            assert_eq!(catalog.role(writer), None);
            assert!(run(&mut session, "SELECT 1").await.is_err(), "its session goes on");
            let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'stock'";
            assert_eq!(place.ask(owner).await.as_deref(), Some(place.owner.as_str()));
            let definer = "SELECT prosecdef FROM pg_proc WHERE proname = 'leak'";
            assert_eq!(place.ask(definer).await.as_deref(), Some("f"));
        }
    }
}

#[tokio::test]
async fn a_leaving_role_cannot_hide_a_definer_procedure_behind_another() {
    // Procedures have OUT arguments since 14.
    for major in MAJORS.into_iter().filter(|major| *major > 13) {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let made = "CREATE PROCEDURE public.evil(a int) SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; \
                    CREATE PROCEDURE public.evil(OUT a int) SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; \
                    CREATE PROCEDURE public.evil(VARIADIC a int[]) SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; \
                    CREATE PROCEDURE public.evil(INOUT a text) SECURITY DEFINER LANGUAGE sql AS 'SELECT a'";
        place.sql_as(&place.writer, made).await.unwrap();
        leave(&mut desired, &place.writer);
        assert_eq!(place.converge(&desired).await.role(&place.writer), None);
        let definers = "SELECT count(*) FROM pg_proc WHERE proname = 'evil' AND prosecdef";
        assert_eq!(place.ask(definers).await.as_deref(), Some("0"), "on {}", place.postgres);
    }
}

#[tokio::test]
async fn what_a_leaving_role_made_elsewhere_goes_to_the_owner_there() {
    let place = place(17, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    let (other, host) = (unique("other"), unique("host"));
    sql(place.postgres, "postgres", format!("CREATE ROLE {host}")).await;
    sql(place.postgres, "postgres", format!("CREATE DATABASE {other} OWNER {host}")).await;
    let made = format!(
        "CREATE TABLE public.left_behind (); ALTER TABLE public.left_behind OWNER TO {}",
        place.writer
    );
    sql(place.postgres, &other, made).await;
    leave(&mut desired, &place.writer);
    assert_eq!(place.converge(&desired).await.role(&place.writer), None);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'left_behind'";
    let owner = fetch_text(&mut place.postgres.admin(&other).await, owner).await.unwrap();
    assert_eq!(owner.as_deref(), Some(host.as_str()));
}

#[tokio::test]
async fn a_statement_that_the_server_refuses_takes_its_transaction_with_it() {
    let place = place(17, Admin::Limited).await;
    let desired = place.desired();
    let mut sessions = place.sessions();
    let catalog = sessions.read(&desired).await.unwrap();
    let plan = plan::plan(&desired, &catalog);
    let first: Vec<_> = plan.actions.iter().take_while(|action| action.is_transactional()).cloned().collect();
    let applied = sessions.apply(&desired, &by_hand(first.clone())).await.unwrap();
    assert_eq!(applied, Applied { done: first, end: End::Complete });
    let (owner, admin) = (&place.owner, &place.server.user);
    sql(place.postgres, "postgres", format!("REVOKE {owner} FROM {admin} GRANTED BY {admin}")).await;
    let refused = Action::CreateDatabase {
        database: place.database.clone(),
        owner: owner.clone(),
        template: ident("template0"),
    };
    let applied = sessions.apply(&desired, &by_hand([refused.clone()])).await.unwrap();
    let End::Refused(Refused { action, message }) = applied.end else { panic!("{:?}", applied.end) };
    assert_eq!(action, refused);
    assert!(message.contains(owner.as_str()) && message.contains("42501"), "{message}");
    assert_eq!(applied.done, []);
}

#[tokio::test]
async fn a_plan_that_no_longer_fits_changes_nothing() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place.sql("CREATE TABLE public.a (); CREATE TABLE public.b ()").await;
    let mut sessions = place.sessions();
    let catalog = sessions.read(&desired).await.unwrap();
    let plan = plan::plan(&desired, &catalog);
    assert!(!plan.is_empty());
    place.sql("DROP TABLE public.a").await;
    let applied = sessions.apply(&desired, &plan).await.unwrap();
    assert_eq!(applied, Applied { done: Vec::new(), end: End::Stale });
    let granted = format!("SELECT has_table_privilege('{}', 'public.b', 'SELECT')", place.reader.as_str());
    assert_eq!(place.ask(granted).await.as_deref(), Some("f"));
    sessions.close().await;
    place.converge(&desired).await;
}

#[tokio::test]
async fn a_statement_that_does_nothing_is_found_before_it_is_committed() {
    // From 17 on event triggers are off for us, and most of them before.
    let place = place(15, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place.sql("CREATE TABLE public.orders ()").await;
    // Takes back at once what is granted.
    place
        .sql(format!(
            "CREATE FUNCTION public.spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF has_table_privilege('{reader}', 'public.orders', 'SELECT') THEN \
                 REVOKE ALL ON public.orders FROM {reader}; END IF; END $$; \
             CREATE EVENT TRIGGER spoil ON ddl_command_end WHEN TAG IN ('GRANT') EXECUTE FUNCTION public.spoil(); \
             ALTER EVENT TRIGGER spoil ENABLE ALWAYS",
            reader = place.reader.as_str()
        ))
        .await;
    let mut sessions = place.sessions();
    let catalog = sessions.read(&desired).await.unwrap();
    let plan = plan::plan(&desired, &catalog);
    let applied = sessions.apply(&desired, &plan).await.unwrap();
    assert!(matches!(applied.end, End::NotConverged(_)), "{:?}", applied.end);
}

#[tokio::test]
async fn what_fails_twice_because_something_moved_is_refused() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    let mut desired = desired;
    if let plan::Managed::Yes { template, .. } = &mut desired.managed {
        *template = plan::testing::ident("no_such_template");
    }
    let mut sessions = place.sessions();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let catalog = sessions.read(&desired).await.unwrap();
        ends.push(sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap().end);
    }
    assert!(matches!(ends[..], [End::Stale, End::Refused(_)]), "{ends:?}");
}

#[tokio::test]
async fn a_stranger_who_holds_our_lock_does_not_stop_us() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place.sql("CREATE TABLE public.orders ()").await;
    let password = place.secrets.0[&place.reader].expose();
    let mut stranger =
        place.postgres.connect(place.database.as_str(), place.reader.as_str(), password).await.unwrap();
    run(&mut stranger, "SELECT pg_advisory_lock(1346851414, 0)").await.unwrap();
    place.converge(&desired).await;
}

#[tokio::test]
async fn another_operator_at_work_is_waited_for() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place.sql("CREATE TABLE public.orders ()").await;
    let mut other = place.postgres.admin(place.database.as_str()).await;
    run(&mut other, "SELECT pg_advisory_lock(1346851414, 0)").await.unwrap();
    let mut sessions = place.sessions();
    let catalog = sessions.read(&desired).await.unwrap();
    let error = sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap_err();
    assert_eq!(error.class(), exec::Class::Transient, "{error}");
    run(&mut other, "SELECT pg_advisory_unlock(1346851414, 0)").await.unwrap();
    place.converge(&desired).await;
}

#[tokio::test]
async fn a_pass_that_is_dropped_leaves_no_lock_behind() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    let reader = &place.reader;
    sql(place.postgres, "postgres", format!("ALTER ROLE {reader} NOLOGIN")).await;
    // Holds the row of the role: our ALTER ROLE waits for it.
    let mut other = place.postgres.admin("postgres").await;
    run(&mut other, format!("BEGIN; ALTER ROLE {reader} CONNECTION LIMIT 5")).await.unwrap();
    let mut sessions = place.sessions();
    let catalog = sessions.read(&desired).await.unwrap();
    let plan = plan::plan(&desired, &catalog);
    let waiting = format!(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = 'ALTER ROLE {reader} LOGIN'"
    );
    tokio::select! {
        applied = sessions.apply(&desired, &plan) => panic!("{applied:?}"),
        _ = eventually("the statement waits", Duration::from_secs(10), async || {
            place.ask(&*waiting).await.ok_or("not yet")
        }) => (),
    }
    drop(sessions);
    run(&mut other, "ROLLBACK").await.unwrap();
    place.converge(&desired).await;
}

#[tokio::test]
async fn a_table_that_a_tenant_works_on_is_not_waited_for() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        // Nobody's default privileges cover them.
        let made = "CREATE SCHEMA shop; CREATE TABLE shop.stock (n int); CREATE VIEW shop.few AS SELECT 1; \
                    CREATE MATERIALIZED VIEW shop.kept AS SELECT 1; CREATE SEQUENCE shop.numbers";
        place.sql(made).await;
        for (kind, name) in
            [("TABLE", "stock"), ("VIEW", "few"), ("MATERIALIZED VIEW", "kept"), ("SEQUENCE", "numbers")]
        {
            let mut tenant = place.postgres.admin(place.database.as_str()).await;
            run(&mut tenant, format!("BEGIN; ALTER {kind} shop.{name} RENAME TO renamed")).await.unwrap();
            let mut sessions = place.sessions();
            let catalog = sessions.read(&desired).await.unwrap();
            let plan = plan::plan(&desired, &catalog);
            let applied = sessions.apply(&desired, &plan).await.unwrap();
            let busy: BTreeSet<_> = [QualifiedName { schema: ident("shop"), name: ident(name) }].into();
            assert_eq!(applied.end, End::Busy(busy.clone()), "{kind} on {}", place.postgres);
            // The others are not held up.
            let desired = Desired { busy, ..place.desired() };
            let catalog = sessions.read(&desired).await.unwrap();
            let plan = plan::plan(&desired, &catalog);
            assert!(matches!(plan.withheld[..], [Withheld::Busy { .. }, ..]), "{:?}", plan.withheld);
            let applied = sessions.apply(&desired, &plan).await.unwrap();
            assert_eq!(applied.end, End::Complete, "{kind} on {}", place.postgres);
            run(&mut tenant, "COMMIT").await.unwrap();
            run(&mut tenant, format!("ALTER {kind} shop.renamed RENAME TO {name}")).await.unwrap();
            for role in [&place.reader, &place.writer] {
                let on = if kind == "SEQUENCE" { "SEQUENCE" } else { "TABLE" };
                run(&mut tenant, format!("REVOKE ALL ON {on} shop.{name} FROM {role}")).await.unwrap();
            }
            place.converge(&place.desired()).await;
            for name in ["stock", "few", "kept"] {
                run(&mut tenant, format!("REVOKE ALL ON shop.{name} FROM {}", place.reader)).await.unwrap();
            }
            run(&mut tenant, format!("REVOKE ALL ON SEQUENCE shop.numbers FROM {}", place.writer))
                .await
                .unwrap();
        }
        place.converge(&desired).await;
    }
}

#[tokio::test]
async fn what_cannot_be_locked_is_granted_all_the_same() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        // Each of these makes a statement fail that names it.
        let made = "CREATE TABLE public.base (n int); CREATE VIEW public.a AS SELECT n FROM public.base; \
                    CREATE VIEW public.b AS SELECT n FROM public.a; \
                    CREATE OR REPLACE VIEW public.a AS SELECT n FROM public.b; \
                    CREATE VIEW public.hidden AS SELECT n FROM public.base; \
                    REVOKE ALL ON public.base FROM OWNER";
        let made = made.replace("OWNER", &place.owner.to_string());
        place.sql(format!("SET ROLE {}; {made}", place.owner)).await;
        for view in ["a", "b", "hidden"] {
            place.sql(format!("REVOKE ALL ON public.{view} FROM {}", place.reader)).await;
        }
        place.converge(&desired).await;
        let granted =
            format!("SELECT has_table_privilege('{}', 'public.a', 'SELECT')", place.reader.as_str());
        assert_eq!(place.ask(granted).await.as_deref(), Some("t"), "on {}", place.postgres);
    }
}

#[tokio::test]
async fn default_privileges_do_not_reach_the_relations_of_extensions_for_long() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        // A superuser that made a table is a creator in its schema, and what it installs is made by it.
        place.sql("CREATE SCHEMA shop; CREATE TABLE shop.migrated ()").await;
        place.converge(&desired).await;
        place.sql("CREATE EXTENSION pg_stat_statements SCHEMA shop").await;
        let view = "shop.pg_stat_statements";
        let granted = format!(
            "SELECT count(*) FROM pg_class c, aclexplode(relacl) a \
             WHERE c.oid = '{view}'::regclass AND a.grantee = '{}'::regrole",
            place.writer.as_str()
        );
        assert_ne!(
            place.ask(&*granted).await.as_deref(),
            Some("0"),
            "nothing to take away on {}",
            place.postgres
        );
        place.converge(&desired).await;
        assert_eq!(place.ask(&*granted).await.as_deref(), Some("0"), "on {}", place.postgres);
        let public = format!("SELECT has_table_privilege('public', '{view}', 'SELECT')");
        assert_eq!(place.ask(public).await.as_deref(), Some("t"), "what the extension gives is its own");
    }
}

#[tokio::test]
async fn who_may_pass_a_privilege_on_does_not_give_and_take_in_the_owners_place() {
    for major in MAJORS {
        let mut place = place(major, Admin::Limited).await;
        let reader = place.reader.clone();
        let late = |desired: &mut Desired| desired.grantees.remove_entry(&reader).unwrap();
        let mut desired = place.desired();
        late(&mut desired);
        place.converge(&desired).await;
        // Among roles that may give, the server takes the oldest: here the owner is the youngest.
        let before = std::mem::replace(&mut place.owner, ident(&unique("owner")));
        let password = Password::new("password of the new owner");
        place.secrets.0.insert(place.owner.clone(), password);
        let claim = desired.logins[&before].claim.clone();
        let mut desired = place.desired();
        let late = late(&mut desired);
        let leaving = Leaving { claim, recorded: None, disposition: Disposition::Drop };
        desired.leaving.insert(before, leaving);
        place.converge(&desired).await;
        let made = format!(
            "CREATE SCHEMA shop; CREATE TABLE shop.stock (n int); \
             GRANT USAGE ON SCHEMA shop TO {writer} WITH GRANT OPTION; \
             GRANT SELECT, TRUNCATE ON shop.stock TO {writer} WITH GRANT OPTION",
            writer = place.writer
        );
        place.sql_as(&place.owner, made).await.unwrap();
        desired.grantees.extend([late]);
        place.converge(&desired).await;
        place.sql_as(&place.reader, "SELECT FROM shop.stock").await.unwrap();
        place.sql_as(&place.writer, "TRUNCATE shop.stock").await.unwrap_err();
    }
}

#[tokio::test]
async fn routines_in_a_schema_that_leaves_with_them_are_handed_over_whichever_comes_first() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            let (owner, writer) = (&place.owner, &place.writer);
            place.sql_as(owner, "CREATE SCHEMA home").await.unwrap();
            place.converge(&desired).await;
            // The server comes to what a role owns in the order in which it came to own it.
            let function = "CREATE FUNCTION home.one() RETURNS int LANGUAGE sql AS 'SELECT 1'";
            place.sql_as(writer, function).await.unwrap();
            place.sql(format!("CREATE SCHEMA shop AUTHORIZATION {writer}")).await;
            place.sql_as(writer, "ALTER FUNCTION home.one() SET SCHEMA shop").await.unwrap();
            leave(&mut desired, writer);
            assert_eq!(place.converge(&desired).await.role(writer), None);
            place.sql_as(owner, "SELECT shop.one()").await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_a_third_role_gave_a_leaving_one_does_not_hold_it() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let (owner, writer, third) = (&place.owner, &place.writer, unique("third"));
        sql(place.postgres, "postgres", format!("CREATE ROLE {third}")).await;
        let made = format!(
            "CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO {third} WITH GRANT OPTION; \
             CREATE TABLE shop.stock (n int); GRANT UPDATE ON shop.stock TO {third} WITH GRANT OPTION; \
             CREATE SEQUENCE shop.numbers; GRANT USAGE ON SEQUENCE shop.numbers TO {third} WITH GRANT OPTION"
        );
        place.sql_as(owner, made).await.unwrap();
        place.converge(&desired).await;
        let given = format!(
            "SET ROLE {third}; GRANT USAGE ON SCHEMA shop TO {writer}; GRANT UPDATE (n) ON shop.stock TO {writer}; \
             GRANT UPDATE ON shop.stock TO {writer}; GRANT USAGE ON SEQUENCE shop.numbers TO {writer}"
        );
        place.sql(given).await;
        leave(&mut desired, writer);
        assert_eq!(place.converge(&desired).await.role(writer), None);
    }
}

#[tokio::test]
async fn thousands_of_tables_are_granted_a_thousand_at_a_time_and_read_once_each_time() {
    for major in [13, 18] {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        let reader = (desired.logins.remove(&place.reader), desired.grantees.remove(&place.reader));
        place.converge(&desired).await;
        let mut session = place.postgres.admin(place.database.as_str()).await;
        run(&mut session, format!("SET ROLE {}", place.owner)).await.unwrap();
        let made = "DO $$ BEGIN FOR i IN 1..2300 LOOP EXECUTE format('CREATE TABLE public.t%s ()', i); \
                    IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$";
        run(&mut session, made).await.unwrap();
        desired.logins.insert(place.reader.clone(), reader.0.unwrap());
        desired.grantees.insert(place.reader.clone(), reader.1.unwrap());
        let before = place.postgres.log().len();
        place.converge(&desired).await;
        let log = place.postgres.log().split_off(before);
        let of = format!("{}@{}/postgres-provisioner", place.server.user, place.database.as_str());
        let count = |what: &str| log.lines().filter(|line| line.contains(&of) && line.contains(what)).count();
        assert_eq!(count("LOCK TABLE"), 3, "on {}", place.postgres);
        assert_eq!(count("COMMIT"), 3);
        // Before, at the begin of the first, before each COMMIT, and after.
        assert_eq!(count("-- What is in a database"), 6);
    }
}
