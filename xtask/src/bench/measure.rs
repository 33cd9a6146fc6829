//! The optimized program that runs single passes, `crates/exec/benches/measure.rs`, and what it prints.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use anyhow::Context as _;
use testbed::Postgres;
use xshell::{Shell, cmd};

/// Where the program is.
pub(super) struct Program(PathBuf);

/// How many read and how many write.
#[derive(Clone, Copy)]
pub(super) struct Users {
    pub(super) readers: usize,
    pub(super) writers: usize,
}

/// What the program printed, by name.
pub(super) struct Numbers(BTreeMap<String, u64>);

impl Program {
    pub(super) fn build(shell: &Shell) -> anyhow::Result<Self> {
        let arguments = ["--package", "postgres-provisioner-exec", "--bench", "measure", "--no-run"];
        let built = cmd!(shell, "cargo bench {arguments...} --message-format json").read()?;
        let messages = built.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut programs = messages.filter_map(|message| Some(message["executable"].as_str()?.to_owned()));
        Ok(Self(programs.next_back().context("cargo built no program")?.into()))
    }

    /// A pass until nothing is left to do.
    pub(super) fn pass(&self, postgres: &Postgres, users: Users) -> anyhow::Result<Numbers> {
        self.run(postgres, "pass", users, 1)
    }

    /// Some checks where nothing is to be done.
    pub(super) fn check(&self, postgres: &Postgres, users: Users, times: usize) -> anyhow::Result<Numbers> {
        self.run(postgres, "check", users, times)
    }

    fn run(&self, postgres: &Postgres, what: &str, users: Users, times: usize) -> anyhow::Result<Numbers> {
        let numbers = [usize::from(postgres.port()), users.readers, users.writers, times];
        let [port, readers, writers, times] = numbers.map(|number| number.to_string());
        let output = Command::new(&self.0)
            .args([what, &port, postgres.password(), &readers, &writers, &times])
            .output()
            .with_context(|| format!("cannot run {}", self.0.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{what}: {said}");
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let pairs = lines.map(|(name, number)| Ok((name.to_owned(), number.parse()?)));
        Ok(Numbers(pairs.collect::<anyhow::Result<_>>()?))
    }
}

impl Numbers {
    pub(super) fn get(&self, name: &str) -> anyhow::Result<u64> {
        self.0.get(name).copied().with_context(|| format!("{name} was not measured"))
    }

    pub(super) fn time(&self, name: &str) -> anyhow::Result<Duration> {
        Ok(Duration::from_micros(self.get(name)?))
    }
}
