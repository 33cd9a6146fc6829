//! The operator: `PostgresDatabase` and `PostgresUser` resources become databases, roles and Secrets.
//!
//! [`run()`] is the whole of it, for programs and tests that bring a client and settings of their own. There is no
//! global state: several operators can live in one process.

pub mod api;
pub mod backoff;
pub mod caches;
pub mod cli;
pub mod conditions;
pub mod context;
pub mod crd_check;
pub mod drift;
pub mod events;
pub mod http;
pub mod logging;
pub mod pass;
pub mod passes;
mod patch;
pub mod resource;
mod run;
pub mod servers;
pub mod settings;
pub mod vault;
pub mod watch;

pub use run::{Error, run};

use kube::Client;
use tokio::signal::unix::{SignalKind, signal};

/// A client from `KUBECONFIG` or the pod's service account.
pub async fn client() -> Result<Client, kube::Error> {
    // Both kube and sqlx take the process's default; a second call finds the first one's.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Client::try_default().await
}

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
