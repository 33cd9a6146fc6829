//! What the caller is asked about passwords while a catalog is built.

use plan::{Ident, PasswordState};

/// What the server stores for a role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stored<'a> {
    /// The admin role may not read it.
    Unreadable,
    /// The role has no password.
    Absent,
    /// A SCRAM-SHA-256 verifier; compare with [`scram::matches`](crate::scram::matches).
    Verifier(&'a str),
    /// Something else, such as an md5 hash.
    Other,
}

/// Compares what is stored with the password that the role should have.
pub trait Verify: Send + Sync {
    /// Called for every existing role of [`Desired::logins`](plan::Desired::logins) each time a catalog is built;
    /// it should remember what it has compared.
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState;
}
