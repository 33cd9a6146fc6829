//! What a resource may not have, and that asking for it changes nothing.

use operator::api::{ANNOTATION_ALLOW_SECRETS_FROM, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM};
use serde_json::json;
use testbed::postgres::run;
use testbed::{Postgres, eventually, unique};

use crate::app::App;
use crate::resources::{database, user};
use crate::world::{PATIENCE, World};

const READ: &str = ", access: read";

#[tokio::test]
async fn a_database_lets_in_users_of_other_namespaces_when_it_says_so() {
    let world = World::new().await;
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.ready("pgdb", &app).await;
    world.apply(&user(&world.tenant, &reader, &app, READ)).await;
    let there = format!("{}/{reader}", world.tenant);
    world.condition("pguser", &there, ("Ready", "False", "NotAllowed")).await;
    assert!(!world.has_role(&reader).await);
    world.patch("pgdb", &app, json!({ "spec": { "allowUsersFrom": [world.tenant] } })).await;
    world.ready("pguser", &there).await;
    world.login(&world.secret(&world.tenant, &reader).await).await;
}

#[tokio::test]
async fn a_namespace_takes_secrets_of_others_when_it_says_so() {
    let world = World::new().await;
    let (app, here) = (unique("app"), &world.namespace);
    let more = format!(", secretNamespace: {here}");
    world.apply(&database(&world.tenant, &app, &format!("{app}_owner"), &more)).await;
    let there = format!("{}/{app}", world.tenant);
    world.condition("pgdb", &there, ("Ready", "False", "NotAllowed")).await;
    assert!(!world.has_role(&format!("{app}_owner")).await);
    world.annotate(here, ANNOTATION_ALLOW_SECRETS_FROM, &world.tenant).await;
    world.ready("pgdb", &there).await;
    world.login(&world.secret(here, &app).await).await;
}

#[tokio::test]
async fn admin_credentials_of_another_namespace_are_not_used_without_its_consent() {
    let world = World::new().await;
    world.superuser_secret("admin", world.postgres, world.postgres.password()).await;
    let (app, here) = (unique("app"), &world.namespace);
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: admin, namespace: {here} }}");
    world.apply(&database(&world.tenant, &app, &format!("{app}_owner"), &more)).await;
    let there = format!("{}/{app}", world.tenant);
    world.condition("pgdb", &there, ("Ready", "False", "NotAllowed")).await;
    assert!(!world.has_role(&format!("{app}_owner")).await);
    world.annotate(here, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM, &world.tenant).await;
    world.ready("pgdb", &there).await;
}

#[tokio::test]
async fn credentials_of_ones_own_open_no_database_of_the_operators_server() {
    let world = World::new().await;
    let (app, reader, tenant) = (unique("app"), unique("reader"), &world.tenant);
    world.sql("postgres", &format!("CREATE DATABASE {app}")).await;
    let port = world.postgres.port();
    let secret = format!("stringData: {{ username: nobody, password: {}, port: '{port}' }}", unique("guess"));
    world
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: mine, namespace: {tenant} }}\n{secret}\n"
        ))
        .await;
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: mine, namespace: {tenant} }}");
    world.apply(&database(tenant, &app, &format!("{app}_owner"), &more)).await;
    world.condition("pgdb", &format!("{tenant}/{app}"), ("Ready", "False", "InvalidCredentials")).await;
    world.apply(&user(tenant, &reader, &app, READ)).await;
    world.condition("pguser", &format!("{tenant}/{reader}"), ("Ready", "False", "DatabaseMissing")).await;
    assert!(!world.has_role(&reader).await);
}

#[tokio::test]
async fn a_younger_claim_from_another_namespace_is_a_conflict() {
    let world = World::new().await;
    let (app, shop, owner) = (unique("app"), unique("shop"), unique("owner"));
    world.apply(&database(&world.namespace, &app, &owner, "")).await;
    world.ready("pgdb", &app).await;
    let stored = format!("SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = '{owner}'");
    let before = world.value("postgres", &stored).await;
    world.apply(&database(&world.tenant, &shop, &owner, "")).await;
    world.condition("pgdb", &format!("{}/{shop}", world.tenant), ("Ready", "False", "Conflict")).await;
    assert_eq!(world.value("postgres", &stored).await, before);
    assert_eq!(world.find_secret(&world.tenant, &shop).await, None);
    world.remove("pgdb", &format!("{}/{shop}", world.tenant)).await;
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn an_existing_role_is_taken_over_with_its_password_only() {
    let world = World::new().await;
    let (app, reader, password) = (unique("app"), unique("reader"), unique("known"));
    let verifier = exec::scram::verifier(&exec::Password::new(&*password)).unwrap();
    world.sql("postgres", &format!("CREATE ROLE {reader} LOGIN PASSWORD '{}'", verifier.expose())).await;
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, READ)).await;
    world.condition("pguser", &reader, ("Ready", "False", "NotOurs")).await;
    assert_eq!(world.find_secret(&world.namespace, &reader).await, None);
    let secret = format!("metadata: {{ name: {reader} }}\nstringData: {{ password: {password} }}\n");
    world.apply(&format!("apiVersion: v1\nkind: Secret\n{secret}")).await;
    world.ready("pguser", &reader).await;
    assert_eq!(world.secret(&world.namespace, &reader).await["password"], password);
}

#[tokio::test]
async fn reserved_names_and_foreign_secrets_are_refused() {
    let world = World::new().await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, "postgres", "")).await;
    world.condition("pgdb", &app, ("Ready", "False", "Reserved")).await;
    let foreign = format!("metadata: {{ name: {app} }}\nstringData: {{ token: x }}\n");
    world.apply(&format!("apiVersion: v1\nkind: Secret\n{foreign}")).await;
    world.patch("pgdb", &app, json!({ "spec": { "owner": format!("{app}_owner") } })).await;
    world.condition("pgdb", &app, ("Ready", "False", "SecretConflict")).await;
    world.patch("pgdb", &app, json!({ "spec": { "secretName": format!("{app}-2") } })).await;
    world.ready("pgdb", &app).await;
    assert_eq!(world.secret(&world.namespace, &app).await.len(), 1);
}

#[tokio::test]
async fn a_secret_that_cannot_be_stored_costs_only_its_own_resource() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let (wrong, right) = (unique("wrong"), unique("right"));
    let yaml = user(&world.namespace, &wrong, &app.name, READ)
        .replace(&format!("secretName: {wrong}"), "secretName: No_Such_Name");
    world.apply(&yaml).await;
    world.apply(&user(&world.namespace, &right, &app.name, READ)).await;
    world.ready("pguser", &right).await;
    world.condition("pguser", &wrong, ("Ready", "False", "SecretRefused")).await;
    app.session(&right).await;
}

#[tokio::test]
async fn consent_to_take_secrets_is_none_to_use_what_is_there() {
    let world = World::new().await;
    let (app, here, password) = (unique("app"), &world.namespace, unique("theirs"));
    world.annotate(here, ANNOTATION_ALLOW_SECRETS_FROM, &world.tenant).await;
    let theirs =
        format!("metadata: {{ name: {app} }}\nstringData: {{ username: admin, password: {password} }}\n");
    world.apply(&format!("apiVersion: v1\nkind: Secret\n{theirs}")).await;
    let before = world.secret(here, &app).await;
    let more = format!(", secretNamespace: {here}");
    world.apply(&database(&world.tenant, &app, &format!("{app}_owner"), &more)).await;
    let there = format!("{}/{app}", world.tenant);
    world.condition("pgdb", &there, ("Ready", "False", "SecretConflict")).await;
    world.remove("pgdb", &there).await;
    assert_eq!(world.secret(here, &app).await, before);
}

#[tokio::test]
async fn a_user_of_another_server_gets_nothing_on_the_operators() {
    let world = World::new().await;
    let other = Postgres::shared(18).await;
    let (app, reader, tenant) = (unique("app"), unique("reader"), &world.tenant);
    for major in [world.postgres, other] {
        run(&mut major.admin("postgres").await, format!("CREATE DATABASE {app}")).await.unwrap();
    }
    let (port, password) = (other.port(), other.password());
    let secret = format!("stringData: {{ username: postgres, password: {password}, port: '{port}' }}");
    world
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: mine, namespace: {tenant} }}\n{secret}\n"
        ))
        .await;
    let more = format!("{READ}, host: 127.0.0.1, superuserSecret: {{ name: mine, namespace: {tenant} }}");
    world.apply(&user(tenant, &reader, &app, &more)).await;
    let there = format!("{tenant}/{reader}");
    world.ready("pguser", &there).await;

    // A database resource that cannot be served makes it look as if the user had one.
    let foreign = format!("metadata: {{ name: {app}, namespace: {tenant} }}\nstringData: {{ token: x }}\n");
    world.apply(&format!("apiVersion: v1\nkind: Secret\n{foreign}")).await;
    world.apply(&database(tenant, &app, &format!("{app}_owner"), "")).await;
    world.condition("pgdb", &format!("{tenant}/{app}"), ("Ready", "False", "SecretConflict")).await;
    world.patch("pguser", &there, json!({ "spec": { "host": null, "superuserSecret": null } })).await;
    world.condition("pguser", &there, ("Ready", "False", "DatabaseMissing")).await;
    assert!(!world.has_role(&reader).await);
}

#[tokio::test]
async fn an_elder_that_changes_its_mind_evicts_nobody() {
    let world = World::new().await;
    let (elder, app, owner) = (unique("elder"), unique("app"), unique("owner"));
    world.apply(&database(&world.tenant, &elder, &unique("owner"), "")).await;
    let there = format!("{}/{elder}", world.tenant);
    world.ready("pgdb", &there).await;
    // Ages are told in seconds.
    eventually("the next second", PATIENCE, async || {
        let born = world.get("pgdb", &there).await.unwrap().metadata.creation_timestamp.unwrap();
        (jiff::Timestamp::now().as_second() > born.0.as_second()).then_some(())
    })
    .await;
    world.apply(&database(&world.namespace, &app, &owner, "")).await;
    world.ready("pgdb", &app).await;
    let before = world.secret(&world.namespace, &app).await;
    world.patch("pgdb", &there, json!({ "spec": { "owner": owner } })).await;
    world.condition("pgdb", &there, ("Ready", "False", "Conflict")).await;
    world.ready("pgdb", &app).await;

    // What it leaves behind is not the elder's either.
    world.remove("pgdb", &app).await;
    world.condition("pgdb", &there, ("Ready", "False", "NotOurs")).await;
    world.apply(&database(&world.namespace, &app, &owner, "")).await;
    world.ready("pgdb", &app).await;
    assert!(world.try_login(&before).await.is_err());
    world.login(&world.secret(&world.namespace, &app).await).await;
}

#[tokio::test]
async fn the_api_server_refuses_what_it_can_see_with_words() {
    let world = World::new().await;
    let (app, reader, here) = (unique("app"), unique("reader"), &world.namespace);
    let long = "a".repeat(64);
    let letters = "use letters (a-z, A-Z), digits and _ only";
    for (yaml, message) in [
        (database(here, &app, "my-owner", ""), letters),
        (database(here, &app, "1owner", ""), letters),
        (database(here, &app, "owner\\u0022", ""), letters),
        (database(here, &app, "ö", ""), letters),
        (database(here, &app, &long, ""), "Too long: may not be more than 63"),
        (database(here, &app, "owner", "").replace(&format!("dbName: {app}"), "dbName: my-app"), letters),
        (user(here, &reader, "my-app", READ), letters),
        (
            user(here, &reader, &app, ", access: write"),
            "Unsupported value: \"write\": supported values: \"read\", \"readwrite\"",
        ),
        (user(here, &reader, &app, ""), "spec.access: Required value"),
        (user(here, &reader, &app, ", access: read, schemas: [my-schema]"), "spec.schemas[0]"),
    ] {
        let error = world.try_apply(&yaml).await.unwrap_err().to_string();
        assert!(error.contains(message), "{yaml}: {error}");
    }

    world.apply(&database(here, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(here, &reader, &app, READ)).await;
    for (yaml, message) in [
        (
            database(here, &app, "o", "").replace(&format!("dbName: {app}"), "dbName: other"),
            "dbName cannot be changed",
        ),
        (user(here, &reader, "other", READ), "dbName cannot be changed"),
        (
            user(here, &reader, &app, READ).replace(&format!("username: {reader}"), "username: o"),
            "username cannot be changed",
        ),
    ] {
        let error = world.try_apply(&yaml).await.unwrap_err().to_string();
        assert!(error.contains(message), "{yaml}: {error}");
    }
    world.ready("pguser", &reader).await;
}
