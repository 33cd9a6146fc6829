//! How long this operator may change things: until a deadline of its own, which every renewal of the Lease moves on.

use std::sync::Arc;
use std::time::Duration;

use exec::{Licence, Unlimited};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time for which this operator leads. Clones are the same term; one that is over never begins again, so that
/// whatever is left of it cannot work in a later one.
///
/// It ends by the clock of this machine alone: no answer from anywhere is needed for that.
#[derive(Clone, Debug)]
pub struct Term {
    end: Arc<watch::Sender<End>>,
    silence: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Never,
    At(Instant),
    Now,
}

impl Term {
    /// Of an operator that is the only one.
    pub fn unlimited() -> Self {
        Self { end: Arc::new(watch::Sender::new(End::Never)), silence: Unlimited::SILENCE }
    }

    /// Ends at `deadline` unless it is extended. Nobody else leads before `silence` has passed since then.
    pub fn until(deadline: Instant, silence: Duration) -> Self {
        Self { end: Arc::new(watch::Sender::new(End::At(deadline))), silence }
    }

    /// Whether it lasts: nothing may be changed once it does not.
    pub fn is_held(&self) -> bool {
        match *self.end.borrow() {
            End::Never => true,
            End::At(deadline) => Instant::now() < deadline,
            End::Now => false,
        }
    }

    /// Moves the deadline on; false when the term was over already, and stays so.
    pub fn extend(&self, deadline: Instant) -> bool {
        self.end.send_if_modified(|end| {
            let is_later = matches!(*end, End::At(before) if Instant::now() < before && before < deadline);
            if is_later {
                *end = End::At(deadline);
            }
            is_later
        });
        self.is_held()
    }

    /// Ends it at once.
    pub fn end(&self) {
        self.end.send_replace(End::Now);
    }

    /// Returns when it is over.
    pub async fn over(&self) {
        let mut end = self.end.subscribe();
        loop {
            let at = *end.borrow_and_update();
            let deadline = async {
                match at {
                    End::Never => std::future::pending().await,
                    End::At(deadline) => sleep_until(deadline).await,
                    End::Now => (),
                }
            };
            tokio::select! {
                () = deadline => return,
                // It cannot be gone: this is a part of it.
                _ = end.changed() => (),
            }
        }
    }
}

impl Licence for Term {
    fn is_valid(&self) -> bool {
        self.is_held()
    }

    fn silence(&self) -> Duration {
        self.silence
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn term(seconds: u32) -> Term {
        Term::until(Instant::now() + SECOND * seconds, SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_itself() {
        let term = term(7);
        advance(SECOND * 6).await;
        assert!(term.is_held());
        assert!(timeout(SECOND / 2, term.over()).await.is_err());
        term.over().await;
        assert!(!term.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_moves_the_end_on_also_for_those_who_wait_for_it() {
        let term = term(7);
        let start = Instant::now();
        let waiting = tokio::spawn({
            let term = term.clone();
            async move { term.over().await }
        });
        advance(SECOND * 5).await;
        assert!(term.extend(Instant::now() + SECOND * 7));
        waiting.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_comes_too_late_does_not_revive_a_term() {
        let term = term(7);
        advance(SECOND * 7).await;
        assert!(!term.extend(Instant::now() + SECOND * 7));
        term.over().await;
        let ended = self::term(7);
        ended.end();
        assert!(!ended.extend(Instant::now() + SECOND * 7) && !ended.is_held());
        ended.over().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_never_shortens_a_term() {
        let term = term(7);
        assert!(term.extend(Instant::now() + SECOND));
        advance(SECOND * 2).await;
        assert!(term.is_held());
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_without_limit_lasts() {
        let term = Term::unlimited();
        assert!(timeout(SECOND * 1_000_000, term.over()).await.is_err());
        assert!(term.is_held() && term.extend(Instant::now()));
    }
}
