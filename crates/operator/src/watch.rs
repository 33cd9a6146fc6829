//! What happens in the cluster, and which databases it concerns.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::api::ObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, reflector};
use kube::runtime::watcher::Config;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::api::database::PostgresDatabase;
use crate::api::shared::Provision;
use crate::api::user::PostgresUser;
use crate::api::{ANNOTATION_ALLOW_SECRETS_FROM, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM};
use crate::caches::{Caches, NamespaceMeta, SecretMeta};
use crate::context::Context;
use crate::pass::gather;
use crate::passes::Passes;
use crate::patch;
use crate::resource::{DatabaseKey, ObjectName, Resource, ServerKey};
use crate::settings::Settings;

/// How soon to try again to put a finalizer on.
const AGAIN: Duration = Duration::from_millis(500);

/// How many objects are listed at a time.
const PAGE: u32 = 25;

/// Something that changed.
pub enum Touched {
    /// A resource of either kind.
    Resource(Resource),
    /// A Secret.
    Secret(ObjectName),
    /// A Namespace.
    Namespace(String),
}

/// The watches; they end when this is dropped.
pub struct Watches {
    _tasks: JoinSet<()>,
    touched: UnboundedReceiver<Touched>,
}

/// Starts all watches.
pub fn start(client: &Client, settings: &Settings) -> (Caches, Watches) {
    let (sender, touched) = unbounded_channel();
    let mut tasks = JoinSet::new();
    let scopes: Vec<_> = match settings.watch.is_empty() {
        true => vec![None],
        false => settings.watch.iter().map(Some).collect(),
    };
    let mut caches = Caches {
        databases: Vec::new(),
        users: Vec::new(),
        secrets: Vec::new(),
        namespaces: Vec::new(),
        watched: settings.watch.clone(),
    };
    for scope in scopes {
        caches.databases.push(kind::<PostgresDatabase>(
            client,
            scope,
            &mut tasks,
            &sender,
            Resource::Database,
        ));
        caches.users.push(kind::<PostgresUser>(client, scope, &mut tasks, &sender, Resource::User));
        caches.secrets.push(secrets(client, scope, &mut tasks, sender.clone()));
        caches.namespaces.push(namespaces(client, scope, &mut tasks, sender.clone()));
    }
    (caches, Watches { _tasks: tasks, touched })
}

/// An object can be 1.5 MB, and a page of a list lies in memory as a whole.
fn config() -> Config {
    Config::default().page_size(PAGE)
}

fn api<K>(client: &Client, scope: Option<&String>) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match scope {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

fn kind<K: Provision>(
    client: &Client,
    scope: Option<&String>,
    tasks: &mut JoinSet<()>,
    sender: &UnboundedSender<Touched>,
    wrap: fn(Arc<K>) -> Resource,
) -> Store<K> {
    let (store, writer) = kube::runtime::reflector::store();
    let events = watcher(api::<K>(client, scope), config()).modify(|object| {
        // Nothing is made of these, and they may be large.
        let meta = object.meta_mut();
        (meta.annotations, meta.labels, meta.managed_fields) = (None, None, None);
    });
    let sender = sender.clone();
    let stream = reflector(writer, events).default_backoff();
    let take = move |object| _ = sender.send(Touched::Resource(wrap(Arc::new(object))));
    tasks.spawn(pump(stream, store.clone(), take));
    store
}

fn secrets(
    client: &Client,
    scope: Option<&String>,
    tasks: &mut JoinSet<()>,
    sender: UnboundedSender<Touched>,
) -> Store<SecretMeta> {
    let (store, writer) = kube::runtime::reflector::store();
    let events = watcher(api::<SecretMeta>(client, scope), config()).modify(|secret| {
        // Only the version counts. kubectl keeps the whole object in an annotation, and with it the password.
        let ObjectMeta { namespace, name, uid, resource_version, .. } = std::mem::take(&mut secret.metadata);
        secret.metadata = ObjectMeta { namespace, name, uid, resource_version, ..ObjectMeta::default() };
    });
    let take = move |secret: SecretMeta| {
        let name = ObjectName { namespace: secret.namespace().unwrap_or_default(), name: secret.name_any() };
        _ = sender.send(Touched::Secret(name));
    };
    tasks.spawn(pump(reflector(writer, events).default_backoff(), store.clone(), take));
    store
}

fn namespaces(
    client: &Client,
    scope: Option<&String>,
    tasks: &mut JoinSet<()>,
    sender: UnboundedSender<Touched>,
) -> Store<NamespaceMeta> {
    let (store, writer): (_, Writer<NamespaceMeta>) = kube::runtime::reflector::store();
    let all = config();
    // By name, because that is all that the rules allow then.
    let config = scope.map_or(all.clone(), |name| all.fields(&format!("metadata.name={name}")));
    let events = watcher(Api::<NamespaceMeta>::all(client.clone()), config).modify(|namespace| {
        let ours = [ANNOTATION_ALLOW_SECRETS_FROM, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM];
        namespace.annotations_mut().retain(|key, _| ours.contains(&key.as_str()));
        namespace.metadata.managed_fields = None;
    });
    let take = move |namespace: NamespaceMeta| _ = sender.send(Touched::Namespace(namespace.name_any()));
    tasks.spawn(pump(reflector(writer, events).default_backoff(), store.clone(), take));
    store
}

/// Passes on what changes, once the store has it; watches that break are started again.
async fn pump<K>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    store: Store<K>,
    mut take: impl FnMut(K) + Send,
) where
    K: kube::runtime::reflector::Lookup + Clone + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let mut stream = std::pin::pin!(stream.inspect_err(|error| tracing::warn!(%error, "a watch broke")));
    let mut before = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => take(object),
            // A new list: the store keeps the old one until it is complete.
            Ok(watcher::Event::Init) => before = store.state(),
            // What is gone since is only in the old one.
            Ok(watcher::Event::InitDone) => {
                let all = std::mem::take(&mut before).into_iter().chain(store.state());
                all.for_each(|object| take(Arc::unwrap_or_clone(object)));
            }
            Ok(watcher::Event::InitApply(_)) | Err(_) => (),
        }
    }
}

/// What was last seen of an object, as far as passes depend on it: our own status writes must not trigger passes.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    generation: Option<i64>,
    is_deleting: bool,
    finalizers: Option<Vec<String>>,
    owners: usize,
    /// Once it is, names that it asked for are free for others.
    is_refused: bool,
}

/// Asks for passes as things change, until the watches end.
pub async fn follow(context: &Arc<Context>, passes: &Passes<DatabaseKey, ()>, mut watches: Watches) {
    let mut seen = BTreeMap::new();
    while let Some(touched) = watches.touched.recv().await {
        for key in concerned(context, touched, &mut seen) {
            drop(passes.request(&key));
        }
    }
}

fn concerned(
    context: &Arc<Context>,
    touched: Touched,
    seen: &mut BTreeMap<String, Seen>,
) -> Vec<DatabaseKey> {
    match touched {
        Touched::Resource(resource) => by_resource(context, &resource, seen),
        Touched::Secret(name) => {
            let shown = context.caches.secret_version(&name);
            let is_ours = context.vault.saw(&name, shown.as_ref());
            by_secret(context, &name, is_ours)
        }
        Touched::Namespace(name) => keys(context, |resource| {
            resource.secret().namespace == name
                || matches!(resource.server_key(), ServerKey::Named { secret, .. } if secret.namespace == name)
        }),
    }
}

fn by_resource(
    context: &Arc<Context>,
    resource: &Resource,
    seen: &mut BTreeMap<String, Seen>,
) -> Vec<DatabaseKey> {
    let is_there = context.caches.resources().iter().any(|other| other.uid() == resource.uid());
    let now = Seen {
        generation: resource.generation(),
        is_deleting: resource.is_deleting(),
        finalizers: resource.meta().finalizers.clone(),
        owners: resource.meta().owner_references.as_ref().map_or(0, Vec::len),
        is_refused: gather::is_refused(resource),
    };
    let before = seen.remove(resource.uid());
    if is_there {
        seen.insert(resource.uid().to_owned(), now.clone());
    } else {
        context.memory.forget_resource(resource.uid());
    }
    let is_others = |other: &Resource| other.uid() != resource.uid() && contests(resource, other);
    if let Some(before) = before.filter(|_| is_there) {
        let was_refused = before.is_refused;
        if (Seen { is_refused: now.is_refused, ..before }) == now {
            let is_freed = now.is_refused && !was_refused;
            return if is_freed { keys(context, is_others) } else { Vec::new() };
        }
    }
    if is_there && !resource.has_finalizer() && !resource.is_deleting() {
        tokio::spawn(add_finalizer(context.clone(), resource.uid().to_owned()));
        return Vec::new();
    }
    let mut concerned = keys(context, |other| contests(resource, other));
    concerned.push(resource.key());
    concerned
}

/// Whether the two ask for something of the same name.
fn contests(resource: &Resource, other: &Resource) -> bool {
    other.role() == resource.role()
        || other.database() == resource.database()
        || other.secret() == resource.secret()
}

/// Puts the finalizer on, as long as the resource is there without one.
async fn add_finalizer(context: Arc<Context>, uid: String) {
    let wants = |one: &Resource| one.uid() == uid && !one.has_finalizer() && !one.is_deleting();
    while let Some(resource) = context.caches.resources().into_iter().find(wants) {
        match patch::add_finalizer(&context.client, &resource).await {
            Ok(()) => return,
            // Somebody changed the resource at the same time, or the API server is in trouble.
            Err(error) => tracing::debug!(%error, %resource, "finalizer not set yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The databases whose resources name the Secret, and those that share a role with one of them: the Secret of the
/// eldest leads. A write of our own concerns only the sharers; who wrote it knows.
fn by_secret(context: &Context, name: &ObjectName, is_ours: bool) -> Vec<DatabaseKey> {
    let resources = context.caches.resources();
    let names_it = |resource: &Resource| {
        let is_server = matches!(resource.server_key(), ServerKey::Named { secret, .. } if secret == *name);
        is_server || resource.secret() == *name
    };
    let (naming, others): (Vec<_>, Vec<_>) = resources.into_iter().partition(names_it);
    let shares = |other: &Resource| naming.iter().any(|one| one.role() == other.role());
    let mut keys: Vec<_> = others.iter().filter(|other| shares(other)).map(Resource::key).collect();
    if !is_ours {
        keys.extend(naming.iter().map(Resource::key));
    }
    keys.sort();
    keys.dedup();
    keys
}

fn keys(context: &Context, is_concerned: impl Fn(&Resource) -> bool) -> Vec<DatabaseKey> {
    let mut keys: Vec<_> =
        context.caches.resources().iter().filter(|one| is_concerned(one)).map(Resource::key).collect();
    keys.sort();
    keys.dedup();
    keys
}
