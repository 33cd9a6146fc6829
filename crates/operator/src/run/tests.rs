use std::sync::Mutex;

use axum::http::{Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::PostParams;
use kube::client::Body;
use tokio::time::{Instant, sleep};
use tower::{BoxError, service_fn};

use super::*;
use crate::api::shared::Provisioned;
use crate::conditions::Notice;
use crate::election::{Election, Timing};
use crate::ledger::{Entry, Kind};
use crate::resource::ObjectName;

/// A client that notes how it is used, and gets no answer.
fn client() -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = asked.clone();
    let service = service_fn(move |request: Request<Body>| {
        notes.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        std::future::pending::<Result<Response<Body>, BoxError>>()
    });
    (Client::new(service, "default"), asked)
}

fn election() -> Election {
    let (lease, identity) = ("lease".to_owned(), "somebody".to_owned());
    Election { namespace: None, lease, identity, timing: Timing::default() }
}

/// What passes write with, for a term that is over.
fn after_the_end(election: Option<Election>) -> (Context, Arc<Mutex<Vec<String>>>) {
    let (client, asked) = client();
    let settings = Settings { election, ..Settings::new(None) };
    // They end before they have asked for anything.
    let clock = Clock::default();
    let ledger = Arc::new(Ledger::new(client.clone(), ("default", "installation"), clock.clone()));
    let (caches, watches) = watch::start(&client, &settings, (&ledger, &clock));
    let term = Term::until(Instant::now(), Duration::ZERO);
    let (context, _) = context(settings, client, (Filled { caches, ledger, clock, watches }, term));
    (context, asked)
}

/// Writes in every way that passes have.
async fn write(context: &Context) {
    let moment = Duration::from_secs(10);
    let name = ObjectName { namespace: "default".to_owned(), name: "name".to_owned() };
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), "default");
    let secret = Secret::default();
    _ = tokio::time::timeout(moment, secrets.create(&PostParams::default(), &secret)).await;
    _ = tokio::time::timeout(moment, context.vault.create(&name, &secret)).await;
    let entry = Entry {
        installation: "installation".to_owned(),
        kind: Kind::PostgresUser,
        namespace: "default".to_owned(),
        name: "name".to_owned(),
        uid: "uid".to_owned(),
        provisioned: Provisioned::default(),
        credentials_from: None,
        since: Timestamp::now(),
        reason: String::new(),
    };
    _ = tokio::time::timeout(moment, context.ledger.add(&context.client, entry.clone())).await;
    _ = tokio::time::timeout(moment, context.ledger.remove(&context.client, &entry)).await;
    context.events.publish(ObjectReference::default(), Notice::SecretDeleted, "note");
    sleep(moment).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_that_passes_write_with_writes_after_the_term() {
    let (context, asked) = after_the_end(Some(election()));
    write(&context).await;
    assert_eq!(*asked.lock().unwrap(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_is_alone_has_no_fence() {
    let (context, asked) = after_the_end(None);
    write(&context).await;
    assert_eq!(asked.lock().unwrap().len(), 5);
}
