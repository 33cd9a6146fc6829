//! A database full of tricks, and a canary in each: it never sings with the operator's rights.
//!
//! What the operator does to the database of a hostile owner runs here from its creation to its owner's departure. That
//! the canaries sing where a session has no protection is shown by the tests of the crate itself (`src/canary.rs`).

mod event_triggers;
mod life;
mod nest;
