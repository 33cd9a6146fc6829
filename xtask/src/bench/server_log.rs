//! What the operator did so far, as the server's log has it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use testbed::Postgres;

/// What the operator did so far.
pub(super) struct Count {
    pub(super) connections: usize,
    pub(super) statements: usize,
    pub(super) writes: usize,
}

/// What a server logs from some time on.
pub(super) struct Tail {
    file: File,
    /// What has no end of line yet.
    rest: String,
}

impl Tail {
    /// What is logged from now on.
    pub(super) fn of(postgres: &Postgres) -> anyhow::Result<Self> {
        let mut file = File::open(postgres.log_path())?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, rest: String::new() })
    }

    /// The whole lines since the last time: to read a large log again and again would disturb what is measured.
    pub(super) fn lines(&mut self) -> anyhow::Result<Vec<String>> {
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes)?;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let end = self.rest.rfind('\n').map_or(0, |end| end + 1);
        let whole: String = self.rest.drain(..end).collect();
        Ok(whole.lines().map(str::to_owned).collect())
    }
}

/// The database of the benchmark to which this line says that a session was let in.
pub(super) fn connected(line: &str) -> Option<&str> {
    let is_ours = line.contains("connection authorized");
    is_ours.then(|| line.split_once("database=bench")?.1.split(' ').next()).flatten()
}

/// Counts the lines of the operator's sessions.
pub(super) fn count(postgres: &Postgres) -> Count {
    let log = postgres.log();
    let ours: Vec<_> = log.lines().filter(|line| line.contains("postgres-provisioner")).collect();
    let is_statement = |line: &&&str| line.contains(" LOG:  statement: ") || line.contains(" LOG:  execute ");
    let verbs = ["CREATE ", "ALTER ", "GRANT ", "REVOKE ", "COMMENT ", "DROP ", "BEGIN", "LOCK "];
    let is_write = |line: &&&str| verbs.iter().any(|verb| line.contains(&format!(": {verb}")));
    Count {
        connections: ours.iter().filter(|line| line.contains("connection authorized")).count(),
        statements: ours.iter().filter(is_statement).count(),
        writes: ours.iter().filter(is_statement).filter(is_write).count(),
    }
}
