//! Which resources a pass is about. No I/O.

use super::resolve;
use crate::api::shared::Status;
use crate::conditions::{Class, ConditionType, Reason, find};
use crate::context::Context;
use crate::resource::{DatabaseKey, Resource};

/// Every resource that carries our finalizer, eldest first: one without could be provisioned and never cleaned up.
/// Whatever its age, what is provisioned comes before what is not, so that nobody is evicted by a change of another's
/// spec, and what was refused comes last, so that it keeps nobody from what it cannot have. With the newest status
/// that is known.
pub fn all(context: &Context) -> Vec<Resource> {
    let resources = context.caches.resources().into_iter().filter(Resource::has_finalizer);
    let mut resources: Vec<_> = resources.map(|resource| context.memory.refresh(resource)).collect();
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
    match is_provisioned(context, resource) {
        true => Standing::Provisioned,
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

/// The resources of this database among all.
pub fn of(all: &[Resource], key: &DatabaseKey) -> Vec<Resource> {
    all.iter().filter(|resource| resource.key() == *key).cloned().collect()
}
