//! What the operators' sessions did, as a server's log has it.

use std::collections::BTreeMap;

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
    let is_about_to = ["LOCK", "SELECT pg_catalog.pg_"].iter().any(|begin| statement.starts_with(begin));
    is_about_to || testbed::postgres::is_change(statement)
}

/// How often each role and database was made, by transactions that were committed.
pub(crate) fn creations(log: &str) -> BTreeMap<String, usize> {
    let mut open: BTreeMap<&str, Transaction> = BTreeMap::new();
    let mut count = BTreeMap::new();
    for (process, kind, said) in log.lines().filter_map(line) {
        let transaction = open.entry(process).or_default();
        match (kind, said) {
            ("LOG", "BEGIN") => *transaction = Transaction { is_open: true, ..Transaction::default() },
            ("LOG", "COMMIT") => transaction.count_into(&mut count),
            ("LOG", "ROLLBACK") | ("ERROR" | "FATAL", _) => *transaction = Transaction::default(),
            ("LOG", statement) => {
                // What stands alone has succeeded when its session goes on, or ends, without an error.
                if !transaction.is_open {
                    transaction.count_into(&mut count);
                }
                transaction.made.extend(created(statement));
            }
            _ => (),
        }
    }
    open.values_mut().filter(|left| !left.is_open).for_each(|left| left.count_into(&mut count));
    count
}

#[derive(Default)]
struct Transaction {
    is_open: bool,
    made: Vec<String>,
}

impl Transaction {
    fn count_into(&mut self, count: &mut BTreeMap<String, usize>) {
        for name in std::mem::take(self).made {
            *count.entry(name).or_default() += 1;
        }
    }
}

/// Process, kind and statement or message of a line of an operator's session.
fn line(line: &str) -> Option<(&str, &str, &str)> {
    let (head, said) = line.split_once("/postgres-provisioner ")?;
    let process = head.split_once('[')?.1.split_once(']')?.0;
    let (kind, said) = said.split_once(":  ")?;
    let statement = said
        .strip_prefix("statement: ")
        .or_else(|| said.split_once("execute <unnamed>: ").map(|(_, text)| text));
    match kind {
        "LOG" => Some((process, kind, statement?)),
        _ => Some((process, kind, said)),
    }
}

fn created(statement: &str) -> Option<String> {
    let rest = ["CREATE ROLE ", "CREATE DATABASE "].iter().find_map(|verb| statement.strip_prefix(verb))?;
    Some(rest.split([' ', ';']).next().unwrap_or_default().trim_matches('"').to_owned())
}

#[test]
fn only_what_was_committed_counts_as_made() {
    let log = "
t [1] postgres@app/postgres-provisioner LOG:  statement: BEGIN
t [2] postgres@app/postgres-provisioner LOG:  execute <unnamed>: BEGIN
t [1] postgres@app/postgres-provisioner LOG:  execute <unnamed>: CREATE ROLE \"kept\" NOLOGIN
t [2] postgres@app/postgres-provisioner LOG:  execute <unnamed>: CREATE ROLE \"undone\" NOLOGIN
t [1] postgres@app/postgres-provisioner LOG:  execute <unnamed>: COMMIT
t [2] postgres@app/postgres-provisioner FATAL:  terminating connection due to idle-in-transaction timeout
t [3] postgres@app/postgres-provisioner LOG:  execute <unnamed>: CREATE DATABASE \"twice\" OWNER \"kept\"
t [4] postgres@app/postgres-provisioner LOG:  execute <unnamed>: CREATE DATABASE \"refused\" OWNER \"kept\"
t [4] postgres@app/postgres-provisioner ERROR:  database \"refused\" already exists
t [5] postgres@app/postgres-provisioner LOG:  execute <unnamed>: CREATE DATABASE \"twice\" OWNER \"kept\"
";
    let wanted = [("kept", 1), ("twice", 2)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(creations(log), wanted.into());
}
