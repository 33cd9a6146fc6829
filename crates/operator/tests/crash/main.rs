//! The program is killed after each of its external effects, and the next one finishes what it began. And the API
//! server is in trouble while it works.
//!
//! An effect is a request to the API server that is no read, or a statement that changes something, begins or ends
//! a transaction. The two kinds are counted as one sequence, each where the server has done it and the program does
//! not know yet. Reads are no effects: a crash after one is a crash after the effect before it.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod enumerate;
mod passwords;
mod sequence;
mod stage;
mod trouble;
mod work;

use enumerate::kill_everywhere;
use work::Work;

#[tokio::test]
async fn a_creation_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Creation).await;
}

#[tokio::test]
async fn a_change_of_owner_schemas_access_and_secrets_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Change).await;
}

#[tokio::test]
async fn a_rotation_by_hand_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Rotation).await;
}

#[tokio::test]
async fn a_downgrade_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Downgrade).await;
}

#[tokio::test]
async fn a_users_departure_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Departure).await;
}

#[tokio::test]
async fn the_deletion_of_a_database_with_its_users_survives_a_kill_after_each_effect() {
    kill_everywhere(Work::Deletion).await;
}
