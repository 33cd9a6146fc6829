//! What the operators' sessions did, as a server's log has it.

/// What changes something, or is about to.
const CHANGES: [&str; 11] = [
    "BEGIN",
    "COMMIT",
    "CREATE",
    "ALTER",
    "GRANT",
    "REVOKE",
    "COMMENT",
    "DROP",
    "REASSIGN",
    "LOCK",
    "SELECT pg_catalog.pg_",
];

/// What a line says when a session in this database begins.
pub(crate) fn session(database: &str) -> String {
    format!("connection authorized: user=postgres database={database} application_name=postgres-provisioner")
}

/// How many sessions in this database there were.
pub(crate) fn sessions(log: &str, database: &str) -> usize {
    log.matches(&session(database)).count()
}

/// Database and text of every statement; of one of several lines the first.
pub(crate) fn statements(log: &str) -> impl Iterator<Item = (&str, &str)> {
    log.lines().filter_map(|line| {
        let (head, said) = line.split_once("/postgres-provisioner LOG:  ")?;
        let (_, database) = head.rsplit_once('@')?;
        let statement = said
            .strip_prefix("statement: ")
            .or_else(|| said.split_once("execute <unnamed>: ").map(|(_, text)| text));
        Some((database, statement?))
    })
}

/// Whether the statement changes something, or is about to.
pub(crate) fn is_change(statement: &str) -> bool {
    CHANGES.iter().any(|verb| statement.starts_with(verb))
}
