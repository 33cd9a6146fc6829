//! From a program to a server that answers.

use std::{fs, path::Path, time::Duration};

use crate::{
    process::{Process, Program},
    wait,
};

/// Long enough for a machine that is busy with builds.
const DEADLINE: Duration = Duration::from_secs(90);

/// Why a server is not there.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Somebody else was faster.
    PortTaken,
    Exited(String),
    Silent,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::PortTaken => write!(f, "its port is taken"),
            Failure::Exited(status) => write!(f, "it ended with {status}"),
            Failure::Silent => write!(f, "it was not ready after {DEADLINE:?}"),
        }
    }
}

/// Starts a server and waits until `is_ready`.
pub(crate) fn launch(program: &Program, mut is_ready: impl FnMut() -> bool) -> Result<Process, Failure> {
    // What it said before is not about this start.
    let already = read(&program.log).len();
    let mut process = Process::start(program);
    let outcome = wait::until(DEADLINE, || {
        if let Some(status) = process.exited() {
            let taken = read(&program.log)[already..].contains("ddress already in use");
            return Some(Err(if taken { Failure::PortTaken } else { Failure::Exited(status.to_string()) }));
        }
        is_ready().then_some(Ok(()))
    });
    outcome.unwrap_or(Err(Failure::Silent)).map(|()| process)
}

/// What a server has written so far; nothing if it has not yet begun.
pub(crate) fn read(log: &Path) -> String {
    fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The end of a log, for the message of a panic.
pub(crate) fn tail(log: &Path) -> String {
    let text = read(log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
