//! Automation of this repository, in Rust instead of shell: `cargo xtask --help`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod bench;
mod demo;
mod deny;
mod fuzz;
mod generate;
mod lint;
mod test;
mod tidy;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use xshell::Shell;

/// Automation of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write what is generated: CRDs, tables in docs/, deploy/install.yaml.
    Crds {
        /// Write nothing; fail when a file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Measure what provisioning, checking and idling cost, and print a table.
    Bench {
        /// One group alone.
        group: Option<bench::Group>,
        /// How many databases a fleet has.
        #[arg(long, default_value_t = 1_000)]
        databases: usize,
    },
    /// Show the main job on real parts: a PostgreSQL, a Kubernetes API, the operator and the samples.
    Demo {
        /// Leave everything running until Ctrl-C; print the kubeconfig and connection strings.
        #[arg(long)]
        keep: bool,
    },
    /// Try every property on many cases: names, strings, states, resources and answers of any form.
    ///
    /// A failure prints the smallest case that shows it, and the line above how to see it again. `cargo xtask test`
    /// tries some thousand cases of each, the same every time.
    Fuzz {
        /// How many cases of each.
        #[arg(long, env = "PROPTEST_CASES", default_value_t = 100_000)]
        cases: u32,
        /// Which cases: the same ones for the same number [default: others every time].
        #[arg(long, env = "PROPTEST_RNG_SEED")]
        seed: Option<u64>,
    },
    /// Check format, lints, docs, generated files and the invariants of the design.
    Lint,
    /// Run every test.
    Test {
        /// For the test runner: a part of a test's name, `--nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
    shell.change_dir(root);
    match command {
        Command::Crds { check: false } => generate::write(&shell),
        Command::Crds { check: true } => generate::check(&shell),
        Command::Bench { group, databases } => bench::run(&shell, group, databases),
        Command::Demo { keep } => demo::run(&shell, keep),
        Command::Fuzz { cases, seed } => fuzz::run(&shell, cases, seed),
        Command::Lint => lint::run(&shell),
        Command::Test { arguments } => test::run(&shell, &arguments),
    }
}
