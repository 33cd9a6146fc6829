//! How long to leave a server or a database alone after a failure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::conditions::Finding;
use crate::lock::lock;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// How long others wait for whoever tries first.
const PROBE: Duration = Duration::from_secs(6);

/// Failures by server or database: each costs one try per step, not one per resource.
pub struct Backoffs<K> {
    pauses: Pauses<K>,
    entries: Mutex<BTreeMap<K, Entry>>,
}

/// Ever longer pauses after failures in a row.
pub struct Pauses<K> {
    longest: Duration,
    failures: Mutex<BTreeMap<K, u32>>,
    /// What was said of failures since anything worked, as a hash: the words may be long, and of many.
    said: Mutex<BTreeMap<K, u64>>,
}

struct Entry {
    until: Instant,
    /// Whether somebody tries meanwhile.
    is_tried: bool,
    since: Timestamp,
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

impl<K> Default for Pauses<K> {
    fn default() -> Self {
        Self::new(LONGEST)
    }
}

impl<K> Backoffs<K> {
    /// Nobody has failed; pauses will be no longer than this.
    pub fn new(longest: Duration) -> Self {
        Self { pauses: Pauses::new(longest), entries: Mutex::default() }
    }
}

impl<K> Pauses<K> {
    /// Nobody has failed; pauses will be no longer than this.
    pub fn new(longest: Duration) -> Self {
        Self { longest, failures: Mutex::default(), said: Mutex::default() }
    }
}

impl<K: Ord> Pauses<K> {
    /// Remembers a failure; tells how long to wait. Those that failed together do not come back together.
    pub fn failed(&self, key: K) -> Duration {
        jittered(self.step(key))
    }

    fn step(&self, key: K) -> Duration {
        let mut failures = lock(&self.failures);
        let count = failures.entry(key).or_default();
        let pause = FIRST.saturating_mul(1 << (*count).min(6)).min(self.longest);
        *count += 1;
        pause
    }

    /// Forgets failures.
    pub fn clear(&self, key: &K) {
        lock(&self.failures).remove(key);
    }

    /// Whether it is news what is wrong: the last that was said since anything worked was something else.
    pub fn is_news(&self, key: K, what: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let what = hasher.finish();
        lock(&self.said).insert(key, what) != Some(what)
    }

    /// It works. Whether anything else was said before.
    pub fn works(&self, key: &K) -> bool {
        lock(&self.said).remove(key).is_some()
    }
}

impl<K: Ord + Clone> Backoffs<K> {
    /// Lets the caller try, or says how long to wait. After a failure one caller per step is let through.
    pub fn try_now(&self, key: &K) -> Result<(), Wait> {
        let now = Instant::now();
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(key) else { return Ok(()) };
        if now < entry.until {
            let retry = jittered(entry.until - now);
            return Err(Wait { retry, finding: entry.finding.clone() });
        }
        (entry.until, entry.is_tried) = (now + PROBE, true);
        Ok(())
    }

    /// Remembers a failure; tells how long to wait, and since when it has been like this. Those who had begun before the
    /// first of them failed count once.
    pub fn failed(&self, key: K, finding: &Finding) -> Wait {
        if let Some(wait) = self.wait(&key) {
            return wait;
        }
        let pause = self.pauses.step(key.clone());
        let mut entries = lock(&self.entries);
        let since = entries.get(&key).map_or_else(Timestamp::now, |entry| entry.since);
        let message = format!("{} (since {since:.0})", finding.message);
        let finding = Finding { reason: finding.reason, message };
        let entry = Entry { until: Instant::now() + pause, is_tried: false, since, finding: finding.clone() };
        entries.insert(key, entry);
        Wait { retry: jittered(pause), finding }
    }

    /// Forgets the failures of all others than these.
    pub fn retain(&self, is_kept: impl Fn(&K) -> bool) {
        lock(&self.entries).retain(|key, _| is_kept(key));
        lock(&self.pauses.failures).retain(|key, _| is_kept(key));
    }

    /// Whether nobody has failed of late.
    pub fn is_free(&self, key: &K) -> bool {
        !lock(&self.entries).contains_key(key)
    }

    /// Why to wait, if somebody has failed since anybody was let through.
    pub fn wait(&self, key: &K) -> Option<Wait> {
        let entries = lock(&self.entries);
        let entry = entries.get(key).filter(|entry| !entry.is_tried)?;
        let pause = entry.until.checked_duration_since(Instant::now()).filter(|pause| !pause.is_zero())?;
        Some(Wait { retry: jittered(pause), finding: entry.finding.clone() })
    }

    /// Forgets failures: it works, or something about it changed. Whether there were any.
    pub fn clear(&self, key: &K) -> bool {
        self.pauses.clear(key);
        lock(&self.entries).remove(key).is_some()
    }
}

/// How long to wait after so many failures in a row before this one: from `first` on twice as long each time, up to half
/// a minute.
pub fn pause(first: Duration, failures: u32) -> Duration {
    jittered(first.saturating_mul(1 << failures.min(10)).min(LONGEST / 2))
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
        let backoffs = Backoffs::new(LONGEST);
        assert!(backoffs.try_now(&"server").is_ok());
        let said = backoffs.failed("server", &down()).finding;
        assert!(said.message.starts_with("connection refused (since 20"), "{said:?}");
        assert_eq!(backoffs.try_now(&"server").unwrap_err().finding, said);
        tokio::time::advance(FIRST).await;
        assert!(backoffs.try_now(&"server").is_ok());
        assert!(backoffs.try_now(&"server").is_err());
        assert!(backoffs.clear(&"server") && !backoffs.clear(&"server"));
        assert!(backoffs.try_now(&"server").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_had_begun_together_fail_once() {
        let backoffs = Backoffs::new(LONGEST);
        let pauses: Vec<_> = (0..20).map(|_| backoffs.failed("server", &down()).retry).collect();
        assert!(pauses.iter().all(|pause| *pause <= FIRST.mul_f64(1.1)), "{pauses:?}");
    }

    #[test]
    fn what_is_wrong_is_news_once_until_it_works() {
        let pauses = Pauses::default();
        let said = ["a", "a", "b", "b", "a"].map(|what| pauses.is_news("app", what));
        assert_eq!(said, [true, false, true, false, true]);
        assert!(pauses.is_news("other", "a"));
        pauses.failed("app");
        pauses.clear(&"app");
        assert!(!pauses.is_news("app", "a"), "that somebody tries again at once is no news");
        assert!(pauses.works(&"app") && !pauses.works(&"app"));
        assert!(pauses.is_news("app", "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_minute() {
        let backoffs = Backoffs::new(LONGEST);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = backoffs.failed("server", &down()).retry;
            pauses.push(pause.as_secs_f64());
            tokio::time::advance(pause).await;
            backoffs.try_now(&"server").unwrap();
        }
        for (pause, expected) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]) {
            assert!((expected..=expected * 1.1).contains(pause), "{pauses:?}");
        }
    }
}
