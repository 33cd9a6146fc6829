//! What is left when resources go.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, PropagationPolicy};
use testbed::postgres::run;
use testbed::{eventually, unique};

use crate::app::{App, may, may_not, value};
use crate::resources::{database, user};
use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_users_sessions_end_and_what_it_made_stays() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    app.sql_as_owner("CREATE SCHEMA analytics; CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let writer = app.user(", access: readwrite, schemas: [public, analytics]").await;
    let reader = app.user(", access: read").await;
    let mut session = app.session(&writer).await;
    may(&mut session, "CREATE TABLE public.mine AS SELECT 1 AS id; CREATE TABLE analytics.mine (id int)")
        .await;
    let before = app.privileges(&reader).await;

    world.remove("pguser", &writer).await;
    assert!(run(&mut session, "SELECT 1").await.is_err());
    assert_eq!(world.find_secret(&world.namespace, &writer).await, None);
    assert!(!world.has_role(&writer).await);
    let owners = "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE tablename = 'mine'";
    assert_eq!(app.value(owners).await.as_ref(), Some(&app.owner));
    // Nobody else lost anything but what was promised for the future by the one who left.
    let promised = before.lines().filter(|line| !line.contains(&writer));
    assert_eq!(app.privileges(&reader).await, promised.collect::<Vec<_>>().join("\n"));
    may(&mut app.session(&reader).await, "SELECT * FROM public.mine, analytics.mine, public.orders").await;
}

#[tokio::test]
async fn nobody_gains_the_heirs_rights_by_what_a_user_leaves_behind() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    app.sql_as_owner(
        "CREATE TABLE public.orders AS SELECT 1 AS id; CREATE SCHEMA vault; \
         CREATE TABLE vault.gold AS SELECT 7 AS bars",
    )
    .await;
    let writer = app.user(", access: readwrite, schemas: [public]").await;
    let accomplice = app.user(", access: read, schemas: [public]").await;
    let stranger = format!("{}_stranger", app.name);
    app.sql(&format!(
        "CREATE ROLE {stranger} LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE {} TO {stranger};
        GRANT USAGE ON SCHEMA public TO {stranger}",
        app.name
    ))
    .await;
    // What the owner could do, and what a view can see once it is the owner's.
    may(
        &mut app.session(&writer).await,
        "CREATE FUNCTION public.steal() RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS
           $$ BEGIN EXECUTE 'GRANT ALL ON ALL TABLES IN SCHEMA vault TO PUBLIC'; END $$;
         CREATE FUNCTION public.count_gold() RETURNS bigint SECURITY DEFINER LANGUAGE plpgsql AS
           $$ DECLARE n bigint; BEGIN EXECUTE 'SELECT bars FROM vault.gold' INTO n; RETURN n; END $$;
         CREATE VIEW public.peek AS SELECT id FROM public.orders;
         GRANT SELECT ON public.peek TO PUBLIC; GRANT EXECUTE ON FUNCTION public.steal() TO PUBLIC",
    )
    .await;
    let mut outside = world.postgres.connect(&app.name, &stranger, "x").await.unwrap();
    may(&mut outside, "SELECT * FROM public.peek").await;
    may_not(&mut outside, "SELECT public.count_gold()").await;

    world.remove("pguser", &writer).await;
    for session in [&mut outside, &mut app.session(&accomplice).await] {
        may_not(session, "SELECT public.steal()").await;
        may_not(session, "SELECT public.count_gold()").await;
        may_not(session, "SELECT * FROM vault.gold").await;
    }
    may_not(&mut outside, "SELECT * FROM public.peek").await;
    may(&mut app.session(&accomplice).await, "SELECT * FROM public.peek").await;
}

#[tokio::test]
async fn a_deleted_database_takes_its_users_along_and_keeps_its_data() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let elsewhere = format!(", secretNamespace: {}", world.tenant);
    let users = [
        app.user(", access: read").await,
        app.user(&format!(", access: read{elsewhere}")).await,
        app.user(&format!(", access: readwrite{elsewhere}")).await,
    ];
    let before = world.secret(&world.namespace, &app.name).await;

    world.remove("pgdb", &app.name).await;
    for user in &users {
        assert!(world.get("pguser", user).await.is_err(), "{user}");
        assert!(!world.has_role(user).await, "{user}");
        for namespace in [&world.namespace, &world.tenant] {
            assert_eq!(world.find_secret(namespace, user).await, None, "{user}");
        }
    }
    assert_eq!(world.find_secret(&world.namespace, &app.name).await, None);
    assert!(world.has_role(&app.owner).await);

    world.apply(&database(&world.namespace, &app.name, &app.owner, "")).await;
    world.ready("pgdb", &app.name).await;
    let after = world.secret(&world.namespace, &app.name).await;
    assert_ne!(after["password"], before["password"]);
    assert_eq!(value(&mut app.owner().await, "SELECT id FROM public.orders").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn users_that_are_to_stay_are_not_deleted() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    eventually("the user to go with its database", PATIENCE, async || {
        let user = world.get("pguser", &reader).await.map_err(|error| error.to_string())?;
        let owners = user.metadata.owner_references.unwrap_or_default();
        if owners.is_empty() { Err("it has no owner".to_owned()) } else { Ok(()) }
    })
    .await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    world.delete_with("pgdb", &app.name, &orphan).await;
    // The collector learns of new kinds twice a minute.
    eventually("the database to be gone", PATIENCE * 3, async || match world.get("pgdb", &app.name).await {
        Err(_) => Ok(()),
        Ok(found) => Err(format!("{:?} {}", found.metadata.finalizers, found.data["status"]["conditions"])),
    })
    .await;
    let user = world.get("pguser", &reader).await.unwrap();
    assert_eq!(user.metadata.deletion_timestamp, None);
    app.session(&reader).await;
}

#[tokio::test]
async fn a_namespace_with_everything_in_it_ends() {
    let world = World::new().await;
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.tenant, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.tenant, &reader, &app, ", access: read")).await;
    world.ready("pguser", &format!("{}/{reader}", world.tenant)).await;
    let namespaces: Api<Namespace> = Api::all(world.admin.clone());
    namespaces.delete(&world.tenant, &DeleteParams::default()).await.unwrap();
    eventually("the namespace to be gone", PATIENCE * 2, async || {
        match namespaces.get_opt(&world.tenant).await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
    let roles = format!(
        "SELECT string_agg(rolname, ',') FROM pg_catalog.pg_roles WHERE rolname IN ('{reader}', '{app}_owner')"
    );
    assert_eq!(world.value("postgres", &roles).await, Some(format!("{app}_owner")));
}
