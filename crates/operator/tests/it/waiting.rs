//! What is not there yet is waited for, and said so.

use testbed::unique;

use crate::app::{App, may, may_not};
use crate::resources::{database, user};
use crate::world::World;

#[tokio::test]
async fn a_user_waits_for_its_database_and_follows_it() {
    let world = World::told().await;
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.condition("pguser", &reader, ("Ready", "False", "DatabaseMissing")).await;
    assert_eq!(world.find_secret(&world.namespace, &reader).await, None);
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.ready("pguser", &reader).await;
    world.login(&world.secret(&world.namespace, &reader).await).await;
}

#[tokio::test]
async fn a_schema_that_is_missing_is_granted_when_it_appears() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read, schemas: [public, analytics]").await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "SchemaPending")).await;
    assert!(found.data["status"]["conditions"].to_string().contains("schema analytics does not exist yet"));
    app.sql_as_owner("CREATE SCHEMA analytics; CREATE TABLE analytics.visits (id int)").await;
    world.condition("pguser", &reader, ("Withheld", "False", "NothingWithheld")).await;
    let mut session = app.session(&reader).await;
    may(&mut session, "SELECT * FROM analytics.visits").await;
    may_not(&mut session, "CREATE TABLE analytics.mine (id int)").await;
}
