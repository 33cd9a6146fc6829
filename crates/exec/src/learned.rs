//! What sessions found out about a server, kept from pass to pass.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::Usage;

/// Whether the server lets the admin role open its sessions with `event_triggers=off`: what it does not take is fatal,
/// so that it is tried once, and again after a change that a session notices. And what sessions cost. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    event_triggers_stay_on: Arc<AtomicBool>,
    usage: Arc<Usage>,
}

impl Learned {
    /// Nothing yet; what sessions cost is added to this.
    pub fn counted(usage: Arc<Usage>) -> Self {
        Self { usage, ..Self::default() }
    }

    /// What sessions cost so far.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub(crate) fn event_triggers_stay_on(&self) -> bool {
        self.event_triggers_stay_on.load(Ordering::Relaxed)
    }

    pub(crate) fn set_event_triggers_stay_on(&self, stay: bool) {
        self.event_triggers_stay_on.store(stay, Ordering::Relaxed);
    }
}

/// It is no part of what a server is: all are equal.
impl PartialEq for Learned {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Learned {}
