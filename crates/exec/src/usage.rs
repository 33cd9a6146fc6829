//! What sessions cost, counted for whoever wants to know.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Connections and requests since the program began.
#[derive(Debug, Default)]
pub struct Usage {
    attempts: AtomicU64,
    failures: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
}

/// A connection as long as it is open.
pub(crate) struct Open(Arc<Usage>);

impl Usage {
    /// How often a connection was tried.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// How often no PostgreSQL answered. One that refuses a login has answered.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// How many connections there are now.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// How many statements were sent, those that only read included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(crate) fn attempt(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    pub(crate) fn fail(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }
}

impl Open {
    pub(crate) fn request(&self) {
        self.0.requests.fetch_add(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
