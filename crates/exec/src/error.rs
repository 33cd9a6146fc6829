//! What went wrong with a server, and what kind of trouble that is.

use std::io;

use plan::ServerVersion;
use sqlx::error::DatabaseError;
use thiserror::Error as ThisError;

use crate::tls::{Part, Unusable};

/// Why a server could not be read or changed. Its text is whole (it stands in conditions and logs) and never
/// holds a password, a verifier or the text of a statement that may hold one.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// There is no such host, nothing listens there, or the connection broke.
    #[error("cannot reach {address}: {message}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The operating system's words.
        message: String,
    },
    /// Somebody listens, nobody answers.
    #[error("{address} did not answer within {seconds} s")]
    Timeout {
        /// Host and port.
        address: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// No encrypted connection, or not to the right server.
    #[error("no trusted connection to {address}: {message}")]
    Tls {
        /// Host and port.
        address: String,
        /// What does not fit.
        message: String,
    },
    /// What was given for the connection cannot be used; nobody was asked.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The server refused the session.
    #[error("the server refused the session: {message} ({code})")]
    Login {
        /// The SQLSTATE.
        code: String,
        /// The server's message.
        message: String,
    },
    /// The server refused a statement.
    #[error("{message} ({code})")]
    Statement {
        /// The SQLSTATE.
        code: String,
        /// The server's message.
        message: String,
        /// The constraint that was violated, if any.
        constraint: Option<String>,
    },
    /// The session is not the one that was asked for: something in between dropped its settings.
    #[error(
        "the session has not the {setting} that it was opened with: connect to the server itself, not to a pooler"
    )]
    Pooler {
        /// What was lost.
        setting: &'static str,
    },
    /// Standbys cannot be written to.
    #[error("the server is a standby")]
    Standby,
    /// Somebody made the server read-only.
    #[error("the server is read-only (default_transaction_read_only is on: {source_of_setting})")]
    ReadOnly {
        /// Where it is set, in PostgreSQL's words.
        source_of_setting: String,
    },
    /// Older than 13.
    #[error("PostgreSQL {} is not supported; 13 and later are", .0.major())]
    Unsupported(ServerVersion),
    /// Another operator works on the same server and does not come to an end.
    #[error("another session of {holder} holds the lock of postgres-provisioner")]
    Locked {
        /// The role that holds it.
        holder: String,
    },
    /// There is more in the database than we may hold in memory.
    #[error(
        "what is to be read of the database has {} kB, more than {} kB: drop schemas, relations or roles that are \
         not needed, or give many objects the same privileges", .bytes / 1024, .limit / 1024
    )]
    TooLarge {
        /// How much it is.
        bytes: u64,
        /// How much it may be.
        limit: u32,
    },
    /// The other side sends what no PostgreSQL would.
    #[error("{address} answers without end: it is no PostgreSQL")]
    Flood {
        /// Host and port.
        address: String,
    },
    /// Sessions of others hold up a change of roles and databases.
    #[error(
        "changes of roles and databases were not done within {seconds} s and are undone: look in pg_stat_activity \
         for sessions that keep transactions open on them"
    )]
    Held {
        /// How long it was tried.
        seconds: u64,
    },
    /// The [`Licence`](crate::Licence) is over.
    #[error("somebody else may be at work by now: what was begun is undone")]
    Superseded,
    /// Something that should not happen.
    #[error("{0}")]
    Bug(String),
}

/// What kind of trouble an [`Error`] is: who can do something about it, and whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Goes away by itself: try again soon.
    Transient,
    /// The server cannot be reached: no such host, no answer, or it is starting or stopping.
    Unavailable,
    /// The admin role may not do what is needed.
    Forbidden,
    /// The server does not accept the admin credentials.
    InvalidCredentials,
    /// No encrypted connection, or to the wrong server.
    Tls,
    /// A pooler stands between us and the server.
    Pooler,
    /// The server is a standby.
    Standby,
    /// The server is read-only.
    ReadOnly,
    /// The template database is in use.
    TemplateBusy,
    /// A version or kind of server that is not supported.
    Unsupported,
    /// The server has no connection left.
    TooManyConnections,
    /// More than we may hold in memory.
    TooLarge,
    /// Others hold it up for too long.
    Slow,
    /// The server refused a statement for good.
    Refused,
    /// Nothing may be done any more.
    Superseded,
    /// Something that should not happen.
    Bug,
}

/// What a refused statement means for the plan it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Trouble of the server or the connection: give up for now.
    Later,
    /// What is there changed since it was read: read again.
    Moved,
    /// The server will not do this.
    Never,
}

impl Error {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => Class::Unavailable,
            Self::Tls { .. } => Class::Tls,
            Self::Unusable(_) => Class::InvalidCredentials,
            Self::Login { code, message } => class_of_login(code, message),
            Self::Statement { code, message, .. } => class_of_statement(code, message),
            Self::Pooler { .. } => Class::Pooler,
            Self::Standby => Class::Standby,
            Self::ReadOnly { .. } => Class::ReadOnly,
            Self::Unsupported(_) | Self::Flood { .. } => Class::Unsupported,
            Self::Locked { .. } => Class::Transient,
            Self::TooLarge { .. } => Class::TooLarge,
            Self::Held { .. } => Class::Slow,
            Self::Superseded => Class::Superseded,
            Self::Bug(_) => Class::Bug,
        }
    }

    /// What it means for the plan that a statement failed with this.
    pub(crate) fn verdict(&self) -> Verdict {
        let Self::Statement { code, message, constraint } = self else { return Verdict::Later };
        let on_catalog = constraint.as_ref().is_some_and(|name| name.starts_with("pg_"));
        match code.as_str() {
            "23505" if on_catalog => Verdict::Moved,
            "XX000" if is_catalog_race(message) => Verdict::Moved,
            // Somebody uses what is to change hands, or has changed the same row and does not commit: a role can do
            // that to itself, and the owner of a database to that. The others need not wait for it.
            // And it can own more than can be locked at once, or than can be changed in time.
            LOCK_NOT_AVAILABLE | OUT_OF_MEMORY | CANCELED => Verdict::Moved,
            code if MOVED.contains(&code) => Verdict::Moved,
            _ => match class_of_statement(code, message) {
                Class::Forbidden | Class::Refused => Verdict::Never,
                Class::Transient
                | Class::Unavailable
                | Class::InvalidCredentials
                | Class::Tls
                | Class::Pooler
                | Class::Standby
                | Class::ReadOnly
                | Class::TemplateBusy
                | Class::Unsupported
                | Class::TooManyConnections
                | Class::TooLarge
                | Class::Slow
                | Class::Superseded
                | Class::Bug => Verdict::Later,
            },
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Login { code, .. } | Self::Statement { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Why no session was opened.
    pub(crate) fn of_login(address: String, error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                Self::Login { code: code_of(&*error), message: error.message().to_owned() }
            }
            // What rustls finds wrong with the other side comes as invalid data.
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Tls { address, message: error.to_string() }
            }
            sqlx::Error::Tls(error) => Self::Tls { address, message: error.to_string() },
            // All else was checked before. The driver's own words repeat a character of the password.
            sqlx::Error::Configuration(_) => {
                let problem =
                    "SASLprep (RFC 4013) forbids characters of its name or password: no login with it";
                Self::Unusable(Part::Login.is(problem))
            }
            sqlx::Error::Io(error) => Self::Unreachable { address, message: error.to_string() },
            error => Self::Unreachable { address, message: error.to_string() },
        }
    }

    /// Why a statement gave no result.
    pub(crate) fn of_statement(address: String, error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::Statement {
                code: code_of(&*error),
                message: error.message().to_owned(),
                constraint: error.constraint().map(ToOwned::to_owned),
            },
            sqlx::Error::Io(error) => Self::Unreachable { address, message: error.to_string() },
            error => Self::Bug(error.to_string()),
        }
    }
}

/// The SQLSTATE of a lock that somebody else has.
pub(crate) const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Also of a table of locks that is full.
const OUT_OF_MEMORY: &str = "53200";

/// The SQLSTATE of a statement that took longer than it may.
const CANCELED: &str = "57014";

/// The object went, came or got dependents; somebody changed the same rows, or in another order.
const MOVED: [&str; 11] =
    ["3D000", "3F000", "42704", "42P01", "42883", "42P04", "42710", "42P06", "2BP01", "40001", "40P01"];

fn code_of(error: &dyn DatabaseError) -> String {
    error.code().unwrap_or_default().into_owned()
}

fn is_catalog_race(message: &str) -> bool {
    ["tuple concurrently", "cache lookup failed", "could not open relation"]
        .iter()
        .any(|part| message.contains(part))
}

fn class_of_login(code: &str, message: &str) -> Class {
    match code {
        // The database's owner can set such a limit, so that it says nothing about the server.
        "53300" if message.starts_with("too many connections for database") => Class::Refused,
        "28P01" | "28000" => Class::InvalidCredentials,
        "42501" => Class::Forbidden,
        // "unsupported startup parameter", "no such database": PostgreSQL itself has other codes for these.
        "08P01" => Class::Pooler,
        "0A000" | "42704" => Class::Unsupported,
        "53300" => Class::TooManyConnections,
        _ => class_of_any(code).unwrap_or(Class::Refused),
    }
}

fn class_of_statement(code: &str, message: &str) -> Class {
    match code {
        "42501" => Class::Forbidden,
        "25006" => Class::ReadOnly,
        "55006" if message.starts_with("source database") => Class::TemplateBusy,
        "XX000" if is_catalog_race(message) => Class::Transient,
        _ => class_of_any(code).unwrap_or(Class::Refused),
    }
}

fn class_of_any(code: &str) -> Option<Class> {
    match code {
        "53300" => Some(Class::TooManyConnections),
        CANCELED => Some(Class::Slow),
        // Shutting down, crashed, starting up.
        "57P01" | "57P02" | "57P03" => Some(Class::Unavailable),
        // Serialization, deadlock, lock timeout, object in use, session timeouts.
        // A database's owner can set the last ones, so that they say nothing about the server.
        "40001" | "40P01" | "55P03" | "55006" | "25P03" | "25P04" | "57P05" => Some(Class::Transient),
        _ if code.starts_with("08") => Some(Class::Unavailable),
        _ if code.starts_with("53") => Some(Class::Transient),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(code: &str, message: &str) -> Error {
        Error::Statement { code: code.to_owned(), message: message.to_owned(), constraint: None }
    }

    fn login(code: &str) -> Error {
        Error::Login { code: code.to_owned(), message: String::new() }
    }

    #[test]
    fn a_code_has_one_class() {
        for (error, class) in [
            (login("28P01"), Class::InvalidCredentials),
            (login("28000"), Class::InvalidCredentials),
            (login("08P01"), Class::Pooler),
            (login("53300"), Class::TooManyConnections),
            (
                Error::Login {
                    code: "53300".to_owned(),
                    message: "too many connections for database \"app\"".to_owned(),
                },
                Class::Refused,
            ),
            (login("57P03"), Class::Unavailable),
            (login("3D000"), Class::Refused),
            (statement("42501", "permission denied"), Class::Forbidden),
            (statement("25006", "cannot execute GRANT in a read-only transaction"), Class::ReadOnly),
            (statement("55006", "source database \"template1\" is being accessed"), Class::TemplateBusy),
            (statement("55006", "database \"app\" is being accessed"), Class::Transient),
            (statement("55P03", "canceling statement due to lock timeout"), Class::Transient),
            (statement("57014", "canceling statement due to statement timeout"), Class::Slow),
            (statement("57P01", "terminating connection"), Class::Unavailable),
            (statement("54000", "row is too big"), Class::Refused),
            (statement("57P05", "terminating connection due to idle-session timeout"), Class::Transient),
            (statement("XX000", "tuple concurrently updated"), Class::Transient),
            (statement("XX000", "could not open relation with OID 16414"), Class::Transient),
            (statement("XX000", "something else"), Class::Refused),
        ] {
            assert_eq!(error.class(), class, "{error}");
        }
    }

    #[test]
    fn what_others_did_in_between_is_no_refusal() {
        for code in ["42P01", "3F000", "42704", "42P04", "42710", "2BP01", "40P01"] {
            assert_eq!(statement(code, "").verdict(), Verdict::Moved, "{code}");
        }
        let constraint = Some("pg_authid_rolname_index".to_owned());
        let duplicate = Error::Statement { code: "23505".to_owned(), message: String::new(), constraint };
        assert_eq!(duplicate.verdict(), Verdict::Moved);
        assert_eq!(statement("XX000", "tuple concurrently deleted").verdict(), Verdict::Moved);
        assert_eq!(statement("42501", "").verdict(), Verdict::Never);
        assert_eq!(statement("55P03", "").verdict(), Verdict::Moved);
        assert_eq!(statement("57014", "").verdict(), Verdict::Moved);
        assert_eq!(statement("53200", "out of shared memory").verdict(), Verdict::Moved);
        assert_eq!(statement("53100", "").verdict(), Verdict::Later);
        assert_eq!(login("42501").verdict(), Verdict::Later);
    }
}
