//! Event triggers that run a tenant's function, or that belong to somebody who is no superuser any more.

use plan::{Ident, Plan, Withheld};
use testbed::unique;

use super::nest::Nest;
use crate::support::{Admin, leave, read, rounds, sql};

const EVENT_TRIGGER: &str = include_str!("event_trigger.sql");

#[tokio::test]
async fn no_event_trigger_runs_a_tenants_function_with_the_operators_rights() {
    for major in 13..=18 {
        for admin in [Admin::Superuser, Admin::Limited] {
            let nest = armed(major, admin).await;
            if major >= 17 && admin == Admin::Limited {
                // Nothing keeps that one from running when such an admin role logs in.
                nest.sql("DROP EVENT TRIGGER at_login").await;
                nest.sql_in(&nest.place.server.maintenance, "DROP EVENT TRIGGER at_login").await;
            }
            let mut desired = nest.place.desired();
            leave(&mut desired, &nest.place.writer);
            let said = finished(&nest, &desired).await;
            nest.assert_silent("a pass that event triggers watch");
            assert_login(&nest, &nest.place.reader, true).await;
            if major >= 17 && admin == Admin::Superuser {
                assert_eq!(said.withheld, [], "they are off");
            } else {
                let by: &[_] = match admin {
                    Admin::Superuser => &["elsewhere"],
                    Admin::Limited => &["at_start", "at_end", "left_behind"],
                };
                assert_held_up(&nest, &said, by).await;
                disarm(&nest).await;
            }
            let said = finished(&nest, &desired).await;
            assert!(!said.withheld.iter().any(is_about_triggers), "{:?} on {major}", said.withheld);
            assert_eq!(read(&nest.place, &desired).await.unwrap().role(&nest.place.writer), None);
            nest.place.sql_as(&nest.place.reader, "SELECT * FROM shop.stock").await.unwrap();
            nest.assert_silent("the pass after that");
        }
    }
}

#[tokio::test]
async fn a_superusers_own_event_trigger_cannot_be_led_into_a_tenants_code() {
    for major in 13..=18 {
        let nest = Nest::new(major, Admin::Superuser).await;
        nest.make_maintenance().await;
        let desired = nest.place.desired();
        nest.place.converge(&desired).await;
        let made = format!(
            "CREATE SCHEMA shop; CREATE TABLE shop.log (tag text); {} \
             CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM canary.sing('a table that an event trigger writes to'); RETURN NEW; END $$; \
             CREATE TRIGGER trap BEFORE INSERT ON shop.log FOR EACH ROW EXECUTE FUNCTION shop.trap()",
            super::nest::CANARY
        );
        nest.sql_as(&nest.place.owner, made).await;
        let watch = "CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS \
                     $$ BEGIN INSERT INTO shop.log VALUES (TG_TAG); END $$; \
                     CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.watch()";
        nest.sql(watch).await;
        let before = nest.songs();
        nest.place.converge(&desired).await;
        assert_eq!(nest.songs(), before, "on {major}");
        nest.place.sql_as(&nest.place.reader, "SELECT * FROM shop.log").await.unwrap();
    }
}

#[tokio::test]
async fn an_admin_role_that_may_turn_event_triggers_off_is_not_held_up() {
    for major in [17, 18] {
        let mut nest = armed(major, Admin::Limited).await;
        let allowed = format!("GRANT SET ON PARAMETER event_triggers TO {}", nest.place.server.user);
        sql(nest.place.postgres, "postgres", allowed).await;
        nest.forget();
        let since = nest.songs();
        let mut desired = nest.place.desired();
        leave(&mut desired, &nest.place.writer);
        assert_eq!(finished(&nest, &desired).await.withheld, [], "on {major}");
        let admin = &nest.place.server.user;
        let heard: Vec<_> =
            nest.songs().difference(&since).filter(|song| song.session == *admin).cloned().collect();
        assert_eq!(heard, [], "on {major}");
    }
}

#[tokio::test]
async fn what_a_server_does_not_let_us_turn_off_is_tried_once() {
    let refused = "parameter \"event_triggers\"";
    for (major, admin, most) in [
        (16, Admin::Superuser, 1),
        (16, Admin::Limited, 1),
        (18, Admin::Limited, 1),
        (18, Admin::Superuser, 0),
    ] {
        let nest = Nest::new(major, admin).await;
        nest.make_maintenance().await;
        let desired = nest.place.desired();
        nest.place.converge(&desired).await;
        nest.place.converge(&desired).await;
        let fatal = |log: String| {
            log.lines().filter(|line| line.contains("FATAL:") && line.contains(refused)).count()
        };
        assert_eq!(fatal(nest.place.postgres.log()), most, "{admin:?} on {major}");
    }
}

#[tokio::test]
async fn an_admin_role_that_becomes_a_superuser_turns_them_off_again() {
    let nest = armed(18, Admin::Limited).await;
    let desired = nest.place.desired();
    read(&nest.place, &desired).await.unwrap();
    let admin = &nest.place.server.user;
    sql(nest.place.postgres, "postgres", format!("ALTER ROLE {admin} SUPERUSER")).await;
    // The first session finds out.
    read(&nest.place, &desired).await.unwrap();
    let since = nest.place.postgres.log().len();
    finished(&nest, &desired).await;
    let log = nest.place.postgres.log().split_off(since);
    assert!(!log.contains(&format!("LOG:  canary: {admin}")), "{log}");
}

/// A shop with a reader who lost everything, and event triggers in both databases that the operator visits. The writer
/// has something in both.
async fn armed(major: u16, admin: Admin) -> Nest {
    let nest = Nest::new(major, admin).await;
    nest.make_maintenance().await;
    nest.place.converge(&nest.place.desired()).await;
    let (owner, reader, writer) = (&nest.place.owner, &nest.place.reader, &nest.place.writer);
    let made = format!("CREATE SCHEMA shop; CREATE TABLE shop.stock (n int); {}", super::nest::CANARY);
    nest.sql_as(owner, made).await;
    nest.place.converge(&nest.place.desired()).await;
    let made = "CREATE TABLE shop.more (n int); \
                CREATE FUNCTION shop.definer() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'";
    nest.sql_as(writer, made).await;
    nest.sql(format!("REVOKE ALL ON shop.stock, shop.more FROM {reader}; ALTER ROLE {reader} NOLOGIN")).await;
    let left =
        format!("CREATE TABLE public.left_behind (n int); ALTER TABLE public.left_behind OWNER TO {writer}");
    nest.sql_in(&nest.place.server.maintenance, left).await;
    let former = unique("former");
    sql(nest.place.postgres, "postgres", format!("CREATE ROLE {former} SUPERUSER")).await;
    let trap = nest.filled(EVENT_TRIGGER, owner, "shop").replace(":former", &former);
    nest.sql(trap.clone()).await;
    nest.sql_in(&nest.place.server.maintenance, trap).await;
    sql(nest.place.postgres, "postgres", format!("ALTER ROLE {former} NOSUPERUSER")).await;
    nest
}

/// Whoever says so may keep what is withheld.
async fn finished(nest: &Nest, desired: &plan::Desired) -> Plan {
    let mut sessions = nest.place.sessions();
    let plan = rounds(&mut sessions, desired).await.unwrap();
    sessions.close().await;
    Plan { withheld: plan.withheld.into_iter().filter(|one| !is_public_schema(one)).collect(), ..plan }
}

/// Up to 14 the schema `public` is the bootstrap superuser's.
fn is_public_schema(withheld: &Withheld) -> bool {
    withheld.to_string().contains("schema \"public\"")
}

fn is_about_triggers(withheld: &Withheld) -> bool {
    withheld.to_string().contains("event trigger")
}

/// The reader goes without, the writer cannot go but is shut out, and both is said with the trigger's name.
async fn assert_held_up(nest: &Nest, said: &Plan, by: &[&str]) {
    let (reader, writer) = (&nest.place.reader, &nest.place.writer);
    let is_of_reader =
        |one: &&Withheld| matches!(one, Withheld::Triggering { role: Some(role), .. } if role == reader);
    let is_of_writer = |one: &&Withheld| matches!(one, Withheld::CannotLeave { role, .. } if role == writer);
    let of_reader: Vec<_> = said.withheld.iter().filter(is_of_reader).map(ToString::to_string).collect();
    let of_writer: Vec<_> = said.withheld.iter().filter(is_of_writer).map(ToString::to_string).collect();
    for trigger in ["at_start", "at_end", "left_behind", "elsewhere", "asleep"] {
        let names_it = |said: &String| said.contains(&format!("event trigger {trigger} "));
        let found = (of_reader.iter().any(names_it), of_writer.iter().any(names_it));
        let wanted = by.contains(&trigger);
        assert_eq!(found, (wanted, wanted), "{trigger}: {said:?}");
    }
    assert_eq!(of_writer.len(), 2, "in both databases: {said:?}");
    assert!(nest.place.sql_as(reader, "SELECT * FROM shop.stock").await.is_err(), "it was not granted");
    assert_login(nest, writer, false).await;
}

async fn assert_login(nest: &Nest, role: &Ident, wanted: bool) {
    let login = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{}'", role.as_str());
    let found = nest.place.ask(login).await;
    assert_eq!(found.as_deref(), Some(if wanted { "t" } else { "f" }), "{role} on {}", nest.place.postgres);
}

/// A superuser does what the message says.
async fn disarm(nest: &Nest) {
    for database in [&nest.place.database, &nest.place.server.maintenance] {
        nest.sql_in(
            database,
            "ALTER FUNCTION public.notice() OWNER TO postgres; ALTER EVENT TRIGGER left_behind OWNER TO postgres; \
             CREATE OR REPLACE FUNCTION public.notice() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE OR REPLACE FUNCTION public.seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        )
        .await;
    }
}
