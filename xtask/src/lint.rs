//! `cargo xtask lint`: everything that can be said without running a test, the quick ones first.

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{deny, generate, tidy};

/// Stops at the first step that fails.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    step("format", || Ok(cmd!(shell, "cargo fmt --all --check").run()?))?;
    step("tidy", || tidy::run(shell))?;
    step("generated files", || generate::check(shell))?;
    step("dependencies", || deny::run(shell))?;
    step("clippy", || {
        Ok(cmd!(shell, "cargo clippy --quiet --workspace --all-targets -- -D warnings").run()?)
    })?;
    step("documentation", || {
        let doc = cmd!(shell, "cargo doc --quiet --workspace --no-deps --document-private-items");
        Ok(doc.env("RUSTDOCFLAGS", "-Dwarnings").run()?)
    })
}

fn step(name: &'static str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("lint: {name}");
    work().context(name)
}
