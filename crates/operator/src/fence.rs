//! Keeps what is left of a term from writing to the API server after its end: one place, which no request can miss.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Service};

use crate::term::Term;

type Request = axum::http::Request<Body>;
type Response = axum::http::Response<Body>;

/// Why a request was not sent, or its answer not waited for.
#[derive(Debug, Error)]
#[error("another operator may lead by now: nothing is written any more")]
pub struct TermOver;

/// A client that writes as long as the term lasts; it reads for ever.
pub fn fenced(client: Client, term: Term) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Fence { client, term }, namespace)
}

struct Fence {
    client: Client,
    term: Term,
}

impl Service<Request> for Fence {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (client, term) = (self.client.clone(), self.term.clone());
        Box::pin(async move {
            match request.method().is_safe() {
                true => Ok(client.send(request).await?),
                false => within(&term, client.send(request)).await,
            }
        })
    }
}

/// The answer, if it comes before the end. The client tries again what was refused for the moment: not after the end
/// either, although whoever was stopped may be woken by something else before its clock tells.
async fn within<T>(term: &Term, answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, BoxError> {
    let (mut over, mut answer) = (pin!(term.over()), pin!(answer));
    poll_fn(|context| match over.as_mut().poll(context) {
        Poll::Pending if term.is_held() => answer.as_mut().poll(context).map_err(BoxError::from),
        Poll::Pending | Poll::Ready(()) => Poll::Ready(Err(TermOver.into())),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::http::StatusCode;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
    use tokio::time::{Instant, timeout};
    use tower::service_fn;

    use super::*;

    /// An API whose server notes what it is asked and answers nothing.
    fn silent(term: &Term) -> (Api<ConfigMap>, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = asked.clone();
        let service = service_fn(move |request: Request| {
            notes.lock().unwrap().push(request.method().to_string());
            std::future::pending::<Result<Response, BoxError>>()
        });
        (Api::namespaced(fenced(Client::new(service, "default"), term.clone()), "default"), asked)
    }

    fn term() -> Term {
        Term::until(Instant::now() + Duration::from_secs(7), Duration::from_secs(3))
    }

    async fn write_in_every_way(api: &Api<ConfigMap>) -> Vec<kube::Error> {
        let (post, patch) = (PostParams::default(), Patch::Merge(serde_json::json!({})));
        vec![
            api.create(&post, &ConfigMap::default()).await.unwrap_err(),
            api.replace("name", &post, &ConfigMap::default()).await.unwrap_err(),
            api.patch("name", &PatchParams::default(), &patch).await.unwrap_err(),
            api.delete("name", &DeleteParams::default()).await.unwrap_err(),
            api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap_err(),
        ]
    }

    fn is_over(error: &kube::Error) -> bool {
        matches!(error, kube::Error::Service(error) if error.is::<TermOver>())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_after_the_end() {
        let term = term();
        let (api, asked) = silent(&term);
        term.end();
        let errors = write_in_every_way(&api).await;
        assert!(errors.iter().all(is_over), "{errors:?}");
        assert_eq!(*asked.lock().unwrap(), [""; 0]);
        // Reading goes on.
        assert!(timeout(Duration::from_mins(1), api.get("name")).await.is_err());
        assert_eq!(*asked.lock().unwrap(), ["GET"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_not_waited_for_beyond_the_end() {
        let (term, start) = (term(), Instant::now());
        let (api, asked) = silent(&term);
        let error = api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
        assert!(is_over(&error), "{error}");
        assert_eq!((start.elapsed().as_secs(), asked.lock().unwrap().len()), (7, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_refuses_for_the_moment_is_not_tried_again_after_the_end() {
        let term = term();
        let (notes, counter) = (Arc::new(Mutex::new(0)), term.clone());
        let count = notes.clone();
        let service = service_fn(move |_: Request| {
            *count.lock().unwrap() += 1;
            // The one who asks is stopped here.
            counter.end();
            let refused = axum::http::Response::builder().status(StatusCode::TOO_MANY_REQUESTS);
            async move { Ok::<_, BoxError>(refused.body(Body::empty()).unwrap()) }
        });
        let retry = kube::client::retry::RetryPolicy::server_retry();
        let retried = tower::ServiceBuilder::new().retry(retry).service(service);
        let api: Api<ConfigMap> = Api::namespaced(fenced(Client::new(retried, "default"), term), "default");
        let error = api.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
        assert!(is_over(&error), "{error}");
        assert_eq!(*notes.lock().unwrap(), 1);
    }
}
