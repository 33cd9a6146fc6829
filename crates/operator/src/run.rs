//! Puts the parts together, and ends them in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::backoff::Pauses;
use crate::context::{Context, Memory};
use crate::crd_apply::Absent;
use crate::events::Events;
use crate::ledger::Ledger;
use crate::pass::gather::{Clock, Kept};
use crate::passes::{Passes, run_with};
use crate::servers::Servers;
use crate::settings::Settings;
use crate::vault::Vault;
use crate::{crd_check, http, pass, watch};

/// How long passes may take to end after the signal: a statement in progress is not interrupted before.
const GRACE: Duration = Duration::from_secs(2);
/// The namespace whose uid names the cluster.
const CLUSTER: &str = "kube-system";

/// Why the operator did not start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// The port is taken.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// The API server does not answer, or not to us.
    #[error(
        "cannot read namespace {CLUSTER} for the cluster's identity; set INSTALLATION_ID, or fix the access: {0}"
    )]
    Identity(#[source] kube::Error),
    /// A watch ended, which it never does by itself.
    #[error("the watches ended")]
    Watches,
}

/// Runs the operator until `shutdown`, or until something fails that cannot be retried.
pub async fn run(
    settings: Settings,
    client: Client,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let readiness = http::Readiness::default();
    let mut tasks = JoinSet::new();
    if let Some(address) = settings.listen {
        let metrics = settings.metrics.clone();
        tasks.spawn(http::serve(http::bind(address).await?, readiness.clone(), metrics));
    }
    let mut shutdown = std::pin::pin!(shutdown);
    let mut absent = Absent::Create;
    loop {
        let (context, watches) = tokio::select! {
            started = start(settings.clone(), client.clone(), absent) => started?,
            () = &mut shutdown => return Ok(()),
        };
        context.metrics.look_at(&context);
        readiness.set();
        match live(&context, watches, &mut shutdown).await {
            Ended::Told => return Ok(()),
            Ended::Watches => return Err(Error::Watches),
            Ended::Definitions(problem) => {
                tracing::warn!("nothing more is done until the CRDs are right again: {problem}");
                readiness.unset();
                absent = Absent::Wait;
            }
        }
    }
}

/// Why it works no more.
enum Ended {
    /// It was told to end.
    Told,
    /// A watch ended.
    Watches,
    /// The API server no longer knows the kinds as the operator does: what it shows of resources may lack something.
    Definitions(String),
}

/// Works until there is a reason to end, and lets passes in progress come to theirs.
async fn live(context: &Arc<Context>, watches: watch::Watches, shutdown: impl Future<Output = ()>) -> Ended {
    let passes = {
        let (resync, context) = (context.settings.resync, context.clone());
        Passes::new(resync, run_with(move |key, pressure| pass::run(context.clone(), key, pressure)))
    };
    let ended = tokio::select! {
        () = watch::follow(context, &passes, watches) => Ended::Watches,
        problem = crd_check::lost(&context.client) => Ended::Definitions(problem),
        () = shutdown => Ended::Told,
    };
    if tokio::time::timeout(GRACE, passes.stop()).await.is_err() {
        tracing::warn!("passes in progress are cut off; their transactions are rolled back");
    }
    ended
}

/// Waits for the CRDs and fills the caches.
async fn start(
    settings: Settings,
    client: Client,
    absent: Absent,
) -> Result<(Arc<Context>, watch::Watches), Error> {
    let client = settings.metrics.counted(client);
    crd_check::wait(&client, settings.definitions, absent).await;
    let installation = match settings.installation.clone() {
        Some(installation) => installation,
        None => cluster_uid(&client).await?,
    };
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let clock = Clock::default();
    let ledger = Arc::new(Ledger::new(client.clone(), (&namespace, &installation), clock.clone()));
    let (caches, watches) = watch::start(&client, &settings, (&ledger, &clock));
    caches.ready().await.map_err(|_| Error::Watches)?;
    let (databases, users) = caches.counts();
    tracing::info!(databases, users, "caches are filled");
    let context = Context {
        namespace,
        server: settings.server.clone().map(Arc::new),
        installation,
        caches,
        vault: Vault::new(client.clone()),
        servers: Servers::new(settings.budget, clock.clone()),
        pauses: Pauses::default(),
        events: Events::new(client.clone()),
        touched: watches.sender.clone(),
        ledger,
        memory: Memory::new(clock.clone()),
        census: Kept::default(),
        clock,
        metrics: settings.metrics.clone(),
        client,
        settings,
    };
    Ok((Arc::new(context), watches))
}

async fn cluster_uid(client: &Client) -> Result<String, Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.get_metadata(CLUSTER).await.map_err(Error::Identity)?;
    Ok(found.uid().unwrap_or_default())
}
