//! The operator on real parts, as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod access;
mod app;
mod attacker;
mod attacks;
mod boundary;
mod changes;
mod definitions;
mod drift;
mod encryption;
mod example;
mod impostor;
mod inherited;
mod leaving;
mod limited;
mod listed;
mod namespaces;
mod namespaces_credentials;
mod outage;
mod ownership;
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
mod upgrade;
mod version_one;
mod waiting;
mod whole_run;
mod witness;
mod world;
