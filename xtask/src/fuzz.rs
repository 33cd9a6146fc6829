//! `cargo xtask fuzz`: every property on many cases, as the nightly run does it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use xshell::{Shell, cmd};

/// The tests of properties, as arguments of `cargo test`, and what they try.
const PROPERTIES: [(&str, &str); 5] = [
    ("names and strings, against our own lexer", "-p postgres-provisioner-plan --test quoting"),
    ("wanted states and catalogs, against the simulator", "-p postgres-provisioner-plan --test properties"),
    ("names and strings, against PostgreSQL 13 and 18", "-p postgres-provisioner-exec --test exec quoting::"),
    (
        "answers of any form, against decoding and planning",
        "-p postgres-provisioner-exec --lib introspect::tests::",
    ),
    (
        "resources of any form, against conversion and planning",
        "-p postgres-provisioner-operator --test conversion",
    ),
];

/// Tries this many cases of each. Without a seed there are other ones every time.
pub(crate) fn run(shell: &Shell, cases: u32, seed: Option<u64>) -> anyhow::Result<()> {
    let seed = seed.unwrap_or_else(other_every_time);
    println!("{cases} cases of each; again: cargo xtask fuzz --cases {cases} --seed {seed}");
    for (what, arguments) in PROPERTIES {
        println!("{what}");
        let start = Instant::now();
        let arguments = arguments.split(' ');
        let test = cmd!(shell, "cargo test --quiet {arguments...}").quiet();
        test.env("PROPTEST_CASES", cases.to_string()).env("PROPTEST_RNG_SEED", seed.to_string()).run()?;
        println!("took {} s", start.elapsed().as_secs());
    }
    Ok(())
}

fn other_every_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
