//! The one place where SQL text that was built at run time is sent.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, SqlSafeStr};

/// Sends one statement by the simple protocol: DDL takes no parameters, and some of it must not be prepared.
///
/// The text comes from [`plan::Action::statement`] or from a few words of this crate; names stand in it as
/// [`plan::Ident`] only.
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub(crate) async fn send(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(built(statement)).execute(connection).await.map(|_| ())
}

/// Has one statement parsed and nothing more: not rewritten, not planned, not run.
pub(crate) async fn parse(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    connection.prepare(built(statement).into_sql_str()).await.map(|_| ())
}

fn built(statement: String) -> impl SqlSafeStr {
    AssertSqlSafe(statement)
}
