//! What the caller is asked about passwords while a catalog is built.

use plan::{Ident, PasswordState};

use crate::{Password, md5, scram};

/// What the server stores for a role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// The admin role may not read it.
    Unreadable,
    /// The role has no password.
    Absent,
    /// A SCRAM-SHA-256 verifier.
    Verifier(&'a str),
    /// An md5 hash, as servers up to 13 make it by default.
    Md5(&'a str),
    /// Something else.
    Other,
}

impl Stored<'_> {
    /// Whether it was made from this password of this role. For a verifier that takes milliseconds.
    pub fn compare(self, role: &Ident, password: &Password) -> PasswordState {
        match self {
            Self::Unreadable => PasswordState::Unknown,
            Self::Absent => PasswordState::Absent,
            Self::Verifier(verifier) if scram::matches(verifier, password) => PasswordState::Matches,
            Self::Md5(hash) if md5::matches(hash, role, password) => PasswordState::Outdated,
            Self::Verifier(_) | Self::Md5(_) | Self::Other => PasswordState::Differs,
        }
    }
}

/// Compares what is stored with the password that the role should have.
pub trait Verify: Send + Sync {
    /// Called for every existing role of [`Desired::logins`](plan::Desired::logins) each time a catalog is built;
    /// it should remember what it has compared.
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState;
}
