//! Single passes over large databases, without an operator around them.

use std::time::Duration;

use anyhow::Context as _;
use testbed::Postgres;
use testbed::postgres::{fetch_text, run};
use xshell::Shell;

use super::measure::{Program, Users};
use super::{Figure, milliseconds, server_log};

/// What is in a database, and who uses it.
struct Size {
    schemas: usize,
    /// Of ten in a schema, eight are tables, one is a view and one a sequence.
    relations: usize,
    users: Users,
    /// How often a check is repeated.
    times: usize,
    /// What a check may take.
    aim: &'static str,
}

const SIZES: [Size; 4] = [
    Size { schemas: 10, relations: 1_000, users: users(10, 10), times: 21, aim: "–" },
    Size { schemas: 50, relations: 11_000, users: users(100, 100), times: 11, aim: "500 ms" },
    Size { schemas: 1_000, relations: 20_000, users: users(10, 10), times: 11, aim: "–" },
    Size { schemas: 50, relations: 100_000, users: users(10, 10), times: 7, aim: "1500 ms" },
];

/// How many tables the repairs are tried on.
const TABLES: usize = 5_000;

const fn users(readers: usize, writers: usize) -> Users {
    Users { readers, writers }
}

pub(super) async fn figures(shell: &Shell) -> anyhow::Result<Vec<Figure>> {
    let program = Program::build(shell)?;
    let mut figures = Vec::new();
    for size in &SIZES {
        println!("checks of {size}");
        let postgres = start().await;
        figures.extend(checks(&program, &postgres, size).await?);
        postgres.stop().await;
    }
    println!("repairs among {TABLES} tables");
    let postgres = start().await;
    figures.extend(repairs(&program, &postgres).await?);
    postgres.stop().await;
    Ok(figures)
}

/// A server that does nothing by itself meanwhile, and has room for what is in its catalogs.
async fn start() -> Postgres {
    let quiet = Postgres::builder(17).set("autovacuum", "off").set("checkpoint_timeout", "1d");
    quiet.set("shared_buffers", "512MB").set("max_wal_size", "16GB").start().await
}

/// What a check costs where nothing is to be done.
async fn checks(program: &Program, postgres: &Postgres, size: &Size) -> anyhow::Result<Vec<Figure>> {
    // Users first: default privileges then give them what the owner makes.
    program.pass(postgres, size.users)?;
    fill(postgres, size.schemas, size.relations).await?;
    program.pass(postgres, size.users)?;
    run(&mut postgres.admin("scale").await, "VACUUM ANALYZE").await?;
    let found = program.check(postgres, size.users, size.times)?;
    let (reading, plan, alone) = (found.time("reading")?, found.time("plan")?, found.time("alone")?);
    let passed = reading + plan;
    let figure = |what: &str, value, aim| Figure { what: format!("{size}: {what}"), value, aim };
    Ok(vec![
        figure("a check on a new connection, median", milliseconds(found.time("whole")?), size.aim),
        figure(
            "reading and planning on an open one, fastest, as a multiple of the bare queries",
            format!("{:.2} ({} / {})", ratio(passed, alone), milliseconds(passed), milliseconds(alone)),
            "1.3",
        ),
        figure(
            "the share of planning in it",
            format!("{:.1} % ({})", 100.0 * ratio(plan, passed), milliseconds(plan)),
            "20 %",
        ),
        figure("bytes read", found.get("bytes")?.to_string(), "–"),
        figure("peak memory", mebibytes(found.get("peak_kibibytes")?), "100 MiB"),
    ])
}

/// What it costs to give one table back, and all tables to somebody new.
async fn repairs(program: &Program, postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    program.pass(postgres, users(1, 0))?;
    let tables = format!(
        "DO $$ BEGIN SET LOCAL ROLE scale_owner; FOR t IN 1..{TABLES} LOOP \
         EXECUTE format('CREATE TABLE public.t%s (n int)', t); END LOOP; END $$"
    );
    let mut admin = postgres.admin("scale").await;
    run(&mut admin, tables).await?;
    run(&mut admin, "REVOKE SELECT ON public.t42 FROM scale_reader0").await?;
    let mut figures = repair(program, postgres, users(1, 0), ("one missing grant", "1")).await?;
    figures.extend(repair(program, postgres, users(2, 0), ("a new reader", "–")).await?);
    Ok(figures)
}

/// One pass that has something to do.
async fn repair(
    program: &Program,
    postgres: &Postgres,
    users: Users,
    (what, aim): (&str, &'static str),
) -> anyhow::Result<Vec<Figure>> {
    let mut admin = postgres.admin("postgres").await;
    let mut ask = async |text: &str| fetch_text(&mut admin, text).await;
    let position = ask("SELECT pg_current_wal_insert_lsn()").await?.context("no position")?;
    let before = server_log::count(postgres);
    let found = program.pass(postgres, users)?;
    let after = server_log::count(postgres);
    let written = ask(&format!("SELECT pg_current_wal_insert_lsn() - '{position}'")).await?;
    let figure =
        |name: &str, value, aim| Figure { what: format!("{TABLES} tables, {what}: {name}"), value, aim };
    Ok(vec![
        figure("time", milliseconds(found.time("microseconds")?), "–"),
        figure(
            "statements that change something (and all of them)",
            format!("{} ({})", found.get("actions")?, after.statements - before.statements),
            aim,
        ),
        figure("bytes of WAL", written.unwrap_or_default(), "–"),
    ])
}

/// Makes schemas and what is in them, as the owner, a part at a time: every relation is a lock until then.
async fn fill(postgres: &Postgres, schemas: usize, relations: usize) -> anyhow::Result<()> {
    let each = relations / schemas;
    let parts = format!(
        "DO $$ DECLARE s int; t int; BEGIN SET ROLE scale_owner; FOR s IN 1..{schemas} LOOP \
         EXECUTE format('CREATE SCHEMA s%s', s); \
         FOR t IN 1..{each} LOOP \
           CASE t % 10 \
             WHEN 0 THEN EXECUTE format('CREATE VIEW s%s.v%s AS SELECT 1 AS n', s, t); \
             WHEN 1 THEN EXECUTE format('CREATE SEQUENCE s%s.q%s', s, t); \
             ELSE EXECUTE format('CREATE TABLE s%s.t%s (n int)', s, t); \
           END CASE; \
           IF t % 100 = 0 THEN COMMIT; END IF; \
         END LOOP; COMMIT; END LOOP; END $$"
    );
    run(&mut postgres.admin("scale").await, parts).await?;
    Ok(())
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users = self.users.readers + self.users.writers;
        write!(f, "{} relations in {} schemas, {users} users", self.relations, self.schemas)
    }
}

fn ratio(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64()
}

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", Duration::from_secs(kibibytes).as_secs_f64() / 1024.0)
}
