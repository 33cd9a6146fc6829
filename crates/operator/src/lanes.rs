//! Who may talk to servers at the same time. Most passes are over in moments and read little; those that are not hold up
//! each other and nobody else.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};
use tokio::time::{Instant, timeout};

use crate::lock::lock;
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
    /// For tries of those that were down before: each takes as long as it takes to give up, and there can be many.
    suspects: Option<Semaphore>,
    /// One permit each: what is made of a large catalog takes a good part of the memory that there is.
    large: Large,
    heavy: Mutex<BTreeMap<(DatabaseKey, Weight), Instant>>,
}

/// Who reads a large catalog: of the operator's own server, and of one that a resource names. Those may take their time.
struct Large {
    own: Semaphore,
    named: Semaphore,
}

/// A pass that wants to be connected.
#[derive(Clone, Copy)]
pub struct Turn<'a> {
    /// Its database.
    pub key: &'a DatabaseKey,
    /// The places of its server.
    pub lane: &'a Lane,
    /// Whether somebody waits for it.
    pub pressure: &'a Pressure,
    /// Whether the server was down when it was tried last.
    pub is_suspect: bool,
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
        let connections = budget.total.saturating_sub(budget.server);
        let suspects = connections / CONNECTIONS / SLOW;
        let crowd = Lane::of(connections - suspects * CONNECTIONS);
        let suspects = (suspects > 0).then(|| Semaphore::new(suspects as usize));
        let large = Large { own: Semaphore::new(1), named: Semaphore::new(1) };
        Self { crowd, suspects, large, heavy: Mutex::default() }
    }

    /// Remembers what a database was.
    pub fn note(&self, key: &DatabaseKey, weight: Weight) {
        let mut heavy = lock(&self.heavy);
        let now = Instant::now();
        heavy.retain(|_, until| *until > now);
        heavy.insert((key.clone(), weight), now + MEMORY);
    }

    /// Whether the database is remembered as such.
    pub fn is(&self, key: &DatabaseKey, weight: Weight) -> bool {
        let heavy = lock(&self.heavy);
        heavy.get(&(key.clone(), weight)).is_some_and(|until| *until > Instant::now())
    }

    /// Runs a pass in a lane; `None` if it took too long. One that turns out to be slow changes to the slow lane if that
    /// is free, else it is given up where it is and begun again once it is.
    pub async fn run<F: Future>(&self, turn: Turn<'_>, pass: impl Fn() -> F) -> Option<F::Output> {
        let Turn { key, lane: server, pressure, .. } = turn;
        if !self.is(key, Weight::Slow) {
            let _large = self.large(key).await;
            let places = server.enter(pressure).await;
            let crowd = if is_named(key) { Some(self.enter_crowd(turn).await) } else { None };
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
        let permit = if is_named(key) { &self.large.named } else { &self.large.own };
        if self.is(key, Weight::Large) { permit.acquire().await.ok() } else { None }
    }

    async fn enter_crowd(&self, turn: Turn<'_>) -> Places<'_> {
        match self.suspects.as_ref().filter(|_| turn.is_suspect) {
            Some(suspects) => (None, suspects.acquire().await.ok()),
            None => self.crowd.enter(turn.pressure).await,
        }
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
mod tests;
