//! Sessions, readings and plans on real servers.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

extern crate postgres_provisioner_exec as exec;

mod apply;
mod attacks;
mod canary;
mod concurrent;
mod contents;
mod errors;
mod example;
mod hostile;
mod interrupted;
mod laundering;
mod licence;
mod login;
mod ownership;
mod passwords;
mod quoting;
mod sessions;
mod support;
mod tls;
mod traps;
mod usage;
mod walk;
mod wiretap;
