//! Where a server is and how to log in to it.

use std::net::IpAddr;

use plan::Ident;

use crate::{
    Learned, Password, SslMode, Tls,
    tls::{Part, Unusable},
};

/// A PostgreSQL server and the admin credentials used for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A host name, an address, or the directory of a socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The admin role.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// The database for statements about roles and databases, usually `postgres`. All operators of one server
    /// must name the same one: their locks meet there.
    pub maintenance: Ident,
    /// Encryption and trust.
    pub tls: Tls,
    /// How passwords of roles reach it.
    pub passwords: PasswordMode,
    /// What sessions found out about it.
    pub learned: Learned,
}

/// In which form the password of a role reaches the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordMode {
    /// As a SCRAM-SHA-256 verifier, from which nobody can log in.
    #[default]
    Verifier,
    /// In clear, for services that take nothing else: it may stand in the server's log. Never a fallback.
    Plaintext,
}

impl Server {
    /// Whether what was given can be used together; [`Sessions`](crate::Sessions) connect to no server that fails.
    ///
    /// Passwords in clear need encryption that nobody in between can switch off, unless there is nothing in between.
    pub fn check(&self) -> Result<(), Unusable> {
        self.tls.check()?;
        let is_safe = self.tls.effective_mode() >= SslMode::Require || self.is_local();
        if self.passwords == PasswordMode::Plaintext && !is_safe {
            return Err(Part::Passwords.is(
                "plaintext needs an encrypted connection: set sslmode to require or verify-ca, or give a CA",
            ));
        }
        Ok(())
    }

    fn is_local(&self) -> bool {
        let is_loopback = || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.host.starts_with('/') || self.host == "localhost" || is_loopback()
    }
}

impl std::str::FromStr for PasswordMode {
    type Err = UnknownPasswordMode;

    fn from_str(text: &str) -> Result<Self, UnknownPasswordMode> {
        match text {
            "verifier" => Ok(Self::Verifier),
            "plaintext" => Ok(Self::Plaintext),
            other => Err(UnknownPasswordMode(other.to_owned())),
        }
    }
}

/// The text names no mode.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown password mode `{0}`; use verifier or plaintext")]
pub struct UnknownPasswordMode(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, mode: SslMode) -> Server {
        Server {
            host: host.to_owned(),
            port: 5432,
            user: "admin".to_owned(),
            password: Password::new("secret"),
            maintenance: "postgres".parse().unwrap(),
            tls: Tls { mode, ..Tls::default() },
            passwords: PasswordMode::Plaintext,
            learned: Learned::default(),
        }
    }

    #[test]
    fn passwords_in_clear_do_not_leave_the_machine_unencrypted() {
        for host in ["db.example", "10.0.0.1", "localhost.example", "127.0.0.1.example"] {
            for mode in [SslMode::Disable, SslMode::Prefer] {
                assert_eq!(server(host, mode).check().unwrap_err().part, Part::Passwords, "{host} {mode}");
            }
            assert_eq!(server(host, SslMode::Require).check(), Ok(()));
        }
        for host in ["127.0.0.1", "::1", "localhost", "/var/run/postgresql"] {
            assert_eq!(server(host, SslMode::Prefer).check(), Ok(()), "{host}");
        }
    }
}
