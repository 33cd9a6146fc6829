//! What the old operator has left is taken over as it is.

use exec::{Password, scram};
use serde_json::json;
use testbed::unique;

use crate::resources::{database, user};
use crate::world::World;

/// A role as the old operator made it, and its Secret, which it did not label.
async fn old_login(world: &World, role: &str, secret: &str, database: &str) -> String {
    let password = unique("password");
    let verifier = scram::verifier(&Password::new(&*password)).unwrap();
    world.sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", verifier.expose())).await;
    let (host, port) = (world.postgres.host(), world.postgres.port().to_string());
    let data =
        json!({ "username": role, "password": password, "database": database, "host": host, "port": port });
    let metadata = json!({ "name": secret, "namespace": world.tenant });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n")).await;
    password
}

#[tokio::test]
async fn an_old_installation_goes_on_without_a_write_to_its_secrets() {
    let world = World::without_operator(17).await;
    let (app, reader) = (unique("app"), unique("reader"));
    let owner = format!("{app}_owner");
    let elsewhere = format!(", secretNamespace: {}", world.tenant);
    let passwords =
        [old_login(&world, &owner, &app, &app).await, old_login(&world, &reader, &reader, &app).await];
    world.sql("postgres", &format!("CREATE DATABASE {app} OWNER {owner}")).await;
    let grants = format!(
        "SET ROLE {owner}; CREATE TABLE public.orders AS SELECT 1 AS id; RESET ROLE;
         GRANT CONNECT ON DATABASE {app} TO {reader}; GRANT USAGE ON SCHEMA public TO {reader};
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}; GRANT TRUNCATE ON public.orders TO {reader};
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader}"
    );
    world.sql(&app, &grants).await;
    let versions = async || {
        let secrets = world.secrets(&world.tenant).list(&kube::api::ListParams::default()).await.unwrap();
        secrets.into_iter().map(|secret| secret.metadata.resource_version).collect::<Vec<_>>()
    };
    let before = versions().await;

    world.apply(&database(&world.namespace, &app, &owner, &elsewhere)).await;
    let more = format!(", access: read, schemas: [public]{elsewhere}");
    world.apply(&user(&world.namespace, &reader, &app, &more)).await;
    world.start_operator();
    world.ready("pgdb", &app).await;
    let found = world.ready("pguser", &reader).await;
    assert!(found.data["status"]["conditions"].to_string().contains("PrivilegesKept"), "{:?}", found.data);
    world.checks(&app, 2).await;
    assert_eq!(versions().await, before);
    for (secret, password) in [&app, &reader].into_iter().zip(passwords) {
        let found = world.secret(&world.tenant, secret).await;
        assert_eq!(found["password"], password);
        world.login(&found).await;
    }

    // From its first change on, it is like any other.
    let heir = format!("{app}_heir");
    world.patch("pgdb", &app, json!({ "spec": { "owner": heir } })).await;
    world.ready("pgdb", &app).await;
    let found = world.secret(&world.tenant, &app).await;
    assert_eq!(found["username"], heir);
    world.login(&found).await;
    world.remove("pgdb", &app).await;
    assert_eq!(versions().await.len(), 0);
}
