//! `cargo xtask bench`: what provisioning, checking and idling cost, measured on real parts and printed as a table.

mod attacks;
mod fleet;
mod idle;
mod measure;
mod meter;
mod operator;
mod outage;
mod provision;
mod reactions;
mod scale;
mod server_log;
mod steady;

use std::time::Duration;

use futures::future::join_all;
use operator::Ground;
use testbed::{Cluster, Postgres};
use xshell::{Shell, cmd};

/// What is measured together.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Group {
    /// From `apply` to logins.
    Provision,
    /// What the operator waits for.
    Reactions,
    /// A check of 1,000 tables, with the operator around it.
    Steady,
    /// While nothing happens.
    Idle,
    /// What tenants can cost others.
    Attacks,
    /// One of two servers is down for a minute.
    Outage,
    /// One operator with a thousand databases on four servers.
    Fleet,
    /// Passes over up to 100,000 relations, without the operator.
    Scale,
}

/// One line of the table.
struct Figure {
    what: String,
    value: String,
    aim: &'static str,
}

/// Runs one group or all of them, on optimized programs; a fleet has so many databases.
pub(crate) fn run(shell: &Shell, group: Option<Group>, databases: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut figures = Vec::new();
    if group != Some(Group::Scale) {
        println!("the operator is built with optimizations");
        cmd!(shell, "cargo build --release --package postgres-provisioner-operator").run()?;
        figures.extend(runtime.block_on(with_operator(shell, group, databases))?);
    }
    if matches!(group, None | Some(Group::Scale)) {
        figures.extend(runtime.block_on(scale::figures(shell))?);
    }
    print(&figures);
    Ok(())
}

async fn with_operator(shell: &Shell, group: Option<Group>, databases: usize) -> anyhow::Result<Vec<Figure>> {
    println!("PostgreSQL 17 and a Kubernetes API are started");
    let cluster = Cluster::start().await;
    let figures = figures(Ground { shell, cluster: &cluster }, group, databases).await;
    cluster.stop().await;
    figures
}

async fn figures(ground: Ground<'_>, group: Option<Group>, fleet: usize) -> anyhow::Result<Vec<Figure>> {
    let is_wanted = |one| group.is_none_or(|group| group == one);
    let mut figures = Vec::new();
    for (databases, users, aim) in [(1, 0, "200 ms"), (1, 2, "300 ms"), (20, 2, "5 s")] {
        if is_wanted(Group::Provision) {
            println!("provisioning {databases} × (1 + {users})");
            let postgres = Postgres::start(17).await;
            figures.extend(provision::figures(ground, &postgres, (databases, users), aim).await?);
            postgres.stop().await;
        }
    }
    if is_wanted(Group::Reactions) {
        println!("reacting to what is waited for");
        let postgres = Postgres::start(17).await;
        figures.extend(reactions::figures(ground, &postgres).await?);
        postgres.stop().await;
    }
    if is_wanted(Group::Steady) {
        println!("a steady check of 1,000 tables and 20 users");
        let postgres = Postgres::start(17).await;
        figures.extend(steady::figures(ground, &postgres).await?);
        postgres.stop().await;
    }
    for databases in [1, 21] {
        if is_wanted(Group::Idle) {
            println!("idling with {databases} databases");
            let postgres = Postgres::start(17).await;
            figures.extend(idle::figures(ground, &postgres, databases).await?);
            postgres.stop().await;
        }
    }
    if is_wanted(Group::Attacks) {
        println!("attacks from inside a database");
        let postgres = Postgres::start(17).await;
        figures.extend(attacks::figures(ground, &postgres).await?);
        postgres.stop().await;
    }
    if is_wanted(Group::Outage) {
        println!("one of two servers is down for a minute");
        let near = Postgres::builder(17).set("log_disconnections", "on").start().await;
        let far = Postgres::start(17).await;
        figures.extend(outage::figures(ground, &near, &far).await?);
        join_all([&near, &far].map(Postgres::stop)).await;
    }
    if is_wanted(Group::Fleet) {
        println!("{fleet} databases on four servers");
        let servers = join_all((0..4).map(|_| Postgres::start(17))).await;
        figures.extend(fleet::figures(ground, &servers, fleet).await?);
        join_all(servers.iter().map(Postgres::stop)).await;
    }
    Ok(figures)
}

fn print(figures: &[Figure]) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\n{cores} cores, {model}; PostgreSQL 17 with fsync off\n");
    println!("| figure | measured | aim |\n|---|---|---|");
    for Figure { what, value, aim } in figures {
        println!("| {what} | {value} | {aim} |");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
