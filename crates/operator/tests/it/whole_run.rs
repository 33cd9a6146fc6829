//! What must hold for everything that all tests of this process did together. The name makes the test start last; it
//! waits for the others to end, and does enough itself to be a test of its own.

use std::collections::BTreeSet;

use kube::api::{DynamicObject, Patch, PatchParams};
use operator::metrics::{Format, Metrics};
use testbed::{Cluster, Postgres, eventually, postgres};

use crate::app::App;
use crate::deleting;
use crate::witness;
use crate::world::{self, World};

/// The slowest of the others may still have its longest wait before it.
const OTHERS: std::time::Duration = std::time::Duration::from_mins(5);

/// How every verifier begins that is made here.
const VERIFIER: &str = "SCRAM-SHA-256$4096:";

#[tokio::test]
async fn no_right_is_missing_or_unused_and_no_password_is_told() {
    let mut world = World::without_operator(17).await;
    world.settings.deletion_timeout = deleting::LIMIT;
    world.elect("postgres-provisioner");
    world.start_operator();
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
    deleting::put_off(world, &app.name).await;
    world.remove("pgdb", &app.name).await;
}

async fn nobody_tells_a_password() {
    let texts = everything_said().await;
    let seen = witness::seen();
    assert!(!seen.passwords.is_empty());
    for (what, text) in &texts {
        assert!(!text.is_empty(), "{what}: nothing was seen");
        let is_servers = what.starts_with("PostgreSQL");
        for password in &seen.passwords {
            if is_servers && seen.sent_in_clear.contains(password) {
                continue;
            }
            if let Some(line) = line_with(text, password) {
                panic!("{what} holds what is in a Secret, {password}: {line}");
            }
        }
        let is_told = |line: &&str| line.contains(VERIFIER) && !is_log_of_alter_role(what, line);
        assert_eq!(text.lines().find(is_told), None, "{what} holds a verifier");
    }
}

/// Every place where something can be told, and what was told there by all tests.
async fn everything_said() -> Vec<(String, String)> {
    let majors = witness::seen().majors.clone();
    let mut texts = postgres::ended();
    let mut passwords = Vec::new();
    for major in majors {
        let postgres = Postgres::shared(major).await;
        passwords.push(postgres.password().to_owned());
        texts.push((postgres.to_string(), postgres.log()));
        // Only a superuser can keep its statements out of it.
        let by_superuser = postgres.statements().await.into_iter();
        let by_superuser = by_superuser.filter(|(user, _)| user == postgres::SUPERUSER);
        let statements: Vec<_> = by_superuser.map(|(_, statement)| statement.replace('\n', " ")).collect();
        texts.push((format!("pg_stat_statements of {postgres}"), statements.join("\n")));
    }
    let audit = Cluster::shared().await.audit_text();
    assert!(audit.contains(r#""requestObject""#), "the audit log holds what was said");
    texts.push(("the audit log".to_owned(), audit));
    let mut seen = witness::seen();
    seen.passwords.extend(passwords);
    texts.push(("the operators' log".to_owned(), String::from_utf8_lossy(&seen.log).into_owned()));
    texts.push(("events".to_owned(), seen.events.join("\n")));
    let statuses: Vec<_> = seen.resources.iter().map(|one| one.data["status"].to_string()).collect();
    texts.push(("statuses".to_owned(), statuses.join("\n")));
    let metrics = seen.metrics.join("\n");
    no_name_is_in(&metrics, &seen.resources);
    texts.push(("metrics".to_owned(), metrics));
    texts
}

/// Metrics are for everybody who may look at a dashboard, and a label for each name would be as many as tenants like.
fn no_name_is_in(metrics: &str, resources: &[DynamicObject]) {
    let mut names = BTreeSet::new();
    for resource in resources {
        names.extend(resource.metadata.name.as_deref());
        names.extend(resource.metadata.namespace.as_deref());
        let chosen = ["dbName", "owner", "username", "secretName", "host"];
        names.extend(chosen.iter().filter_map(|field| resource.data["spec"][field].as_str()));
    }
    // What is shorter is in every text by chance, and some tests ask for names that are words of ours.
    let ours = Metrics::default().text(Format::OpenMetrics);
    for name in names.into_iter().filter(|name| name.len() >= 8 && !ours.contains(name)) {
        assert!(!metrics.contains(name), "metrics hold {name}");
    }
}

/// A line that tells this and was not said by a test itself.
fn line_with<'t>(text: &'t str, part: &str) -> Option<&'t str> {
    let line = |(at, _)| {
        let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        text[start..].lines().next()
    };
    text.match_indices(part).filter_map(line).find(|line| !line.contains("/testbed LOG:"))
}

/// A server may log the statement that sets a verifier; nothing else may tell one.
fn is_log_of_alter_role(what: &str, line: &str) -> bool {
    what.starts_with("PostgreSQL") && (line.contains("ALTER ROLE") || line.contains("CREATE ROLE"))
}
