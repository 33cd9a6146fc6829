//! Secrets are the source of truth of passwords, and are kept right otherwise.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use testbed::{eventually, unique};

use crate::app::App;
use crate::resources::{database, user};
use crate::world::{PATIENCE, World};

async fn merge(world: &World, secret: &str, change: serde_json::Value) {
    let secrets = world.secrets(&world.namespace);
    secrets.patch(secret, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_there_already_is_kept() {
    let world = World::told().await;
    let (app, reader) = (App::provision(&world).await, unique("reader"));
    // As `kubectl apply` leaves it, which keeps all that it was given in an annotation.
    let given = json!({ "stringData": { "password": "chosen-beforehand" } }).to_string();
    let annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": given });
    let metadata = json!({ "name": reader, "annotations": annotations });
    let preset = json!({ "password": "chosen-beforehand" });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {preset}\n")).await;
    world.apply(&user(&world.namespace, &reader, &app.name, ", access: read")).await;
    world.ready("pguser", &reader).await;
    let secret = world.secret(&world.namespace, &reader).await;
    assert_eq!(secret["password"], "chosen-beforehand");
    assert_eq!(secret.len(), 5);
    world.login(&secret).await;
}

#[tokio::test]
async fn a_deleted_secret_is_back_with_a_new_password_that_logs_in() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let before = world.secret(&world.namespace, &app.name).await;
    world.secrets(&world.namespace).delete(&app.name, &DeleteParams::default()).await.unwrap();
    eventually("a new password to work", PATIENCE, async || {
        let new = world.find_secret(&world.namespace, &app.name).await.ok_or("no Secret")?;
        assert_ne!(new["password"], before["password"]);
        world.try_login(&new).await.map(|_| ()).map_err(|_| "not yet")
    })
    .await;
    assert!(world.try_login(&before).await.is_err());
}

#[tokio::test]
async fn what_was_edited_is_put_right_and_what_others_added_stays() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let before = world.secret(&world.namespace, &app.name).await;
    let change =
        json!({ "stringData": { "host": "elsewhere", "theirs": "stays" }, "data": { "port": null } });
    merge(&world, &app.name, change).await;
    let mut expected = before.clone();
    expected.insert("theirs".to_owned(), "stays".to_owned());
    eventually("the Secret to be put right", PATIENCE, async || {
        let now = world.secret(&world.namespace, &app.name).await;
        if now == expected { Ok(()) } else { Err(format!("{:?} at {}", now.keys(), now["host"])) }
    })
    .await;
    world.login(&before).await;
}

#[tokio::test]
async fn a_changed_password_key_becomes_the_roles_password() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let before = world.secret(&world.namespace, &app.name).await;
    merge(&world, &app.name, json!({ "stringData": { "password": "chosen by hand" } })).await;
    let chosen = world.secret(&world.namespace, &app.name).await;
    eventually("the chosen password to work", PATIENCE, async || world.try_login(&chosen).await.map(|_| ()))
        .await;
    assert!(world.try_login(&before).await.is_err());
    assert_eq!(world.secret(&world.namespace, &app.name).await["password"], "chosen by hand");
}

#[tokio::test]
async fn a_password_that_no_client_could_use_is_refused_and_the_old_one_stays() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let before = world.secret(&world.namespace, &app.name).await;
    merge(&world, &app.name, json!({ "stringData": { "password": "two\nlines" } })).await;
    world.condition("pgdb", &app.name, ("Ready", "False", "InvalidPassword")).await;
    world.login(&before).await;
    merge(&world, &app.name, json!({ "stringData": { "password": "chosen-once-more" } })).await;
    world.ready("pgdb", &app.name).await;
    world.login(&world.secret(&world.namespace, &app.name).await).await;
}

#[tokio::test]
async fn a_secret_that_is_right_is_never_written() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let secrets = world.secrets(&world.namespace);
    let version = async || secrets.get(&app.name).await.unwrap().metadata.resource_version;
    // What was under way when it became Ready may still write.
    world.checks(&app.name, 2).await;
    let before = (version().await, world.writes());
    world.checks(&app.name, 5).await;
    // Also no write that the API server takes for none.
    assert_eq!((version().await, world.writes()), before);
}

#[tokio::test]
async fn a_secret_in_the_resources_namespace_belongs_to_it() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let found: Secret = world.secrets(&world.namespace).get(&app.name).await.unwrap();
    let owners = found.metadata.owner_references.unwrap_or_default();
    assert_eq!(owners.len(), 1);
    assert_eq!((&*owners[0].kind, &*owners[0].name), ("PostgresDatabase", &*app.name));
    assert_eq!(owners[0].block_owner_deletion, None);
}

#[tokio::test]
async fn a_secret_in_another_namespace_has_no_owner_and_is_removed_all_the_same() {
    let world = World::told().await;
    let app = unique("app");
    let more = format!(", secretNamespace: {}", world.tenant);
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), &more)).await;
    world.ready("pgdb", &app).await;
    let found: Secret = world.secrets(&world.tenant).get(&app).await.unwrap();
    assert_eq!(found.metadata.owner_references, None);
    world.remove("pgdb", &app).await;
    assert_eq!(world.find_secret(&world.tenant, &app).await, None);
}

#[tokio::test]
async fn two_databases_share_an_owner_and_its_password() {
    let world = World::told().await;
    let (one, two, owner) = (unique("one"), unique("two"), unique("owner"));
    for name in [&one, &two] {
        world.apply(&database(&world.namespace, name, &owner, "")).await;
    }
    for name in [&one, &two] {
        world.ready("pgdb", name).await;
    }
    let (first, second) =
        (world.secret(&world.namespace, &one).await, world.secret(&world.namespace, &two).await);
    assert_eq!(first["password"], second["password"]);
    world.login(&first).await;
    world.login(&second).await;

    world.remove("pgdb", &one).await;
    world.secrets(&world.namespace).delete(&two, &DeleteParams::default()).await.unwrap();
    eventually("the remaining resource to set a new password", PATIENCE, async || {
        let new = world.find_secret(&world.namespace, &two).await.ok_or("no Secret")?;
        world.try_login(&new).await.map(|_| ()).map_err(|_| "not yet")
    })
    .await;
}
