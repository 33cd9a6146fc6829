//! Starting servers blocks, and a shared server must not belong to the runtime of the test that
//! happened to ask first: both are done on threads of their own.

use std::{panic::resume_unwind, thread};

/// Runs blocking work on its own thread; a panic there is a panic here.
pub(crate) async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let worker = thread::Builder::new()
        .name("testbed".to_owned())
        .spawn(move || {
            // Nobody listens any more when the caller was cancelled.
            let _ = sender.send(work());
        })
        .expect("the system can start a thread");
    if let Ok(outcome) = receiver.await {
        return outcome;
    }
    match worker.join() {
        Ok(()) => unreachable!("the worker sends before it ends"),
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs a future to its end on a runtime of its own; only for threads outside every runtime.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("the system has file descriptors for a runtime")
        .block_on(future)
}
