//! Whether somebody may still do what it is about to do.

use std::time::Duration;

/// Whether changes may be made. It is asked before anything takes effect, and may end at any moment: of several
/// programs only one may change a server at a time.
pub trait Licence: Send + Sync {
    /// Whether it holds now.
    fn is_valid(&self) -> bool;

    /// How long after its end somebody else may have one at the earliest. A transaction that a server hears nothing of
    /// for as long is undone by the server: so whoever is stopped just after [`is_valid`](Self::is_valid) has no effect
    /// when it goes on.
    fn silence(&self) -> Duration;
}

/// For whoever is the only one: it never ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Unlimited {
    /// How long a transaction may wait for us.
    pub const SILENCE: Duration = Duration::from_secs(30);
}

impl Licence for Unlimited {
    fn is_valid(&self) -> bool {
        true
    }

    fn silence(&self) -> Duration {
        Self::SILENCE
    }
}
