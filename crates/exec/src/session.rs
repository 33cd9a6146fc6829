//! Verified sessions: every statement has a deadline, because the driver has none.

use std::time::Duration;

use plan::Ident;
use serde::de::DeserializeOwned;
use sqlx::{
    Connection as _, FromRow, PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::{QueryAs, QueryScalar},
    types::Json,
};
use tokio::time::timeout;

use crate::{
    Error, Server,
    connect::{Login, NONCE, address, connect_as_admin, nonce},
    facts::Facts,
    line::Line,
    statement,
};

/// For one statement: more than the server's own limit, which gives the better message.
const STATEMENT: Duration = Duration::from_secs(65);

/// For CREATE and DROP DATABASE, which copy and checkpoint.
const DATABASE: Duration = Duration::from_mins(10);

/// For a goodbye.
const CLOSE: Duration = Duration::from_secs(1);

/// A newer version is used all the same: what is read is asked for by name.
const NEWEST_TRIED: u32 = 18;

const CHECK: &str = include_str!("introspect/session.sql");

/// One verified connection to one database.
pub(crate) struct Session {
    connection: PgConnection,
    line: Line,
    address: String,
    /// What the server said of itself and of us.
    pub(crate) facts: Facts,
    /// Settings that could not stand in the startup packet and were not sent yet.
    pub(crate) unsent: Vec<(&'static str, &'static str)>,
}

impl Session {
    /// Connects, and makes sure that the session is what it was asked to be.
    ///
    /// The server ends a transaction in which it hears nothing of us for as long as `silence`.
    pub(crate) async fn open(server: &Server, database: &Ident, silence: Duration) -> Result<Self, Error> {
        let nonce = nonce();
        let login =
            Login { role: &server.user, password: &server.password, database, nonce: &nonce, silence };
        let (mut connection, line) = connect_as_admin(server, login).await?;
        let address = address(server);
        line.allow(0);
        let facts = ask(&mut connection, &address).await.map_err(|error| line.explain(&address, error))?;
        facts.check(&nonce)?;
        if facts.version().major() > NEWEST_TRIED {
            tracing::debug!(version = facts.version().0, "newer than any version this was tried on");
        }
        if facts.can_do_without_event_triggers() {
            server.learned.set_event_triggers_stay_on(false);
        }
        Ok(Self { connection, line, address, unsent: facts.later_settings(), facts })
    }

    /// A session that lacks these settings and is not found out; nothing is sent later.
    #[cfg(test)]
    pub(crate) async fn unprotected(
        server: &Server,
        database: &Ident,
        missing: &[&str],
    ) -> Result<Self, Error> {
        let silence = crate::Unlimited::SILENCE;
        let login = Login { role: &server.user, password: &server.password, database, nonce: "1", silence };
        let (mut connection, line) = crate::connect::connect_without(server, login, missing).await?;
        let address = address(server);
        let facts = ask(&mut connection, &address).await?;
        Ok(Self { connection, line, address, unsent: Vec::new(), facts })
    }

    /// The only row of a query.
    pub(crate) async fn scalar<T>(
        &mut self,
        query: QueryScalar<'_, Postgres, T, PgArguments>,
    ) -> Result<T, Error>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        self.within((STATEMENT, 0), async |connection| query.persistent(false).fetch_one(connection).await)
            .await
    }

    /// The document that a bounded query gives, if it is no longer than `limit` bytes.
    pub(crate) async fn document<T>(
        &mut self,
        limit: u32,
        query: QueryAs<'_, Postgres, (i64, Option<Json<T>>), PgArguments>,
    ) -> Result<T, Error>
    where
        T: DeserializeOwned + Send + Unpin + 'static,
    {
        let query = query.bind(i64::from(limit)).persistent(false);
        let limits = (STATEMENT, u64::from(limit));
        match self.within(limits, async |connection| query.fetch_one(connection).await).await? {
            (_, Some(Json(document))) => Ok(document),
            (bytes, None) => Err(Error::TooLarge { bytes: bytes.unsigned_abs(), limit }),
        }
    }

    /// All rows of a query with one column.
    pub(crate) async fn scalars<T>(
        &mut self,
        query: QueryScalar<'_, Postgres, T, PgArguments>,
    ) -> Result<Vec<T>, Error>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        self.within((STATEMENT, 0), async |connection| query.persistent(false).fetch_all(connection).await)
            .await
    }

    /// One statement that gives no rows.
    pub(crate) async fn execute(&mut self, text: impl Into<String>) -> Result<(), Error> {
        let text = text.into();
        self.within((STATEMENT, 0), async |connection| statement::send(connection, text).await).await
    }

    /// One statement that is parsed and forgotten.
    pub(crate) async fn parse(&mut self, text: String) -> Result<(), Error> {
        self.within((STATEMENT, 0), async |connection| statement::parse(connection, text).await).await?;
        self.execute("DEALLOCATE ALL").await
    }

    /// Makes ready for [`Session::execute_slowly`], which has to follow within `silence`: the server ends the session
    /// else (14 and later).
    pub(crate) async fn prepare_slowly(&mut self, silence: Duration) -> Result<(), Error> {
        self.execute(format!("SET statement_timeout = '{}s'", DATABASE.as_secs())).await?;
        self.set_idle_timeout(silence).await
    }

    /// A statement that may take minutes, such as CREATE DATABASE.
    pub(crate) async fn execute_slowly(&mut self, text: String) -> Result<(), Error> {
        let result =
            self.within((DATABASE, 0), async |connection| statement::send(connection, text).await).await;
        match result {
            Ok(()) | Err(Error::Statement { .. }) => {
                self.set_idle_timeout(Duration::ZERO).await?;
                result.and(self.execute("RESET statement_timeout").await)
            }
            // Nothing more can be said on this connection.
            Err(error) => Err(error),
        }
    }

    /// How long the session may be idle outside of transactions; zero for ever.
    async fn set_idle_timeout(&mut self, timeout: Duration) -> Result<(), Error> {
        match self.facts.version().major() {
            ..14 => Ok(()),
            14.. => self.execute(format!("SET idle_session_timeout = '{}ms'", timeout.as_millis())).await,
        }
    }

    /// Sends the settings that could not stand in the startup packet, if no query has carried them yet.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let (names, values): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsent).into_iter().unzip();
        let query =
            sqlx::query_scalar::<_, i64>(include_str!("introspect/settings.sql")).bind(names).bind(values);
        self.scalar(query).await.map(|_| ())
    }

    /// Says goodbye; the server ends the session either way.
    pub(crate) async fn close(self) {
        // Nobody waits for the answer.
        let _ = timeout(CLOSE, self.connection.close()).await;
    }

    async fn within<T>(
        &mut self,
        (time, bytes): (Duration, u64),
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, Error> {
        self.line.allow(bytes);
        let answer = timeout(time, work(&mut self.connection)).await;
        in_time(&self.address, time, answer).map_err(|error| self.line.explain(&self.address, error))
    }
}

async fn ask(connection: &mut PgConnection, address: &str) -> Result<Facts, Error> {
    let query = sqlx::query_scalar(CHECK).bind(NONCE).persistent(false);
    let Json(facts) = in_time(address, STATEMENT, timeout(STATEMENT, query.fetch_one(connection)).await)?;
    Ok(facts)
}

fn in_time<T>(
    address: &str,
    limit: Duration,
    answer: Result<sqlx::Result<T>, tokio::time::error::Elapsed>,
) -> Result<T, Error> {
    let address = address.to_owned();
    match answer {
        Ok(answer) => answer.map_err(|error| Error::of_statement(address, error)),
        Err(_) => Err(Error::Timeout { address, seconds: limit.as_secs() }),
    }
}
