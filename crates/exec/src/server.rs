//! Where a server is and how to log in to it.

use std::fmt;

use plan::Ident;

use crate::Password;

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
}

/// How the connection is encrypted and whom it trusts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The mode asked for; see [`Tls::effective_mode`].
    pub mode: SslMode,
    /// Certificates in PEM that sign the server's: then the only trust.
    pub ca: Option<Vec<u8>>,
    /// A client certificate in PEM; counts only together with its key.
    pub client_certificate: Option<Vec<u8>>,
    /// The client certificate's key in PEM.
    pub client_key: Option<Vec<u8>>,
}

/// PostgreSQL's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted if the server offers it, whoever the server is.
    #[default]
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the certificate is signed by the CA.
    VerifyCa,
    /// Encrypted, the certificate is signed by the CA, and names the host.
    VerifyFull,
}

impl Tls {
    /// The mode used: with a CA nothing less than a check against it, and the full one unless `verify-ca` is
    /// asked for. Nothing falls back.
    pub const fn effective_mode(&self) -> SslMode {
        match (self.mode, self.ca.is_some()) {
            (SslMode::VerifyCa, _) => SslMode::VerifyCa,
            (_, true) => SslMode::VerifyFull,
            (mode, false) => mode,
        }
    }
}

impl std::str::FromStr for SslMode {
    type Err = UnknownSslMode;

    fn from_str(text: &str) -> Result<Self, UnknownSslMode> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            other => Err(UnknownSslMode(other.to_owned())),
        }
    }
}

/// The text names no mode that is supported (`allow` is not: the driver would not encrypt).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown sslmode `{0}`; use disable, prefer, require, verify-ca or verify-full")]
pub struct UnknownSslMode(String);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("mode", &self.mode)
            .field("ca", &self.ca.is_some())
            .field("client_certificate", &self.client_certificate.is_some())
            .finish_non_exhaustive()
    }
}
