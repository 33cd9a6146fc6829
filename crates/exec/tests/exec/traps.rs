//! What surprises those who know PostgreSQL little.

use std::time::Duration;

use exec::End;
use plan::{Access, Action, Desired, Ident, Managed, Schemas, testing::ident};
use sqlx::PgConnection;
use testbed::{Postgres, eventually, postgres::run, unique};

use tokio::time::Instant;

use crate::{
    interrupted::LEGS,
    support::{Admin, MAJORS, Place, leave, place, place_on, read, rounds, sql},
};

/// A role that nobody manages and that may enter the database.
async fn stranger(place: &Place) -> (Ident, PgConnection) {
    let name = unique("stranger");
    let made = format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE {} TO {name}",
        place.database
    );
    sql(place.postgres, "postgres", made).await;
    let session = place.postgres.connect(place.database.as_str(), &name, "x").await.unwrap();
    (ident(&name), session)
}

#[tokio::test]
async fn a_role_that_owns_another_database_stays_and_nothing_of_it_moves() {
    for (major, admin) in LEGS {
        for downgrade in [false, true] {
            let place = place(major, admin).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            place.sql_as(&place.owner, "CREATE SCHEMA shop").await.unwrap();
            place.converge(&desired).await;
            place.sql_as(&place.writer, "CREATE TABLE shop.stock ()").await.unwrap();
            let other = unique("other");
            sql(place.postgres, "postgres", format!("CREATE DATABASE {other} OWNER {}", place.writer)).await;
            if downgrade {
                desired.grantees.get_mut(&place.writer).unwrap().access = Access::Read;
            } else {
                leave(&mut desired, &place.writer);
            }
            let mut sessions = place.sessions();
            let plan = rounds(&mut sessions, &desired).await.unwrap();
            sessions.close().await;
            let said: Vec<_> = plan.withheld.iter().map(ToString::to_string).collect();
            let names_it = |said: &&String| said.contains(&other) && said.contains(place.writer.as_str());
            assert!(said.iter().any(|said| names_it(&said)), "{said:?}");
            for owner in [
                "SELECT tableowner FROM pg_tables WHERE tablename = 'stock'".to_owned(),
                format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{other}'"),
            ] {
                let found = place.ask(owner).await;
                assert_eq!(found.as_deref(), Some(place.writer.as_str()), "{downgrade} on {major}");
            }
        }
    }
}

#[tokio::test]
async fn what_runs_with_its_owners_rights_gains_none_of_the_heirs() {
    for major in [13, 14, 15, 18] {
        for downgrade in [false, true] {
            let place = place(major, Admin::Superuser).await;
            let mut desired = place.desired();
            // Only what is in this schema is theirs.
            for role in [&place.reader, &place.writer] {
                let grantee = desired.grantees.get_mut(role).unwrap();
                grantee.schemas = Schemas::Listed([ident("shop")].into());
            }
            let mut sessions = place.sessions();
            rounds(&mut sessions, &desired).await.unwrap();
            sessions.close().await;
            let made = "CREATE SCHEMA shop; CREATE SCHEMA vault; CREATE TABLE vault.gold AS SELECT 7 AS bars; \
                        GRANT USAGE ON SCHEMA vault, shop TO PUBLIC";
            place.sql_as(&place.owner, made).await.unwrap();
            place.converge(&desired).await;
            // Up to 14 no view runs with the rights of its caller: the next test shows what becomes of them.
            let peek =
                "CREATE VIEW shop.peek AS SELECT * FROM vault.gold; GRANT SELECT ON shop.peek TO PUBLIC";
            if major >= 15 {
                place.sql_as(&place.writer, peek).await.unwrap();
            }
            let made = "CREATE FUNCTION shop.count() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS \
                        $$ DECLARE n int; BEGIN EXECUTE 'SELECT bars FROM vault.gold' INTO n; RETURN n; END $$";
            place.sql_as(&place.writer, made).await.unwrap();
            let (_, mut stranger) = stranger(&place).await;
            if downgrade {
                desired.grantees.get_mut(&place.writer).unwrap().access = Access::Read;
            } else {
                leave(&mut desired, &place.writer);
            }
            place.converge(&desired).await;
            for theft in ["SELECT * FROM shop.peek", "SELECT shop.count()", "SELECT * FROM vault.gold"] {
                let at = format!("{theft}, {downgrade}, on {major}");
                assert!(run(&mut stranger, theft).await.is_err(), "a stranger: {at}");
                assert!(place.sql_as(&place.reader, theft).await.is_err(), "a reader: {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_view_of_what_its_owner_may_not_read_is_given_to_nobody_who_may() {
    let made = [
        (13, "CREATE VIEW shop.peek AS SELECT * FROM vault.gold"),
        (14, "CREATE VIEW shop.peek AS SELECT * FROM vault.gold"),
        (15, "CREATE MATERIALIZED VIEW shop.peek AS SELECT * FROM vault.gold WITH NO DATA"),
        (18, "CREATE MATERIALIZED VIEW shop.peek AS SELECT * FROM vault.gold WITH NO DATA"),
    ];
    for (major, peek) in made {
        for downgrade in [false, true] {
            let place = place(major, Admin::Superuser).await;
            let mut desired = place.desired();
            for role in [&place.reader, &place.writer] {
                let grantee = desired.grantees.get_mut(role).unwrap();
                grantee.schemas = Schemas::Listed([ident("shop")].into());
            }
            let mut sessions = place.sessions();
            rounds(&mut sessions, &desired).await.unwrap();
            let vault = "CREATE SCHEMA shop; CREATE SCHEMA vault; CREATE TABLE vault.gold AS SELECT 7 AS bars; \
                         CREATE TABLE shop.stock AS SELECT 7 AS n; GRANT USAGE ON SCHEMA vault TO PUBLIC";
            place.sql_as(&place.owner, vault).await.unwrap();
            place.converge(&desired).await;
            // What it may read is no obstacle.
            let fine = "CREATE VIEW shop.fine AS SELECT n FROM shop.stock; CREATE TABLE shop.mine (n int)";
            place.sql_as(&place.writer, format!("{fine}; {peek}")).await.unwrap();
            if downgrade {
                desired.grantees.get_mut(&place.writer).unwrap().access = Access::Read;
            } else {
                leave(&mut desired, &place.writer);
            }
            let plan = rounds(&mut sessions, &desired).await.unwrap();
            let said: Vec<_> = plan.withheld.iter().map(ToString::to_string).collect();
            assert!(said.iter().any(|said| said.contains(r#""shop"."peek""#)), "{said:?} on {major}");
            if peek.contains("MATERIALIZED") {
                place.sql_as(&place.owner, "REFRESH MATERIALIZED VIEW shop.peek").await.unwrap_err();
            }
            place.sql_as(&place.reader, "SELECT * FROM shop.peek").await.unwrap_err();
            // Once it is gone, so is what it held up.
            let kind = if peek.contains("MATERIALIZED") { "MATERIALIZED VIEW" } else { "VIEW" };
            place.sql(format!("DROP {kind} shop.peek")).await;
            rounds(&mut sessions, &desired).await.unwrap();
            sessions.close().await;
            let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'mine'";
            assert_eq!(place.ask(owner).await.as_deref(), Some(place.owner.as_str()), "on {major}");
            place.sql_as(&place.reader, "SELECT * FROM shop.fine").await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_admin_that_no_longer_inherits_does_not_grant_without_effect() {
    // Since 16 a membership says by itself whether it inherits. GRANT would only warn (01007).
    let place = place(18, Admin::Limited).await;
    let desired = place.desired();
    place.converge(&desired).await;
    let made =
        format!("CREATE TABLE public.orders (n int); REVOKE SELECT ON public.orders FROM {}", place.reader);
    place.sql_as(&place.owner, made).await.unwrap();
    let admin = &place.server.user;
    place.sql(format!("GRANT {} TO {admin} WITH INHERIT FALSE GRANTED BY {admin}", place.owner)).await;
    place.converge(&desired).await;
    place.sql_as(&place.reader, "TABLE public.orders").await.unwrap();
}

#[tokio::test]
async fn a_view_whose_owner_may_not_read_what_is_below_is_granted_like_any_other() {
    for (major, admin) in LEGS {
        let place = place(major, admin).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let made = "CREATE SCHEMA shop; CREATE TABLE shop.orders (n int); \
                    CREATE VIEW shop.few AS SELECT * FROM shop.orders; \
                    REVOKE SELECT ON shop.orders FROM CURRENT_USER";
        place.sql_as(&place.owner, made).await.unwrap();
        place.sql(format!("REVOKE SELECT ON shop.few FROM {}", place.reader)).await;
        place.converge(&desired).await;
        let granted =
            format!("SELECT has_table_privilege('{}', 'shop.few', 'SELECT')", place.reader.as_str());
        assert_eq!(place.ask(granted).await.as_deref(), Some("t"), "on {major}");
    }
}

#[tokio::test]
async fn whoever_locks_in_another_order_than_a_pass_meets_no_deadlock() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let made = "CREATE SCHEMA shop; CREATE TABLE shop.a (n int); CREATE TABLE shop.b (n int); \
                    CREATE VIEW shop.v AS SELECT 1 AS n";
        place.sql_as(&place.owner, made).await.unwrap();
        let password = place.secrets.0[&place.owner].expose();
        let tenant = place.postgres.connect(place.database.as_str(), place.owner.as_str(), password).await;
        let mut tenant = tenant.unwrap();
        // Two seconds, and as long as it takes until something could be granted.
        let until = Instant::now() + Duration::from_secs(2);
        let is_over = std::cell::Cell::new(false);
        let work = async {
            let [a, b, v] =
                ["LOCK TABLE shop.a", "LOCK TABLE shop.b", "CREATE OR REPLACE VIEW shop.v AS SELECT 2 AS n"];
            // Always something to grant, and every order of locks.
            let revoke = format!("REVOKE SELECT ON shop.a, shop.b, shop.v FROM {}", place.reader);
            for order in [[b, a, v], [v, a, b], [a, v, b], [v, b, a]].iter().cycle() {
                for statement in ["BEGIN"].iter().chain(order).chain([&&*revoke, &"COMMIT"]) {
                    let done = run(&mut tenant, *statement).await;
                    done.unwrap_or_else(|error| panic!("{statement} of {order:?} on {major}: {error}"));
                }
                if is_over.get() {
                    return;
                }
            }
        };
        let passes = async {
            let mut sessions = place.sessions();
            let mut grants = 0;
            while grants == 0 || Instant::now() < until {
                let catalog = sessions.read(&desired).await.unwrap();
                let applied = sessions.apply(&desired, &plan::plan(&desired, &catalog)).await.unwrap();
                grants += applied.done.len();
            }
            sessions.close().await;
            is_over.set(true);
        };
        let both = Box::pin(async { tokio::join!(work, passes) });
        let ended = tokio::time::timeout(Duration::from_mins(1), both).await;
        assert!(ended.is_ok(), "nothing could be granted on {major}");
        let here = format!("@{}/", place.database.as_str());
        let log = place.postgres.log();
        let mut lines = log.lines().filter(|line| line.contains(&here));
        assert_eq!(lines.find(|line| line.contains("deadlock detected")), None);
        place.converge(&desired).await;
    }
}

/// A server where transactions can be prepared and changes be followed.
async fn own_server() -> &'static Postgres {
    let builder = Postgres::builder(17).set("max_prepared_transactions", "4").set("wal_level", "logical");
    Box::leak(Box::new(builder.start().await))
}

#[tokio::test]
async fn a_prepared_transaction_delays_a_pass_and_a_slot_survives_it() {
    let postgres = own_server().await;
    let place = place_on(postgres, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    place.sql_as(&place.owner, "CREATE SCHEMA shop; CREATE TABLE shop.held (n int)").await.unwrap();
    place.converge(&desired).await;
    place.sql("SELECT pg_create_logical_replication_slot('follower', 'pgoutput')").await;
    // A table that a forgotten transaction holds delays itself only.
    let made = format!(
        "CREATE TABLE shop.free (n int); REVOKE SELECT ON shop.free, shop.held FROM {}",
        place.reader
    );
    place.sql_as(&place.owner, made).await.unwrap();
    let held = "BEGIN; ALTER TABLE shop.held ADD COLUMN more int; PREPARE TRANSACTION 'held'";
    place.sql_as(&place.owner, held).await.unwrap();
    let mut sessions = place.sessions();
    let plan = rounds(&mut sessions, &desired).await.unwrap();
    sessions.close().await;
    let said: Vec<_> = plan.withheld.iter().map(ToString::to_string).collect();
    assert!(said.len() == 1 && said[0].contains("shop.held"), "{said:?}");
    place.sql_as(&place.reader, "TABLE shop.free").await.unwrap();
    place.sql("COMMIT PREPARED 'held'").await;
    place.converge(&desired).await;
    // And one of a role that goes.
    let made = "BEGIN; CREATE TABLE shop.made (n int); PREPARE TRANSACTION 'made'";
    place.sql_as(&place.writer, made).await.unwrap();
    leave(&mut desired, &place.writer);
    let mut sessions = place.sessions();
    let mut wanted = desired.clone();
    let said = loop {
        let catalog = sessions.read(&wanted).await.unwrap();
        let plan = plan::plan(&wanted, &catalog);
        if plan.is_empty() {
            break plan.withheld.iter().map(ToString::to_string).collect::<String>();
        }
        if let End::Refused(refused) = sessions.apply(&wanted, &plan).await.unwrap().end {
            wanted.refused.push(refused);
        }
    };
    sessions.close().await;
    assert!(said.contains(&format!("the server refused DROP ROLE {}", place.writer)), "{said}");
    place.sql("COMMIT PREPARED 'made'").await;
    let catalog = place.converge(&desired).await;
    assert_eq!(catalog.role(&place.writer), None);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'made'";
    assert_eq!(place.ask(owner).await.as_deref(), Some(place.owner.as_str()));
    place.sql("CREATE PUBLICATION everything FOR ALL TABLES").await;
    place.sql("INSERT INTO shop.made VALUES (1)").await;
    let followed = "SELECT 1 FROM pg_logical_slot_peek_binary_changes('follower', NULL, NULL, \
                    'proto_version', '1', 'publication_names', 'everything')";
    // What is written last is not on the disk at once.
    eventually("the slot follows", Duration::from_secs(10), async || place.ask(followed).await).await;
}

#[tokio::test]
async fn a_list_that_is_stored_compressed_is_read_whole() {
    for major in [13, 18] {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        place.sql_as(&place.owner, "CREATE TABLE public.orders (n int)").await.unwrap();
        let prefix = unique("many");
        let granted = format!(
            "DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE ROLE {prefix}_%s', i); \
             EXECUTE format('GRANT %s ON public.orders TO {prefix}_%s', \
               CASE i % 3 WHEN 0 THEN 'SELECT' WHEN 1 THEN 'INSERT, UPDATE' ELSE 'ALL' END, i); END LOOP; END $$; \
             REVOKE SELECT ON public.orders FROM READER; GRANT TRUNCATE ON public.orders TO READER"
        );
        place.sql(granted.replace("READER", &place.reader.to_string())).await;
        let catalog = place.converge(&desired).await;
        let contents = catalog.contents.as_ref().unwrap();
        let longest = contents.acls.iter().map(|acl| acl.0.len()).max();
        assert_eq!(longest, Some(1003), "on {}", place.postgres);
        place.sql_as(&place.reader, "SELECT * FROM public.orders").await.unwrap();
        place.sql_as(&place.reader, "TRUNCATE public.orders").await.unwrap_err();
        let untouched = format!("SELECT has_table_privilege('{prefix}_500', 'public.orders', 'TRUNCATE')");
        assert_eq!(place.ask(untouched).await.as_deref(), Some("t"));
    }
}

#[tokio::test]
async fn a_privilege_on_a_column_is_taken_where_it_gives_more_than_the_table() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let desired = place.desired();
            place.converge(&desired).await;
            let made = "CREATE SCHEMA shop; CREATE TABLE shop.orders (n int, note text)";
            place.sql_as(&place.owner, made).await.unwrap();
            let given = format!("GRANT SELECT (n), UPDATE (note) ON shop.orders TO {}", place.reader);
            place.sql_as(&place.owner, given).await.unwrap();
            place.converge(&desired).await;
            let left =
                "SELECT string_agg(attname || attacl::text, ' ') FROM pg_attribute WHERE attacl IS NOT NULL";
            let left = place.ask(format!("{left} AND attrelid = 'shop.orders'::regclass")).await;
            let harmless = format!("n{{{}=r/{}}}", place.reader.as_str(), place.owner.as_str());
            assert_eq!(left, Some(harmless), "{admin:?} on {}", place.postgres);
        }
    }
}

#[tokio::test]
async fn default_privileges_move_between_the_database_and_its_schemas() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let mut desired = place.desired();
            place.converge(&desired).await;
            place.sql_as(&place.owner, "CREATE SCHEMA one; CREATE SCHEMA two").await.unwrap();
            for (schemas, made, may) in [
                (Schemas::Listed([ident("one")].into()), "a", [true, false]),
                (Schemas::All, "b", [true, true]),
                (Schemas::Listed([ident("two")].into()), "c", [false, true]),
            ] {
                desired.grantees.get_mut(&place.reader).unwrap().schemas = schemas;
                place.converge(&desired).await;
                for (schema, may) in ["one", "two"].into_iter().zip(may) {
                    // Nothing runs in between.
                    let table = format!("{schema}.{made}");
                    place.sql_as(&place.owner, format!("CREATE TABLE {table} (n int)")).await.unwrap();
                    let reads = place.sql_as(&place.reader, format!("SELECT * FROM {table}")).await;
                    assert_eq!(reads.is_ok(), may, "{table}, {admin:?} on {}", place.postgres);
                }
            }
        }
    }
}

#[tokio::test]
async fn public_belongs_to_whoever_owns_the_database() {
    for (major, admin) in
        [(13, Admin::Superuser), (15, Admin::Superuser), (15, Admin::Limited), (18, Admin::Limited)]
    {
        let place = place(major, admin).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        place.sql_as(&place.owner, "CREATE TABLE public.before (n int)").await.unwrap();
        // The writer takes over.
        let Managed::Yes { owner, .. } = &mut desired.managed else { panic!("it is managed") };
        owner.clone_from(&place.writer);
        desired.grantees.remove(&place.writer);
        leave(&mut desired, &place.owner);
        place.converge(&desired).await;
        place
            .sql_as(&place.writer, "DROP TABLE public.before; CREATE TABLE public.after (n int)")
            .await
            .unwrap();
        place.sql_as(&place.reader, "SELECT * FROM public.after").await.unwrap();
        place.sql_as(&place.reader, "CREATE TABLE public.mine (n int)").await.unwrap_err();
    }
}

/// The memberships that the plan gives.
async fn memberships(place: &Place, desired: &Desired) -> Vec<String> {
    let catalog = read(place, desired).await.unwrap();
    let actions = plan::plan(desired, &catalog).actions.into_iter();
    actions.filter(|one| matches!(one, Action::GrantMembership { .. })).map(|one| one.to_string()).collect()
}

#[tokio::test]
async fn a_membership_that_several_granted_counts_once_and_is_completed() {
    for major in [16, 18] {
        let place = place(major, Admin::Limited).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let (owner, admin) = (&place.owner, ident(&place.server.user));
        // The superuser's row has all options, ours has none.
        place.sql(format!("GRANT {owner} TO {admin} WITH INHERIT TRUE, SET TRUE, ADMIN TRUE")).await;
        place.sql(format!("REVOKE {owner} FROM {admin} GRANTED BY {admin}")).await;
        assert_eq!(memberships(&place, &desired).await, [""; 0], "on {}", place.postgres);
        // Neither is whole: one option each.
        place.sql(format!("GRANT {owner} TO {admin} WITH INHERIT FALSE, SET TRUE, ADMIN TRUE")).await;
        let wanted = format!("GRANT {owner} TO {admin} WITH INHERIT TRUE, SET TRUE");
        assert_eq!(memberships(&place, &desired).await, [wanted], "on {}", place.postgres);
        place.converge(&desired).await;
        leave(&mut desired, &place.reader);
        assert_eq!(place.converge(&desired).await.role(&place.reader), None);
    }
}
