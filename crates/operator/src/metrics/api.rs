//! Counts what the API server is asked for.

use axum::http::{Request, Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::client::Body;

use super::{Metrics, words};

/// What the API server says besides 403 where a namespace is being deleted.
const TERMINATING: &str = "NamespaceTerminating";

impl Metrics {
    /// The same client, and what it asks for is counted.
    pub fn counted(&self, client: Client) -> Client {
        let (metrics, namespace) = (self.clone(), client.default_namespace().to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (metrics, client) = (metrics.clone(), client.clone());
            async move {
                let verb = words::verb(request.method(), request.uri().query());
                let (answer, code) = match client.send(request).await {
                    Ok(answer) if answer.status() == StatusCode::FORBIDDEN => read(answer).await,
                    answer => {
                        let code = answer.as_ref().map_or("none", |answer| words::code(answer.status()));
                        (answer, code)
                    }
                };
                metrics.0.families.api_requests.of([verb, code]).inc();
                answer
            }
        });
        Client::new(service, namespace)
    }
}

/// A refusal, and what it counts as: only its text tells why.
async fn read(answer: Response<Body>) -> (Result<Response<Body>, kube::Error>, &'static str) {
    let (head, body) = answer.into_parts();
    let code = words::code(head.status);
    match body.collect_bytes().await {
        Ok(text) => {
            let code = if is_terminating(&text) { words::TERMINATING } else { code };
            (Ok(Response::from_parts(head, text.into())), code)
        }
        Err(error) => (Err(error), code),
    }
}

fn is_terminating(text: &[u8]) -> bool {
    let status = serde_json::from_slice::<Status>(text).ok();
    let causes = status.and_then(|status| status.details?.causes).unwrap_or_default();
    causes.iter().any(|cause| cause.reason.as_deref() == Some(TERMINATING))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::Api;
    use kube::api::PostParams;
    use serde_json::{Value, json};
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::metrics::Format;

    /// As which code this refusal of a Secret is counted. Whoever asked gets it whole.
    async fn counted_as(details: Value) -> String {
        let answer = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
            "message": "secrets \"app\" is forbidden", "details": details, "code": 403,
        });
        let text = answer.to_string();
        let service = service_fn(move |_: Request<Body>| {
            let body = Body::from(text.clone().into_bytes());
            async { Ok::<_, BoxError>(Response::builder().status(403).body(body).unwrap()) }
        });
        let metrics = Metrics::default();
        let secrets: Api<Secret> = Api::namespaced(metrics.counted(Client::new(service, "default")), "shop");
        match secrets.create(&PostParams::default(), &Secret::default()).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.message, answer["message"]),
            other => panic!("{other:?}"),
        }
        let counted = metrics.text(Format::Text);
        let mut lines =
            counted.lines().filter(|line| line.starts_with("postgres_provisioner_api_requests_total{"));
        lines.next().and_then(|line| line.split('"').nth(3)).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_namespace_that_is_being_deleted_is_no_missing_right() {
        let cause = json!({
            "reason": "NamespaceTerminating", "message": "namespace shop is being terminated",
            "field": "metadata.namespace",
        });
        let details = json!({ "name": "app", "kind": "secrets", "causes": [cause] });
        assert_eq!(counted_as(details).await, "terminating");
        assert_eq!(counted_as(json!({ "name": "app", "kind": "secrets" })).await, "403");
        assert_eq!(counted_as(Value::Null).await, "403");
    }
}
