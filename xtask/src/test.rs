//! `cargo xtask test`: every test there is.

use xshell::{Shell, cmd};

/// Runs them all; the arguments go to the runner.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    println!("tests of all packages; the first run fetches PostgreSQL and builds the Kubernetes API");
    cmd!(shell, "cargo test --workspace --all-targets -- {arguments...}").run()?;
    println!("examples in the documentation");
    cmd!(shell, "cargo test --workspace --doc -- {arguments...}").run()?;
    Ok(())
}
