//! Whose roles are, as resources see it.

use serde_json::json;
use testbed::unique;

use crate::app::App;
use crate::resources::{database, user};
use crate::world::World;

/// What could be done to a role.
async fn state(world: &World, role: &str) -> Option<String> {
    let sql = format!(
        "SELECT to_jsonb(a)::text || coalesce(shobj_description(a.oid, 'pg_authid'), '')
         FROM pg_authid a WHERE rolname = '{role}'"
    );
    world.value("postgres", &sql).await
}

#[tokio::test]
async fn another_installation_of_the_operator_gets_nothing_of_this_one() {
    let (mut theirs, world) = (World::without_operator(17).await, World::new().await);
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    let before = (state(&world, &app.owner).await, state(&world, &reader).await);
    theirs.settings.installation = Some("another-cluster".to_owned());
    theirs.start_operator();
    theirs.apply(&database(&theirs.namespace, &app.name, &app.owner, "")).await;
    theirs.condition("pgdb", &app.name, ("Ready", "False", "NotOurs")).await;
    theirs.warning(&app.name, "NotOurs").await;
    let own = unique("own");
    theirs.apply(&database(&theirs.namespace, &own, &format!("{own}_owner"), "")).await;
    theirs.ready("pgdb", &own).await;
    theirs.apply(&user(&theirs.namespace, &reader, &own, ", access: read")).await;
    theirs.condition("pguser", &reader, ("Ready", "False", "NotOurs")).await;
    assert_eq!(theirs.find_secret(&theirs.namespace, &reader).await, None);
    theirs.remove("pguser", &reader).await;
    theirs.remove("pgdb", &app.name).await;
    assert_eq!((state(&world, &app.owner).await, state(&world, &reader).await), before);
    world.checks(&app.name, 2).await;
    world.ready("pguser", &reader).await;
}

#[tokio::test]
async fn a_role_that_was_made_a_superuser_is_left_alone_also_by_a_deletion() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    world.sql("postgres", &format!("ALTER ROLE {reader} SUPERUSER")).await;
    let before = state(&world, &reader).await;
    world.condition("pguser", &reader, ("Ready", "False", "Reserved")).await;
    let secrets = world.secrets(&world.namespace);
    let change = json!({ "stringData": { "password": unique("changed") } });
    let change = kube::api::Patch::Merge(change);
    secrets.patch(&reader, &kube::api::PatchParams::default(), &change).await.unwrap();
    world.checks(&app.name, 3).await;
    world.remove("pguser", &reader).await;
    world.event(&reader, "RoleKept", 1).await;
    assert_eq!(state(&world, &reader).await, before);
    world.sql("postgres", &format!("ALTER ROLE {reader} NOSUPERUSER")).await;
}

#[tokio::test]
async fn another_role_under_the_name_that_the_status_remembers_is_another_role() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    let mine = state(&world, &reader).await;
    world.stop_operator().await;
    let replace = format!("ALTER ROLE {reader} RENAME TO {reader}_mine; CREATE ROLE {reader} LOGIN");
    world.sql("postgres", &replace).await;
    let before = state(&world, &reader).await;
    world.start_operator();
    world.condition("pguser", &reader, ("Ready", "False", "NotOurs")).await;
    world.remove("pguser", &reader).await;
    assert_eq!(state(&world, &reader).await, before);
    let renamed = state(&world, &format!("{reader}_mine")).await.unwrap();
    assert_eq!(renamed.replace(&format!("{reader}_mine"), &reader), mine.unwrap());
}
