//! The operator: `PostgresDatabase` and `PostgresUser` resources become databases, roles and Secrets.
//!
//! [`run()`] is the whole of it, for programs and tests that bring a client and settings of their own. There is no
//! global state: several operators can live in one process.

pub mod api;
pub mod backoff;
pub mod caches;
pub mod cli;
mod client;
pub mod conditions;
pub mod context;
pub mod crd_apply;
pub mod crd_check;
pub mod drift;
pub mod election;
pub mod events;
pub mod fence;
pub mod http;
pub mod index;
pub mod lanes;
pub mod ledger;
mod lock;
pub mod logging;
pub mod manners;
pub mod metrics;
pub mod pass;
pub mod passes;
mod patch;
pub mod resource;
mod run;
pub mod servers;
pub mod settings;
mod shown;
pub mod term;
pub mod vault;
pub mod watch;

pub use client::{client, client_from};
pub use run::{Error, run};

use tokio::signal::unix::{SignalKind, signal};

/// Returns on SIGTERM or SIGINT.
pub async fn shutdown_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("the runtime handles signals");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the runtime handles signals");
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}

/// The CRDs as YAML documents.
pub fn crds_yaml() -> Result<String, serde_saphyr::ser::Error> {
    let documents: Result<Vec<_>, _> = api::crds().iter().map(serde_saphyr::to_string).collect();
    Ok(documents?.join("---\n"))
}
