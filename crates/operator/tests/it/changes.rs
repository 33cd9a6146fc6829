//! What a change of a spec leaves: exactly what is asked for now.

use expect_test::{Expect, expect};
use serde_json::json;
use testbed::unique;

use crate::app::{App, may, may_not};
use crate::world::World;

/// A database with tables of the owner in `public` and `analytics`.
async fn app_with_tables(world: &World) -> App<'_> {
    let app = App::provision(world).await;
    app.sql_as_owner(
        "CREATE TABLE public.orders (id serial); CREATE SCHEMA analytics; CREATE TABLE analytics.visits (id int)",
    )
    .await;
    app
}

async fn check(app: &App<'_>, role: &str, expected: Expect) {
    expected.assert_eq(&app.privileges(role).await);
}

/// `read` on everything, as it should look however it came about.
fn reads_everything() -> Expect {
    expect![[r"
        database: CONNECT, TEMPORARY
        future schemas of OWNER: USAGE
        future tables of OWNER: SELECT
        schema analytics: USAGE
        schema public: USAGE
        table analytics.visits: SELECT
        table public.orders: SELECT"]]
}

/// `read` on one schema.
fn reads_public() -> Expect {
    expect![[r"
        database: CONNECT, TEMPORARY
        future tables of OWNER in public: SELECT
        schema public: USAGE
        table public.orders: SELECT"]]
}

#[tokio::test]
async fn access_goes_up_and_down_again() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    let user = app.user(", access: read").await;
    check(&app, &user, reads_everything()).await;

    app.change(&user, json!({ "access": "readwrite" })).await;
    check(
        &app,
        &user,
        expect![[r"
            database: CONNECT, TEMPORARY
            future schemas of OWNER: CREATE, USAGE
            future sequences of OWNER: SELECT, USAGE
            future tables of OWNER: DELETE, INSERT, SELECT, UPDATE
            schema analytics: CREATE, USAGE
            schema public: CREATE, USAGE
            sequence public.orders_id_seq: SELECT, USAGE
            table analytics.visits: DELETE, INSERT, SELECT, UPDATE
            table public.orders: DELETE, INSERT, SELECT, UPDATE"]],
    )
    .await;
    let mut session = app.session(&user).await;
    may(&mut session, "CREATE TABLE public.mine (id int)").await;

    app.change(&user, json!({ "access": "read" })).await;
    // What it made stays, is the owner's and no longer its to change.
    may(&mut session, "SELECT * FROM public.mine").await;
    may_not(&mut session, "INSERT INTO public.mine VALUES (1)").await;
    app.sql_as_owner("DROP TABLE public.mine").await;
    check(&app, &user, reads_everything()).await;
}

#[tokio::test]
async fn schemas_are_narrowed_widened_and_removed() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    let user = app.user(", access: read, schemas: [public, analytics]").await;
    let both = expect![[r"
        database: CONNECT, TEMPORARY
        future tables of OWNER in analytics: SELECT
        future tables of OWNER in public: SELECT
        schema analytics: USAGE
        schema public: USAGE
        table analytics.visits: SELECT
        table public.orders: SELECT"]];
    both.assert_eq(&app.privileges(&user).await);
    app.change(&user, json!({ "schemas": ["public"] })).await;
    check(&app, &user, reads_public()).await;
    app.change(&user, json!({ "schemas": ["public", "analytics"] })).await;
    both.assert_eq(&app.privileges(&user).await);
    app.change(&user, json!({ "schemas": null })).await;
    check(&app, &user, reads_everything()).await;
    app.change(&user, json!({ "schemas": ["public"] })).await;
    check(&app, &user, reads_public()).await;
}

#[tokio::test]
async fn a_writer_of_one_schema_keeps_in_the_other_what_it_made() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    let (user, reader) = (app.user(", access: readwrite").await, app.user(", access: read").await);
    may(&mut app.session(&user).await, "CREATE TABLE analytics.mine (id int)").await;
    app.change(&user, json!({ "schemas": ["public"] })).await;
    check(
        &app,
        &user,
        expect![[r"
            database: CONNECT, TEMPORARY
            future schemas of ROLE: CREATE, USAGE
            future sequences of OWNER in public: SELECT, USAGE
            future tables of OWNER in public: DELETE, INSERT, SELECT, UPDATE
            future tables of ROLE: DELETE, INSERT, MAINTAIN, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE
            schema public: CREATE, USAGE
            sequence public.orders_id_seq: SELECT, USAGE
            table analytics.mine: DELETE, INSERT, MAINTAIN, REFERENCES, SELECT, TRIGGER, TRUNCATE, UPDATE
            table public.orders: DELETE, INSERT, SELECT, UPDATE"]],
    )
    .await;
    may(&mut app.session(&reader).await, "SELECT * FROM analytics.mine").await;
}

#[tokio::test]
async fn a_new_secret_name_takes_the_password_along() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    let user = app.user(", access: read").await;
    let before = world.secret(&world.namespace, &user).await;
    let elsewhere = unique("elsewhere");
    app.change(&user, json!({ "secretName": elsewhere })).await;
    assert_eq!(world.secret(&world.namespace, &elsewhere).await, before);
    world.secret_gone(&world.namespace, &user).await;

    app.change(&user, json!({ "secretNamespace": world.tenant })).await;
    assert_eq!(world.secret(&world.tenant, &elsewhere).await, before);
    world.secret_gone(&world.namespace, &elsewhere).await;
    world.login(&before).await;
}

#[tokio::test]
async fn a_new_owner_takes_over_the_secret_and_an_old_one_that_cannot_go_is_remembered() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    // What is in a database that lets nobody in cannot be given away.
    let closed = unique("closed");
    world.sql("postgres", &format!("CREATE DATABASE {closed}")).await;
    let made = format!("CREATE TABLE public.t (id int); ALTER TABLE public.t OWNER TO {}", app.owner);
    world.sql(&closed, &made).await;
    world.sql("postgres", &format!("ALTER DATABASE {closed} ALLOW_CONNECTIONS false")).await;

    let heirs = [format!("{}_heir", app.name), format!("{}_next", app.name)];
    for heir in &heirs {
        world.patch("pgdb", &app.name, json!({ "spec": { "owner": heir } })).await;
        world.ready("pgdb", &app.name).await;
        let found = world.condition("pgdb", &app.name, ("Withheld", "True", "NotPermitted")).await;
        assert_eq!(found.data["status"]["provisioned"]["role"], json!(heir));
        assert_eq!(found.data["status"]["provisioned"]["formerRoles"][0]["name"], json!(app.owner));
        assert_eq!(world.secret(&world.namespace, &app.name).await["username"], *heir);
        app.sql_as_owner("CREATE TABLE IF NOT EXISTS public.mine (id int)").await;
    }
    assert!(!world.has_role(&heirs[0]).await);
    assert!(world.has_role(&app.owner).await);
    world.sql("postgres", &format!("ALTER DATABASE {closed} ALLOW_CONNECTIONS true")).await;
    world.condition("pgdb", &app.name, ("Withheld", "False", "NothingWithheld")).await;
    assert!(!world.has_role(&app.owner).await);
}

#[tokio::test]
async fn a_new_owner_that_may_not_be_used_changes_nothing() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    world.patch("pgdb", &app.name, json!({ "spec": { "owner": "postgres" } })).await;
    world.condition("pgdb", &app.name, ("Ready", "False", "Reserved")).await;
    let dba = format!("{}_dba", app.name);
    app.sql(&format!("CREATE ROLE {dba} SUPERUSER")).await;
    world.patch("pgdb", &app.name, json!({ "spec": { "owner": dba } })).await;
    world.condition("pgdb", &app.name, ("Ready", "False", "Reserved")).await;
    app.sql_as_owner("CREATE TABLE analytics.still_mine (id int)").await;
    world.patch("pgdb", &app.name, json!({ "spec": { "owner": app.owner } })).await;
    world.ready("pgdb", &app.name).await;
}

#[tokio::test]
async fn a_new_owner_gets_the_database_and_all_in_it_and_the_old_one_goes() {
    let world = World::new().await;
    let app = app_with_tables(&world).await;
    let reader = app.user(", access: read").await;
    let before = world.secret(&world.namespace, &app.name).await;
    let (heir, secret) = (format!("{}_heir", app.name), unique("heir"));
    let change = json!({ "spec": { "owner": heir, "secretName": secret } });
    world.patch("pgdb", &app.name, change).await;
    world.ready("pgdb", &app.name).await;

    let owners = "SELECT string_agg(DISTINCT owner, ',') FROM (
        SELECT datdba::regrole::text AS owner FROM pg_database WHERE datname = current_database()
        UNION ALL SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'analytics'
        UNION ALL SELECT tableowner FROM pg_tables WHERE schemaname IN ('public', 'analytics')) o";
    assert_eq!(app.value(owners).await.as_ref(), Some(&heir));
    let old = format!("SELECT rolname FROM pg_roles WHERE rolname = '{}'", app.owner);
    assert_eq!(app.value(&old).await, None);
    world.secret_gone(&world.namespace, &app.name).await;
    assert!(world.try_login(&before).await.is_err());

    let found = world.secret(&world.namespace, &secret).await;
    assert_eq!(found["username"], heir);
    let mut owner = world.login(&found).await;
    may(&mut owner, "ALTER TABLE public.orders ADD COLUMN item text; CREATE TABLE analytics.late (id int)")
        .await;
    may(&mut app.session(&reader).await, "SELECT * FROM analytics.late, public.orders").await;
}
