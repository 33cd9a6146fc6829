//! The operator on real parts, as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod access;
mod app;
mod attacks;
mod boundary;
mod changes;
mod drift;
mod encryption;
mod example;
mod leaving;
mod limited;
mod listed;
mod pod;
mod program;
mod resources;
mod secrets;
mod server_log;
mod servers;
mod sharing;
mod steady;
mod takeover;
mod tenants;
mod waiting;
mod whole_run;
mod witness;
mod world;
