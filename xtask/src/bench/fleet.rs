//! One operator with a thousand databases on four servers: from nothing, after a restart, and while nothing happens.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use operator::api::{database::PostgresDatabase, user::PostgresUser};
use testbed::postgres::run;
use testbed::{Postgres, eventually, kubernetes};

use super::operator::{Ground, Operator, manifests};
use super::server_log::{Count, Tail, connected, count};
use super::{Figure, seconds};

/// Users of each database.
const USERS: usize = 2;
/// Seconds between two checks, as in production.
const RESYNC: u32 = 300;
/// How long the idle operator is watched: half of its databases are checked meanwhile.
const WATCHED: Duration = Duration::from_secs(150);
/// Requests of the benchmark itself at a time.
const AT_A_TIME: usize = 16;
const PATIENCE: Duration = Duration::from_mins(30);

/// So many databases, each with two users and ten tables. The first server is the operator's own, the others are named.
pub(super) async fn figures(
    ground: Ground<'_>,
    servers: &[Postgres],
    databases: usize,
) -> anyhow::Result<Vec<Figure>> {
    let mut operator = Operator::start(ground, &servers[0], servers[0].port(), RESYNC).await?;
    let client = ground.cluster.client();
    for (number, server) in servers.iter().enumerate().skip(1) {
        let secret = superuser_secret(&operator.namespace, number, (server, server.port()));
        kubernetes::apply(&client, &secret, "default").await?;
    }
    let documents: Vec<_> =
        (0..databases).map(|database| placed(&operator.namespace, database, servers.len())).collect();
    let start = Instant::now();
    create(&client, &documents).await?;
    wait_until_ready(&client, &operator.namespace, databases * (1 + USERS)).await;
    let (from_nothing, peak) = (start.elapsed(), operator.peak()?);
    println!("provisioned after {}", seconds(from_nothing));
    fill(servers, databases).await?;

    let before = total(servers);
    let mut tails = servers.iter().map(Tail::of).collect::<anyhow::Result<Vec<_>>>()?;
    operator.restart()?;
    let start = Instant::now();
    wait_for_checks(&mut tails, databases).await;
    let (to_steady, resident) = (start.elapsed(), operator.resident()?);
    println!("checked again after {}", seconds(to_steady));
    let after = total(servers);
    anyhow::ensure!(after.writes == before.writes, "a restart wrote {}", after.writes - before.writes);

    let (before, processor, requests) = (total(servers), operator.processor()?, requests(ground, &operator));
    tokio::time::sleep(WATCHED).await;
    let after = total(servers);
    let scale = 3600.0 / WATCHED.as_secs_f64();
    let spent = (operator.processor()? - processor) * scale;
    let per_hour = |count: usize| format!("{:.0}", number(count) * scale);
    let figure = |what: &str, value, aim| Figure {
        what: format!("{databases} × (1 + {USERS}) on {} servers: {what}", servers.len()),
        value,
        aim,
    };
    let asked: Vec<_> = self::requests(ground, &operator).into_iter().skip(requests.len()).collect();
    let written = asked.iter().filter(|verb| !["get", "list", "watch"].contains(&verb.as_str())).count();
    Ok(vec![
        figure("from nothing to all Ready", seconds(from_nothing), "–"),
        figure("the most memory meanwhile", format!("{peak:.0} MiB"), "100 MiB"),
        figure("from a restart until all are checked", seconds(to_steady), "30 s"),
        figure("resident memory then", format!("{resident:.0} MiB"), "100 MiB"),
        figure("resident memory when idle", format!("{:.0} MiB", operator.resident()?), "100 MiB"),
        figure("of one core, idle", format!("{:.2} %", spent / 36.0), "2 %"),
        figure("processor seconds per hour, idle", format!("{spent:.1} s"), "72 s"),
        figure(
            "SQL statements per hour, idle",
            per_hour(after.statements - before.statements),
            "36 a database",
        ),
        figure("SQL writes per hour, idle", per_hour(after.writes - before.writes), "0"),
        figure(
            "connections per hour, idle",
            per_hour(after.connections - before.connections),
            "12 a database",
        ),
        figure("API requests per hour, idle", per_hour(asked.len()), "–"),
        figure("API writes per hour, idle", per_hour(written), "0"),
    ])
}

/// The admin credentials of a server that is reached at this port.
pub(super) fn superuser_secret(namespace: &str, number: usize, (server, port): (&Postgres, u16)) -> String {
    let (user, password) = (testbed::postgres::SUPERUSER, server.password());
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: server{number}, namespace: {namespace}}}\n\
         stringData: {{username: {user}, password: {password:?}, port: '{port}'}}\n"
    )
}

/// A database and its users, on the server whose turn it is.
fn placed(namespace: &str, database: usize, servers: usize) -> String {
    let yaml = manifests(namespace, database, USERS);
    match database % servers {
        0 => yaml,
        number => named(&yaml, namespace, number),
    }
}

/// The same resources, on the server of this number.
pub(super) fn named(yaml: &str, namespace: &str, number: usize) -> String {
    let server =
        format!("host: 127.0.0.1, superuserSecret: {{name: server{number}, namespace: {namespace}}}");
    yaml.replace("spec: {", &format!("spec: {{{server}, "))
}

/// Creates the resources of these documents.
pub(super) async fn create(client: &Client, documents: &[String]) -> anyhow::Result<()> {
    let objects = documents.iter().flat_map(|yaml| yaml.split("---\n"));
    let objects: Vec<DynamicObject> = objects.map(serde_saphyr::from_str).collect::<Result<_, _>>()?;
    let created = objects.iter().map(async |object| {
        let types = object.types.as_ref().context("a document has a kind")?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        anyhow::Ok(api.create(&PostParams::default(), object).await?)
    });
    futures::stream::iter(created).buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>().await.map(drop)
}

/// Waits until so many resources of the namespace are Ready.
pub(super) async fn wait_until_ready(client: &Client, namespace: &str, count: usize) {
    let mut seen = BTreeSet::new();
    eventually("every resource to be Ready", PATIENCE, async || {
        seen.extend(ready(client, namespace).await?);
        anyhow::ensure!(seen.len() == count, "{} of {count}", seen.len());
        anyhow::Ok(())
    })
    .await;
}

/// The uids of all resources of the namespace that are Ready.
pub(super) async fn ready(client: &Client, namespace: &str) -> anyhow::Result<Vec<String>> {
    let mut ready = Vec::new();
    for kind in [ApiResource::erase::<PostgresDatabase>(&()), ApiResource::erase::<PostgresUser>(&())] {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        let is_ready = |one: &DynamicObject| {
            let conditions = one.data["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|found| found["type"] == "Ready" && found["status"] == "True")
        };
        let all = api.list(&ListParams::default()).await?;
        ready.extend(all.into_iter().filter(is_ready).filter_map(|one| one.metadata.uid));
    }
    Ok(ready)
}

/// Ten tables in each database, made by its owner.
async fn fill(servers: &[Postgres], databases: usize) -> anyhow::Result<()> {
    let filled = (0..databases).map(async |database| {
        let mut session = servers[database % servers.len()].admin(&format!("bench{database}")).await;
        let tables =
            "DO $$ BEGIN FOR t IN 1..10 LOOP EXECUTE format('CREATE TABLE t%s (n int)', t); END LOOP; END $$";
        run(&mut session, format!("SET ROLE bench{database}_owner; {tables}")).await
    });
    futures::stream::iter(filled).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    Ok(())
}

fn total(servers: &[Postgres]) -> Count {
    let none = Count { connections: 0, statements: 0, writes: 0 };
    servers.iter().map(count).fold(none, |sum, one| Count {
        connections: sum.connections + one.connections,
        statements: sum.statements + one.statements,
        writes: sum.writes + one.writes,
    })
}

/// Waits until every database has been looked at, as far as the servers log from now on.
async fn wait_for_checks(tails: &mut [Tail], databases: usize) {
    let mut seen = BTreeSet::new();
    eventually("every database to be checked", PATIENCE, async || {
        for tail in &mut *tails {
            let lines = tail.lines().map_err(|error| error.to_string())?;
            seen.extend(lines.iter().filter_map(|line| connected(line)).map(str::to_owned));
        }
        if seen.len() == databases { Ok(()) } else { Err(format!("{} of {databases}", seen.len())) }
    })
    .await;
}

/// The verbs of what the operator asked the API server for so far; a Lease is no object of interest.
fn requests(ground: Ground<'_>, operator: &Operator) -> Vec<String> {
    let ours = ground.cluster.audit().into_iter().filter(|entry| entry.user == operator.service_account);
    ours.filter(|entry| entry.resource != "leases").map(|entry| entry.verb).collect()
}

/// A count as a number to calculate with.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
