//! What a running operator costs while nothing happens, counted on the server and in /proc, scaled to checks every
//! 300 s.

use std::time::{Duration, Instant};

use testbed::{Postgres, eventually, kubernetes};

use super::Figure;
use super::operator::{Ground, Operator, manifests, wait_until_ready};
use super::server_log::count;

const PATIENCE: Duration = Duration::from_mins(2);
/// Seconds between two checks here, and in production.
const RESYNC: u32 = 2;
const PRODUCTION: f64 = 300.0;
/// Checks that are counted.
const CHECKS: usize = 10;

/// Waits until all is Ready and quiet, then counts.
pub(super) async fn figures(
    ground: Ground<'_>,
    postgres: &Postgres,
    databases: usize,
) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(ground, postgres, postgres.port(), RESYNC).await?;
    let yaml: Vec<_> = (0..databases).map(|database| manifests(&operator.namespace, database, 2)).collect();
    kubernetes::apply(&ground.cluster.client(), &yaml.join("---\n"), &operator.namespace).await?;
    wait_until_ready(ground.cluster, &operator.namespace).await;
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

/// A count as a number to calculate with.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
