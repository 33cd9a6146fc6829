//! What all passes of one operator share. There is no global state: several operators can live in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use exec::Server;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use plan::PasswordState;
use tokio::sync::mpsc::UnboundedSender;

use crate::api::shared::Status;
use crate::backoff::Pauses;
use crate::caches::{Caches, Version};
use crate::events::Events;
use crate::ledger::Ledger;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::pass::gather::{Clock, Kept};
use crate::resource::{DatabaseKey, ObjectName, Resource, Treatment};
use crate::servers::Servers;
use crate::settings::Settings;
use crate::term::Term;
use crate::vault::Vault;
use crate::watch::Touched;

/// What all passes share.
pub struct Context {
    /// The way to the API server; it writes as long as the term lasts.
    pub client: Client,
    /// How long anything may be changed.
    pub term: Term,
    /// What the operator was told.
    pub settings: Settings,
    /// Its own server.
    pub server: Option<Arc<Server>>,
    /// Its own namespace, whose resources are trusted.
    pub namespace: String,
    /// Which installation it is, as markers spell it.
    pub installation: String,
    /// What it sees of the cluster.
    pub caches: Caches,
    /// Secrets as they were read.
    pub vault: Vault,
    /// Servers in use.
    pub servers: Servers,
    /// Databases that failed although their server answers.
    pub pauses: Pauses<DatabaseKey>,
    /// Where events go.
    pub events: Events,
    /// Where passes tell what concerns other databases.
    pub touched: UnboundedSender<Touched>,
    /// What is left to do for resources that are gone.
    pub ledger: Arc<Ledger>,
    /// What it remembers from pass to pass.
    pub memory: Memory,
    /// All resources in order, as long as nothing changes.
    pub census: Kept,
    /// Goes on whenever something does.
    pub clock: Clock,
    /// What it counts.
    pub metrics: Metrics,
}

impl Context {
    /// What is done for this resource.
    pub fn treatment(&self, resource: &Resource) -> Treatment {
        resource.treatment(self.settings.mode)
    }
}

/// More than any verifier has.
const LONGEST_VERIFIER: usize = 1_000;

/// What is remembered from pass to pass, and can be forgotten.
#[derive(Default)]
pub struct Memory {
    clock: Clock,
    settled: Mutex<BTreeMap<DatabaseKey, Settled>>,
    reported: Mutex<BTreeMap<String, Reported>>,
    refused: Mutex<BTreeSet<String>>,
    compared: Mutex<BTreeMap<ObjectName, Compared>>,
    /// Since when deleted resources wait, by uid.
    waiting: Mutex<BTreeMap<String, Timestamp>>,
    finalizing: Mutex<BTreeSet<String>>,
}

/// A stored verifier and the version of a Secret, once compared.
struct Compared {
    version: Version,
    stored: String,
    state: PasswordState,
}

/// What the resources of a database looked like when nothing was left to do: generation by uid, version by Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Generation by uid.
    pub generations: BTreeMap<String, Option<i64>>,
    /// The Secrets' versions, by uid of the resource.
    pub secrets: BTreeMap<String, Version>,
    /// Uids of those for which nothing could be done yet: what is done for them one day is no drift.
    pub waiting: BTreeSet<String>,
}

/// A status that the watch may not have brought back yet.
struct Reported {
    /// The resource version that it was written over, and that the cache may still hold.
    over: Option<String>,
    status: Status,
}

impl Memory {
    /// Nothing is remembered yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// What the resources looked like when nothing was left to do.
    pub fn settled(&self, key: &DatabaseKey) -> Option<Settled> {
        lock(&self.settled).get(key).cloned()
    }

    /// Remembers that nothing is left to do.
    pub fn settle(&self, key: &DatabaseKey, settled: Settled) {
        lock(&self.settled).insert(key.clone(), settled);
    }

    /// Forgets a database that has no resources any more.
    pub fn forget(&self, key: &DatabaseKey) {
        lock(&self.settled).remove(key);
    }

    /// Whether the verifier was made from the password in this version of a Secret, if that was compared already.
    pub fn compared(&self, secret: &ObjectName, version: &Version, stored: &str) -> Option<PasswordState> {
        let compared = lock(&self.compared);
        let found = compared.get(secret).filter(|found| found.version == *version && found.stored == stored);
        found.map(|found| found.state)
    }

    /// Remembers a comparison, unless a server made the verifier up: none is as long.
    pub fn set_compared(&self, secret: &ObjectName, version: &Version, stored: &str, state: PasswordState) {
        if stored.len() > LONGEST_VERIFIER {
            return;
        }
        let entry = Compared { version: version.clone(), stored: stored.to_owned(), state };
        lock(&self.compared).insert(secret.clone(), entry);
    }

    /// Forgets a Secret that is gone.
    pub fn forget_secret(&self, secret: &ObjectName) {
        lock(&self.compared).remove(secret);
    }

    /// Whether the resource was refused and has not been provisioned since. Its status may tell of a conflict by now.
    pub fn was_refused(&self, uid: &str) -> bool {
        lock(&self.refused).contains(uid)
    }

    /// Remembers, or forgets, that a resource was refused.
    pub fn set_refused(&self, uid: &str, is_refused: bool) {
        let mut refused = lock(&self.refused);
        let is_news = if is_refused { refused.insert(uid.to_owned()) } else { refused.remove(uid) };
        if is_news {
            self.clock.tick();
        }
    }

    /// Since when this process waits with the deletion of a resource: from the first time that it was tried.
    pub fn waits_since(&self, uid: &str) -> Timestamp {
        let mut waiting = lock(&self.waiting);
        *waiting.entry(uid.to_owned()).or_insert_with(Timestamp::now)
    }

    /// The same of all that wait, by uid.
    pub fn waiting(&self) -> BTreeMap<String, Timestamp> {
        lock(&self.waiting).clone()
    }

    /// Notes that somebody puts the finalizer on a resource; false when somebody does already.
    pub fn begin_finalizing(&self, uid: &str) -> bool {
        lock(&self.finalizing).insert(uid.to_owned())
    }

    /// Notes that nobody does any more.
    pub fn end_finalizing(&self, uid: &str) {
        lock(&self.finalizing).remove(uid);
    }

    /// Forgets a resource that is gone.
    pub fn forget_resource(&self, uid: &str) {
        self.set_refused(uid, false);
        lock(&self.waiting).remove(uid);
        lock(&self.reported).remove(uid);
    }

    /// Remembers a status that was just written.
    pub fn reported(&self, resource: &Resource, status: Status) {
        let reported = Reported { over: resource.meta().resource_version.clone(), status };
        lock(&self.reported).insert(resource.uid().to_owned(), reported);
        self.clock.tick();
    }

    /// The resource with the status that was written last, where the cache lags behind.
    pub fn refresh(&self, resource: Resource) -> Resource {
        let mut reported = lock(&self.reported);
        let Some(found) = reported.get(resource.uid()) else { return resource };
        if found.over == resource.meta().resource_version {
            return resource.with_status(found.status.clone());
        }
        reported.remove(resource.uid());
        resource
    }
}
