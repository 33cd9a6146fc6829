//! When passes run: one at a time for each database, shared by all who ask, and again when it is time.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lock::lock;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long a pass waits for company: what is applied together is provisioned together.
const GATHER: Duration = Duration::from_millis(10);

/// How long to leave a key alone whose pass panicked.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// When to run the next pass of a key although nobody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At the next regular check.
    Resync,
    /// After this time.
    After(Duration),
    /// Never: there is nothing left.
    Never,
}

/// Whether somebody waits for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It is a regular check, or looks again at what could not be done.
    Routine,
    /// Something was changed.
    Pressing,
}

/// Tells a pass whether somebody waits for it, which can change while it waits for its turn.
#[derive(Clone, Debug)]
pub struct Pressure(watch::Receiver<Urgency>);

impl Pressure {
    /// One that does not change.
    pub fn new(urgency: Urgency) -> Self {
        Self(watch::channel(urgency).1)
    }

    /// Returns once somebody waits for the pass.
    pub async fn rises(&self) {
        let mut urgency = self.0.clone();
        if urgency.wait_for(|urgency| *urgency == Urgency::Pressing).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

/// Runs a pass.
pub type Run<K, O> = Box<dyn Fn(K, Pressure) -> BoxFuture<'static, (Arc<O>, Next)> + Send + Sync>;

/// What a caller waits for; `Err` when the scheduler ends first.
pub type Answer<O> = Shared<oneshot::Receiver<Arc<O>>>;

/// Runs passes: callers that ask before a pass starts share it, one that asks while it runs gets the next.
///
/// A pass has a task of its own, so that a caller that goes away does not end it.
pub struct Passes<K, O> {
    inner: Arc<Inner<K, O>>,
}

struct Inner<K, O> {
    run: Run<K, O>,
    resync: Duration,
    slots: Mutex<BTreeMap<K, Slot<O>>>,
    tasks: Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
}

/// A key that has a task.
struct Slot<O> {
    /// The pass that has not started yet.
    waiting: Option<(oneshot::Sender<Arc<O>>, Answer<O>)>,
    /// Whether somebody waits for that one.
    urgency: Urgency,
    /// Whether somebody waits for the one that runs, or for the one after it.
    pressure: watch::Sender<Urgency>,
    wake: Arc<Notify>,
}

impl<K, O> Passes<K, O>
where
    K: Clone + Ord + std::fmt::Debug + Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    /// A scheduler that checks every key once per `resync`.
    pub fn new(resync: Duration, run: Run<K, O>) -> Self {
        let (stop, _) = watch::channel(false);
        let inner = Inner { run, resync, slots: Mutex::default(), tasks: Mutex::default(), stop };
        Self { inner: Arc::new(inner) }
    }

    /// Asks for a pass. The answer need not be awaited.
    pub fn request(&self, key: &K, urgency: Urgency) -> Answer<O> {
        let mut slots = lock(&self.inner.slots);
        let is_new = !slots.contains_key(key);
        let slot = slots.entry(key.clone()).or_insert_with(Slot::new);
        if urgency == Urgency::Pressing {
            slot.urgency = urgency;
            slot.pressure.send_replace(urgency);
        }
        let (_, answer) = slot.waiting.get_or_insert_with(|| {
            let (sender, receiver) = oneshot::channel();
            (sender, receiver.shared())
        });
        let answer = answer.clone();
        slot.wake.notify_one();
        let wake = slot.wake.clone();
        drop(slots);
        if is_new {
            let mut tasks = lock(&self.inner.tasks);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(attend(self.inner.clone(), key.clone(), wake));
        }
        answer
    }

    /// Starts no pass any more and waits for those that run.
    pub async fn stop(&self) {
        self.inner.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *lock(&self.inner.tasks));
        while tasks.join_next().await.is_some() {}
    }
}

impl<O> Slot<O> {
    fn new() -> Self {
        let (pressure, _) = watch::channel(Urgency::Routine);
        Self { waiting: None, urgency: Urgency::Routine, pressure, wake: Arc::default() }
    }

    /// What the pass that begins now has to know.
    fn begin(&mut self) -> (Option<oneshot::Sender<Arc<O>>>, Pressure) {
        let urgency = std::mem::replace(&mut self.urgency, Urgency::Routine);
        self.pressure.send_replace(urgency);
        // Who asked while others were waited for is served by this one.
        _ = self.wake.notified().now_or_never();
        (self.waiting.take().map(|(sender, _)| sender), Pressure(self.pressure.subscribe()))
    }
}

/// Runs the passes of one key, until there is nothing left of it.
async fn attend<K, O>(inner: Arc<Inner<K, O>>, key: K, wake: Arc<Notify>)
where
    K: Clone + Ord + std::fmt::Debug + Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    let mut stop = inner.stop.subscribe();
    let mut due = None;
    loop {
        tokio::select! {
            biased;
            () = async { drop(stop.wait_for(|stopped| *stopped).await) } => return,
            () = wake.notified() => sleep(GATHER).await,
            () = until(due) => (),
        }
        if *stop.borrow() {
            return;
        }
        let begun = lock(&inner.slots).get_mut(&key).map(Slot::begin);
        let Some((sender, pressure)) = begun else { return };
        let run = (inner.run)(key.clone(), pressure);
        let Ok((outcome, next)) = AssertUnwindSafe(run).catch_unwind().await else {
            tracing::error!(?key, "a pass panicked: this is a bug; others go on");
            due = Some(Instant::now() + AFTER_PANIC);
            continue;
        };
        if let Some(sender) = sender {
            _ = sender.send(outcome);
        }
        due = match next {
            Next::Resync => Some(Instant::now() + until_resync(&key, inner.resync, SystemTime::now())),
            Next::After(pause) => Some(Instant::now() + pause),
            Next::Never => {
                let mut slots = lock(&inner.slots);
                if slots.get(&key).is_none_or(|slot| slot.waiting.is_none()) {
                    slots.remove(&key);
                    return;
                }
                None
            }
        };
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The time until the key's next regular check. Checks of one key keep their beat, those of different keys are
/// spread over the period.
fn until_resync<K: std::fmt::Debug>(key: &K, resync: Duration, now: SystemTime) -> Duration {
    let mut hasher = DefaultHasher::new();
    format!("{key:?}").hash(&mut hasher);
    let period = resync.as_millis().max(1);
    let offset = u128::from(hasher.finish()) % period;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let pause = period - (now + offset) % period;
    Duration::from_millis(u64::try_from(pause).unwrap_or(u64::MAX))
}

/// A run function from an asynchronous closure.
pub fn run_with<K, O, F, Fut>(run: F) -> Run<K, O>
where
    F: Fn(K, Pressure) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = (Arc<O>, Next)> + Send + 'static,
{
    Box::new(move |key, pressure| run(key, pressure).boxed())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Passes that count and wait for a permit before they end.
    fn counting(next: Next) -> (Passes<&'static str, usize>, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (count, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counter, permits) = (count.clone(), gate.clone());
        let run = run_with(move |_, _| {
            let (counter, permits) = (counter.clone(), permits.clone());
            async move {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                permits.acquire().await.unwrap().forget();
                (Arc::new(number), next)
            }
        });
        (Passes::new(Duration::from_mins(5), run), count, gate)
    }

    async fn settle() {
        sleep(Duration::from_millis(100)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn callers_before_the_start_share_a_pass() {
        let (passes, count, gate) = counting(Next::Never);
        let answers: Vec<_> = (0..100).map(|_| passes.request(&"app", Urgency::Pressing)).collect();
        gate.add_permits(9);
        for answer in answers {
            assert_eq!(*answer.await.unwrap(), 1);
        }
        settle().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_while_a_pass_waits_for_company_costs_no_other() {
        let (passes, count, gate) = counting(Next::Resync);
        gate.add_permits(9);
        let first = passes.request(&"app", Urgency::Pressing);
        sleep(GATHER / 2).await;
        let second = passes.request(&"app", Urgency::Pressing);
        assert_eq!((*first.await.unwrap(), *second.await.unwrap()), (1, 1));
        settle().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_during_a_pass_gets_the_next() {
        let (passes, count, gate) = counting(Next::Never);
        let first = passes.request(&"app", Urgency::Pressing);
        settle().await;
        let (second, third) =
            (passes.request(&"app", Urgency::Pressing), passes.request(&"app", Urgency::Pressing));
        settle().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        gate.add_permits(9);
        assert_eq!((*first.await.unwrap(), *second.await.unwrap(), *third.await.unwrap()), (1, 2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn databases_do_not_wait_for_each_other() {
        let (passes, count, _gate) = counting(Next::Never);
        let _answers =
            (passes.request(&"app", Urgency::Pressing), passes.request(&"shop", Urgency::Pressing));
        settle().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_does_not_end_the_pass() {
        let (passes, count, gate) = counting(Next::Never);
        drop(passes.request(&"app", Urgency::Pressing));
        gate.add_permits(9);
        settle().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_checked_again_without_being_asked() {
        let (passes, count, gate) = counting(Next::After(Duration::from_secs(5)));
        gate.add_permits(9);
        passes.request(&"app", Urgency::Pressing).await.unwrap();
        sleep(Duration::from_secs(11)).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_the_pass_and_starts_no_other() {
        let (passes, count, gate) = counting(Next::Resync);
        let first = passes.request(&"app", Urgency::Pressing);
        settle().await;
        let _second = passes.request(&"app", Urgency::Pressing);
        gate.add_permits(9);
        passes.stop().await;
        assert_eq!((*first.await.unwrap(), count.load(Ordering::SeqCst)), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_panics_is_run_again_and_costs_the_others_nothing() {
        let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let counters = counts.clone();
        let run = run_with(move |key: usize, _| {
            let counter = counters[key].clone();
            async move {
                assert!(counter.fetch_add(1, Ordering::SeqCst) > 0 || key == 0, "the first pass of 1");
                (Arc::new(()), Next::Resync)
            }
        });
        let passes = Passes::new(Duration::from_hours(1), run);
        let (good, bad) = (passes.request(&0, Urgency::Pressing), passes.request(&1, Urgency::Pressing));
        assert!(good.await.is_ok() && bad.await.is_err());
        sleep(AFTER_PANIC + GATHER).await;
        assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), [1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_learns_that_somebody_waits_for_it_and_the_next_one_does_too() {
        let run = run_with(|_, pressure: Pressure| async move {
            let is_pressing = tokio::time::timeout(Duration::from_secs(1), pressure.rises()).await.is_ok();
            (Arc::new(is_pressing), Next::Never)
        });
        let passes = Passes::new(Duration::from_mins(5), run);
        assert!(!*passes.request(&"app", Urgency::Routine).await.unwrap());
        let first = passes.request(&"app", Urgency::Routine);
        settle().await;
        let second = passes.request(&"app", Urgency::Pressing);
        assert_eq!((*first.await.unwrap(), *second.await.unwrap()), (true, true));
        assert!(!*passes.request(&"app", Urgency::Routine).await.unwrap());
    }

    #[test]
    fn the_checks_of_a_key_keep_their_beat() {
        let period = Duration::from_mins(5);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let first = until_resync(&"app", period, at(1_000));
        let due = at(1_000) + first;
        assert_eq!(until_resync(&"app", period, due), period);
        assert_eq!(until_resync(&"app", period, at(1_000) + first / 2) + first / 2, first);
        assert_ne!(until_resync(&"shop", period, at(1_000)), first);
    }
}
