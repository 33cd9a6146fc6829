//! What is merely observed is looked at and told, and nothing is written for it: not on the server, and to the API
//! nothing but its own status and events, once for each change.

use std::time::Duration;

use expect_test::{Expect, expect};
use kube::api::{DynamicObject, Patch, PatchParams};
use operator::api::told::Mode;
use serde_json::{Value, json};
use testbed::{eventually, unique};

use crate::app::{App, may, may_not};
use crate::resources::{database, user};
use crate::server_log;
use crate::world::{PATIENCE, World};

const READER: &str = ", access: read, schemas: [public]";
const PLANNED: (&str, &str, &str) = ("Ready", "False", "ChangesPlanned");
const DRIFT: (&str, &str, &str) = ("Drifted", "True", "DriftFound");

/// What `status.planned` has, one statement a line; the application is called APP in it.
fn planned(resource: &DynamicObject, app: &App<'_>) -> String {
    let planned = &resource.data["status"]["planned"];
    let statements: Vec<String> =
        serde_json::from_value(planned["statements"].clone()).expect("statements are planned");
    assert_eq!(planned["changes"], statements.len(), "all of them are shown");
    statements.join("\n").replace(&app.name, "APP").replace(&app.world.namespace, "OPS")
}

#[track_caller]
fn check(resource: &DynamicObject, app: &App<'_>, expected: &Expect) {
    expected.assert_eq(&planned(resource, app));
}

/// Runs what is planned for a resource as the server's administrator.
async fn run_by_hand(app: &App<'_>, resource: &DynamicObject) {
    let sql = planned(resource, app).replace("APP", &app.name).replace('\n', ";\n");
    app.sql(&sql).await;
}

/// What the operators changed, or began to, in the database or on its roles.
fn changes(log: &str, app: &App<'_>) -> Vec<String> {
    let ours = server_log::statements(log)
        .filter(|(database, statement)| *database == app.name || statement.contains(&app.name));
    ours.map(|(_, statement)| statement.to_owned())
        .filter(|statement| server_log::is_change(statement))
        .collect()
}

/// Nothing is written, on the server and to the API, in checks to come.
async fn assert_nothing_is_written(app: &App<'_>, checks: usize) {
    let world = app.world;
    let (log, writes) = (world.postgres.log().len(), world.writes());
    world.checks(&app.name, checks).await;
    assert_eq!(changes(&world.postgres.log()[log..], app), Vec::<String>::new());
    assert_eq!(world.writes(), writes);
}

async fn mode(app: &App<'_>, kind: &str, name: &str, mode: &str) {
    app.world.patch(kind, name, json!({ "spec": { "mode": mode } })).await;
}

/// A database with a table and a reader that goes with it.
async fn app_with_reader(world: &World) -> (App<'_>, String) {
    let app = App::provision(world).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let reader = app.user(READER).await;
    eventually("the user to go with its database", PATIENCE, async || {
        let user = world.get("pguser", &reader).await.map_err(|error| error.to_string())?;
        user.metadata.owner_references.map(|_| ()).ok_or_else(|| "it has no owner".to_owned())
    })
    .await;
    (app, reader)
}

#[tokio::test]
async fn drift_of_an_observed_resource_is_told_once_and_its_sql_puts_it_right() {
    let world = World::new().await;
    let (app, reader) = app_with_reader(&world).await;
    let other = app.user(READER).await;
    mode(&app, "pguser", &reader, "Observe").await;
    world.ready("pguser", &reader).await;

    app.sql(&format!(
        "REVOKE SELECT ON public.orders FROM {reader}, {other}; GRANT TRUNCATE ON public.orders TO {reader};
         ALTER ROLE {reader} NOLOGIN"
    ))
    .await;
    let found = world.condition("pguser", &reader, DRIFT).await;
    world.condition("pguser", &reader, PLANNED).await;
    check(
        &found,
        &app,
        &expect![[r#"
            GRANT SELECT ON TABLE "public"."orders" TO "APPu0"
            REVOKE TRUNCATE ON TABLE "public"."orders" FROM "APPu0"
            ALTER ROLE "APPu0" LOGIN"#]],
    );
    let last = &found.data["status"]["lastDrift"];
    assert_eq!((&last["changes"], &last["count"], &last["repaired"]), (&json!(3), &json!(1), &Value::Null));
    assert_eq!(last["objects"][0], format!("SELECT on public.orders was revoked from {reader}"));
    assert!(world.warning(&reader, "DriftFound").await.contains("LOGIN was taken"));
    world.warning(&reader, "ChangesPlanned").await;
    // Who shares the database is served.
    world.event(&other, "DriftRepaired", 1).await;
    world.condition("pguser", &other, ("Drifted", "False", "InSync")).await;
    may(&mut app.session(&other).await, "SELECT * FROM public.orders").await;

    assert_nothing_is_written(&app, 5).await;
    run_by_hand(&app, &found).await;
    let found = world.ready("pguser", &reader).await;
    assert_eq!(found.data["status"]["planned"], Value::Null);
    assert!(found.data["status"]["lastDrift"]["repaired"].is_string(), "{}", found.data["status"]);
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    assert_nothing_is_written(&app, 2).await;
}

#[tokio::test]
async fn an_operator_that_observes_writes_nothing_while_everything_is_broken() {
    let mut world = World::new().await;
    let (name, owner, reader, new) = {
        let (app, reader) = app_with_reader(&world).await;
        let gone = app.user(READER).await;
        world.stop_operator().await;
        world.delete("pguser", &gone).await;
        world.secrets(&world.namespace).delete(&reader, &kube::api::DeleteParams::default()).await.unwrap();
        app.sql(&format!(
            "GRANT CONNECT ON DATABASE {0} TO PUBLIC; REVOKE SELECT ON public.orders FROM {reader};
             ALTER ROLE {1} PASSWORD 'set by hand'; ALTER ROLE {1} CREATEDB",
            app.name, app.owner
        ))
        .await;
        let new = format!("{}new", app.name);
        world.apply(&user(&world.namespace, &new, &app.name, ", access: readwrite")).await;
        (app.name.clone(), app.owner.clone(), reader, new)
    };
    world.settings.mode = Mode::Observe;
    let (log, writes) = (world.postgres.log().len(), world.writes().len());
    world.start_operator();
    let app = App::of(&world, &name, &owner);
    let gone = format!("{name}u1");

    let database = world.condition("pgdb", &name, DRIFT).await;
    check(
        &database,
        &app,
        &expect![[r#"
            ALTER ROLE "APP_owner" NOCREATEDB
            REVOKE CONNECT ON DATABASE "APP" FROM PUBLIC
            ALTER ROLE "APP_owner" PASSWORD '…'"#]],
    );
    let found = world.condition("pguser", &reader, PLANNED).await;
    check(
        &found,
        &app,
        &expect![[r#"
            ALTER DEFAULT PRIVILEGES FOR ROLE "APPnew" IN SCHEMA "public" GRANT SELECT ON TABLES TO "APPu0"
            GRANT SELECT ON TABLE "public"."orders" TO "APPu0"
            -- Secret OPS/APPu0 is written"#]],
    );
    // What follows from another new resource is no drift.
    let sentence = format!("SELECT on public.orders was revoked from {reader}");
    assert_eq!(found.data["status"]["lastDrift"]["objects"], json!([sentence]));
    let found = world.condition("pguser", &new, PLANNED).await;
    assert!(planned(&found, &app).contains("CREATE ROLE \"APPnew\" NOLOGIN"), "{}", planned(&found, &app));
    world.condition("pguser", &new, ("Drifted", "False", "NoDrift")).await;
    let found = world.condition("pguser", &gone, ("Ready", "False", "Deleting")).await;
    assert!(planned(&found, &app).contains("DROP ROLE"), "{}", planned(&found, &app));
    for resource in [&name, &reader, &new] {
        world.warning(resource, "ChangesPlanned").await;
    }
    for resource in [&name, &reader] {
        world.warning(resource, "DriftFound").await;
    }
    world.warning(&gone, "Deleting").await;
    assert_nothing_is_written(&app, 5).await;
    // Nor before: it says what it found, which is all that it writes.
    assert_eq!(changes(&world.postgres.log()[log..], &app), Vec::<String>::new());
    let mut said = world.writes().split_off(writes);
    for write in &mut said {
        // Events have the time in their names.
        let is_event = write.starts_with("create events/");
        *write =
            if is_event { write.split('.').next().unwrap_or_default().to_owned() } else { write.clone() };
    }
    said.sort();
    let told = [("", 2), ("new", 1), ("u0", 2), ("u1", 1)];
    let told = told.into_iter().flat_map(|(end, events)| vec![format!("create events/ {name}{end}"); events]);
    let shown = [("databases", ""), ("users", "new"), ("users", "u0"), ("users", "u1")];
    let shown = shown.map(|(kind, end)| format!("patch postgres{kind}/status {name}{end} 200"));
    assert_eq!(said, told.chain(shown).collect::<Vec<_>>());
    assert!(world.has_role(&gone).await && !world.has_role(&new).await);
    assert_eq!(world.get("pguser", &new).await.unwrap().metadata.finalizers, None);
    assert_eq!(world.find_secret(&world.namespace, &reader).await, None);

    // What it has shown, it does.
    world.stop_operator().await;
    world.settings.mode = Mode::Reconcile;
    world.start_operator();
    world.gone("pguser", &gone).await;
    for (kind, resource) in [("pgdb", &name), ("pguser", &reader), ("pguser", &new)] {
        let found = world.ready(kind, resource).await;
        assert_eq!(found.data["status"]["planned"], Value::Null);
        world.login(&world.secret(&world.namespace, resource).await).await;
    }
    assert!(world.postgres.connect(&name, &owner, "set by hand").await.is_err());
}

#[tokio::test]
async fn a_database_that_is_put_right_by_hand_is_ready() {
    let mut world = World::new().await;
    let (name, owner) = {
        let app = App::provision(&world).await;
        world.stop_operator().await;
        let take = format!(
            "ALTER DATABASE {0} OWNER TO postgres; GRANT TEMPORARY ON DATABASE {0} TO PUBLIC",
            app.name
        );
        world.sql("postgres", &take).await;
        (app.name.clone(), app.owner.clone())
    };
    world.settings.mode = Mode::Observe;
    world.start_operator();
    let app = App::of(&world, &name, &owner);
    let found = world.condition("pgdb", &name, DRIFT).await;
    check(
        &found,
        &app,
        &expect![[r#"
            ALTER DATABASE "APP" OWNER TO "APP_owner"
            REVOKE TEMPORARY ON DATABASE "APP" FROM PUBLIC"#]],
    );
    run_by_hand(&app, &found).await;
    world.ready("pgdb", &name).await;
    world.condition("pgdb", &name, ("Drifted", "False", "InSync")).await;
    assert_nothing_is_written(&app, 2).await;
}

#[tokio::test]
async fn nothing_is_made_for_a_new_resource_until_it_is_reconciled() {
    let world = World::new().await;
    let name = unique("app");
    let owner = format!("{name}_owner");
    let app = App::of(&world, &name, &owner);
    let reader = format!("{name}r");
    world.apply(&database(&world.namespace, &name, &owner, ", mode: Observe")).await;
    world.apply(&user(&world.namespace, &reader, &name, ", access: read, mode: Observe")).await;
    let found = world.condition("pgdb", &name, PLANNED).await;
    assert!(planned(&found, &app).contains("CREATE DATABASE"), "{}", planned(&found, &app));
    world.condition("pguser", &reader, PLANNED).await;
    for (kind, resource) in [("pgdb", &name), ("pguser", &reader)] {
        world.warning(resource, "ChangesPlanned").await;
        assert_eq!(world.get(kind, resource).await.unwrap().metadata.finalizers, None);
        assert_eq!(world.find_secret(&world.namespace, resource).await, None);
    }
    let log = world.postgres.log();
    assert_eq!(changes(&log, &app), Vec::<String>::new());
    assert!(world.writes().iter().all(|write| write.contains("/status") || write.contains("events/")));

    // Who comes later is not kept from what it would get.
    let theirs = user(&world.tenant, &format!("{name}theirs"), &name, ", access: read");
    world.apply(&theirs.replace(&format!("username: {name}theirs"), &format!("username: {reader}"))).await;
    mode(&app, "pgdb", &name, "Reconcile").await;
    world.ready("pgdb", &name).await;
    world.patch("pgdb", &name, json!({ "spec": { "allowUsersFrom": [world.tenant] } })).await;
    world.ready("pguser", &format!("{}/{name}theirs", world.tenant)).await;
    world.condition("pguser", &reader, ("Ready", "False", "Conflict")).await;
    world.remove("pguser", &format!("{}/{name}theirs", world.tenant)).await;
    mode(&app, "pguser", &reader, "Reconcile").await;
    world.ready("pguser", &reader).await;
    app.session(&reader).await;
    // Without a finalizer there was nothing to wait for; with one there is.
    world.remove("pgdb", &name).await;
    assert!(!world.has_role(&reader).await);
}

#[tokio::test]
async fn an_observed_database_serves_its_users_and_is_left_as_it_is() {
    let world = World::new().await;
    let (app, reader) = app_with_reader(&world).await;
    mode(&app, "pgdb", &app.name, "Observe").await;
    world.ready("pgdb", &app.name).await;
    app.sql(&format!(
        "GRANT CONNECT ON DATABASE {0} TO PUBLIC; REVOKE SELECT ON public.orders FROM {reader}",
        app.name
    ))
    .await;
    let found = world.condition("pgdb", &app.name, DRIFT).await;
    check(&found, &app, &expect![[r#"REVOKE CONNECT ON DATABASE "APP" FROM PUBLIC"#]]);
    world.event(&reader, "DriftRepaired", 1).await;
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    world.warning(&app.name, "ChangesPlanned").await;
    assert_nothing_is_written(&app, 3).await;

    mode(&app, "pgdb", &app.name, "Reconcile").await;
    world.ready("pgdb", &app.name).await;
    let public = format!("SELECT has_database_privilege('public', '{}', 'CONNECT')::text", app.name);
    assert_eq!(app.value(&public).await.as_deref(), Some("false"));
}

#[tokio::test]
async fn what_an_observed_resource_has_stays_when_it_is_deleted_and_a_namesake_finds_it() {
    let world = World::new().await;
    let (app, reader) = app_with_reader(&world).await;
    mode(&app, "pguser", &reader, "Observe").await;
    world.ready("pguser", &reader).await;
    let before = app.privileges(&reader).await;
    world.remove("pguser", &reader).await;
    let note = world.warning(&reader, "LeftInPlace").await;
    assert!(note.contains(&format!("role {reader} and what it has in database {}", app.name)), "{note}");
    assert!(world.has_role(&reader).await);
    assert_eq!(app.privileges(&reader).await, before);
    // It was the resource's, and the collector takes its time.
    eventually("the Secret to be gone", PATIENCE * 3, async || {
        let found = world.find_secret(&world.namespace, &reader).await;
        if found.is_none() { Ok(()) } else { Err("it is there".to_owned()) }
    })
    .await;
    world.apply(&user(&world.namespace, &reader, &app.name, READER)).await;
    world.ready("pguser", &reader).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    may_not(&mut app.session(&reader).await, "DELETE FROM public.orders").await;
    world.remove("pguser", &reader).await;
    assert!(!world.has_role(&reader).await);
}

#[tokio::test]
async fn what_somebody_changes_in_observed_resources_is_planned_and_no_drift() {
    let mut world = World::without_operator(17).await;
    world.settings.resync = Duration::from_millis(300);
    world.start_operator();
    let (app, reader) = app_with_reader(&world).await;
    world.patch("pguser", &reader, json!({ "spec": { "mode": "Observe", "access": "readwrite" } })).await;
    let found = world.condition("pguser", &reader, PLANNED).await;
    world.condition("pguser", &reader, ("Drifted", "False", "NoDrift")).await;
    assert!(planned(&found, &app).contains("GRANT INSERT, UPDATE, DELETE"), "{}", planned(&found, &app));
    assert_eq!(found.data["status"]["lastDrift"], Value::Null);
    world.warning(&reader, "ChangesPlanned").await;
    assert_nothing_is_written(&app, 5).await;
    mode(&app, "pguser", &reader, "Reconcile").await;
    world.ready("pguser", &reader).await;
    may(&mut app.session(&reader).await, "DELETE FROM public.orders").await;
}

#[tokio::test]
async fn a_password_changed_in_the_secret_of_an_observed_resource_is_planned_and_no_drift() {
    let world = World::new().await;
    let (app, reader) = app_with_reader(&world).await;
    mode(&app, "pguser", &reader, "Observe").await;
    let settled = world.condition("pguser", &reader, ("Ready", "True", "Provisioned")).await;
    assert_eq!(settled.data["status"]["observedGeneration"], json!(settled.metadata.generation));
    let chosen = Patch::Merge(json!({ "stringData": { "password": "chosen-by-hand-0123456789" } }));
    world.secrets(&world.namespace).patch(&reader, &PatchParams::default(), &chosen).await.unwrap();
    let found = world.condition("pguser", &reader, PLANNED).await;
    assert!(planned(&found, &app).contains("PASSWORD"), "{}", planned(&found, &app));
    world.checks(&app.name, 2).await;
    let found = world.condition("pguser", &reader, PLANNED).await;
    assert_eq!(found.data["status"]["lastDrift"], Value::Null);
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    // What somebody does besides is told.
    app.sql(&format!("REVOKE SELECT ON public.orders FROM {reader}")).await;
    world.condition("pguser", &reader, ("Drifted", "True", "DriftFound")).await;
    assert!(!world.warning(&reader, "DriftFound").await.contains("password"));
}
