//! Answers the kubelet: alive, and ready once the caches are filled, whether this operator leads or follows. And
//! Prometheus: what was counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::lock::lock;
use crate::metrics::{Format, Metrics};
use crate::term::Term;

/// Whether the operator is ready, and whether it leads, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Standing>>);

#[derive(Debug, Default)]
enum Standing {
    #[default]
    Starting,
    Following,
    Leading(Term),
}

/// Why health checks are not answered.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for health checks; choose another HTTP_PORT")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

impl Readiness {
    /// Its caches are to be filled again.
    pub fn start(&self) {
        *self.standing() = Standing::Starting;
    }

    /// It is ready to lead, and waits for that.
    pub fn follow(&self) {
        *self.standing() = Standing::Following;
    }

    /// It works, for this term.
    pub fn lead(&self, term: Term) {
        *self.standing() = Standing::Leading(term);
    }

    /// Whether it is ready.
    pub fn is_set(&self) -> bool {
        !matches!(*self.standing(), Standing::Starting)
    }

    /// Whether it leads.
    pub fn is_leader(&self) -> bool {
        matches!(&*self.standing(), Standing::Leading(term) if term.is_held())
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.0)
    }
}

/// Opens the port. Nodes without IPv6 get IPv4.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    match TcpListener::bind(address).await {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            TcpListener::bind(address).await.map_err(|source| Error { address, source })
        }
        bound => bound.map_err(|source| Error { address, source }),
    }
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: Metrics) {
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async move |headers: HeaderMap| tell(&metrics, &headers)))
        .with_state(readiness);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "health checks are not answered any more");
    }
}

fn tell(metrics: &Metrics, headers: &HeaderMap) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    ([(CONTENT_TYPE, format.content_type())], metrics.recent(format).to_string())
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match (readiness.is_set(), readiness.is_leader()) {
        (true, true) => (StatusCode::OK, "ok: leader"),
        (true, false) => (StatusCode::OK, "ok: follower"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "waiting for CRDs and caches"),
    }
}
