//! What a user with every right in one namespace tries to get at admin credentials, or around them.

use operator::api::{ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM, ANNOTATION_HOSTS};
use operator::settings::{Boundary, NamedServers};
use serde_json::json;
use testbed::unique;

use crate::attacker::{Attack, Attacker, stage};
use crate::impostor::Impostor;
use crate::resources::{database, user};
use crate::world::World;

/// A database of the attacker's on a server with this Secret.
fn on_server(world: &World, name: &str, host: &str, (secret, namespace): (&str, &str)) -> String {
    let more = format!(", host: '{host}', superuserSecret: {{ name: {secret}, namespace: {namespace} }}");
    database(&world.tenant, name, &format!("{name}_owner"), &more)
}

fn attack(name: &str, yaml: String, reason: &'static str) -> Attack {
    Attack { yaml, kind: "pgdb", name: name.to_owned(), reason }
}

/// Nothing of the operator's own credentials got there.
#[track_caller]
fn knows_nothing(world: &World, impostor: &Impostor) {
    let heard = impostor.heard();
    assert!(!heard.contains(world.postgres.password()), "{heard}");
    assert!(!heard.contains("user\0postgres\0"), "{heard}");
}

#[tokio::test]
async fn admin_credentials_of_another_namespace_are_not_used_and_not_told() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (there, name, mark) = (&victim.namespace, unique("x"), unique("mark"));
    let impostor = Impostor::listen("127.0.0.1", 0).await;
    let port = impostor.port.to_string();
    let data = json!({ "username": "their_admin", "password": format!("admin-{mark}"), "port": port });
    for (secret, more) in [("admin", json!({})), ("odd", json!({ "sslmode": mark, "port": mark }))] {
        let mut data = data.clone();
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({ "name": secret, "namespace": there });
        world
            .apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n"))
            .await;
    }
    let server = |secret: &str| on_server(&world, &name, "127.0.0.1", (secret, there));
    for secret in ["admin", "odd", "none", victim.database.as_str()] {
        attacker.refused(&victim, &attack(&name, server(secret), "NotAllowed")).await;
    }

    // With consent, what is in it is still not told, and goes where its annotation says.
    world.annotate(there, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM, &world.tenant).await;
    attacker.apply(&server("odd")).await;
    let found = world.condition("pgdb", &attacker.at(&name), ("Ready", "False", "InvalidCredentials")).await;
    let note = world.warning(&attacker.at(&name), "InvalidCredentials").await;
    assert!(!format!("{:?} {note}", found.data["status"]).contains(&mark));
    attacker.remove("pgdb", &name).await;
    let hosts = json!({ ANNOTATION_HOSTS: "pg.bank, PG2.bank." });
    let metadata = json!({ "name": "admin", "namespace": there, "annotations": hosts });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n")).await;
    attacker.refused(&victim, &attack(&name, server("admin"), "NotAllowed")).await;
    assert_eq!(impostor.heard(), "");
}

#[tokio::test]
async fn the_operators_own_credentials_go_to_no_host_that_a_resource_names() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let impostor = Impostor::listen("127.0.0.1", 0).await;
    // Where half a server would lead, on the operator's own port.
    let half = Impostor::listen("127.0.0.2", world.postgres.port()).await;
    let (name, port) = (unique("x"), impostor.port.to_string());
    for (secret, data) in [
        ("empty", json!({ "port": port })),
        ("nameless", json!({ "port": port, "password": "bait" })),
        ("half", json!({ "port": port, "username": "mine" })),
        ("blank", json!({ "port": port, "username": "", "password": "" })),
    ] {
        attacker.secret(secret, &data).await;
        let yaml = on_server(&world, &name, "127.0.0.1", (secret, &world.tenant));
        attacker.refused(&victim, &attack(&name, yaml, "InvalidCredentials")).await;
    }
    assert_eq!(impostor.heard(), "");

    // Served on the operator's server, as if neither were there.
    attacker.secret("mine", &json!({ "port": port, "username": "mine", "password": "bait" })).await;
    let superuser_secret = json!({ "name": "mine", "namespace": world.tenant });
    attacker.apply(&database(&world.tenant, &name, &format!("{name}_owner"), ", host: 127.0.0.2")).await;
    world.ready("pgdb", &attacker.at(&name)).await;
    let spec = json!({ "host": null, "superuserSecret": superuser_secret });
    attacker.patch("pgdb", &name, &json!({ "spec": spec })).await;
    world.ready("pgdb", &attacker.at(&name)).await;
    // Moved, deceived, changed, and deleted without its credentials.
    attacker.patch("pgdb", &name, &json!({ "spec": { "host": "127.0.0.1" } })).await;
    let before = victim.picture(&world).await;
    let moved = attack(&name, "moved".to_owned(), "ServerUnavailable");
    attacker.is_refused(&victim, &moved, &before).await;
    attacker.secret("mine", &json!({ "port": port, "username": "mine", "password": "bait2" })).await;
    testbed::eventually("the new password", crate::world::PATIENCE, async || {
        impostor.heard().contains("bait2").then_some(())
    })
    .await;
    world.secrets(&world.tenant).delete("mine", &kube::api::DeleteParams::default()).await.unwrap();
    attacker.remove("pgdb", &name).await;
    assert!(impostor.heard().contains("user\0mine\0"), "{}", impostor.heard());
    knows_nothing(&world, &impostor);
    assert_eq!(half.heard(), "");
}

#[tokio::test]
async fn open_boundaries_do_not_lend_the_operators_own_password() {
    let mut world = World::without_operator(17).await;
    world.settings.boundaries.superuser_secrets = Boundary::Any;
    world.start_operator();
    let impostor = Impostor::listen("127.0.0.1", 0).await;
    let attacker = Attacker::new(&world).await;
    let (here, there, port) = (&world.tenant, &world.namespace, impostor.port);
    let own =
        json!({ "username": "postgres", "password": world.postgres.password(), "port": port.to_string() });
    let metadata = json!({ "name": "own", "namespace": there });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {own}\n")).await;
    let name = unique("x");
    attacker.apply(&on_server(&world, &name, "127.0.0.1", ("own", there))).await;
    world.condition("pgdb", &attacker.at(&name), ("Ready", "False", "NotAllowed")).await;
    attacker.remove("pgdb", &name).await;
    assert_eq!(impostor.heard(), "");
    // For the operator's own server it is as good as the operator's.
    world.superuser_secret("own", world.postgres, world.postgres.password()).await;
    attacker.apply(&on_server(&world, &name, "127.0.0.1", ("own", there))).await;
    world.ready("pgdb", &attacker.at(&name)).await;
    world.login(&world.secret(here, &name).await).await;
}

#[tokio::test]
async fn another_way_to_the_same_server_leads_to_the_same_verdict() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (admin, name, tenant) = (unique("admin"), unique("x"), &world.tenant);
    world.sql("postgres", &format!("CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'limited'")).await;
    let port = world.postgres.port().to_string();
    attacker.secret("made-up", &json!({ "username": admin, "password": "guess", "port": port })).await;
    attacker.secret("valid", &json!({ "username": admin, "password": "limited", "port": port })).await;
    for (host, secret) in
        [("127.0.0.1", "made-up"), ("127.0.0.1", "valid"), ("localhost", "valid"), ("LocalHost.", "valid")]
    {
        let more = format!(", host: '{host}', superuserSecret: {{ name: {secret}, namespace: {tenant} }}");
        let reader = user(tenant, &name, &victim.database, &format!(", access: read{more}"));
        attacker
            .refused(
                &victim,
                &Attack { yaml: reader, kind: "pguser", name: name.clone(), reason: "NotAllowed" },
            )
            .await;
        let owner = database(tenant, &name, &victim.owner, &more);
        attacker.refused(&victim, &attack(&name, owner, "Conflict")).await;
        let taken = database(tenant, &name, &name, &more);
        let taken = taken.replace(&format!("dbName: {name}"), &format!("dbName: {}", victim.database));
        attacker.refused(&victim, &attack(&name, taken, "Conflict")).await;
    }
    assert!(!world.has_role(&name).await);
}

#[tokio::test]
async fn where_no_servers_are_named_nobody_is_sent_anywhere() {
    let mut world = World::without_operator(17).await;
    world.settings.boundaries.named_servers = NamedServers::None;
    world.start_operator();
    let impostor = Impostor::listen("127.0.0.1", 0).await;
    let attacker = Attacker::new(&world).await;
    let data = json!({ "username": "mine", "password": "bait", "port": impostor.port.to_string() });
    attacker.secret("mine", &data).await;
    let name = unique("x");
    attacker.apply(&on_server(&world, &name, "127.0.0.1", ("mine", &world.tenant))).await;
    world.condition("pgdb", &attacker.at(&name), ("Ready", "False", "NotAllowed")).await;
    assert_eq!(impostor.heard(), "");
}
