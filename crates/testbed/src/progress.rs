//! Tells the person who waits what a long step does.

use std::{
    io::Write as _,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// Runs `step` and says so on standard error: at its start, every 20 seconds, at its end.
pub(crate) fn during<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    say(what);
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
                say(&format!("… {} s", start.elapsed().as_secs()));
            }
        });
        // Dropped when the step returns or panics, which ends the reporter.
        let done = done;
        let outcome = step();
        drop(done);
        say(&format!("done in {:.1} s", start.elapsed().as_secs_f32()));
        outcome
    })
}

// Not `eprintln!`: the test harness would capture it, and nobody would see why a test takes minutes.
fn say(line: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "testbed: {line}");
}
