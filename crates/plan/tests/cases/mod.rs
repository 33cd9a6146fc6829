//! How many cases a property is tried on, and which.

use std::env::var_os;

use proptest::test_runner::{Config, RngSeed};

/// The same cases every time, this many of them, unless `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for others.
pub(crate) fn config(cases: u32) -> Config {
    let default = Config::default();
    let is_asked = |name: &str| var_os(name).is_some();
    Config {
        cases: if is_asked("PROPTEST_CASES") { default.cases } else { cases },
        rng_seed: if is_asked("PROPTEST_RNG_SEED") { default.rng_seed } else { RngSeed::Fixed(13) },
        // A failure says its seed, which is enough.
        failure_persistence: None,
        ..default
    }
}
