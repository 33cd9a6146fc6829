//! How soon the operator does what is waited for, once it can; it checks nothing by itself meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use testbed::{Postgres, eventually, kubernetes};

use super::operator::{Ground, Operator, manifests, wait_until_ready};
use super::{Figure, median, milliseconds};

const PATIENCE: Duration = Duration::from_secs(30);
const TIMES: usize = 5;
/// Longer than the benchmark.
const RESYNC: u32 = 3_600;

/// Users that were there before their database, and Secrets that somebody deletes.
pub(super) async fn figures(ground: Ground<'_>, postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(ground, postgres, postgres.port(), RESYNC).await?;
    let (client, namespace) = (ground.cluster.client(), &operator.namespace);
    let (mut waited, mut deleted) = (Vec::new(), Vec::new());
    for database in 0..TIMES {
        let all = manifests(namespace, database, 1);
        let (first, user) = all.split_once("---\n").context("a database and a user")?;
        kubernetes::apply(&client, user, namespace).await?;
        wait_until_reason(ground, namespace, "DatabaseMissing").await;
        let start = Instant::now();
        kubernetes::apply(&client, first, namespace).await?;
        wait_until_ready(ground.cluster, namespace).await;
        waited.push(start.elapsed());
        deleted.push(replace(&Api::namespaced(client.clone(), namespace), postgres, database).await?);
    }
    let figure =
        |what: &str, times| Figure { what: what.to_owned(), value: milliseconds(median(times)), aim: "2 s" };
    Ok(vec![
        figure("a user that waited: from its database's apply to both Ready, median", waited),
        figure("a deleted Secret: until the new password logs in, median", deleted),
    ])
}

async fn wait_until_reason(ground: Ground<'_>, namespace: &str, reason: &str) {
    let kind = kube::api::ApiResource::erase::<operator::api::user::PostgresUser>(&());
    let users: Api<kube::api::DynamicObject> =
        Api::namespaced_with(ground.cluster.client(), namespace, &kind);
    eventually(reason, PATIENCE, async || {
        let found = users.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let found: Vec<_> = found.iter().map(|user| user.data["status"]["conditions"].to_string()).collect();
        if found.iter().any(|conditions| conditions.contains(reason)) {
            Ok(())
        } else {
            Err(found.join("; "))
        }
    })
    .await;
}

/// Deletes the Secret of a database, and waits for the next one's login.
async fn replace(secrets: &Api<Secret>, postgres: &Postgres, database: usize) -> anyhow::Result<Duration> {
    let name = format!("db{database}");
    let before = secrets.get(&name).await?.metadata.uid;
    let start = Instant::now();
    secrets.delete(&name, &DeleteParams::default()).await?;
    eventually("a new password to log in", PATIENCE, async || {
        let found = secrets.get(&name).await.map_err(|error| error.to_string())?;
        if found.metadata.uid == before {
            return Err("the Secret is still there".to_owned());
        }
        let data = found.data.unwrap_or_default();
        let text = |key: &str| String::from_utf8_lossy(&data[key].0).into_owned();
        let session = postgres.connect(&text("database"), &text("username"), &text("password")).await;
        session.map(drop).map_err(|error| error.to_string())
    })
    .await;
    Ok(start.elapsed())
}
