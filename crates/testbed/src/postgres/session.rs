//! Sessions for tests: log in, run a text of statements, look at the answer.

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _, ValueRef as _,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{Postgres, SUPERUSER};

/// How a statement begins that changes something, or begins or ends a transaction in which one may.
const CHANGES: [&str; 11] = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "CREATE",
    "ALTER",
    "GRANT",
    "REVOKE",
    "COMMENT",
    "DROP",
    "REASSIGN",
    "SELECT pg_catalog.pg_terminate_backend",
];

/// Whether a statement changes something, or begins or ends a transaction in which one may.
pub fn is_change(statement: &str) -> bool {
    CHANGES.iter().any(|begin| statement.starts_with(begin))
}

impl Postgres {
    /// The user and text of every statement that `pg_stat_statements` has kept.
    pub async fn statements(&self) -> Vec<(String, String)> {
        let mut session = self.admin("postgres").await;
        let asked = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; \
                     SELECT pg_get_userbyid(userid), query FROM pg_stat_statements";
        let rows = fetch_rows(&mut session, asked).await;
        let rows = rows.unwrap_or_else(|error| panic!("{self} does not tell its statements: {error}"));
        rows.into_iter().filter_map(|row| Some((row.first()?.clone()?, row.get(1)?.clone()?))).collect()
    }

    /// Logs in.
    pub async fn connect(
        &self,
        database: &str,
        user: &str,
        password: &str,
    ) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&options(self, database, user, password)).await
    }

    /// Logs in as the superuser; panics when that fails. `pg_stat_statements` does not hear of it: there stands what
    /// others do.
    pub async fn admin(&self, database: &str) -> PgConnection {
        let options = options(self, database, SUPERUSER, self.password());
        let options = options.options([("pg_stat_statements.track", "none")]);
        let session = PgConnection::connect_with(&options).await;
        session.unwrap_or_else(|error| panic!("the superuser cannot log in to {database} of {self}: {error}"))
    }
}

/// How tests connect. Options for other sessions start here as well.
pub(super) fn options(postgres: &Postgres, database: &str, user: &str, password: &str) -> PgConnectOptions {
    // Nothing from the environment or from a password file of whoever runs the tests.
    PgConnectOptions::new_without_pgpass()
        .host(postgres.host())
        .port(postgres.port())
        .database(database)
        .username(user)
        .password(password)
        .ssl_mode(PgSslMode::Prefer)
        .application_name("testbed")
        .disable_statement_logging()
}

/// Runs a text of one or more statements and returns how many rows they changed or returned.
#[expect(clippy::disallowed_methods, reason = "tests do to a server what any person might")]
pub async fn run(session: &mut PgConnection, sql: impl Into<String>) -> Result<u64, sqlx::Error> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(session).await?;
    Ok(done.rows_affected())
}

/// Every row of an answer, each column as PostgreSQL prints it, `None` for NULL.
#[expect(clippy::disallowed_methods, reason = "tests do to a server what any person might")]
pub async fn fetch_rows(
    session: &mut PgConnection,
    sql: impl Into<String>,
) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.into())).fetch_all(session).await?;
    let cells = |row: sqlx::postgres::PgRow| {
        (0..row.len())
            .map(|column| {
                let value = row.try_get_raw(column)?;
                // The simple protocol knows text only, whatever the type.
                let text =
                    if value.is_null() { None } else { Some(value.as_str().map_err(sqlx::Error::Decode)?) };
                Ok(text.map(str::to_owned))
            })
            .collect()
    };
    rows.into_iter().map(cells).collect()
}

/// The first column of the first row, `None` for NULL or no row.
pub async fn fetch_text(
    session: &mut PgConnection,
    sql: impl Into<String>,
) -> Result<Option<String>, sqlx::Error> {
    let rows = fetch_rows(session, sql).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
}
