//! Answers the kubelet: alive, and ready once the caches are filled. And Prometheus: what was counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;

use crate::metrics::{Format, Metrics};

/// Whether the operator is ready, for whoever asks.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// Why health checks are not answered.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for health checks; choose another HTTP_PORT")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

impl Readiness {
    /// From now on it is.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// From now on it is not.
    pub fn unset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    match readiness.is_set() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "waiting for CRDs and caches"),
    }
}
