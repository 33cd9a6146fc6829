//! Remembers what the operators of this run said, and what they must not say.

use std::collections::BTreeSet;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use operator::api::database::PostgresDatabase;
use operator::api::user::PostgresUser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// What was seen in all worlds of this process so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every password that was ever in a Secret, and whatever else was in one that is nobody's business.
    pub(crate) passwords: BTreeSet<String>,
    /// Those that a server was sent in clear, because that was asked for.
    pub(crate) sent_in_clear: BTreeSet<String>,
    /// Every version of every resource.
    pub(crate) resources: Vec<DynamicObject>,
    /// Every version of every event, as JSON.
    pub(crate) events: Vec<String>,
    /// The metrics of every operator at its end.
    pub(crate) metrics: Vec<String>,
    /// The PostgreSQL servers that worlds share.
    pub(crate) majors: BTreeSet<u16>,
    /// The log of all operators, at its most talkative.
    pub(crate) log: Vec<u8>,
}

/// Keys of Secrets whose values may be said.
const OPEN: [&str; 7] = ["username", "database", "host", "port", "sslmode", "ca.crt", "passwordMode"];

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

/// What was seen so far.
pub(crate) fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the log from now on.
pub(crate) fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // What these say below that level is bytes on the wire, encrypted.
        let filter = "trace,h2=info,hyper=info,hyper_util=info,rustls=info,tower=info";
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        log.with_writer(|| Log).init();
    });
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        seen().log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Watches a namespace until it is dropped; nothing that was there for a moment is missed.
pub(crate) async fn watch(client: &Client, namespace: &str) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    follow(&mut tasks, secrets, |secret| {
        let data = secret.data.iter().flatten().filter(|(key, _)| !OPEN.contains(&key.as_str()));
        let values = data.map(|(_, value)| String::from_utf8_lossy(&value.0).into_owned());
        // What is shorter is in every text by chance.
        seen().passwords.extend(values.filter(|value| value.len() >= 8));
    })
    .await;
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    follow(&mut tasks, events, |event| seen().events.push(json(event))).await;
    for kind in [ApiResource::erase::<PostgresDatabase>(&()), ApiResource::erase::<PostgresUser>(&())] {
        let resources = Api::namespaced_with(client.clone(), namespace, &kind);
        follow(&mut tasks, resources, |resource: &DynamicObject| seen().resources.push(resource.clone()))
            .await;
    }
    tasks
}

/// Returns once the watch has begun.
async fn follow<K>(tasks: &mut JoinSet<()>, api: Api<K>, take: impl Fn(&K) + Send + 'static)
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let (begun, begins) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let events = watcher(api, watcher::Config::default()).inspect_ok(move |event| {
        if let watcher::Event::InitDone = event {
            _ = begun.take().map(|begun| begun.send(()));
        }
    });
    let mut objects = Box::pin(events.default_backoff().applied_objects());
    tasks.spawn(async move {
        while let Some(object) = objects.next().await {
            object.iter().for_each(&take);
        }
    });
    begins.await.expect("the watch does not end");
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("an object is JSON")
}

/// The message of the condition when some version of the resource had it with this status and reason.
pub(crate) fn condition(
    namespace: &str,
    name: &str,
    (condition, status, reason): (&str, &str, &str),
) -> Option<String> {
    let wanted = serde_json::json!([condition, status, reason]);
    let seen = seen();
    let versions = seen.resources.iter().rev();
    let versions =
        versions.filter(|one| one.name_any() == name && one.namespace().as_deref() == Some(namespace));
    let mut conditions =
        versions.flat_map(|one| one.data["status"]["conditions"].as_array().into_iter().flatten());
    let found =
        conditions.find(|one| serde_json::json!([one["type"], one["status"], one["reason"]]) == wanted)?;
    Some(found["message"].as_str().unwrap_or_default().to_owned())
}
