//! Servers whose superuser Secret says how to connect, and in which form they want passwords.

use exec::Password;
use serde_json::{Value, json};
use testbed::tls::Authority;
use testbed::{Postgres, eventually, unique};

use crate::resources::database;
use crate::server_log;
use crate::witness;
use crate::world::{PATIENCE, World};

/// A server with a certificate for its address by this authority.
async fn encrypted(authority: &Authority) -> Postgres {
    let pair = authority.issue("server", &["127.0.0.1"]);
    let builder = Postgres::builder(18).set("ssl", "on");
    builder.file("server.crt", pair.certificate).file("server.key", pair.key).start().await
}

/// Puts the admin credentials of the server, and these keys, into the Secret `other`.
async fn superuser_secret(world: &World, postgres: &Postgres, keys: &Value) {
    let mut data = json!({
        "username": "postgres", "password": postgres.password(), "port": postgres.port().to_string(),
    });
    data.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let metadata = json!({ "name": "other", "namespace": world.namespace });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n")).await;
}

/// A database of its own on the server of the Secret `other`.
async fn apply(world: &World) -> String {
    let (app, here) = (unique("app"), &world.namespace);
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: other, namespace: {here} }}");
    world.apply(&database(here, &app, &format!("{app}_owner"), &more)).await;
    app
}

/// Waits until the resource is not Ready for this reason, with this in the message.
async fn is_refused(world: &World, app: &str, (reason, part): (&str, &str)) {
    eventually(&format!("{reason} with {part:?}"), PATIENCE, async || {
        let found = world.get("pgdb", app).await.map_err(|error| error.to_string())?;
        let conditions = found.data["status"]["conditions"].clone();
        let is_it = |one: &Value| {
            one["reason"] == reason && one["message"].as_str().is_some_and(|said| said.contains(part))
        };
        let is_found = conditions.as_array().is_some_and(|all| all.iter().any(is_it));
        if is_found { Ok(()) } else { Err(conditions.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_the_ca_does_not_vouch_for_gets_nothing_and_the_right_one_is_shown_as_encrypted() {
    let world = World::told().await;
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let postgres = encrypted(&ours).await;
    superuser_secret(&world, &postgres, &json!({ "ca.crt": theirs.certificate(), "sslmode": "prefer" }))
        .await;
    let app = apply(&world).await;
    is_refused(&world, &app, ("TlsError", "invalid peer certificate: UnknownIssuer")).await;
    assert_eq!(server_log::sessions(&postgres.log(), "postgres"), 0);
    assert!(!postgres.log().contains("application_name=postgres-provisioner"));
    assert_eq!(world.find_secret(&world.namespace, &app).await, None);

    superuser_secret(&world, &postgres, &json!({ "ca.crt": ours.certificate(), "sslmode": "prefer" })).await;
    world.ready("pgdb", &app).await;
    let server = world.get("pgdb", &app).await.unwrap().data["status"]["server"].clone();
    assert_eq!((&server["encrypted"], &server["port"]), (&json!(true), &json!(postgres.port())));
}

#[tokio::test]
async fn what_cannot_be_used_in_a_superuser_secret_is_named_by_its_key() {
    let world = World::told().await;
    let authority = Authority::new("ours");
    let postgres = encrypted(&authority).await;
    let (pair, other) = (authority.issue("app", &[]), authority.issue("app", &[]));
    let (certificate, key) = (pair.certificate, pair.key);
    superuser_secret(&world, &postgres, &json!({ "ca.crt": "none" })).await;
    let app = apply(&world).await;
    for (keys, part) in [
        (json!({ "ca.crt": "BEGIN" }), "key `ca.crt`: no certificate in PEM"),
        (
            json!({ "tls.crt": certificate, "ca.crt": "" }),
            "key `tls.key`: a client certificate needs its key",
        ),
        (json!({ "tls.key": other.key }), "key `tls.key`: not the key of the client certificate"),
        (json!({ "tls.crt": "", "tls.key": key }), "key `tls.crt`: a client key needs its certificate"),
        (json!({ "tls.key": "", "sslmode": "verify-full" }), "key `sslmode`: verify-full needs a CA"),
        (json!({ "sslmode": "allow" }), "key `sslmode`: unknown mode; use disable, prefer"),
        (
            json!({ "sslmode": "", "passwordMode": "clear" }),
            "key `passwordMode`: unknown mode; use verifier or plaintext",
        ),
    ] {
        superuser_secret(&world, &postgres, &keys).await;
        is_refused(&world, &app, ("InvalidCredentials", part)).await;
    }
    assert!(!postgres.log().contains("application_name=postgres-provisioner"));
}

#[tokio::test]
async fn a_server_that_needs_them_is_sent_passwords_in_clear_and_nobody_else_is_told() {
    let world = World::told().await;
    let postgres = encrypted(&Authority::new("ours")).await;
    superuser_secret(&world, &postgres, &json!({ "passwordMode": "plaintext", "sslmode": "require" })).await;
    let app = apply(&world).await;
    world.ready("pgdb", &app).await;
    let secret = world.secret(&world.namespace, &app).await;
    postgres.connect(&app, &secret["username"], &secret["password"]).await.unwrap();
    // What it kept of it is a verifier of its own, which is compared like any other.
    assert!(postgres.log().contains(&secret["password"]));
    witness::seen().sent_in_clear.insert(secret["password"].clone());
    let stored = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", secret["username"]);
    let stored =
        testbed::postgres::fetch_text(&mut postgres.admin("postgres").await, stored).await.unwrap().unwrap();
    assert!(exec::scram::matches(&stored, &Password::new(&*secret["password"])));
    // The operators' log, events and statuses are searched for it when all tests are done.
    let found = world.get("pgdb", &app).await.unwrap().data.to_string();
    assert!(!found.contains(&secret["password"]), "{found}");
}
