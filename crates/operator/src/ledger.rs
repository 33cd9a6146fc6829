//! What is left to do on servers for resources that were let go: a `ConfigMap` each, in the operator's own namespace.
//! Kubernetes.
//!
//! There is no secret in it. Only who writes in that namespace can make an entry, and an entry does nothing to a role
//! that does not carry the uid of its resource any more.

mod entry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::{Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::watch;

pub use entry::{Entry, Error, Kind};

use crate::api::LABEL_LEDGER;
use crate::lock::lock;
use crate::manners::WatchPauses;
use crate::pass::gather::Clock;
use crate::resource::{DatabaseKey, ServerKey};

/// The most entries of the resources of one namespace: whoever makes resources on servers of its own and deletes them
/// when these are down must not fill the cluster's storage.
pub const MOST: usize = 500;

/// The entries of this installation.
pub struct Ledger {
    api: Api<ConfigMap>,
    /// The operator's own namespace.
    namespace: String,
    installation: String,
    /// Goes on with each change: who may have what depends on the entries.
    clock: Clock,
    /// By name of the `ConfigMap`.
    entries: Mutex<BTreeMap<String, Kept>>,
    /// Whether the API server has answered what there is.
    is_answered: watch::Sender<bool>,
}

/// An entry and how events name its `ConfigMap`.
#[derive(Clone)]
struct Kept {
    entry: Arc<Entry>,
    object: ObjectReference,
}

impl Ledger {
    /// Knows no entry yet: [`Ledger::follow`] reads them.
    pub fn new(client: Client, (namespace, installation): (&str, &str), clock: Clock) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            installation: installation.to_owned(),
            clock,
            entries: Mutex::default(),
            is_answered: watch::Sender::new(false),
        }
    }

    /// Waits until the entries are known, or may not be.
    pub async fn ready(&self) {
        // This holds the other end.
        _ = self.is_answered.subscribe().wait_for(|is_answered| *is_answered).await;
    }

    /// The entries of this server.
    pub fn on(&self, server: &ServerKey) -> Vec<Arc<Entry>> {
        let entries = self.lock();
        entries.values().map(|kept| &kept.entry).filter(|entry| entry.server() == *server).cloned().collect()
    }

    /// The databases of the entries for which this holds.
    pub fn keys(&self, is_wanted: impl Fn(&Entry) -> bool) -> Vec<DatabaseKey> {
        self.lock().values().filter(|kept| is_wanted(&kept.entry)).map(|kept| kept.entry.key()).collect()
    }

    /// How events name the `ConfigMap` of this entry.
    pub fn object(&self, entry: &Entry) -> ObjectReference {
        let kept = self.lock().get(&entry.map_name()).map(|kept| kept.object.clone());
        kept.unwrap_or_else(|| object(&entry.config_map(&self.namespace)))
    }

    /// Writes an entry, unless the resource has one. Returns those that had to be given up for it: a namespace has at
    /// most [`MOST`].
    pub async fn add(&self, client: &Client, entry: Entry) -> Result<Vec<Arc<Entry>>, kube::Error> {
        let map = entry.config_map(&self.namespace);
        match self.api(client).create(&PostParams::default(), &map).await {
            Ok(created) => self.keep(&created, Arc::new(entry.clone())),
            Err(kube::Error::Api(status)) if status.is_already_exists() => (),
            Err(error) => return Err(error),
        }
        let surplus = surplus(self.lock().values().map(|kept| &kept.entry), &entry);
        for one in &surplus {
            self.remove(client, one).await?;
        }
        Ok(surplus)
    }

    /// Removes an entry. That it is gone already does not matter.
    pub async fn remove(&self, client: &Client, entry: &Entry) -> Result<(), kube::Error> {
        let name = entry.map_name();
        match self.api(client).delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => (),
            deleted => _ = deleted?,
        }
        self.forget(&name);
        Ok(())
    }

    /// Keeps up with the `ConfigMaps`, and tells of entries that come or go. Never ends; where they may not be read, what
    /// is in them waits.
    pub async fn follow(self: Arc<Self>, mut take: impl FnMut(Arc<Entry>) + Send) {
        let config = Config::default().labels(LABEL_LEDGER).page_size(25);
        let mut events = std::pin::pin!(watcher(self.api.clone(), config).backoff(WatchPauses::default()));
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(map)) => {
                    if let Some(entry) = self.read(&map) {
                        self.keep(&map, entry.clone());
                        take(entry);
                    }
                }
                Ok(Event::Delete(map)) => {
                    self.forget(&map.name_any());
                    self.read(&map).into_iter().for_each(&mut take);
                }
                Ok(Event::Init) => listed = Vec::new(),
                Ok(Event::InitApply(map)) => {
                    listed.push(map.name_any());
                    self.read(&map).into_iter().for_each(|entry| self.keep(&map, entry));
                }
                Ok(Event::InitDone) => {
                    let all: Vec<_> = self.lock().values().cloned().collect();
                    self.lock().retain(|name, _| listed.contains(name));
                    self.clock.tick();
                    for kept in all {
                        take(kept.entry);
                    }
                    self.is_answered.send_replace(true);
                }
                Err(error) => {
                    tracing::warn!(%error, "the ledger cannot be watched");
                    self.is_answered.send_replace(true);
                }
            }
        }
    }

    fn api(&self, client: &Client) -> Api<ConfigMap> {
        Api::namespaced(client.clone(), &self.namespace)
    }

    /// The entry in a `ConfigMap`, if it is one of this installation.
    fn read(&self, map: &ConfigMap) -> Option<Arc<Entry>> {
        match Entry::read(map) {
            Ok(entry) if entry.installation == self.installation && entry.map_name() == map.name_any() => {
                Some(Arc::new(entry))
            }
            Ok(entry) => {
                tracing::debug!(map = map.name_any(), %entry, "not an entry of this installation's ledger");
                None
            }
            Err(error) => {
                tracing::warn!(map = map.name_any(), %error, "not an entry of the ledger");
                None
            }
        }
    }

    fn keep(&self, map: &ConfigMap, entry: Arc<Entry>) {
        self.lock().insert(map.name_any(), Kept { entry, object: object(map) });
        self.clock.tick();
    }

    fn forget(&self, name: &str) {
        self.lock().remove(name);
        self.clock.tick();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kept>> {
        lock(&self.entries)
    }
}

fn object(map: &ConfigMap) -> ObjectReference {
    map.object_ref(&())
}

/// What its namespace has too much with this entry, which stays: first of servers that it names, whose owner it may be,
/// and the oldest first.
fn surplus<'e>(entries: impl Iterator<Item = &'e Arc<Entry>>, new: &Entry) -> Vec<Arc<Entry>> {
    let mut all: Vec<_> =
        entries.filter(|entry| entry.namespace == new.namespace && entry.uid != new.uid).collect();
    all.sort_by_key(|entry| (entry.server() == ServerKey::Configured, entry.since, &entry.uid));
    let count = (all.len() + 1).saturating_sub(MOST);
    all.into_iter().take(count).cloned().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::api::shared::{Provisioned, SuperuserSecret};

    fn entry(number: usize, namespace: &str, secret: Option<&str>) -> Arc<Entry> {
        let superuser_secret =
            secret.map(|name| SuperuserSecret { name: name.to_owned(), namespace: namespace.to_owned() });
        Arc::new(Entry {
            installation: "i".to_owned(),
            kind: Kind::PostgresUser,
            namespace: namespace.to_owned(),
            name: format!("user{number}"),
            uid: format!("{namespace}{number}"),
            provisioned: Provisioned {
                server: "db:5432".to_owned(),
                superuser_secret,
                ..Provisioned::default()
            },
            credentials_from: None,
            since: Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
            reason: String::new(),
        })
    }

    #[test]
    fn a_namespace_loses_its_oldest_entries_those_of_servers_that_it_names_first() {
        let own: Vec<_> = (0..MOST).map(|number| entry(number, "team", None)).collect();
        let newest = &own[MOST - 1];
        let named = [entry(MOST, "team", Some("admin")), entry(MOST + 1, "team", Some("admin"))];
        let others = (0..=MOST).map(|number| entry(number, "shop", None)).collect::<Vec<_>>();
        assert!(surplus(own.iter().chain(&others[..MOST]), newest).is_empty());
        let all = own.iter().chain(&named).chain(&others);
        assert_eq!(surplus(all.clone(), newest), named);
        assert_eq!(surplus(all.clone(), &others[MOST]), [others[0].clone()]);
        // What has just been written is not given up for what is there.
        assert_eq!(surplus(own.iter().chain(&named[..1]), &named[0]), [own[0].clone()]);
    }
}
