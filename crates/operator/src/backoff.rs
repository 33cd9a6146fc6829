//! How long to leave a server or a database alone after a failure.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::conditions::Finding;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// How long others wait for whoever tries first.
const PROBE: Duration = Duration::from_secs(6);

/// Failures by server or database: each costs one try per step, not one per resource.
pub struct Backoffs<K> {
    entries: Mutex<BTreeMap<K, Entry>>,
}

struct Entry {
    failures: u32,
    until: Instant,
    finding: Finding,
}

/// Why not to try now.
#[derive(Clone, Debug)]
pub struct Wait {
    /// When to ask again.
    pub retry: Duration,
    /// What the last try found.
    pub finding: Finding,
}

impl<K: Ord> Default for Backoffs<K> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<K: Ord> Backoffs<K> {
    /// Lets the caller try, or says how long to wait. After a failure one caller per step is let through.
    pub fn try_now(&self, key: &K) -> Result<(), Wait> {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(key) else { return Ok(()) };
        if now < entry.until {
            let retry = jittered(entry.until - now);
            return Err(Wait { retry, finding: entry.finding.clone() });
        }
        entry.until = now + PROBE;
        Ok(())
    }

    /// Remembers a failure; tells how long to wait.
    pub fn failed(&self, key: K, finding: Finding) -> Duration {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = entries.get(&key).map_or(0, |entry| entry.failures);
        let pause = FIRST.saturating_mul(1 << failures.min(6)).min(LONGEST);
        entries.insert(key, Entry { failures: failures + 1, until: Instant::now() + pause, finding });
        jittered(pause)
    }

    /// Forgets failures: it works, or something about it changed.
    pub fn clear(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Up to a tenth more, so that those who wait for the same thing do not come at once. The clock is random enough.
fn jittered(pause: Duration) -> Duration {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    pause + pause.mul_f64(f64::from(nanos % 1_000) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::Reason;

    fn down() -> Finding {
        Finding { reason: Reason::ServerUnavailable, message: "connection refused".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_per_step_tries_again() {
        let backoffs = Backoffs::default();
        assert!(backoffs.try_now(&"server").is_ok());
        backoffs.failed("server", down());
        assert_eq!(backoffs.try_now(&"server").unwrap_err().finding, down());
        tokio::time::advance(FIRST).await;
        assert!(backoffs.try_now(&"server").is_ok());
        assert!(backoffs.try_now(&"server").is_err());
        backoffs.clear(&"server");
        assert!(backoffs.try_now(&"server").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute() {
        let backoffs = Backoffs::default();
        let pauses: Vec<_> = (0..8).map(|_| backoffs.failed("server", down()).as_secs_f64()).collect();
        for (pause, expected) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
            assert!((expected..=expected * 1.1).contains(pause), "{pauses:?}");
        }
    }
}
