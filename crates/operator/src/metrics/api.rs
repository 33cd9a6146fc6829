//! Counts what the API server is asked for.

use axum::http::Request;
use kube::Client;
use kube::client::Body;

use super::{Metrics, words};

impl Metrics {
    /// The same client, and what it asks for is counted.
    pub fn counted(&self, client: Client) -> Client {
        let (metrics, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (metrics, client) = (metrics.clone(), client.clone());
            async move {
                let verb = words::verb(request.method(), request.uri().query());
                let answer = client.send(request).await;
                let code = answer.as_ref().map_or("none", |answer| words::code(answer.status()));
                metrics.0.families.api_requests.of([verb, code]).inc();
                answer
            }
        });
        Client::new(service, namespace)
    }
}
