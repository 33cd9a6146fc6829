//! An admin role that is no superuser, as on managed services.

use exec::{Password, Server};
use kube::api::{DeleteParams, PostParams};
use operator::api::LABEL_RESOURCE_UID;
use serde_json::json;
use testbed::unique;

use crate::app::{App, may, may_not};
use crate::resources::database;
use crate::world::{World, server};

/// A world whose operator works as a role with these attributes.
async fn world(major: u16, attributes: &str) -> (World, String) {
    let mut world = World::without_operator(major).await;
    let (admin, password) = (unique("admin"), unique("password"));
    world.sql("postgres", &format!("CREATE ROLE {admin} LOGIN {attributes} PASSWORD '{password}'")).await;
    let server = Server { user: admin.clone(), password: Password::new(password), ..server(world.postgres) };
    world.settings.server = Some(server);
    world.start_operator();
    (world, admin)
}

async fn a_whole_life(major: u16) {
    let (world, _) = world(major, "CREATEDB CREATEROLE").await;
    let app = App::provision(&world).await;
    app.sql_as_owner("CREATE SCHEMA shop; CREATE TABLE shop.orders AS SELECT 1 AS id").await;
    let (reader, writer) = (app.user(", access: read").await, app.user(", access: readwrite").await);
    let mut session = app.session(&writer).await;
    may(&mut session, "INSERT INTO shop.orders VALUES (2); CREATE TABLE shop.mine AS SELECT 1 AS id").await;
    may(&mut app.session(&reader).await, "SELECT * FROM shop.orders, shop.mine").await;
    may_not(&mut app.session(&reader).await, "DELETE FROM shop.orders").await;

    // What is changed behind our back.
    app.sql(&format!(
        "REVOKE SELECT ON shop.orders FROM {reader}; SET ROLE {}; GRANT DELETE ON shop.orders TO {reader}",
        app.owner
    ))
    .await;
    world.sql("postgres", &format!("ALTER ROLE {reader} NOLOGIN")).await;
    world.warning(&reader, "DriftRepaired").await;
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    may(&mut app.session(&reader).await, "SELECT * FROM shop.orders").await;
    may_not(&mut app.session(&reader).await, "DELETE FROM shop.orders").await;

    // A writer that becomes a reader.
    app.change(&writer, json!({ "access": "read" })).await;
    let mut session = app.session(&writer).await;
    may(&mut session, "SELECT * FROM shop.mine").await;
    may_not(&mut session, "INSERT INTO shop.mine VALUES (2)").await;

    // Another owner.
    let next = unique("owner");
    world.patch("pgdb", &app.name, json!({ "spec": { "owner": next } })).await;
    world.ready("pgdb", &app.name).await;
    may(&mut app.session(&app.name).await, "INSERT INTO shop.mine VALUES (3); DROP TABLE shop.orders").await;
    assert!(!world.has_role(&app.owner).await);

    world.remove("pguser", &writer).await;
    assert!(!world.has_role(&writer).await);
    world.remove("pgdb", &app.name).await;
    let there = format!("SELECT datname FROM pg_catalog.pg_database WHERE datname = '{}'", app.name);
    assert_eq!(world.value("postgres", &there).await.as_ref(), Some(&app.name));
}

#[tokio::test]
async fn a_whole_life_on_13() {
    a_whole_life(13).await;
}

#[tokio::test]
async fn a_whole_life_on_15() {
    a_whole_life(15).await;
}

#[tokio::test]
async fn a_whole_life_on_17() {
    a_whole_life(17).await;
}

#[tokio::test]
async fn a_whole_life_on_18() {
    a_whole_life(18).await;
}

#[tokio::test]
async fn what_the_admin_role_lacks_is_said_and_picked_up_when_it_is_given() {
    let (world, admin) = world(17, "CREATEDB").await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    let found = world.condition("pgdb", &app, ("Ready", "False", "InsufficientPrivilege")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("CREATEROLE"), "{said}");
    assert_eq!(world.find_secret(&world.namespace, &app).await, None);
    world.sql("postgres", &format!("ALTER ROLE {admin} CREATEROLE")).await;
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn what_belongs_to_a_superuser_is_said_and_the_rest_is_done() {
    let (world, _) = world(17, "CREATEDB CREATEROLE").await;
    let app = App::provision(&world).await;
    app.sql("CREATE TABLE public.postgres_own (n int)").await;
    app.sql_as_owner("CREATE TABLE public.orders (n int)").await;
    let reader = app.user(", access: read").await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "NotPermitted")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("postgres_own"), "{said}");
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}

#[tokio::test]
async fn a_password_that_logged_in_as_one_role_proves_nothing_of_another() {
    let (world, _) = world(15, "CREATEDB CREATEROLE").await;
    let (app, victim) = (unique("app"), unique("victim"));
    world.sql("postgres", &format!("CREATE ROLE {victim} LOGIN PASSWORD 'its own'")).await;
    let name = format!("{}/{app}", world.tenant);
    world.apply(&database(&world.tenant, &app, &format!("{app}_owner"), "")).await;
    let found = world.ready("pgdb", &name).await;

    // Of its own resource, with the name of another role, and nobody can write over it.
    let mut forged = world.secret(&world.tenant, &app).await;
    forged.insert("username".to_owned(), victim.clone());
    let labels = json!({ LABEL_RESOURCE_UID: found.metadata.uid });
    let metadata = json!({ "name": app, "namespace": world.tenant, "labels": labels });
    let forged = json!({ "metadata": metadata, "immutable": true, "stringData": forged });
    let secrets = world.secrets(&world.tenant);
    secrets.delete(&app, &DeleteParams::default()).await.unwrap();
    secrets.create(&PostParams::default(), &serde_json::from_value(forged).unwrap()).await.unwrap();
    world.condition("pgdb", &name, ("Ready", "False", "SecretRefused")).await;

    world.patch("pgdb", &name, json!({ "spec": { "owner": victim } })).await;
    world.condition("pgdb", &name, ("Ready", "False", "NotOurs")).await;
    world.postgres.connect("postgres", &victim, "its own").await.unwrap();
}
