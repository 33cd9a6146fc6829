//! Names that no other test uses.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// `prefix`, a few letters and digits: a name for a database, a role or a namespace that no other
/// test of this run has.
///
/// Lower-case letters and digits only (after the prefix), so it needs no quoting in SQL; for a
/// namespace, choose a prefix without underscores.
pub fn unique(prefix: &str) -> String {
    static RUN: OnceLock<String> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let run = RUN.get_or_init(|| random(6).to_ascii_lowercase());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Of equal length: no name begins another.
    format!("{prefix}{run}{count:04}")
}

/// Letters and digits from the system's generator.
pub(crate) fn random(length: usize) -> String {
    use rand::distr::{Alphanumeric, SampleString as _};
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
