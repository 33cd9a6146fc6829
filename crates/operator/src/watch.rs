//! What happens in the cluster, and which databases it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
use crate::backoff;
use crate::caches::{Caches, NamespaceMeta, SecretMeta};
use crate::conditions::{ConditionType, find};
use crate::context::Context;
use crate::index::{Index, Name, Seen};
use crate::ledger::{Entry, Ledger};
use crate::manners::WatchPauses;
use crate::pass::gather::Clock;
use crate::passes::{Passes, Urgency};
use crate::patch;
use crate::resource::{DatabaseKey, ObjectName, Resource, ServerKey, Treatment};
use crate::settings::Settings;

/// How soon to try again to put a finalizer on, at first.
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
    /// A server answers again.
    Server(ServerKey),
    /// What is left to do for a resource that is gone.
    Deferred(Arc<Entry>),
}

/// The watches; they end when this is dropped.
pub struct Watches {
    _tasks: JoinSet<()>,
    /// For what is noticed elsewhere.
    pub sender: UnboundedSender<Touched>,
    touched: UnboundedReceiver<Touched>,
}

impl Watches {
    /// Takes no notice of what changes.
    pub async fn ignore(&mut self) {
        while self.touched.recv().await.is_some() {}
    }
}

/// Starts all watches.
pub fn start(
    client: &Client,
    settings: &Settings,
    (ledger, clock): (&Arc<Ledger>, &Clock),
) -> (Caches, Watches) {
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
            (&sender, clock),
            Resource::Database,
        ));
        caches.users.push(kind::<PostgresUser>(client, scope, &mut tasks, (&sender, clock), Resource::User));
        caches.secrets.push(secrets(client, scope, &mut tasks, sender.clone()));
        caches.namespaces.push(namespaces(client, scope, &mut tasks, (&sender, clock)));
    }
    let deferred = sender.clone();
    tasks.spawn(ledger.clone().follow(move |entry| _ = deferred.send(Touched::Deferred(entry))));
    (caches, Watches { _tasks: tasks, sender, touched })
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
    (sender, clock): (&UnboundedSender<Touched>, &Clock),
    wrap: fn(Arc<K>) -> Resource,
) -> Store<K> {
    let (store, writer) = kube::runtime::reflector::store();
    let events = watcher(api::<K>(client, scope), config()).modify(|object| {
        // Nothing is made of these, and they may be large.
        let meta = object.meta_mut();
        (meta.annotations, meta.labels, meta.managed_fields) = (None, None, None);
    });
    let (sender, clock) = (sender.clone(), clock.clone());
    let stream = reflector(writer, events).backoff(WatchPauses::default());
    let take = move |object| {
        clock.tick();
        _ = sender.send(Touched::Resource(wrap(Arc::new(object))));
    };
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
    tasks.spawn(pump(reflector(writer, events).backoff(WatchPauses::default()), store.clone(), take));
    store
}

fn namespaces(
    client: &Client,
    scope: Option<&String>,
    tasks: &mut JoinSet<()>,
    (sender, clock): (&UnboundedSender<Touched>, &Clock),
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
    let (sender, clock) = (sender.clone(), clock.clone());
    let take = move |namespace: NamespaceMeta| {
        clock.tick();
        _ = sender.send(Touched::Namespace(namespace.name_any()));
    };
    tasks.spawn(pump(reflector(writer, events).backoff(WatchPauses::default()), store.clone(), take));
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

/// Asks for passes over all that is there, and then as things change, until the watches end.
pub async fn follow(context: &Arc<Context>, passes: &Passes<DatabaseKey, ()>, mut watches: Watches) {
    // However many of its objects the first lists have brought, a database needs one pass.
    while watches.touched.try_recv().is_ok() {}
    let mut index = Index::default();
    for resource in context.caches.resources() {
        index.insert(&resource);
        if !put_finalizer(context, &resource) {
            let urgency = if is_settled(&resource) { Urgency::Routine } else { Urgency::Pressing };
            drop(passes.request(&resource.key(), urgency));
        }
    }
    for key in context.ledger.keys(|_| true) {
        drop(passes.request(&key, Urgency::Routine));
    }
    while let Some(touched) = watches.touched.recv().await {
        let urgency = match touched {
            Touched::Resource(_) | Touched::Secret(_) | Touched::Namespace(_) => Urgency::Pressing,
            Touched::Server(_) | Touched::Deferred(_) => Urgency::Routine,
        };
        for key in concerned(context, touched, &mut index) {
            drop(passes.request(&key, urgency));
        }
    }
}

fn concerned(context: &Arc<Context>, touched: Touched, index: &mut Index) -> BTreeSet<DatabaseKey> {
    match touched {
        Touched::Resource(resource) => by_resource(context, &resource, index),
        Touched::Secret(name) => {
            let shown = context.caches.secret_version(&name);
            if shown.is_none() {
                context.memory.forget_secret(&name);
            }
            let is_ours = context.vault.saw(&name, shown.as_ref());
            let mut concerned = by_secret(index, &name, is_ours);
            concerned.extend(deferred(context, |secret| *secret == name));
            concerned
        }
        Touched::Namespace(name) => {
            let left = deferred(context, |secret| secret.namespace == name);
            index.naming(&Name::Namespace(name)).map(Resource::key).chain(left).collect()
        }
        Touched::Server(key) => {
            let left = context.ledger.keys(|entry| entry.server() == key);
            index.naming(&Name::Server(key)).map(Resource::key).chain(left).collect()
        }
        Touched::Deferred(entry) => {
            let roles = entry.roles().map(|role| Name::Role(role.name));
            let mut concerned: BTreeSet<_> =
                roles.flat_map(|role| index.naming(&role).map(Resource::key).collect::<Vec<_>>()).collect();
            concerned.insert(entry.key());
            concerned
        }
    }
}

fn by_resource(context: &Arc<Context>, touched: &Resource, index: &mut Index) -> BTreeSet<DatabaseKey> {
    let Some(resource) = context.caches.current(touched) else {
        context.memory.forget_resource(touched.uid());
        let gone = index.remove(touched.uid()).unwrap_or_else(|| touched.clone());
        let mut left = index.contesting(&gone);
        left.insert(gone.key());
        return left;
    };
    let now = Seen::of(&resource);
    let former = index.insert(&resource);
    if let Some(before) = former.as_ref().map(Seen::of)
        && before.is_same_but_for_refusal(&now)
    {
        let is_freed = now.is_refused && !before.is_refused;
        return if is_freed { index.rivals(&resource) } else { BTreeSet::new() };
    }
    if put_finalizer(context, &resource) {
        return BTreeSet::new();
    }
    let mut keys = index.contesting(&resource);
    // What it no longer names is free for others.
    keys.extend(former.iter().flat_map(|former| index.contesting(former)));
    keys
}

/// Whether there was nothing to do for its newest generation, as far as its status tells.
fn is_settled(resource: &Resource) -> bool {
    let ready = resource.status().and_then(|status| find(&status.conditions, ConditionType::Ready));
    let is_ready =
        |found: &Condition| found.status == "True" && found.observed_generation == resource.generation();
    !resource.is_deleting() && ready.is_some_and(is_ready)
}

/// Whether something is about to be made for it, and nobody would clean up.
fn wants_finalizer(context: &Context, resource: &Resource) -> bool {
    let is_free = !resource.has_finalizer() && !resource.is_deleting();
    match context.treatment(resource) {
        Treatment::Reconciled => is_free,
        Treatment::Observed | Treatment::Suspended => false,
    }
}

/// Has the finalizer put on in the background, before anything is provisioned; whether that is due.
fn put_finalizer(context: &Arc<Context>, resource: &Resource) -> bool {
    let is_due = wants_finalizer(context, resource);
    if is_due {
        tokio::spawn(add_finalizer(context.clone(), resource.clone()));
    }
    is_due
}

/// Puts the finalizer on, unless that is under way already.
async fn add_finalizer(context: Arc<Context>, resource: Resource) {
    if context.memory.begin_finalizing(resource.uid()) {
        try_finalizer(&context, &resource).await;
        context.memory.end_finalizing(resource.uid());
    }
}

/// Tries as long as the resource is there without a finalizer and the term lasts, ever less often.
async fn try_finalizer(context: &Context, resource: &Resource) {
    let mut failures = 0;
    while context.term.is_held()
        && let Some(resource) = context.caches.current(resource).filter(|one| wants_finalizer(context, one))
    {
        match patch::add_finalizer(&context.client, &resource).await {
            Ok(()) => return,
            // Somebody changed the resource at the same time, or the API server is in trouble.
            Err(error) => tracing::debug!(%error, %resource, "finalizer not set yet"),
        }
        tokio::time::sleep(backoff::pause(AGAIN, failures)).await;
        failures += 1;
    }
}

/// The databases whose resources name the Secret, and those that share a role with one of them: the Secret of the
/// eldest leads. A write of our own concerns only the sharers; who wrote it knows.
fn by_secret(index: &Index, name: &ObjectName, is_ours: bool) -> BTreeSet<DatabaseKey> {
    let names = [Name::Secret(name.clone()), Name::Superuser(name.clone())];
    let naming: BTreeMap<_, _> =
        names.iter().flat_map(|name| index.naming(name)).map(|one| (one.uid(), one)).collect();
    let sharing = |one: &Resource| index.naming(&Name::Role(one.role().to_owned())).collect::<Vec<_>>();
    let others = naming.values().flat_map(|one| sharing(one)).filter(|one| !naming.contains_key(one.uid()));
    let mut keys: BTreeSet<_> = others.map(Resource::key).collect();
    if !is_ours {
        keys.extend(naming.values().map(|one| one.key()));
    }
    keys
}

/// The databases in which something is left to do with admin credentials from such a Secret.
fn deferred(context: &Context, is_concerned: impl Fn(&ObjectName) -> bool) -> Vec<DatabaseKey> {
    context.ledger.keys(|entry| match entry.server() {
        ServerKey::Named { secret, .. } => is_concerned(&secret),
        ServerKey::Configured => false,
    })
}
