//! What a statement sets a role's password from.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::Verifier;

/// What a role's password is set from. Redacted in `Debug`, no `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewPassword {
    /// Nobody can log in with it, and the server cannot tell the password from it.
    Verifier(Verifier),
    /// The password itself, where a service takes nothing else. What the server keeps of it is its own choice.
    Plain(PlainPassword),
}

/// A password that goes to the server in clear: redacted in `Debug`, no `Display`, overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainPassword(String); // Invariant: what a server would take for none, or for a hash, it is not.

/// Why a text cannot be sent as a password in clear. The text itself is not repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PlainPasswordError {
    /// It would remove the password.
    #[error("an empty password is none")]
    Empty,
    /// NUL cannot be sent.
    #[error("a password must not contain NUL")]
    Nul,
    /// It would become what the role's password is stored as.
    #[error("a server takes a text of this form for a hash, not for a password")]
    Hash,
}

impl NewPassword {
    /// What stands in the statement.
    pub(crate) fn expose(&self) -> &str {
        match self {
            Self::Verifier(verifier) => verifier.expose(),
            Self::Plain(password) => &password.0,
        }
    }

    /// Whether the server would store just this.
    pub fn is_stored_as(&self, stored: &str) -> bool {
        match self {
            Self::Verifier(verifier) => verifier.expose() == stored,
            Self::Plain(_) => false,
        }
    }
}

impl From<Verifier> for NewPassword {
    fn from(verifier: Verifier) -> Self {
        Self::Verifier(verifier)
    }
}

impl FromStr for PlainPassword {
    type Err = PlainPasswordError;

    fn from_str(text: &str) -> Result<Self, PlainPasswordError> {
        match text {
            "" => Err(PlainPasswordError::Empty),
            _ if text.contains('\0') => Err(PlainPasswordError::Nul),
            _ if is_hash(text) => Err(PlainPasswordError::Hash),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// Whether a server takes the text for a hash (`get_password_type`), or nearly so.
fn is_hash(text: &str) -> bool {
    let is_md5 = |hash: &str| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.starts_with("SCRAM-SHA-256$") || text.strip_prefix("md5").is_some_and(is_md5)
}

impl Drop for PlainPassword {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Nobody reads them again, which would be a reason not to write them.
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for PlainPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainPassword(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, testing::ident};

    #[test]
    fn what_a_server_would_take_for_something_else_is_no_plain_password() {
        for (text, error) in [
            ("", PlainPasswordError::Empty),
            ("a\0b", PlainPasswordError::Nul),
            ("md5c20d5e1d5d5ff0d6b2f3a2c9ed1d2c6b", PlainPasswordError::Hash),
            ("SCRAM-SHA-256$4096:x", PlainPasswordError::Hash),
        ] {
            assert_eq!(text.parse::<PlainPassword>(), Err(error), "{text}");
        }
        for text in ["md5", "md5c20d5e1d", "hunter2", "it's \\ \"quoted\""] {
            assert!(text.parse::<PlainPassword>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_plain_password_is_in_the_statement_and_nowhere_else() {
        let password = NewPassword::Plain("hunter2".parse().unwrap());
        let action = Action::SetPassword { role: ident("app"), password };
        assert_eq!(action.statement(), r#"ALTER ROLE "app" PASSWORD 'hunter2'"#);
        assert_eq!(action.to_string(), r#"ALTER ROLE "app" PASSWORD '…'"#);
        assert!(!format!("{action:?} {action:#?}").contains("hunter2"));
    }
}
