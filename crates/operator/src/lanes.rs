//! Who may talk to servers at the same time. Most passes are over in moments and read little; those that are not hold up
//! each other and nobody else.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout};

use crate::passes::Pressure;
use crate::resource::{DatabaseKey, ServerKey};

/// The most connections that a pass has at a time.
const CONNECTIONS: u32 = exec::Sessions::MOST;
/// One place in so many is for slow passes.
const SLOW: u32 = 5;

/// After this time a pass is slow.
pub const QUICK_LIMIT: Duration = Duration::from_secs(10);
/// After this time a pass is given up.
pub const SLOW_LIMIT: Duration = Duration::from_mins(5);
/// How many bytes a pass may read of a database that is not large.
pub const SMALL: u32 = 128 << 10;
/// How long a database counts as slow or large since it was.
const MEMORY: Duration = Duration::from_mins(10);

/// What a pass was more than passes should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It took long.
    Slow,
    /// There was much to read.
    Large,
}

/// How many connections there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// To one server.
    pub server: u32,
    /// To all servers together, the operator's own among them.
    pub total: u32,
}

/// Places for passes that are connected.
pub struct Lane {
    /// Regular checks may have all quick places but one: that is for what somebody waits for.
    routine: Semaphore,
    quick: Semaphore,
    slow: Semaphore,
}

/// What all servers share.
pub struct Lanes {
    /// For passes over all servers that resources name: whose these are is not known, and what passes hold in memory
    /// is the same memory.
    crowd: Lane,
    /// One permit: what is made of a large catalog takes a good part of the memory that there is.
    large: Semaphore,
    heavy: Mutex<BTreeMap<(DatabaseKey, Weight), Instant>>,
}

/// The places that a pass has.
type Places<'a> = (Option<SemaphorePermit<'a>>, Option<SemaphorePermit<'a>>);

impl Default for Budget {
    fn default() -> Self {
        Self { server: 12, total: 72 }
    }
}

impl Budget {
    /// The least that a server needs: a place for quick passes and one for slow ones.
    pub const LEAST: u32 = 2 * CONNECTIONS;
}

impl Lane {
    /// As many places as passes can be connected with so many connections, and at least one of each kind.
    pub fn of(connections: u32) -> Self {
        let places = connections / CONNECTIONS;
        let slow = (places / SLOW).max(1);
        let quick = places.saturating_sub(slow).max(1);
        let semaphore = |places: u32| Semaphore::new(places as usize);
        Self { routine: semaphore((quick - 1).max(1)), quick: semaphore(quick), slow: semaphore(slow) }
    }

    /// A quick place, in turn; what somebody waits for overtakes regular checks.
    async fn enter(&self, pressure: &Pressure) -> Places<'_> {
        let routine = tokio::select! {
            biased;
            () = pressure.rises() => None,
            place = self.routine.acquire() => place.ok(),
        };
        (routine, self.quick.acquire().await.ok())
    }
}

impl Lanes {
    /// Nobody is connected.
    pub fn new(budget: Budget) -> Self {
        let crowd = Lane::of(budget.total.saturating_sub(budget.server));
        Self { crowd, large: Semaphore::new(1), heavy: Mutex::default() }
    }

    /// Remembers what a database was.
    pub fn note(&self, key: &DatabaseKey, weight: Weight) {
        let mut heavy = self.heavy.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        heavy.retain(|_, until| *until > now);
        heavy.insert((key.clone(), weight), now + MEMORY);
    }

    /// Whether the database is remembered as such.
    pub fn is(&self, key: &DatabaseKey, weight: Weight) -> bool {
        let heavy = self.heavy.lock().unwrap_or_else(PoisonError::into_inner);
        heavy.get(&(key.clone(), weight)).is_some_and(|until| *until > Instant::now())
    }

    /// Runs a pass in a lane; `None` if it took too long. One that turns out to be slow changes to the slow lane if that
    /// is free, else it is given up where it is and begun again once it is.
    pub async fn run<F: Future>(
        &self,
        (key, server, pressure): (&DatabaseKey, &Lane, &Pressure),
        pass: impl Fn() -> F,
    ) -> Option<F::Output> {
        if !self.is(key, Weight::Slow) {
            let _large = self.large(key).await;
            let places = server.enter(pressure).await;
            let crowd = if is_named(key) { Some(self.crowd.enter(pressure).await) } else { None };
            let mut pass = Box::pin(pass());
            if let Ok(done) = timeout(QUICK_LIMIT, &mut pass).await {
                return Some(done);
            }
            self.note(key, Weight::Slow);
            if let Ok(_slow) = server.slow.try_acquire()
                && let Ok(_crowd) = Self::try_crowd(key, &self.crowd.slow)
            {
                drop((places, crowd));
                return timeout(SLOW_LIMIT, pass).await.ok();
            }
        }
        let _slow = server.slow.acquire().await;
        let _crowd = Self::crowd(key, &self.crowd.slow).await;
        let _large = self.large(key).await;
        timeout(SLOW_LIMIT, Box::pin(pass())).await.ok()
    }

    async fn large(&self, key: &DatabaseKey) -> Option<SemaphorePermit<'_>> {
        if self.is(key, Weight::Large) { self.large.acquire().await.ok() } else { None }
    }

    async fn crowd<'a>(key: &DatabaseKey, crowd: &'a Semaphore) -> Option<SemaphorePermit<'a>> {
        if is_named(key) { crowd.acquire().await.ok() } else { None }
    }

    fn try_crowd<'a>(
        key: &DatabaseKey,
        crowd: &'a Semaphore,
    ) -> Result<Option<SemaphorePermit<'a>>, TryAcquireError> {
        if is_named(key) { crowd.try_acquire().map(Some) } else { Ok(None) }
    }
}

/// Whether a resource named the server.
fn is_named(key: &DatabaseKey) -> bool {
    matches!(key.server, ServerKey::Named { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;
    use crate::pass::gather::Clock;
    use crate::passes::Urgency;
    use crate::resource::ObjectName;
    use crate::servers::{Address, Servers};

    /// Databases of the operator's server, and of one server each that resources name.
    fn keys(database: &str, count: usize, is_named: bool) -> Vec<DatabaseKey> {
        let secret = ObjectName { namespace: "team".into(), name: "admin".into() };
        let server = |number: usize| match is_named {
            true => ServerKey::Named { host: format!("host{number}"), secret: secret.clone() },
            false => ServerKey::Configured,
        };
        let key = |number| DatabaseKey { server: server(number), database: format!("{database}{number}") };
        (0..count).map(key).collect()
    }

    /// Starts a pass that takes so long; in which second it ended, and whether it was let.
    fn start(
        lanes: &Arc<Lanes>,
        lane: &Arc<Lane>,
        key: &DatabaseKey,
        time: Duration,
    ) -> JoinHandle<(u64, bool)> {
        start_as((lanes, lane), key, time, Urgency::Pressing)
    }

    fn start_as(
        (lanes, lane): (&Arc<Lanes>, &Arc<Lane>),
        key: &DatabaseKey,
        time: Duration,
        urgency: Urgency,
    ) -> JoinHandle<(u64, bool)> {
        let (lanes, lane, key, begin) = (lanes.clone(), lane.clone(), key.clone(), Instant::now());
        tokio::spawn(async move {
            let done = lanes.run((&key, &lane, &Pressure::new(urgency)), || sleep(time)).await;
            (begin.elapsed().as_secs(), done.is_some())
        })
    }

    const MOMENT: Duration = Duration::from_millis(10);
    const FOR_EVER: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn slow_passes_hold_up_each_other_and_nobody_else() {
        let (lanes, lane) =
            (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
        let slow: Vec<_> =
            keys("slow", 10, false).iter().map(|key| start(&lanes, &lane, key, FOR_EVER)).collect();
        sleep(MOMENT).await;
        // Those who are slow for the first time have all places for as long as it takes to know.
        let key = &keys("app", 1, false)[0];
        let (end, _) = start(&lanes, &lane, key, MOMENT).await.unwrap();
        assert!((29..=30).contains(&end), "it ended in second {end}");
        // From then on they have one.
        for _ in 0..100 {
            assert_eq!(start(&lanes, &lane, key, MOMENT).await.unwrap(), (0, true));
        }
        for (number, pass) in slow.into_iter().enumerate() {
            let (end, is_done) = pass.await.unwrap();
            assert!(!is_done && end <= 40 + 300 * (number as u64 + 1), "{number} ended in second {end}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_slow_pass_goes_on_where_it_is() {
        let (lanes, lane) =
            (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
        let key = &keys("slow", 1, false)[0];
        assert_eq!(start(&lanes, &lane, key, Duration::from_mins(1)).await.unwrap(), (60, true));
        assert!(lanes.is(key, Weight::Slow));
        sleep(MEMORY).await;
        assert!(!lanes.is(key, Weight::Slow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_does_not_end_is_given_up() {
        let (lanes, lane) =
            (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
        let key = &keys("slow", 1, false)[0];
        let (end, is_done) = start(&lanes, &lane, key, FOR_EVER).await.unwrap();
        assert_eq!((end, is_done), ((QUICK_LIMIT + SLOW_LIMIT).as_secs(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn servers_that_resources_name_hold_up_each_other_and_not_the_operators_own() {
        let (lanes, own) =
            (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
        let hostile = |key| start(&lanes, &Arc::new(Lane::of(Budget::default().server)), key, FOR_EVER);
        let slow: Vec<_> = keys("slow", 100, true).iter().map(hostile).collect();
        sleep(MOMENT).await;
        let key = &keys("app", 1, false)[0];
        assert_eq!(start(&lanes, &own, key, MOMENT).await.unwrap(), (0, true));
        let other = &keys("other", 1, true)[0];
        let (end, _) =
            start(&lanes, &Arc::new(Lane::of(Budget::default().server)), other, MOMENT).await.unwrap();
        assert!(end <= 70, "it ended in second {end}");
        slow.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn who_names_the_operators_own_server_holds_up_nobody_there() {
        let (servers, own) =
            (Servers::new(Budget::default(), Clock::default()), Address { host: "own".into(), port: 5432 });
        let lanes = Arc::new(Lanes::new(Budget::default()));
        let begin = |key: &DatabaseKey, address: &Address, time| {
            let gate = servers.gate(address, &key.server);
            let (lanes, key) = (lanes.clone(), key.clone());
            tokio::spawn(async move {
                lanes.run((&key, &gate.lane, &Pressure::new(Urgency::Routine)), || sleep(time)).await
            })
        };
        let mut hostile = Vec::new();
        for (number, key) in keys("slow", 100, true).iter().enumerate() {
            hostile.push(begin(key, &Address { host: format!("host{number}"), port: 5432 }, FOR_EVER));
        }
        sleep(MOMENT).await;
        hostile.extend(keys("other", 4, true).iter().map(|key| begin(key, &own, FOR_EVER)));
        sleep(MOMENT).await;
        let before = Instant::now();
        begin(&keys("app", 1, false)[0], &own, MOMENT).await.unwrap();
        assert!(before.elapsed() < QUICK_LIMIT, "{:?}", before.elapsed());
        hostile.iter().for_each(JoinHandle::abort);
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_waits_for_does_not_wait_for_regular_checks() {
        let (lanes, lane) =
            (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
        let second = Duration::from_secs(1);
        let routine = |key| start_as((&lanes, &lane), key, second, Urgency::Routine);
        let checks: Vec<_> = keys("checked", 100, false).iter().map(routine).collect();
        sleep(MOMENT).await;
        let key = &keys("changed", 1, false)[0];
        assert_eq!(start(&lanes, &lane, key, MOMENT).await.unwrap(), (0, true));
        let mut last = 0;
        for check in checks {
            last = last.max(check.await.unwrap().0);
        }
        assert_eq!(last, 50, "two regular checks at a time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_large_is_read_one_after_the_other() {
        let lanes = Arc::new(Lanes::new(Budget::default()));
        let second = Duration::from_secs(1);
        let large = keys("large", 3, true);
        for key in &large {
            lanes.note(key, Weight::Large);
        }
        let passes: Vec<_> = large
            .iter()
            .map(|key| start(&lanes, &Arc::new(Lane::of(Budget::default().server)), key, second))
            .collect();
        let mut ends = Vec::new();
        for pass in passes {
            ends.push(pass.await.unwrap().0);
        }
        assert_eq!(ends, [1, 2, 3]);
    }
}
