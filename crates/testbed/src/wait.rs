//! Waiting for a condition, never for a time.

use std::{
    fmt::Display,
    panic::Location,
    thread,
    time::{Duration, Instant},
};

/// How long to wait between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(20);

/// What a look at a condition found: `Ok` and `Some` end the waiting.
pub trait Look {
    /// What is there once the condition holds.
    type Found;

    /// What was found, or what is missing.
    fn found(self) -> Result<Self::Found, String>;
}

impl<T, E: Display> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".to_owned())
    }
}

/// Looks until `look` finds something.
///
/// Panics when `deadline` is over, and says `what` was waited for and what the last look found.
#[track_caller]
pub fn eventually<F, L>(what: &str, deadline: Duration, mut look: F) -> impl Future<Output = L::Found>
where
    F: AsyncFnMut() -> L,
    L: Look,
{
    let caller = Location::caller();
    async move {
        let mut last = "the first look did not return".to_owned();
        let looking = async {
            loop {
                match look().await.found() {
                    Ok(found) => return found,
                    Err(missing) => last = missing,
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        let found = tokio::time::timeout(deadline, looking).await;
        found.unwrap_or_else(|_elapsed| panic!("{caller}: waited {deadline:?} for {what}: {last}"))
    }
}

/// The same for code that blocks: `None` when the deadline is over.
pub(crate) fn until<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > deadline {
            return None;
        }
        thread::sleep(INTERVAL);
    }
}
