//! What the operator counts and measures, for Prometheus. A name of a tenant is in no metric, and no label has a value
//! that is not one of ours.

mod api;
mod book;
mod families;
mod process;
mod repeats;
mod scrape;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use exec::Usage;
use k8s_openapi::jiff::Timestamp;
use plan::Action;
use tokio::time::Instant;

pub use book::{Description, Format};
pub use words::{Ending, Fate, Leadership, SecretWrite};

use crate::context::Context;
use crate::lock::lock;
use crate::resource::{DatabaseKey, ServerKey};
use book::Book;
use families::{Families, WAITING, WORKING};

/// How long what was told may be told again.
const FRESH: Duration = Duration::from_secs(1);

/// Everything that one operator counts; clones are the same.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    book: Book,
    families: Families,
    process: process::Process,
    /// What connections to servers cost that resources name.
    named: Arc<Usage>,
    passes: Mutex<Passes>,
    repeats: Mutex<repeats::Repeats>,
    /// Where the rest is looked up; one scrape at a time.
    context: Mutex<Weak<Context>>,
    /// What was told last, and when.
    recent: Mutex<BTreeMap<Format, (Instant, Arc<str>)>>,
}

/// Passes that were begun.
#[derive(Default)]
struct Passes {
    count: u64,
    /// When the last pass over each database came to its end, or the first was asked for.
    checked: BTreeMap<DatabaseKey, Timestamp>,
}

/// A pass that is counted when it ends.
pub struct Pass {
    metrics: Metrics,
    key: DatabaseKey,
    number: u64,
    ending: Option<Ending>,
}

/// A pass that waits for a place among those that may talk to servers, as long as this lives.
pub struct Queued {
    metrics: Metrics,
    server: &'static str,
}

/// A pass that has its place, as long as this lives.
pub struct Working<'q> {
    queued: &'q Queued,
    begin: Instant,
}

impl Default for Inner {
    fn default() -> Self {
        let mut book = Book::default();
        let families = Families::new(&mut book);
        let process = process::Process::new(&mut book);
        let inner = Self {
            book,
            families,
            process,
            named: Arc::default(),
            passes: Mutex::default(),
            repeats: Mutex::default(),
            context: Mutex::default(),
            recent: Mutex::default(),
        };
        inner.families.begin();
        inner
    }
}

impl Metrics {
    /// Every metric that there is, in the order in which they are shown.
    pub fn descriptions(&self) -> &[Description] {
        &self.0.book.descriptions
    }

    /// From now on what resources and servers look like is looked up here, as long as it is there.
    pub fn look_at(&self, context: &Arc<Context>) {
        *lock(&self.0.context) = Arc::downgrade(context);
        // What was looked at before may be somebody else's to look at, or be gone.
        lock(&self.0.passes).checked.clear();
    }

    /// All values now.
    pub fn text(&self, format: Format) -> String {
        // Held until the text is written, so that no other scrape sees half of what is looked up.
        let context = lock(&self.0.context);
        self.0.process.look();
        self.look(context.upgrade().as_deref());
        self.0.book.text(format)
    }

    /// All values as they were a second ago at most: who asks all the time costs no more than who asks every second. Each
    /// pod of the cluster may be able to ask.
    pub fn recent(&self, format: Format) -> Arc<str> {
        let (now, mut recent) = (Instant::now(), lock(&self.0.recent));
        match recent.get(&format) {
            Some((when, text)) if now - *when < FRESH => text.clone(),
            _ => {
                let text: Arc<str> = self.text(format).into();
                recent.insert(format, (now, text.clone()));
                text
            }
        }
    }

    /// Whether this process is the one that works. It is, unless somebody says something else.
    pub fn set_leadership(&self, leadership: Leadership) {
        self.0.families.leader.of([]).set(match leadership {
            Leadership::Leads => 1,
            Leadership::Follows => 0,
        });
    }

    /// Where connections to servers are counted that resources name.
    pub fn named_usage(&self) -> Arc<Usage> {
        self.0.named.clone()
    }

    /// Begins to count a pass.
    pub fn pass(&self, key: &DatabaseKey) -> Pass {
        let mut passes = lock(&self.0.passes);
        passes.count += 1;
        passes.checked.entry(key.clone()).or_insert_with(Timestamp::now);
        Pass { metrics: self.clone(), key: key.clone(), number: passes.count, ending: None }
    }

    /// Counts a pass among those that wait.
    pub fn queue(&self, key: &DatabaseKey) -> Queued {
        self.0.families.passes_in_progress.of(WAITING).inc();
        Queued { metrics: self.clone(), server: words::server(&key.server) }
    }

    /// Counts a statement.
    pub fn statement(&self, action: &Action, fate: Fate) {
        self.0.families.statements.of([words::action(action), words::fate(&fate)]).inc();
    }

    /// Counts a statement that undoes what others changed.
    pub fn tampering(&self, action: &Action) {
        self.0.families.drift.of(["tampering", words::action(action)]).inc();
    }

    /// Counts a statement that covers what others added.
    pub fn growth(&self, action: &Action) {
        self.0.families.drift.of(["growth", words::action(action)]).inc();
    }

    /// Counts trouble with a server.
    pub fn server_failure(&self, key: &ServerKey, class: exec::Class) {
        self.0.families.server_failures.of([words::server(key), words::trouble(&class)]).inc();
    }

    /// Counts a write of a Secret.
    pub fn secret_write(&self, write: SecretWrite) {
        self.0.families.secret_writes.of([words::secret_write(&write)]).inc();
    }
}

impl Pass {
    /// Tells this pass of the process from all others.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The pass ended like this. One that never says so was cut off, which counts as nothing, or panicked.
    pub fn end(mut self, ending: Ending) {
        self.ending = Some(ending);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let panicked = std::thread::panicking().then_some(Ending::Panicked);
        let Some(ending) = self.ending.or(panicked) else { return };
        let inner = &self.metrics.0;
        inner.families.passes.of([words::server(&self.key.server), words::ending(&ending)]).inc();
        let mut passes = lock(&inner.passes);
        match ending {
            Ending::Done | Ending::Waits => _ = passes.checked.insert(self.key.clone(), Timestamp::now()),
            Ending::Gone => _ = passes.checked.remove(&self.key),
            Ending::Failed | Ending::Panicked => (),
        }
    }
}

impl Queued {
    /// It has its place.
    pub fn work(&self) -> Working<'_> {
        let gauge = &self.metrics.0.families.passes_in_progress;
        gauge.of(WAITING).dec();
        gauge.of(WORKING).inc();
        Working { queued: self, begin: Instant::now() }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.metrics.0.families.passes_in_progress.of(WAITING).dec();
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let families = &self.queued.metrics.0.families;
        families.passes_in_progress.of(WORKING).dec();
        families.passes_in_progress.of(WAITING).inc();
        families.pass_duration.of([self.queued.server]).observe(self.begin.elapsed().as_secs_f64());
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.book.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_all_the_time_costs_no_more_than_who_asks_every_second() {
        let metrics = Metrics::default();
        let first = metrics.recent(Format::Text);
        metrics.secret_write(SecretWrite::Created);
        assert!(Arc::ptr_eq(&first, &metrics.recent(Format::Text)));
        tokio::time::advance(FRESH).await;
        let later = metrics.recent(Format::Text);
        assert!(later.contains(r#"secret_writes_total{operation="create"} 1"#), "{later}");
    }

    #[test]
    fn a_pass_that_panics_is_counted_and_one_that_is_cut_off_is_not() {
        let metrics = Metrics::default();
        let key = DatabaseKey { server: ServerKey::Configured, database: "app".into() };
        drop(metrics.pass(&key));
        let in_vain = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _pass = metrics.pass(&key);
            let queued = metrics.queue(&key);
            let _working = queued.work();
            panic!("a bug");
        }));
        assert!(in_vain.is_err());
        let text = metrics.text(Format::Text);
        let is_told = |series: &str| text.contains(&format!("postgres_provisioner_{series}\n"));
        assert!(is_told(r#"passes_total{server="configured",result="panicked"} 1"#), "{text}");
        for series in [
            r#"passes_total{server="configured",result="failed"} 0"#,
            r#"passes_in_progress{state="working"} 0"#,
            r#"passes_in_progress{state="waiting"} 0"#,
        ] {
            assert!(is_told(series), "{series}: {text}");
        }
    }
}
