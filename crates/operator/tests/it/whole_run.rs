//! What must hold for everything that all tests of this process did together. The name makes the test start last; it
//! waits for the others to end, and does enough itself to be a test of its own.

use kube::api::{Patch, PatchParams};
use testbed::{Cluster, Postgres, eventually};

use crate::app::App;
use crate::witness;
use crate::world::{self, World};

/// The slowest of the others may still have its longest wait before it.
const OTHERS: std::time::Duration = std::time::Duration::from_mins(5);

#[tokio::test]
async fn no_right_is_missing_or_unused_and_no_password_is_told() {
    let world = World::new().await;
    live(&world).await;
    world.stop_operator().await;
    let identity = world.identity.clone();
    drop(world);
    eventually("the other tests to end", OTHERS, async || match world::alive() {
        0 => Ok(()),
        count => Err(format!("{count} are still running")),
    })
    .await;
    Cluster::shared().await.audit_against(&[&identity]).assert_exact();
    nobody_tells_a_password().await;
}

/// A life that needs every right the operator has.
pub(crate) async fn live(world: &World) {
    let app = App::provision(world).await;
    let reader = app.user(", access: read").await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    for times in 1..=2 {
        app.sql(&format!("REVOKE SELECT ON public.orders FROM {reader}")).await;
        world.event(&reader, "DriftRepaired", times).await;
    }
    let wrong = serde_json::json!({ "stringData": { "host": "elsewhere" } });
    let secrets = world.secrets(&world.namespace);
    secrets.patch(&reader, &PatchParams::default(), &Patch::Merge(wrong)).await.unwrap();
    world.event(&reader, "SecretWritten", 2).await;
    app.change(&reader, serde_json::json!({ "secretName": format!("{reader}-2") })).await;
    world.remove("pgdb", &app.name).await;
}

async fn nobody_tells_a_password() {
    let majors = witness::seen().majors.clone();
    let mut texts = Vec::new();
    for major in majors {
        let postgres = Postgres::shared(major).await;
        texts.push((postgres.to_string(), postgres.log()));
    }
    let seen = witness::seen();
    texts.push(("the operators' log".to_owned(), String::from_utf8_lossy(&seen.log).into_owned()));
    texts.push(("events".to_owned(), seen.events.join("\n")));
    let statuses: Vec<_> = seen.resources.iter().map(|one| one.data["status"].to_string()).collect();
    texts.push(("statuses".to_owned(), statuses.join("\n")));
    assert!(!seen.passwords.is_empty());
    for (what, text) in &texts {
        assert!(!text.is_empty(), "{what}: nothing was seen");
        for password in &seen.passwords {
            if let Some(at) = text.find(password) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                panic!("{what} holds the password of a Secret: {}", &text[line..at]);
            }
        }
        let is_servers = what.starts_with("PostgreSQL");
        assert!(is_servers || !text.contains("SCRAM-SHA-256$4096:"), "{what} holds a verifier");
    }
}
