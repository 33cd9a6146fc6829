//! The way to the API server: what kube builds by default, but small requests are sent at once.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::{Client, Config, Error};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;
use tower::timeout::TimeoutLayer;

use crate::manners;

/// How long a connection may be silent before it is looked whether the other side is there, how often that is tried, and
/// how long what was sent may be without acknowledgement. A watch over a dead connection would show an old state.
const SILENCE: Duration = Duration::from_secs(10);
const PROBES: (Duration, u32) = (Duration::from_secs(5), 3);
const UNACKNOWLEDGED: Duration = Duration::from_secs(25);

/// A client from `KUBECONFIG` or the pod's service account.
pub async fn client() -> Result<Client, Error> {
    // Both kube and sqlx take the process's default; a second call finds the first one's.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    client_from(Config::infer().await.map_err(Error::InferConfig)?)
}

/// A client from a configuration.
pub fn client_from(config: Config) -> Result<Client, Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Or else a request of two segments waits 40 ms for the acknowledgement of the first.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(SILENCE));
    tcp.set_keepalive_interval(Some(PROBES.0));
    tcp.set_keepalive_retries(Some(PROBES.1));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout.or(Some(manners::SILENCE)));
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(TimeoutLayer::new(manners::ANSWER))
        .layer(manners::PaceLayer)
        .option_layer(config.default_retry.then(|| RetryLayer::new(manners::retries())))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}
