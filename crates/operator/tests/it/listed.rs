//! With listed namespaces the operator has rights in them, and works with no others.

use testbed::unique;

use crate::deleting::LIMIT;
use crate::resources::database;
use crate::whole_run::live;
use crate::world::{World, new_identity_with};

#[tokio::test]
async fn rights_in_the_listed_namespaces_are_enough_and_none_is_unused() {
    let mut world = World::without_operator(17).await;
    let listed = serde_json::json!([world.namespace, world.tenant]);
    let name = unique("listed").replace('_', "-");
    let values = format!("fullnameOverride: {name}\nwatchNamespaces: {listed}\ncrds: {{ manage: false }}\n");
    world.identity = new_identity_with(world.cluster, &values).await;
    world.cluster.extend_identity(&world.identity, &world.namespace).await;
    world.settings.deletion_timeout = LIMIT;
    world.elect(&name);
    world.start_operator();
    live(&world).await;

    for (more, reason, message) in [
        (
            ", secretNamespace: default",
            "SecretNamespaceMissing",
            "namespace default of the Secret is not watched",
        ),
        (
            ", host: 127.0.0.1, superuserSecret: { name: admin, namespace: default }",
            "InvalidCredentials",
            "superuser Secret default/admin is in a namespace that is not watched",
        ),
    ] {
        let app = unique("app");
        world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), more)).await;
        let found = world.condition("pgdb", &app, ("Ready", "False", reason)).await;
        let said = found.data["status"]["conditions"].to_string();
        assert!(said.contains(message), "{said}");
    }
    world.stop_operator().await;
    world.cluster.audit_against(&[&world.identity]).assert_exact();
}

#[tokio::test]
async fn a_secret_in_a_namespace_that_is_watched_no_more_is_named_and_holds_up_nothing() {
    let mut world = World::new().await;
    let (app, tenant) = (unique("app"), world.tenant.clone());
    let more = format!(", secretNamespace: {tenant}");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), &more)).await;
    world.ready("pgdb", &app).await;
    world.stop_operator().await;
    world.settings.watch.remove(&tenant);
    world.start_operator();
    world.condition("pgdb", &app, ("Ready", "False", "SecretNamespaceMissing")).await;
    world.remove("pgdb", &app).await;
    assert!(world.warning(&app, "SecretKept").await.contains(&format!("Secret {tenant}/{app}")));
    world.login(&world.secret(&tenant, &app).await).await;
}
