//! Servers that resources name, and servers in trouble.

use serde_json::json;
use testbed::{Postgres, postgres::run, unique};

use crate::app::App;
use crate::resources::database;
use crate::world::World;

#[tokio::test]
async fn another_server_is_provisioned_once_its_credentials_are_right() {
    let world = World::new().await;
    let other = Postgres::shared(18).await;
    let (app, here) = (unique("app"), &world.namespace);
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: other, namespace: {here} }}");
    world.apply(&database(here, &app, &format!("{app}_owner"), &more)).await;
    world.condition("pgdb", &app, ("Ready", "False", "InvalidCredentials")).await;
    world.superuser_secret("other", other, &unique("wrong")).await;
    testbed::eventually("the server to refuse the password", crate::world::PATIENCE, async || {
        let found = world.get("pgdb", &app).await.map_err(|error| error.to_string())?;
        let conditions = found.data["status"]["conditions"].to_string();
        if conditions.contains("28P01") { Ok(()) } else { Err(conditions) }
    })
    .await;
    world.superuser_secret("other", other, other.password()).await;
    world.ready("pgdb", &app).await;
    let secret = world.secret(here, &app).await;
    assert_eq!(secret["port"], other.port().to_string());
    other.connect(&app, &secret["username"], &secret["password"]).await.unwrap();
    let here = format!("SELECT datname FROM pg_catalog.pg_database WHERE datname = '{app}'");
    assert_eq!(world.value("postgres", &here).await, None);
    assert!(!world.has_role(&format!("{app}_owner")).await);
}

#[tokio::test]
async fn what_is_too_long_for_admin_credentials_is_not_remembered_and_not_used() {
    let world = World::new().await;
    for (key, length) in [("username", 2_000), ("password", 10_000), ("ca.crt", 300_000)] {
        let (app, here) = (unique("app"), &world.namespace);
        let secret = app.replace('_', "-");
        let mut data = json!({ "username": "postgres", "password": "secret" });
        data[key] = json!("x".repeat(length));
        let metadata = json!({ "name": secret, "namespace": here });
        world
            .apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n"))
            .await;
        let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: {secret}, namespace: {here} }}");
        world.apply(&database(here, &app, &format!("{app}_owner"), &more)).await;
        let found = world.condition("pgdb", &app, ("Ready", "False", "InvalidCredentials")).await;
        let said = found.data["status"]["conditions"].to_string();
        assert!(said.contains(&format!("key `{key}`: longer than")), "{said}");
    }
}

#[tokio::test]
async fn a_deleted_user_is_removed_from_the_server_that_it_was_provisioned_on() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    let elsewhere =
        json!({ "host": "nowhere.invalid", "superuserSecret": { "name": "none", "namespace": "none" } });
    world.patch("pguser", &reader, json!({ "spec": elsewhere })).await;
    world.condition("pguser", &reader, ("Ready", "False", "InvalidCredentials")).await;
    world.remove("pguser", &reader).await;
    assert!(!world.has_role(&reader).await);
    assert_eq!(world.find_secret(&world.namespace, &reader).await, None);
}

#[tokio::test]
async fn a_server_that_is_down_gets_no_secret_and_is_found_again() {
    let mut world = World::without_operator(17).await;
    let own = Postgres::start(17).await;
    world.settings.server = Some(crate::world::server(&own));
    own.stop().await;
    world.start_operator();
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.condition("pgdb", &app, ("Ready", "False", "ServerUnavailable")).await;
    assert_eq!(world.find_secret(&world.namespace, &app).await, None);
    own.restart().await;
    world.ready("pgdb", &app).await;
    let secret = world.secret(&world.namespace, &app).await;
    own.connect(&app, &secret["username"], &secret["password"]).await.unwrap();
}

#[tokio::test]
async fn half_a_server_is_ignored_and_said_so() {
    let world = World::new().await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), ", host: elsewhere")).await;
    world.ready("pgdb", &app).await;
    world.condition("pgdb", &app, ("Withheld", "True", "OverrideIgnored")).await;
}

/// A world whose own server this is.
async fn on(own: &Postgres) -> World {
    let mut world = World::without_operator(17).await;
    world.settings.server = Some(crate::world::server(own));
    world.start_operator();
    world
}

#[tokio::test]
async fn a_standby_is_said_and_provisioned_once_it_is_promoted() {
    let own = Postgres::start(17).await;
    own.demote().await;
    let world = on(&own).await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.condition("pgdb", &app, ("Ready", "False", "ServerIsStandby")).await;
    assert_eq!(world.find_secret(&world.namespace, &app).await, None);
    run(&mut own.admin("postgres").await, "SELECT pg_catalog.pg_promote()").await.unwrap();
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn a_read_only_server_is_said_and_provisioned_once_it_can_be_written_to() {
    let own = Postgres::start(18).await;
    let mut admin = own.admin("postgres").await;
    run(&mut admin, "ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    run(&mut admin, "SELECT pg_catalog.pg_reload_conf()").await.unwrap();
    let world = on(&own).await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.condition("pgdb", &app, ("Ready", "False", "ServerReadOnly")).await;
    run(&mut admin, "SET default_transaction_read_only = off").await.unwrap();
    run(&mut admin, "ALTER SYSTEM RESET default_transaction_read_only").await.unwrap();
    run(&mut admin, "SELECT pg_catalog.pg_reload_conf()").await.unwrap();
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn a_server_without_a_connection_left_is_said_and_found_again() {
    let own = Postgres::builder(17).set("max_connections", "8").start().await;
    let mut held = Vec::new();
    while let Ok(session) = own.connect("postgres", testbed::postgres::SUPERUSER, own.password()).await {
        held.push(session);
    }
    let world = on(&own).await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    let found = world.condition("pgdb", &app, ("Ready", "False", "ServerUnavailable")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("53300"), "{said}");
    drop(held);
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let apps: Vec<_> = (0..3).map(|_| unique("app")).collect();
    for app in &apps {
        world.apply(&database(&world.namespace, app, &format!("{app}_owner"), "")).await;
        world.secret(&world.namespace, app).await;
        own.restart().await;
    }
    for app in &apps {
        world.ready("pgdb", app).await;
        let secret = world.secret(&world.namespace, app).await;
        own.connect(app, &secret["username"], &secret["password"]).await.unwrap();
    }
}
