//! What the operator did so far, as the server's log has it.

use testbed::Postgres;

/// What the operator did so far.
pub(super) struct Count {
    pub(super) connections: usize,
    pub(super) statements: usize,
    pub(super) writes: usize,
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
