//! One pass over one database, from the resources to the report.

pub mod admit;
mod aside;
mod credentials;
mod deferral;
mod departures;
pub mod desired;
mod finish;
pub mod gather;
mod log;
mod look;
pub mod outcome;
mod own;
mod prepare;
pub mod report;
pub mod resolve;
pub mod secrets;
pub mod verify;
mod work;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use exec::Server;
use thiserror::Error;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use crate::conditions::Finding;
use crate::context::{Context, Settled};
use crate::lanes::{SMALL, Turn, Weight};
use crate::metrics::Ending;
use crate::passes::{Next, Pressure};
use crate::patch;
use crate::resource::{DatabaseKey, Resource, ServerKey};
use crate::servers::{Address, State, backoff_key};
use crate::watch::Touched;
use admit::Admission;
use own::know_own;
use prepare::{Prepared, prepare};
use work::Work;

/// How soon to look again at what waits for something that is not watched.
const SOON: Duration = Duration::from_secs(1);

/// Why a pass did not come to its end.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused something.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The PostgreSQL server is in trouble.
    #[error(transparent)]
    Server(#[from] exec::Error),
    /// The server that resources name turned out to be the operator's own: they are judged again.
    #[error("{0} is the operator's own server by another name")]
    Alias(Address),
    /// A name is none. Admission refuses it before.
    #[error(transparent)]
    Name(#[from] plan::IdentError),
}

/// Runs a pass; its failure is logged here, and again only when it is another one. Every line says which pass it is of,
/// on which database, and on whose behalf.
pub async fn run(context: Arc<Context>, key: DatabaseKey, pressure: Pressure) -> (Arc<()>, Next) {
    let counted = context.metrics.pass(&key);
    // Of this level, so that no filter takes it from the lines that it lets through.
    let span = tracing::error_span!(
        "pass",
        pass = counted.number(),
        database = key.database,
        server = %key.server,
        resource = Empty
    );
    let (next, ending) = async {
        match pass(&context, &key, &pressure).await {
            Ok(next) => {
                if context.pauses.works(&key) {
                    tracing::info!("passes come to their end again");
                }
                (next, Some(ending(next)))
            }
            // Whoever leads now runs the next one.
            Err(error) if !context.term.is_held() => {
                tracing::debug!(%error, "pass cut off");
                (Next::Never, None)
            }
            Err(error) => {
                if context.pauses.is_news(key.clone(), &error.to_string()) {
                    tracing::warn!(%error, "pass failed");
                } else {
                    tracing::debug!(%error, "pass failed");
                }
                (Next::After(context.pauses.failed(key.clone())), Some(Ending::Failed))
            }
        }
    }
    .instrument(span)
    .await;
    if let Some(ending) = ending {
        counted.end(ending);
    }
    (Arc::new(()), deferral::in_time(&context, &key, next))
}

fn ending(next: Next) -> Ending {
    match next {
        Next::Resync => Ending::Done,
        Next::After(_) => Ending::Waits,
        Next::Never => Ending::Gone,
    }
}

async fn pass(context: &Context, key: &DatabaseKey, pressure: &Pressure) -> Result<Next, Error> {
    let name = |resource: &Resource| {
        Span::current().record("resource", display(resource));
    };
    let due = match prepare(context, key, name).await? {
        ControlFlow::Continue(due) => due,
        ControlFlow::Break(next) => return Ok(next),
    };
    if let Err(wait) = context.servers.backoffs.try_now(&backoff_key(&due.server)) {
        failed(context, &due.resources, &wait.finding).await?;
        return Ok(Next::After(wait.retry));
    }
    connected(context, (key, pressure), &due).await
}

/// The part of a pass that talks to the server, within the server's budget.
async fn connected(
    context: &Context,
    (key, pressure): (&DatabaseKey, &Pressure),
    Prepared { server, resources, .. }: &Prepared,
) -> Result<Next, Error> {
    let address = Address::of(server);
    let gate = context.servers.gate(&address, &key.server);
    let lanes = &context.servers.lanes;
    let is_suspect = !context.servers.backoffs.is_free(&backoff_key(server));
    let turn = Turn { key, lane: &gate.lane, pressure, is_suspect };
    let queued = context.metrics.queue(key);
    let attempt = || async {
        let _working = queued.work();
        // Whoever was before us may have found it down.
        if let Some(wait) = context.servers.backoffs.wait(&backoff_key(server)) {
            failed(context, resources, &wait.finding).await?;
            return Ok(Next::After(wait.retry));
        }
        if key.server != ServerKey::Configured {
            know_own(context).await;
        }
        // What is there now, and not what was there when this pass got in line. Its resource is named already: what is
        // recorded again stands twice in the lines.
        let due = match prepare(context, key, |_| ()).await? {
            ControlFlow::Continue(due) => due,
            ControlFlow::Break(next) => return Ok(next),
        };
        let admission = &*admitted(context, &key.server, Some(&address));
        let is_served = |one: &Resource| !admission.refused.contains_key(one.uid());
        if !Arc::ptr_eq(&due.server, server) || !due.resources.iter().all(is_served) {
            return Ok(Next::After(Duration::ZERO));
        }
        let limit = limit(context, key);
        let (here, gate, entries) = (address.clone(), &*gate, &*due.entries);
        let work = Work { context, key, server, address: here, gate, limit, admission, entries };
        let next = work.run(due.resources).await?;
        if context.servers.set_state(server, State::Up) == State::Down {
            tracing::info!(server = %address, "the server answers again");
        }
        if context.servers.backoffs.clear(&backoff_key(server)) {
            // The others need not wait until they try again.
            _ = context.touched.send(Touched::Server(key.server.clone()));
        }
        Ok(next)
    };
    let mut done = lanes.run(turn, attempt).await;
    if is_large(context, done.as_ref()) {
        lanes.note(key, Weight::Large);
        done = lanes.run(turn, attempt).await;
    }
    match done {
        Some(Err(Error::Alias(address))) => {
            tracing::info!(%address, "the operator's own server by another name");
            // Not at once: a server can say so each time, after it has said something else.
            Ok(Next::After(context.pauses.failed(key.clone())))
        }
        Some(Err(Error::Server(error))) if error.class() != exec::Class::Superseded => {
            trouble(context, (key, server), resources, &error).await
        }
        Some(done) => done,
        None => {
            failed(context, resources, &outcome::too_slow()).await?;
            Ok(Next::After(context.pauses.failed(key.clone())))
        }
    }
}

/// How many bytes a pass over this database may read.
fn limit(context: &Context, key: &DatabaseKey) -> u32 {
    let limit = context.settings.catalog_limit;
    if context.servers.lanes.is(key, Weight::Large) { limit } else { limit.min(SMALL) }
}

/// Whether the pass found more than a database has that is not large, and may read more.
fn is_large(context: &Context, done: Option<&Result<Next, Error>>) -> bool {
    matches!(done, Some(Err(Error::Server(exec::Error::TooLarge { limit, .. }))) if *limit < context.settings.catalog_limit)
}

/// Reports what is wrong with the server or the database, and tells when to try again.
async fn trouble(
    context: &Context,
    (key, server): (&DatabaseKey, &Server),
    resources: &[Resource],
    error: &exec::Error,
) -> Result<Next, Error> {
    let finding = outcome::trouble(error);
    let class = error.class();
    context.metrics.server_failure(&key.server, class);
    tracing::debug!(reason = finding.reason.as_str(), error = finding.message, "the server is in trouble");
    let (finding, next) = match class {
        // To find that out was work.
        exec::Class::TooLarge => (finding, Next::Resync),
        exec::Class::Transient
        | exec::Class::Refused
        | exec::Class::Slow
        | exec::Class::TemplateBusy
        | exec::Class::Bug => (finding, Next::After(context.pauses.failed(key.clone()))),
        _ => {
            // The others on it find the same, and say nothing.
            if context.servers.set_state(server, State::Down) != State::Down {
                let (server, reason) = (Address::of(server), finding.reason.as_str());
                tracing::warn!(%server, reason, error = finding.message, "the server is of no use");
            }
            let wait = context.servers.backoffs.failed(backoff_key(server), &finding);
            (wait.finding, Next::After(wait.retry))
        }
    };
    failed(context, resources, &finding).await?;
    Ok(next)
}

/// The verdict on every resource of this server.
fn admitted(context: &Context, server: &ServerKey, address: Option<&Address>) -> Arc<Admission> {
    let census = gather::census(context);
    let way = (server.clone(), address.cloned());
    census.admission(way, || judge(context, &census.all, (server, address)))
}

fn judge(
    context: &Context,
    all: &[Resource],
    (server, address): (&ServerKey, Option<&Address>),
) -> Admission {
    let is_alias = address.is_some_and(|address| resolve::is_own(context, address));
    let is_here = |other: &&Resource| {
        let others = other.server_key();
        others == *server
            || (address.is_some() && resolve::address(context, other).as_ref() == address)
            || (is_alias && others == ServerKey::Configured)
    };
    let here: Vec<_> = all.iter().filter(is_here).cloned().collect();
    let mut admission = with_rules(context, |rules| admit::admit(rules, &here));
    departures::keep_roles(context, &mut admission, &departures::on(context, all, server));
    Admission { is_alias, ..admission }
}

/// What the rules of admission need to know of the cluster.
fn with_rules<T>(context: &Context, judge: impl FnOnce(&admit::World<'_>) -> T) -> T {
    judge(&admit::World {
        trusted: &context.namespace,
        boundaries: context.settings.boundaries,
        secrets_from: &|namespace| context.caches.allows_secrets_from(namespace),
        superuser_secrets_from: &|namespace| context.caches.allows_superuser_secrets_from(namespace),
        recorded: &|resource| resolve::recorded(context, resource),
    })
}

/// Reports why the server could not be looked at. What was deleted waits for it, but not for ever, and not at all where
/// it has never seen a server: there is nothing of it anywhere.
async fn failed(context: &Context, resources: &[Resource], finding: &Finding) -> Result<(), kube::Error> {
    for resource in resources {
        if !aside::may_go(context, resource) {
            report::failure(context, std::slice::from_ref(resource), finding).await?;
        } else if deferral::has_something(context, resource).await? {
            deferral::hold(context, resource, finding).await?;
        } else {
            patch::remove_finalizer(&context.client, resource).await?;
        }
    }
    Ok(())
}

/// What the resources look like now, for telling drift from change, and who shares their roles.
fn settled(context: &Context, resources: &[Resource]) -> Settled {
    let census = gather::census(context);
    let sharers = resources.iter().flat_map(|one| census.sharers(one)).map(|uid| (uid.clone(), None));
    let own = resources.iter().map(|one| (one.uid().to_owned(), one.generation()));
    let generations = sharers.chain(own).collect();
    let secrets = resources.iter().filter_map(|one| {
        Some((one.uid().to_owned(), context.vault.version(&context.caches, &one.secret())?))
    });
    Settled { generations, secrets: secrets.collect(), ..Settled::default() }
}
