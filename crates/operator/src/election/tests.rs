use std::sync::{Arc, Mutex};

use axum::http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::{BoxError, service_fn};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// One Lease, changed as the API server changes it: only over the version that somebody has read.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    is_silent: bool,
    writes: usize,
}

impl Server {
    fn elector(&self, identity: &str) -> Elector {
        let server = self.clone();
        let service = service_fn(move |request| server.clone().answer(request));
        let election = Election {
            namespace: None,
            lease: "lease".to_owned(),
            identity: identity.to_owned(),
            timing: Timing::default(),
        };
        Elector::new(Client::new(service, "default"), "default", election)
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let sent = body.collect_bytes().await?;
        if self.0.lock().unwrap().is_silent {
            std::future::pending::<()>().await;
        }
        let (status, body) = self.done(&parts.method, &sent);
        let answer = Response::builder().status(status).body(Body::from(body.to_string().into_bytes()));
        Ok(answer.unwrap())
    }

    fn done(&self, method: &Method, sent: &[u8]) -> (StatusCode, Value) {
        let mut state = self.0.lock().unwrap();
        let refused = |code: StatusCode, reason: &str| {
            (
                code,
                json!({ "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason, "message": reason }),
            )
        };
        let found = state.lease.clone();
        if method == Method::GET {
            return found
                .map_or_else(|| refused(StatusCode::NOT_FOUND, "NotFound"), |lease| (StatusCode::OK, lease));
        }
        let mut lease: Value = serde_json::from_slice(sent).unwrap();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        let read = found.as_ref().map_or(Value::Null, version);
        if version(&lease) != read {
            return refused(StatusCode::CONFLICT, "Conflict");
        }
        state.version += 1;
        state.writes += 1;
        lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.lease = Some(lease.clone());
        (StatusCode::OK, lease)
    }

    fn set_silent(&self, is_silent: bool) {
        self.0.lock().unwrap().is_silent = is_silent;
    }

    fn spec(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()["spec"].clone()
    }
}

/// Somebody who leads and renews.
fn renewing(elector: Elector, term: &Term) -> JoinHandle<Elector> {
    tokio::spawn(elector.renew(term.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_renews_leads_for_ever_and_the_other_waits() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let _renewing = renewing(first, &term);
    let mut second = server.elector("second");
    assert!(timeout(SECOND * 1_000, second.campaign()).await.is_err());
    assert!(term.is_held());
    let writes = server.0.lock().unwrap().writes;
    assert!((490..=510).contains(&writes), "{writes} renewals in 1,000 s");
}

#[tokio::test(start_paused = true)]
async fn the_next_one_leads_when_the_lease_of_a_dead_leader_has_run_out() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let renewing = renewing(first, &term);
    let mut second = server.elector("second");
    let waiting = tokio::spawn(async move {
        let term = second.campaign().await;
        (term, Instant::now())
    });
    sleep(SECOND * 31).await;
    renewing.abort();
    let died = Instant::now();
    let (next, since) = waiting.await.unwrap();
    assert!(next.is_held() && !term.is_held());
    let took = since - died;
    assert!(
        took >= Timing::default().silence() && took <= Timing::default().lease() + Timing::default().beat(),
        "{took:?}"
    );
    assert_eq!(server.spec()["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_try_at_the_same_moment_one_leads() {
    let server = Server::default();
    for _ in 0..20 {
        let (mut one, mut other) = (server.elector("one"), server.elector("other"));
        let (one, other) = tokio::join!(one.attempt(), other.attempt());
        let is_won = |attempt: &Result<Attempt, String>| matches!(attempt, Ok(Attempt::Won(_)));
        assert!(is_won(&one) != is_won(&other));
        server.0.lock().unwrap().lease = None;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_the_server_does_not_answer_stops_before_anybody_else_may_lead() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let renewing = renewing(first, &term);
    sleep(SECOND * 31).await;
    server.set_silent(true);
    let silent = Instant::now();
    term.over().await;
    assert!(silent.elapsed() <= Timing::default().deadline(), "{:?}", silent.elapsed());
    renewing.await.unwrap();
    server.set_silent(false);
    let next = server.elector("second").campaign().await;
    assert!(next.is_held() && silent.elapsed() >= Timing::default().lease());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_free_at_once() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let renewing = renewing(first, &term);
    term.end();
    renewing.await.unwrap().resign().await;
    let start = Instant::now();
    server.elector("second").campaign().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(server.spec()["holderIdentity"], "second");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_somebody_took_knows_at_the_next_renewal() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let renewing = renewing(first, &term);
    {
        let mut state = server.0.lock().unwrap();
        let lease = state.lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = json!("second");
        lease["metadata"]["resourceVersion"] = json!("another");
    }
    let start = Instant::now();
    renewing.await.unwrap();
    assert!(!term.is_held() && start.elapsed() <= Timing::default().beat() * 2);
    assert_eq!(server.spec()["holderIdentity"], "second");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_annotated_is_renewed_all_the_same() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    let _renewing = renewing(first, &term);
    server.0.lock().unwrap().lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!("another");
    assert!(timeout(SECOND * 60, term.over()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_the_leader_does_not_matter() {
    let server = Server::default();
    let mut first = server.elector("first");
    let term = first.campaign().await;
    server.0.lock().unwrap().lease.as_mut().unwrap()["spec"]["renewTime"] =
        json!("2001-01-01T00:00:00.000000Z");
    let start = Instant::now();
    let next = server.elector("second").campaign().await;
    assert!(next.is_held() && !term.is_held() && start.elapsed() >= Timing::default().lease());
}

#[test]
fn whoever_is_stopped_has_no_transaction_left_when_the_next_one_leads() {
    for seconds in [5, 10, 15, 120] {
        let timing = Timing::new(seconds);
        assert!(
            timing.deadline() + timing.silence() <= timing.lease() && timing.beat() * 3 < timing.deadline()
        );
    }
}
