//! How connections are encrypted and whom they trust, and whether what was given for that can be used.

use std::fmt;
use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use thiserror::Error;
use zeroize::Zeroizing;

// The driver adds these to the CA that it is given.
const _: () = assert!(
    webpki_roots::TLS_SERVER_ROOTS.is_empty(),
    "public authorities would be trusted besides the given one: see [patch.crates-io] in this workspace's Cargo.toml"
);

/// How the connection is encrypted and whom it trusts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The mode asked for; see [`Tls::effective_mode`].
    pub mode: SslMode,
    /// Certificates in PEM that sign the server's: then the only trust.
    pub ca: Option<Vec<u8>>,
    /// A client certificate in PEM, with its chain.
    pub client_certificate: Option<Vec<u8>>,
    /// The client certificate's key in PEM.
    pub client_key: Option<Zeroizing<Vec<u8>>>,
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

/// Something that was given for the connection and cannot be used. No secret is repeated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{part}: {problem}")]
pub struct Unusable {
    /// What was given, or is missing.
    pub part: Part,
    /// What is wrong with it.
    pub problem: String,
}

/// What a connection is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Name or password of the role.
    Login,
    /// [`Tls::mode`].
    Mode,
    /// [`Tls::ca`].
    Ca,
    /// [`Tls::client_certificate`].
    ClientCertificate,
    /// [`Tls::client_key`].
    ClientKey,
    /// [`Server::passwords`](crate::Server::passwords).
    Passwords,
}

impl Part {
    pub(crate) fn is(self, problem: impl Into<String>) -> Unusable {
        Unusable { part: self, problem: problem.into() }
    }
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

    /// Whether certificates and keys can be read and fit together, and whether a mode that verifies has something to
    /// verify with: public authorities count only when they are in the CA. Nobody is asked.
    pub fn check(&self) -> Result<(), Unusable> {
        match &self.ca {
            Some(ca) => check_authorities(ca)?,
            None if self.mode >= SslMode::VerifyCa => {
                return Err(Part::Mode.is(format!("{} needs a CA to verify with", self.mode)));
            }
            None => (),
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => check_pair(certificate, key),
            (Some(_), None) => Err(Part::ClientKey.is("a client certificate needs its key")),
            (None, Some(_)) => Err(Part::ClientCertificate.is("a client key needs its certificate")),
            (None, None) => Ok(()),
        }
    }
}

fn check_authorities(pem: &[u8]) -> Result<(), Unusable> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(Part::Ca, pem)? {
        store.add(certificate).map_err(|error| Part::Ca.is(error.to_string()))?;
    }
    Ok(())
}

fn check_pair(certificate: &[u8], key: &[u8]) -> Result<(), Unusable> {
    let certificates = certificates(Part::ClientCertificate, certificate)?;
    // The parser's words could repeat a part of the key.
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Part::ClientKey.is("no key in PEM, or one that is encrypted"))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that rustls does")
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(certificates, key);
    config.map(|_| ()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Part::ClientKey.is("not the key of the client certificate"),
        error => Part::ClientCertificate.is(error.to_string()),
    })
}

fn certificates(part: Part, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(part.is("no certificate in PEM")),
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "the role",
            Self::Mode => "sslmode",
            Self::Ca => "the CA",
            Self::ClientCertificate => "the client certificate",
            Self::ClientKey => "the client key",
            Self::Passwords => "the password mode",
        })
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

impl std::str::FromStr for SslMode {
    type Err = UnknownSslMode;

    fn from_str(text: &str) -> Result<Self, UnknownSslMode> {
        let modes = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];
        let found = modes.into_iter().find(|mode| mode.to_string() == text);
        found.ok_or_else(|| UnknownSslMode(text.to_owned()))
    }
}

/// The text names no mode that is supported (`allow` is not: the driver would not encrypt).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
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
