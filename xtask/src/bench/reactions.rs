//! How soon the operator does what is waited for, once it can; it checks nothing by itself meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use operator::api::{ANNOTATION_ALLOW_SECRETS_FROM, database::PostgresDatabase, user::PostgresUser};
use serde_json::{Value, json};
use testbed::{Postgres, eventually, kubernetes};

use super::fleet::{named, superuser_secret};
use super::operator::{Ground, Operator, manifests, wait_until_ready};
use super::{Figure, median, milliseconds};

const PATIENCE: Duration = Duration::from_secs(30);
const TIMES: usize = 5;
/// What a person chose.
const CHOSEN: &str = "chosen-by-hand-0123456789";
/// Longer than the benchmark.
const RESYNC: u32 = 3_600;

/// Users that were there before their database, and Secrets that somebody deletes.
pub(super) async fn figures(ground: Ground<'_>, postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(ground, postgres, postgres.port(), RESYNC).await?;
    let (client, namespace) = (ground.cluster.client(), &operator.namespace);
    let (mut waited, mut deleted, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for database in 0..TIMES {
        let all = manifests(namespace, database, 1);
        let (first, user) = all.split_once("---\n").context("a database and a user")?;
        kubernetes::apply(&client, user, namespace).await?;
        wait_until_reason(&client, (namespace, "PostgresUser"), "DatabaseMissing").await;
        let start = Instant::now();
        kubernetes::apply(&client, first, namespace).await?;
        wait_until_ready(ground.cluster, namespace).await;
        waited.push(start.elapsed());
        let secrets = Api::namespaced(client.clone(), namespace);
        deleted.push(replace(&secrets, postgres, database).await?);
        changed.push(choose(&secrets, postgres, database).await?);
    }
    let mut corrected = Vec::new();
    for database in TIMES..2 * TIMES {
        corrected.push(correct(&client, namespace, postgres, database).await?);
    }
    let mut allowed = Vec::new();
    for database in 2 * TIMES..3 * TIMES {
        allowed.push(allow(&client, (namespace, &operator.tenant), database).await?);
    }
    let figure =
        |what: &str, times| Figure { what: what.to_owned(), value: milliseconds(median(times)), aim: "1 s" };
    Ok(vec![
        figure("a password edited in a Secret: until it logs in, median", changed),
        figure("admin credentials corrected in a superuser Secret: until Ready, median", corrected),
        figure("a namespace that begins to take Secrets: until Ready, median", allowed),
        figure("a user that waited: from its database's apply to both Ready, median", waited),
        figure("a deleted Secret: until the new password logs in, median", deleted),
    ])
}

async fn wait_until_reason(client: &Client, (namespace, kind): (&str, &str), reason: &str) {
    let kind = match kind {
        "PostgresUser" => ApiResource::erase::<PostgresUser>(&()),
        _ => ApiResource::erase::<PostgresDatabase>(&()),
    };
    let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    eventually(reason, PATIENCE, async || {
        let found = all.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found: Vec<_> = found.iter().map(|one| one.data["status"]["conditions"].to_string()).collect();
        if found.iter().any(|conditions| conditions.contains(reason)) {
            Ok(())
        } else {
            Err(found.join("; "))
        }
    })
    .await;
}

/// Puts another password into the Secret of a database, and waits for its login.
async fn choose(secrets: &Api<Secret>, postgres: &Postgres, database: usize) -> anyhow::Result<Duration> {
    let chosen = Patch::Merge(json!({ "stringData": { "password": CHOSEN } }));
    let start = Instant::now();
    secrets.patch(&format!("db{database}"), &PatchParams::default(), &chosen).await?;
    eventually("the new password to log in", PATIENCE, async || {
        let (name, owner) = (format!("bench{database}"), format!("bench{database}_owner"));
        postgres.connect(&name, &owner, CHOSEN).await.map(drop)
    })
    .await;
    Ok(start.elapsed())
}

/// A database on a server that resources name; its admin credentials are wrong, and then they are right.
async fn correct(
    client: &Client,
    namespace: &str,
    postgres: &Postgres,
    database: usize,
) -> anyhow::Result<Duration> {
    let wrong = superuser_secret(namespace, database, (postgres, postgres.port()))
        .replace(&format!("{:?}", postgres.password()), "wrong");
    kubernetes::apply(client, &wrong, namespace).await?;
    let yaml = named(&manifests(namespace, database, 0), namespace, database);
    kubernetes::apply(client, &yaml, namespace).await?;
    wait_until_reason(client, (namespace, "PostgresDatabase"), "InvalidCredentials").await;
    let start = Instant::now();
    let right = superuser_secret(namespace, database, (postgres, postgres.port()));
    kubernetes::apply(client, &right, namespace).await?;
    wait_until_one_is_ready(client, namespace, database).await;
    Ok(start.elapsed())
}

/// A database of the tenant whose Secret is to be in the operator's namespace, which does not take it, and then does.
async fn allow(
    client: &Client,
    (namespace, tenant): (&str, &str),
    database: usize,
) -> anyhow::Result<Duration> {
    let secret = format!("secretNamespace: {namespace}, secretName: ");
    let yaml = manifests(tenant, database, 0).replace("secretName: ", &secret);
    kubernetes::apply(client, &yaml, tenant).await?;
    let refusal = format!("namespace {namespace} does not take Secrets");
    wait_until_reason(client, (tenant, "PostgresDatabase"), &refusal).await;
    let start = Instant::now();
    consent(client, namespace, json!(tenant)).await?;
    wait_until_one_is_ready(client, tenant, database).await;
    let time = start.elapsed();
    // The next one asks anew; what this one has no longer is where it may be.
    consent(client, namespace, Value::Null).await?;
    let kind = ApiResource::erase::<PostgresDatabase>(&());
    let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), tenant, &kind);
    all.delete(&format!("db{database}"), &DeleteParams::default()).await?;
    eventually("it to be gone", PATIENCE, async || {
        match all.list(&ListParams::default()).await?.items.len() {
            0 => anyhow::Ok(()),
            count => anyhow::bail!("{count} are there"),
        }
    })
    .await;
    Ok(time)
}

async fn consent(client: &Client, namespace: &str, whom: Value) -> Result<(), kube::Error> {
    let change = json!({ "metadata": { "annotations": { ANNOTATION_ALLOW_SECRETS_FROM: whom } } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(change)).await.map(drop)
}

async fn wait_until_one_is_ready(client: &Client, namespace: &str, database: usize) {
    let kind = ApiResource::erase::<PostgresDatabase>(&());
    let all: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    eventually("a database to be Ready", PATIENCE, async || {
        let found = all.get(&format!("db{database}")).await?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        anyhow::ensure!(is_ready, "{conditions:?}");
        anyhow::Ok(())
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
