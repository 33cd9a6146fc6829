//! Which resources a pass is about. No I/O.

use crate::context::Context;
use crate::resource::{DatabaseKey, Resource};

/// Every resource that carries our finalizer, eldest first. One without could be provisioned and never cleaned up.
pub fn all(context: &Context) -> Vec<Resource> {
    let mut resources: Vec<_> =
        context.caches.resources().into_iter().filter(Resource::has_finalizer).collect();
    resources.sort_by_cached_key(Resource::seniority);
    resources
}

/// The resources of this database among all, with the newest status that is known.
pub fn of(context: &Context, all: &[Resource], key: &DatabaseKey) -> Vec<Resource> {
    let ours = all.iter().filter(|resource| resource.key() == *key);
    ours.cloned().map(|resource| context.memory.refresh(resource)).collect()
}
