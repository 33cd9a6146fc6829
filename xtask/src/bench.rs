//! `cargo xtask bench`: what provisioning and idling cost, measured on real parts and printed as a table.

mod idle;
mod meter;
mod operator;
mod provision;
mod reactions;
mod server_log;
mod steady;

use std::time::Duration;

use operator::Ground;
use testbed::{Cluster, Postgres};
use xshell::{Shell, cmd};

/// One line of the table.
struct Figure {
    what: String,
    value: String,
    aim: &'static str,
}

/// Runs them all, on the optimized program.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    println!("the operator is built with optimizations");
    cmd!(shell, "cargo build --release --package postgres-provisioner-operator").run()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("PostgreSQL 17 and a Kubernetes API are started");
        let cluster = Cluster::start().await;
        let figures = figures(Ground { shell, cluster: &cluster }).await;
        cluster.stop().await;
        print(&figures?);
        Ok(())
    })
}

async fn figures(ground: Ground<'_>) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (databases, users, aim) in [(1, 0, "200 ms"), (1, 2, "300 ms"), (20, 2, "5 s")] {
        println!("provisioning {databases} × (1 + {users})");
        let postgres = Postgres::start(17).await;
        figures.extend(provision::figures(ground, &postgres, (databases, users), aim).await?);
        postgres.stop().await;
    }
    println!("reacting to what is waited for");
    let postgres = Postgres::start(17).await;
    figures.extend(reactions::figures(ground, &postgres).await?);
    postgres.stop().await;
    println!("a steady check of 1,000 tables and 20 users");
    let postgres = Postgres::start(17).await;
    figures.extend(steady::figures(ground, &postgres).await?);
    postgres.stop().await;
    for databases in [1, 21] {
        println!("idling with {databases} databases");
        let postgres = Postgres::start(17).await;
        figures.extend(idle::figures(ground, &postgres, databases).await?);
        postgres.stop().await;
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

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
