//! Locks that outlive a panic: a pass that panics is one database's trouble, and nothing is left half done under a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock, also after somebody panicked who had it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
