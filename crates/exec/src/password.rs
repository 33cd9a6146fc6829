//! Passwords in clear, as long as they must be held.

use std::fmt;

use rand::{
    distr::{Alphanumeric, SampleString as _},
    rand_core::UnwrapErr,
    rngs::SysRng,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

/// The longest password that every server version takes, in bytes (13 refuses more than about 1,000).
const MAX_BYTES: usize = 1000;

/// The length of passwords made here.
const GENERATED: usize = 32;

/// A password; redacted in `Debug`, no `Display`, overwritten when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// Why a password cannot be used. It is not repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PasswordError {
    /// The server would take it for no password.
    #[error("the password is empty")]
    Empty,
    /// Some servers refuse it.
    #[error("the password has more than {MAX_BYTES} bytes")]
    TooLong,
    /// NUL and line ends do not survive configuration files and the protocol.
    #[error("the password has a NUL or a line end in it")]
    LineEnd,
    /// `SASLprep` (RFC 4013) forbids it, and clients differ in what they do then.
    #[error("the password has characters in it that SASLprep (RFC 4013) forbids")]
    Prohibited,
}

impl Password {
    /// Any text. Whether it can be used is what [`check_usable`] tells.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The password itself, for a Secret or a login.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Whether every client and every server version can log in with it.
pub fn check_usable(password: &Password) -> Result<(), PasswordError> {
    let text = password.expose();
    if text.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    if text.contains(['\0', '\r', '\n']) {
        return Err(PasswordError::LineEnd);
    }
    match stringprep::saslprep(text) {
        Err(_) => Err(PasswordError::Prohibited),
        Ok(prepared) if prepared.is_empty() => Err(PasswordError::Empty),
        Ok(_) => Ok(()),
    }
}

/// 32 letters and digits from the operating system's generator: about 190 bits.
pub fn random_password() -> Password {
    Password::new(Alphanumeric.sample_string(&mut UnwrapErr(SysRng), GENERATED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_password_is_32_letters_and_digits_and_never_the_same() {
        let (one, other) = (random_password(), random_password());
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(one, other);
        assert_eq!(check_usable(&one), Ok(()));
    }

    #[test]
    fn what_some_client_or_server_would_not_take_is_refused() {
        for (text, error) in [
            ("", PasswordError::Empty),
            ("\u{ad}", PasswordError::Empty),
            (&"x".repeat(1001), PasswordError::TooLong),
            ("a\0b", PasswordError::LineEnd),
            ("secret\n", PasswordError::LineEnd),
            ("a\tb", PasswordError::Prohibited),
            ("\u{2028}", PasswordError::Prohibited),
            ("\u{627}1", PasswordError::Prohibited),
        ] {
            assert_eq!(check_usable(&Password::new(text)), Err(error), "{text:?}");
        }
        for text in ["x", "pässwörd", "it's \\ \"quoted\"", "a\u{a0}b", "I\u{ad}X", &"x".repeat(1000)] {
            assert_eq!(check_usable(&Password::new(text)), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn debug_output_does_not_show_it() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(…)");
    }
}
