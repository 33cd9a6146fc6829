//! `cargo xtask demo`: the main job on real parts, told step by step.

mod stage;

use std::time::Duration;

use anyhow::Context as _;
use stage::{Stage, say};
use testbed::eventually;
use xshell::Shell;

/// How long any step may take once everything runs.
const DEADLINE: Duration = Duration::from_secs(30);
/// The samples besides the namespaces, in the order in which they are applied.
const SAMPLES: [&str; 3] = ["database.yaml", "user.yaml", "user-readwrite.yaml"];

/// Runs it to its end; with `keep` until Ctrl-C.
pub(crate) fn run(shell: &Shell, keep: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let interrupted = async { tokio::signal::ctrl_c().await.context("cannot listen for Ctrl-C") };
        tokio::select! {
            told = tell(shell, keep) => told,
            interrupted = interrupted => interrupted.inspect(|()| say("interrupted: everything is being stopped")),
        }
    })
}

async fn tell(shell: &Shell, keep: bool) -> anyhow::Result<()> {
    let stage = Stage::set(shell).await?;
    provision(&stage)?;
    use_it(&stage).await?;
    drift(&stage).await?;
    if keep {
        stage.keep().await;
    } else {
        delete(&stage).await?;
    }
    stage.clear().await;
    say("that was all; nothing is left running");
    Ok(())
}

fn provision(stage: &Stage) -> anyhow::Result<()> {
    say("the samples of deploy/samples are applied");
    for sample in SAMPLES {
        stage.kubectl(&format!("apply -f deploy/samples/{sample}"))?;
    }
    stage.kubectl("wait --for=condition=Ready pgdb,pguser --all -n app-db --timeout=30s")?;
    stage.kubectl("get pgdb,pguser -n app-db -o wide")?;
    say("each resource has a Secret where it asked for it");
    stage.kubectl("get secrets -n my-app")?;
    stage.kubectl("describe secret my-app-reader-credentials -n my-app")?;
    Ok(())
}

async fn use_it(stage: &Stage) -> anyhow::Result<()> {
    say("the owner logs in with its Secret and creates a table");
    let mut owner = stage.login("my-app-db-credentials").await?;
    stage
        .psql(&mut owner, "my_app_owner", "CREATE TABLE public.orders (id serial PRIMARY KEY, item text)")
        .await?;
    stage.psql(&mut owner, "my_app_owner", "INSERT INTO public.orders (item) VALUES ('a book')").await?;
    say("the reader may read it at once, and not write");
    let mut reader = stage.login("my-app-reader-credentials").await?;
    stage.psql(&mut reader, "my_app_reader", "SELECT id, item FROM public.orders").await?;
    stage.refused(&mut reader, "my_app_reader", "INSERT INTO public.orders (item) VALUES ('a pen')").await?;
    Ok(())
}

async fn drift(stage: &Stage) -> anyhow::Result<()> {
    say("somebody revokes the reader's access by hand; the next check finds and repairs it");
    let mut admin = stage.postgres.admin("my_app").await;
    stage.psql(&mut admin, "postgres", "REVOKE SELECT ON public.orders FROM my_app_reader").await?;
    let mut reader = stage.login("my-app-reader-credentials").await?;
    eventually("the grant is repaired", DEADLINE, async || {
        testbed::postgres::fetch_text(&mut reader, "SELECT item FROM public.orders").await
    })
    .await;
    stage.psql(&mut reader, "my_app_reader", "SELECT id, item FROM public.orders").await?;
    let events = "get events -n app-db --field-selector type=Warning,reason=DriftRepaired";
    eventually("the event is there", DEADLINE, async || {
        stage.quiet(events).map_err(|error| error.to_string()).and_then(|text| {
            if text.contains("my-app-reader") { Ok(()) } else { Err("no event yet".to_owned()) }
        })
    })
    .await;
    stage.kubectl(events)?;
    stage.kubectl("get pguser -n app-db")?;
    Ok(())
}

async fn delete(stage: &Stage) -> anyhow::Result<()> {
    say("a user is deleted: its role and its Secret go");
    stage.kubectl("delete pguser my-app-reader -n app-db --timeout=30s")?;
    let mut admin = stage.postgres.admin("postgres").await;
    let roles = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'my\\_app%' ORDER BY 1";
    stage.psql(&mut admin, "postgres", roles).await?;
    stage.kubectl("get secrets -n my-app")?;
    say("the database is deleted: its other user goes first, its data stays");
    stage.kubectl("delete pgdb my-app-db -n app-db --timeout=30s")?;
    stage.kubectl("get pgdb,pguser -n app-db")?;
    let mut kept = stage.postgres.admin("my_app").await;
    stage.psql(&mut kept, "postgres", "SELECT id, item FROM public.orders").await?;
    Ok(())
}
