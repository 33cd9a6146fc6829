//! Puts the parts together, and ends them in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::backoff::{self, Pauses};
use crate::caches::Caches;
use crate::context::{Context, Memory};
use crate::crd_apply::Absent;
use crate::election::Elector;
use crate::events::Events;
use crate::fence::fenced;
use crate::ledger::Ledger;
use crate::metrics::Leadership;
use crate::pass::gather::{Clock, Kept};
use crate::passes::{Passes, run_with};
use crate::servers::Servers;
use crate::settings::Settings;
use crate::term::Term;
use crate::vault::Vault;
use crate::watch::Watches;
use crate::{crd_check, http, pass, watch};

/// How long passes may take to end after the signal: a statement in progress is not interrupted before.
const GRACE: Duration = Duration::from_secs(2);
/// How soon to ask again for the cluster's identity.
const AGAIN: Duration = Duration::from_secs(1);
/// The namespace whose uid names the cluster.
const CLUSTER: &str = "kube-system";

/// Why the operator did not start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// The port is taken.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// A watch ended, which it never does by itself.
    #[error("the watches ended")]
    Watches,
}

/// Why a term ended.
enum Ended {
    /// The operator was told to end.
    Shutdown,
    /// Somebody else may lead by now.
    Superseded,
    /// The API server no longer knows the kinds as the operator does: what it shows of resources may lack something.
    Definitions(String),
}

/// Caches that are filled, and what keeps them so.
struct Filled {
    caches: Caches,
    ledger: Arc<Ledger>,
    clock: Clock,
    watches: Watches,
}

/// Runs the operator until `shutdown`, or until something fails that cannot be retried.
///
/// With an election it works while it leads. When it does not any more, it begins from nothing: what it knew may be out
/// of date.
pub async fn run(
    mut settings: Settings,
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
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let election = settings.election.clone();
    let mut elector = election.map(|election| Elector::new(client.clone(), &namespace, election));
    let client = settings.metrics.counted(client);
    let mut absent = Absent::Create;
    loop {
        settings.metrics.set_leadership(Leadership::Follows);
        let mut filled = tokio::select! {
            started = start(&mut settings, (&client, &namespace), absent) => started?,
            () = &mut shutdown => return Ok(()),
        };
        readiness.follow();
        let term = tokio::select! {
            term = elected(elector.as_mut()) => Some(term),
            () = filled.watches.ignore() => return Err(Error::Watches),
            problem = crd_check::lost(&client) => {
                absent = stop_for(&problem);
                None
            }
            () = &mut shutdown => return Ok(()),
        };
        if let Some(term) = term {
            readiness.lead(term.clone());
            settings.metrics.set_leadership(Leadership::Leads);
            let (context, watches) = context(settings.clone(), client.clone(), (filled, term));
            let context = Arc::new(context);
            context.metrics.look_at(&context);
            match lead(&context, watches, &mut elector, &mut shutdown).await? {
                Ended::Shutdown => return Ok(()),
                Ended::Superseded => (),
                Ended::Definitions(problem) => absent = stop_for(&problem),
            }
        }
        readiness.start();
    }
}

/// Somebody replaced or deleted the CRDs: that is not undone by making them again.
fn stop_for(problem: &str) -> Absent {
    tracing::warn!("nothing more is done until the CRDs are right again: {problem}");
    Absent::Wait
}

/// Waits for the CRDs and fills the caches.
async fn start(
    settings: &mut Settings,
    (client, namespace): (&Client, &str),
    absent: Absent,
) -> Result<Filled, Error> {
    crd_check::wait(client, settings.definitions, absent).await;
    let installation = match settings.installation.clone() {
        Some(installation) => installation,
        None => settings.installation.insert(cluster_uid(client).await).clone(),
    };
    let clock = Clock::default();
    let ledger = Arc::new(Ledger::new(client.clone(), (namespace, &installation), clock.clone()));
    let (caches, watches) = watch::start(client, settings, (&ledger, &clock));
    caches.ready().await.map_err(|_| Error::Watches)?;
    ledger.ready().await;
    let (databases, users) = caches.counts();
    tracing::info!(databases, users, "caches are filled");
    Ok(Filled { caches, ledger, clock, watches })
}

/// Waits until this operator leads.
async fn elected(elector: Option<&mut Elector>) -> Term {
    match elector {
        Some(elector) => elector.campaign().await,
        None => Term::unlimited(),
    }
}

/// What passes of one term share; nothing of it is there in the next.
fn context(settings: Settings, client: Client, (filled, term): (Filled, Term)) -> (Context, Watches) {
    let Filled { caches, ledger, clock, watches } = filled;
    let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let client = if settings.election.is_some() { fenced(client, term.clone()) } else { client };
    let context = Context {
        namespace,
        term,
        server: settings.server.clone().map(Arc::new),
        installation: settings.installation.clone().unwrap_or_default(),
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
    (context, watches)
}

/// Works until the term is over or the end is asked for.
async fn lead(
    context: &Arc<Context>,
    watches: Watches,
    elector: &mut Option<Elector>,
    shutdown: &mut (impl Future<Output = ()> + Unpin),
) -> Result<Ended, Error> {
    let term = &context.term;
    let passes = {
        let (resync, context) = (context.settings.resync, context.clone());
        Passes::new(resync, run_with(move |key, pressure| pass::run(context.clone(), key, pressure)))
    };
    // A task of its own, so that no work delays it; it ends with this function.
    let mut renewing = JoinSet::new();
    if let Some(elector) = elector.take() {
        renewing.spawn(elector.renew(term.clone()));
    }
    let ended = tokio::select! {
        () = watch::follow(context, &passes, watches) => Err(Error::Watches),
        () = shutdown => Ok(Ended::Shutdown),
        () = term.over() => Ok(Ended::Superseded),
        problem = crd_check::lost(&context.client) => Ok(Ended::Definitions(problem)),
    };
    let grace = if term.is_held() { GRACE } else { Duration::ZERO };
    let is_quiet = tokio::time::timeout(grace, passes.stop()).await.is_ok();
    match &ended {
        Ok(Ended::Superseded) => {
            tracing::warn!("this operator leads no more: passes are cut off, and it begins again");
        }
        Ok(Ended::Shutdown | Ended::Definitions(_)) | Err(_) if !is_quiet => {
            tracing::warn!("passes in progress are cut off; their transactions are rolled back");
        }
        Ok(Ended::Shutdown | Ended::Definitions(_)) | Err(_) => (),
    }
    term.end();
    if let Some(renewed) = renewing.join_next().await {
        let elector = elector.insert(renewed.expect("the election does not panic"));
        // What was cut off may still be at work on the server.
        if is_quiet && matches!(ended, Ok(Ended::Shutdown | Ended::Definitions(_))) {
            elector.resign().await;
        }
    }
    ended
}

/// Asks until there is an answer: to end would only be to begin again. Says what is wrong whenever that changes.
async fn cluster_uid(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut said = String::new();
    for failures in 0.. {
        let problem = match namespaces.get_metadata(CLUSTER).await {
            Ok(found) => return found.uid().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if problem != said {
            tracing::warn!(
                "cannot read namespace {CLUSTER} for the cluster's identity, trying again; set INSTALLATION_ID, or fix \
                 the access: {problem}"
            );
            said = problem;
        }
        tokio::time::sleep(backoff::pause(AGAIN, failures)).await;
    }
    unreachable!("it is tried for ever")
}

#[cfg(test)]
mod tests;
