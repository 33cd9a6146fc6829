//! Real PostgreSQL servers and a real Kubernetes API, for tests and the demo.
//!
//! Nothing here outlives the process that started it (see `guard.sh`), and nothing needs a service
//! that was there before: what is missing is downloaded or built once and cached per user. What a
//! machine lacks (a tool, a user, a network) is a panic that says what to install.

mod blocking;
pub mod cache;
mod golang;
pub mod helm;
pub mod kubernetes;
mod launch;
mod port;
pub mod postgres;
mod process;
mod progress;
pub mod promtool;
pub mod relay;
mod scratch;
pub mod tls;
mod unique;
mod wait;

pub use kubernetes::Cluster;
pub use postgres::Postgres;
pub use unique::unique;
pub use wait::{Look, eventually};
