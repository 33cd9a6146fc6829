//! A check where nothing is to be done, of a database with much in it.

use std::time::Duration;

use testbed::postgres::run;
use testbed::{Postgres, eventually, kubernetes};

use super::meter::{Meter, Session};
use super::operator::{Ground, Operator, manifests, wait_until_ready};
use super::{Figure, median, milliseconds, server_log};

/// Checks that are measured.
const CHECKS: usize = 21;
const USERS: usize = 20;
const PATIENCE: Duration = Duration::from_mins(2);

/// 1,000 tables in 50 schemas, 20 users. A check is one connection, so that is what is measured.
pub(super) async fn figures(ground: Ground<'_>, postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    let meter = Meter::start(postgres).await?;
    let operator = Operator::start(ground, postgres, meter.port, 1).await?;
    let client = ground.cluster.client();
    kubernetes::apply(&client, &manifests(&operator.namespace, 0, USERS), &operator.namespace).await?;
    wait_until_ready(ground.cluster, &operator.namespace).await;
    run(
        &mut postgres.admin("bench0").await,
        "SET ROLE bench0_owner; DO $$ BEGIN FOR s IN 1..50 LOOP EXECUTE format('CREATE SCHEMA s%s', s); \
         FOR t IN 1..20 LOOP EXECUTE format('CREATE TABLE s%s.t%s (n int)', s, t); END LOOP; END LOOP; END $$",
    )
    .await?;
    // What was under way may have seen half of it.
    wait_for(&meter, 2).await;
    let before = server_log::count(postgres);
    let sessions = wait_for(&meter, CHECKS).await;
    let after = server_log::count(postgres);
    anyhow::ensure!(after.writes == before.writes, "the check is not steady");
    let statements = after.statements - before.statements;
    let checks = after.connections - before.connections;
    let bytes: u64 = sessions.iter().map(|session| session.bytes).max().unwrap_or_default();
    let figure = |what: &str, value, aim| Figure {
        what: format!("steady check of 1,000 tables in 50 schemas, {USERS} users: {what}"),
        value,
        aim,
    };
    Ok(vec![
        figure(
            "its connection, median",
            milliseconds(median(sessions.iter().map(|session| session.duration).collect())),
            "40 ms",
        ),
        figure("statements", format!("{statements} in {checks} checks"), "3 each"),
        figure("bytes in both directions", format!("{bytes}"), "–"),
    ])
}

/// The connections that end from now on, once there are so many.
async fn wait_for(meter: &Meter, count: usize) -> Vec<Session> {
    let before = meter.sessions().len();
    eventually("some checks", PATIENCE, async || {
        let found = meter.sessions().split_off(before);
        if found.len() >= count { Ok(found) } else { Err(format!("{} of {count}", found.len())) }
    })
    .await
}
