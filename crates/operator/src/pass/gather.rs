//! Which resources a pass is about. No I/O.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::admit::Admission;
use super::resolve;
use crate::api::shared::Status;
use crate::conditions::{Class, ConditionType, Reason, find};
use crate::context::Context;
use crate::lock::lock;
use crate::resource::{DatabaseKey, Resource, ServerKey, Treatment};
use crate::servers::Address;

/// All resources, put in order once for as long as nothing changes: there may be thousands, and most passes find that
/// nothing has.
pub struct Census {
    age: Age,
    /// Every resource that carries our finalizer, eldest first: one without could be provisioned and never cleaned up.
    /// Also those without that nothing is provisioned for.
    /// Whatever its age, what is provisioned comes before what is not, so that nobody is evicted by a change of
    /// another's spec, and what was refused comes last, so that it keeps nobody from what it cannot have. With the
    /// newest status that is known.
    pub all: Vec<Resource>,
    served: BTreeMap<DatabaseKey, Vec<Resource>>,
    databases: BTreeMap<DatabaseKey, Vec<Resource>>,
    sharers: BTreeMap<(String, String), Vec<String>>,
    admissions: Mutex<BTreeMap<Way, Arc<Admission>>>,
}

/// Counts what a census depends on: resources, their statuses, namespaces, and what is known of servers. Whoever
/// changes one of these lets it go on, afterwards.
#[derive(Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

type Age = u64;
/// How a server is reached, and where it is if that is known.
type Way = (ServerKey, Option<Address>);

/// The census, kept until the clock goes on.
#[derive(Default)]
pub struct Kept(Mutex<Option<Arc<Census>>>);

impl Clock {
    /// Something has changed.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> Age {
        self.0.load(Ordering::SeqCst)
    }
}

/// The resources as they are now.
pub fn census(context: &Context) -> Arc<Census> {
    let mut kept = lock(&context.census.0);
    // Before anything is looked at: what changes meanwhile is looked at again.
    let now = context.clock.now();
    if let Some(census) = kept.as_ref().filter(|census| census.age == now) {
        return census.clone();
    }
    let census = Arc::new(Census::take(context, now));
    *kept = Some(census.clone());
    census
}

impl Census {
    fn take(context: &Context, age: Age) -> Self {
        let cached = context.caches.resources();
        let mut sharers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut databases: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for resource in &cached {
            let role = (resource.namespace().to_owned(), resource.role().to_owned());
            sharers.entry(role).or_default().push(resource.uid().to_owned());
            if matches!(resource, Resource::Database(_)) {
                databases.entry(resource.key()).or_default().push(resource.clone());
            }
        }
        let is_seen = |resource: &Resource| resource.has_finalizer() || is_onlooker(context, resource);
        let resources = cached.into_iter().filter(is_seen);
        let mut all: Vec<_> = resources.map(|resource| context.memory.refresh(resource)).collect();
        all.sort_by_cached_key(|resource| (standing(context, resource), resource.seniority()));
        let mut served: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for resource in &all {
            served.entry(resource.key()).or_default().push(resource.clone());
        }
        Self { age, all, served, databases, sharers, admissions: Mutex::default() }
    }

    /// The resources of this database that carry our finalizer.
    pub fn of(&self, key: &DatabaseKey) -> Vec<Resource> {
        self.served.get(key).cloned().unwrap_or_default()
    }

    /// Every `PostgresDatabase` of this database, as the cache has it.
    pub fn databases(&self, key: &DatabaseKey) -> &[Resource] {
        self.databases.get(key).map_or(&[], Vec::as_slice)
    }

    /// The uids of all resources of its namespace that name its role.
    pub fn sharers(&self, resource: &Resource) -> &[String] {
        let role = (resource.namespace().to_owned(), resource.role().to_owned());
        self.sharers.get(&role).map_or(&[], Vec::as_slice)
    }

    /// The verdict on every resource of a server, as it is reached in this way.
    pub fn admission(&self, server: Way, judge: impl FnOnce() -> Admission) -> Arc<Admission> {
        let mut admissions = lock(&self.admissions);
        admissions.entry(server).or_insert_with(|| Arc::new(judge())).clone()
    }
}

/// Whether nothing is provisioned for it yet, nor will be for now.
fn is_onlooker(context: &Context, resource: &Resource) -> bool {
    match context.treatment(resource) {
        Treatment::Reconciled => false,
        Treatment::Observed | Treatment::Suspended => !resource.is_deleting() && !resource.has_finalizer(),
    }
}

/// How good a claim is, the best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Provisioned,
    New,
    Refused,
    /// It keeps from nobody what it would get.
    Onlooker,
}

fn standing(context: &Context, resource: &Resource) -> Standing {
    match is_provisioned(context, resource) {
        true => Standing::Provisioned,
        // With or without a finalizer, which anybody can put on.
        false if !resource.is_deleting() && context.treatment(resource) != Treatment::Reconciled => {
            Standing::Onlooker
        }
        false if context.memory.was_refused(resource.uid()) || is_refused(resource) => Standing::Refused,
        false => Standing::New,
    }
}

/// Whether it was found that the resource cannot have what it asks for until somebody does something. That another one
/// comes first is no such finding. Of whatever generation: or else a change of the spec every now and then would keep a
/// name from those who can have it.
pub fn is_refused(resource: &Resource) -> bool {
    resource.status().is_some_and(tells_of_refusal)
}

/// The same of a status.
pub fn tells_of_refusal(status: &Status) -> bool {
    let ready = find(&status.conditions, ConditionType::Ready);
    let reason = ready.and_then(|ready| Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason));
    reason.is_some_and(|reason| reason.class() == Class::NeedsPerson && *reason != Reason::Conflict)
}

fn is_provisioned(context: &Context, resource: &Resource) -> bool {
    let address = resolve::address(context, resource);
    address.is_some_and(|address| resource.is_provisioned_at(&address.to_string(), &resource.server_key()))
}
