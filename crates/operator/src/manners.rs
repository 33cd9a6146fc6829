//! How the API server is asked when it is in trouble: not for ever, not at once again, and less and less often.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Uri};
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use kube::runtime::utils::Backoff;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

use crate::backoff;
use crate::lock::lock;

/// How long the beginning of an answer may take, with all that is tried again meanwhile. Whoever asked fails then, and
/// comes back when that suits him.
pub const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may be silent. A watch is not: it ends, or says where it is, more often.
pub const SILENCE: Duration = Duration::from_mins(5);

/// How often a request is repeated that the API server had no time for (429, 503, 504).
const RETRIES: u32 = 4;
/// How soon, at first and at the latest, unless it says when (`Retry-After`).
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The pause of a watch after its first failure.
const FIRST: Duration = Duration::from_millis(800);
/// A watch that has held for so long is well again.
const HELD: Duration = Duration::from_mins(1);
/// How soon the same watch is begun again that has just begun.
const PACE: Duration = Duration::from_secs(1);

/// Repeats what the API server had no time for, when it says so or ever less often. The policy of kube's own client
/// comes back after 5 ms, and after a quarter of an hour.
pub fn retries() -> RetryPolicy {
    let (first, longest) = PAUSES;
    RetryPolicy::new(first, longest, RETRIES, true).expect("the pauses are in order")
}

/// Ever longer pauses between the failures of a watch, up to half a minute. Kube's own begin again with each list that is
/// tried, also when that fails.
#[derive(Debug, Default)]
pub struct WatchPauses {
    failures: u32,
    /// When the last pause ended.
    last: Option<Instant>,
}

impl Iterator for WatchPauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > HELD) {
            self.failures = 0;
        }
        let pause = backoff::pause(FIRST, self.failures);
        self.failures += 1;
        self.last = Some(now + pause);
        Some(pause)
    }
}

impl Backoff for WatchPauses {
    /// That a list is tried is no reason to come back sooner.
    fn reset(&mut self) {}
}

/// Begins no watch twice in a second. One that ends at once, and without an error, would be begun again at once.
#[derive(Clone, Debug, Default)]
pub struct PaceLayer;

/// What [`PaceLayer`] makes.
#[derive(Clone, Debug)]
pub struct Pace<S> {
    inner: S,
    /// When each watch may begin next.
    next: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl<S> Layer<S> for PaceLayer {
    type Service = Pace<S>;

    fn layer(&self, inner: S) -> Pace<S> {
        Pace { inner, next: Arc::default() }
    }
}

impl<S> Pace<S> {
    /// When this may be asked.
    fn turn(&self, uri: &Uri) -> Instant {
        let now = Instant::now();
        let Some(watch) = watch(uri) else { return now };
        let mut next = lock(&self.next);
        let turn = next.get(&watch).map_or(now, |next| now.max(*next));
        next.insert(watch, turn + PACE);
        turn
    }
}

/// What is watched, wherever it begins.
fn watch(uri: &Uri) -> Option<String> {
    let parts = uri.query()?.split('&');
    let is_watch = parts.clone().any(|part| part == "watch=true");
    let what = parts.filter(|part| !part.starts_with("resourceVersion="));
    is_watch.then(|| format!("{}?{}", uri.path(), what.collect::<Vec<_>>().join("&")))
}

impl<S> Service<Request<Body>> for Pace<S>
where
    S: Service<Request<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let turn = self.turn(request.uri());
        let clone = self.inner.clone();
        // The one that was found ready.
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            if turn > Instant::now() {
                sleep_until(turn).await;
            }
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_of_a_watch_grow_until_it_has_held() {
        let mut pauses = WatchPauses::default();
        for expected in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0] {
            let pause = pauses.next().unwrap();
            pauses.reset();
            assert!((expected..=expected * 1.1).contains(&pause.as_secs_f64()), "{pause:?}");
            tokio::time::advance(pause).await;
        }
        tokio::time::advance(HELD + FIRST).await;
        assert!(pauses.next().unwrap() <= FIRST.mul_f64(1.1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_begins_once_a_second_and_others_do_not_wait_for_it() {
        let pace = PaceLayer.layer(());
        let turn = |uri: &str| pace.turn(&uri.parse().unwrap()) - Instant::now();
        assert_eq!(turn("/api/v1/secrets?watch=true&resourceVersion=1"), Duration::ZERO);
        assert_eq!(turn("/api/v1/secrets?watch=true&resourceVersion=2"), PACE);
        assert_eq!(turn("/api/v1/secrets?limit=25"), Duration::ZERO);
        assert_eq!(turn("/api/v1/namespaces?watch=true&resourceVersion=2"), Duration::ZERO);
    }
}
