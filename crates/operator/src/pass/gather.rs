//! Which resources a pass is about. No I/O.

use super::resolve;
use crate::conditions::{ConditionType, Reason, find};
use crate::context::Context;
use crate::resource::{DatabaseKey, Resource};

/// Every resource that carries our finalizer, eldest first: one without could be provisioned and never cleaned up.
/// Whatever its age, what is provisioned comes before what is not, so that nobody is evicted by a change of another's
/// spec, and what was refused comes last, so that it keeps nobody from what it cannot have.
pub fn all(context: &Context) -> Vec<Resource> {
    let mut resources: Vec<_> =
        context.caches.resources().into_iter().filter(Resource::has_finalizer).collect();
    resources.sort_by_cached_key(|resource| (standing(context, resource), resource.seniority()));
    resources
}

/// How good a claim is, the best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Provisioned,
    New,
    Refused,
}

fn standing(context: &Context, resource: &Resource) -> Standing {
    let ready = resource.status().and_then(|status| find(&status.conditions, ConditionType::Ready));
    let refused = [Reason::NotOurs, Reason::Conflict].map(Reason::as_str);
    match ready.filter(|ready| ready.observed_generation == resource.generation()) {
        _ if is_provisioned(context, resource) => Standing::Provisioned,
        Some(ready) if refused.contains(&&*ready.reason) => Standing::Refused,
        Some(_) | None => Standing::New,
    }
}

fn is_provisioned(context: &Context, resource: &Resource) -> bool {
    let address = resolve::address(context, resource);
    address.is_some_and(|address| resource.is_provisioned_at(&address.to_string(), &resource.server_key()))
}

/// The resources of this database among all, with the newest status that is known.
pub fn of(context: &Context, all: &[Resource], key: &DatabaseKey) -> Vec<Resource> {
    let ours = all.iter().filter(|resource| resource.key() == *key);
    ours.cloned().map(|resource| context.memory.refresh(resource)).collect()
}
