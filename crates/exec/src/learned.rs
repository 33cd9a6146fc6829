//! What sessions found out about a server, kept from pass to pass.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the server lets the admin role open its sessions with `event_triggers=off`: what it does not take is fatal,
/// so that it is tried once, and again after a change that a session notices. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Learned(Arc<AtomicBool>);

impl Learned {
    pub(crate) fn event_triggers_stay_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set_event_triggers_stay_on(&self, stay: bool) {
        self.0.store(stay, Ordering::Relaxed);
    }
}

/// It is no part of what a server is: all are equal.
impl PartialEq for Learned {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Learned {}
