//! What is suspended is left alone, and whoever shares its database is not.

use serde_json::{Value, json};
use testbed::unique;

use crate::app::{App, may};
use crate::resources::{database, user};
use crate::world::World;

const READER: &str = ", access: read, schemas: [public]";
const SUSPENDED: (&str, &str, &str) = ("Suspended", "True", "Suspended");

async fn suspend(world: &World, kind: &str, name: &str) {
    world.patch(kind, name, json!({ "spec": { "suspend": true } })).await;
    world.condition(kind, name, SUSPENDED).await;
}

async fn app_with_table(world: &World) -> App<'_> {
    let app = App::provision(world).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    app
}

#[tokio::test]
async fn drift_of_a_suspended_user_stays_until_it_goes_on() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let (reader, other) = (app.user(READER).await, app.user(READER).await);
    suspend(&world, "pguser", &reader).await;
    // The next check is the first without it: only what comes after that is drift.
    world.checks(&app.name, 2).await;
    app.sql(&format!(
        "REVOKE SELECT ON public.orders FROM {reader}, {other}; GRANT DELETE ON public.orders TO {reader}"
    ))
    .await;
    let before = app.privileges(&reader).await;
    world.event(&other, "DriftRepaired", 1).await;
    world.checks(&app.name, 2).await;
    assert_eq!(app.privileges(&reader).await, before);
    let found = world.get("pguser", &reader).await.unwrap();
    let conditions = found.data["status"]["conditions"].as_array().unwrap();
    let said: Vec<_> = conditions.iter().map(|one| (one["type"].clone(), one["status"].clone())).collect();
    let expected = [("Ready", "True"), ("Drifted", "False"), ("Withheld", "False"), ("Suspended", "True")];
    assert_eq!(said, expected.map(|(name, status)| (json!(name), json!(status))));

    world.patch("pguser", &reader, json!({ "spec": { "suspend": null } })).await;
    let found = world.ready("pguser", &reader).await;
    assert_eq!(found.data["status"]["conditions"].as_array().unwrap().len(), 3);
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}

#[tokio::test]
async fn a_suspended_user_keeps_what_another_passed_on_to_it() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let (reader, kept) = (app.user(READER).await, app.user(READER).await);
    suspend(&world, "pguser", &kept).await;
    world.checks(&app.name, 2).await;
    app.sql(&format!(
        "GRANT TRUNCATE ON public.orders TO {reader} WITH GRANT OPTION; SET ROLE {reader};
         GRANT TRUNCATE ON public.orders TO {kept}; RESET ROLE; GRANT DELETE ON public.orders TO {reader}"
    ))
    .await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "PrivilegesKept")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("keeps TRUNCATE on public.orders, from where a role has it that is"), "{said}");
    let has = |role: &str, privilege: &str| {
        let sql = format!("SELECT has_table_privilege('{role}', 'public.orders', '{privilege}')::text");
        async { app.value(&{ sql }).await.unwrap() }
    };
    assert_eq!(has(&kept, "TRUNCATE").await, "true");
    assert_eq!(has(&reader, "DELETE").await, "false");

    world.patch("pguser", &kept, json!({ "spec": { "suspend": false } })).await;
    world.condition("pguser", &reader, ("Withheld", "False", "NothingWithheld")).await;
    for role in [&kept, &reader] {
        assert_eq!(has(role, "TRUNCATE").await, "false");
    }
}

#[tokio::test]
async fn a_suspended_database_serves_those_who_are_there() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let reader = app.user(READER).await;
    suspend(&world, "pgdb", &app.name).await;
    world.checks(&app.name, 2).await;
    app.sql(&format!(
        "GRANT CONNECT ON DATABASE {0} TO PUBLIC; REVOKE SELECT ON public.orders FROM {reader}",
        app.name
    ))
    .await;
    world.event(&reader, "DriftRepaired", 1).await;
    let public = format!("SELECT has_database_privilege('public', '{}', 'CONNECT')::text", app.name);
    assert_eq!(app.value(&public).await.as_deref(), Some("true"));
    let new = format!("{}new", app.name);
    world.apply(&user(&world.namespace, &new, &app.name, READER)).await;
    world.condition("pguser", &new, ("Ready", "False", "DatabaseMissing")).await;

    world.patch("pgdb", &app.name, json!({ "spec": { "suspend": false } })).await;
    world.ready("pguser", &new).await;
    world.ready("pgdb", &app.name).await;
    assert_eq!(app.value(&public).await.as_deref(), Some("false"));
}

#[tokio::test]
async fn what_is_suspended_keeps_its_names() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let (reader, there) = (app.user(READER).await, &world.tenant);
    suspend(&world, "pgdb", &app.name).await;
    suspend(&world, "pguser", &reader).await;
    let other = unique("app");
    world.apply(&database(there, &other, &format!("{other}_owner"), "")).await;
    world.ready("pgdb", &format!("{there}/{other}")).await;
    world.apply(&database(there, &app.name, &format!("{other}_heir"), "")).await;
    world.apply(&user(there, &reader, &other, READER)).await;
    for (kind, name) in [("pgdb", &app.name), ("pguser", &reader)] {
        world.condition(kind, &format!("{there}/{name}"), ("Ready", "False", "Conflict")).await;
    }
    for (kind, name) in [("pgdb", &app.name), ("pguser", &reader)] {
        world.patch(kind, name, json!({ "spec": { "suspend": false } })).await;
        world.ready(kind, name).await;
    }
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}

#[tokio::test]
async fn a_suspended_resource_goes_when_it_is_deleted_and_leaves_what_it_has() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let reader = app.user(READER).await;
    suspend(&world, "pguser", &reader).await;
    world.remove("pguser", &reader).await;
    assert!(world.warning(&reader, "LeftInPlace").await.contains(&reader));
    assert!(world.has_role(&reader).await);
}

#[tokio::test]
async fn nothing_is_made_for_a_resource_that_was_never_anything_but_suspended() {
    let world = World::new().await;
    let app = app_with_table(&world).await;
    let reader = format!("{}r", app.name);
    world.apply(&user(&world.namespace, &reader, &app.name, &format!("{READER}, suspend: true"))).await;
    let found = world.condition("pguser", &reader, SUSPENDED).await;
    assert_eq!((found.metadata.finalizers, &found.data["status"]["planned"]), (None, &Value::Null));
    world.checks(&app.name, 2).await;
    assert!(!world.has_role(&reader).await);
    assert_eq!(world.find_secret(&world.namespace, &reader).await, None);
    world.patch("pguser", &reader, json!({ "spec": { "suspend": false } })).await;
    world.ready("pguser", &reader).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}
