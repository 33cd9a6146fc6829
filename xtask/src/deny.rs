//! What the dependencies may be: `deny.toml`, read by cargo-deny.

use std::path::PathBuf;

use xshell::{Shell, cmd};

/// Built once into the cache: a program of the developer's own may be older.
const VERSION: &str = "0.20.2";

/// Licences, sources and what is banned; then known vulnerabilities, as far as their list can be had.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let program = program(shell);
    cmd!(shell, "{program} --log-level error check bans licenses sources").quiet().run()?;
    // It is on another host than the crates, which not every machine reaches.
    let fetched = cmd!(shell, "{program} fetch db").quiet().ignore_stderr().ignore_status().output()?;
    if !fetched.status.success() {
        println!("lint: the list of advisories cannot be fetched: known vulnerabilities are not looked for");
        return Ok(());
    }
    Ok(cmd!(shell, "{program} --log-level error check advisories").quiet().run()?)
}

fn program(shell: &Shell) -> PathBuf {
    let directory = testbed::cache::entry(&format!("cargo-deny-{VERSION}"), |draft| {
        println!("building cargo-deny {VERSION} (once, about two minutes)");
        let version = format!("cargo-deny@{VERSION}");
        let built = cmd!(shell, "cargo install --quiet --locked --root {draft} {version}").quiet().run();
        built.unwrap_or_else(|error| panic!("cargo-deny {VERSION} cannot be built: {error}"));
    });
    directory.join("bin/cargo-deny")
}
