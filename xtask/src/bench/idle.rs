//! What a running operator costs while nothing happens, counted on the server and in /proc, scaled to checks every
//! 300 s.

use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use operator::api::{database::PostgresDatabase, user::PostgresUser};
use testbed::{Cluster, Postgres, eventually, kubernetes};
use xshell::Shell;

use super::Figure;
use super::operator::{Operator, manifests};

const PATIENCE: Duration = Duration::from_mins(2);
/// Seconds between two checks here, and in production.
const RESYNC: u32 = 2;
const PRODUCTION: f64 = 300.0;
/// Checks that are counted.
const CHECKS: usize = 10;

/// Waits until all is Ready and quiet, then counts.
pub(super) async fn figures(
    shell: &Shell,
    cluster: &Cluster,
    postgres: &Postgres,
    databases: usize,
) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(shell, cluster, postgres, RESYNC).await?;
    let yaml: Vec<_> = (0..databases).map(|database| manifests(&operator.namespace, database, 2)).collect();
    kubernetes::apply(&cluster.client(), &yaml.join("---\n"), &operator.namespace).await?;
    wait_until_ready(cluster, &operator.namespace).await;
    let (before, processor, start) = (count(postgres), operator.processor()?, Instant::now());
    let wanted = before.connections + CHECKS * databases;
    eventually("some checks", PATIENCE, async || {
        let found = count(postgres).connections;
        if found >= wanted { Ok(()) } else { Err(format!("{found} of {wanted} connections")) }
    })
    .await;
    let (after, seconds) = (count(postgres), start.elapsed().as_secs_f64());
    let checks = number(after.connections - before.connections);
    let per_hour = |counted: usize| number(counted) / checks * 3600.0 / PRODUCTION;
    let scale = f64::from(RESYNC) / PRODUCTION * 3600.0 / seconds;
    let resources = databases * 3;
    let figure = |what: &str, value: String, aim| Figure {
        what: format!("{resources} resources: {what}"),
        value,
        aim,
    };
    Ok(vec![
        figure(
            "statements per hour and database",
            format!("{:.0}", per_hour(after.statements - before.statements)),
            "36",
        ),
        figure("SQL writes per hour", format!("{:.0}", per_hour(after.writes - before.writes)), "0"),
        figure(
            "connections per hour and database",
            format!("{:.0}", per_hour(after.connections - before.connections)),
            "12",
        ),
        figure(
            "resident memory",
            format!("{:.1} MiB", operator.resident()?),
            if databases == 1 { "15 MiB" } else { "20 MiB" },
        ),
        figure(
            "processor seconds per hour",
            format!("{:.2} s", (operator.processor()? - processor) * scale),
            "2 s",
        ),
    ])
}

async fn wait_until_ready(cluster: &Cluster, namespace: &str) {
    let kinds = [ApiResource::erase::<PostgresDatabase>(&()), ApiResource::erase::<PostgresUser>(&())];
    for kind in kinds {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), namespace, &kind);
        eventually("every resource to be Ready", PATIENCE, async || {
            let all = api.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
            let is_ready = |one: &DynamicObject| {
                let conditions = one.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.iter().any(|found| found["type"] == "Ready" && found["status"] == "True")
            };
            match all.iter().find(|one| !is_ready(one)) {
                None => Ok(()),
                Some(one) => Err(one.name_any()),
            }
        })
        .await;
    }
}

/// A count as a number to calculate with.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What the operator did so far, as the server's log has it.
struct Count {
    connections: usize,
    statements: usize,
    writes: usize,
}

fn count(postgres: &Postgres) -> Count {
    let log = postgres.log();
    let ours: Vec<_> = log.lines().filter(|line| line.contains("postgres-provisioner")).collect();
    let is_statement = |line: &&&str| line.contains(" LOG:  statement: ") || line.contains(" LOG:  execute ");
    let verbs = ["CREATE ", "ALTER ", "GRANT ", "REVOKE ", "COMMENT ", "DROP ", "BEGIN", "LOCK "];
    let is_write = |line: &&&str| verbs.iter().any(|verb| line.contains(&format!(": {verb}")));
    Count {
        connections: ours.iter().filter(|line| line.contains("connection authorized")).count(),
        statements: ours.iter().filter(is_statement).count(),
        writes: ours.iter().filter(is_statement).filter(is_write).count(),
    }
}
