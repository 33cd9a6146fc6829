//! Passwords in clear, as long as they must be held.

use std::fmt;

use plan::{NewPassword, PlainPassword, PlainPasswordError};
use rand::{
    distr::{Alphanumeric, SampleString as _},
    rand_core::UnwrapErr,
    rngs::SysRng,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{PasswordMode, scram};

/// The longest password that every server version takes, in bytes (13 refuses more than about 1,000).
const MAX_BYTES: usize = 1000;

/// The length of passwords made here.
const GENERATED: usize = 32;

/// A password; redacted in `Debug`, no `Display`, overwritten when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

/// Why a password cannot be used, and what to do. It is not repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PasswordError {
    /// The server would take it for no password.
    #[error("the password is empty, or only of characters that SASLprep (RFC 4013) removes")]
    Empty,
    /// Some servers refuse it.
    #[error("the password has more than {MAX_BYTES} bytes, which some servers refuse")]
    TooLong,
    /// NUL and line ends do not survive configuration files and the protocol.
    #[error("the password has a NUL or a line end in it: often one at its end that was not meant")]
    LineEnd,
    /// `SASLprep` (RFC 4013) forbids it, and clients differ in what they do then.
    #[error(
        "the password has characters in it that SASLprep (RFC 4013) forbids, such as control characters, emoji or a \
         mix of left-to-right and right-to-left letters: ASCII letters, digits and signs always work"
    )]
    Prohibited,
    /// Whoever wrote it meant the password that it was made from; and a server that is sent it in clear would store
    /// it as it is.
    #[error("this is how servers store a password (md5… or SCRAM-SHA-256$…): the password itself is needed")]
    Hash,
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
    let prepared = stringprep::saslprep(text).map_err(|_| PasswordError::Prohibited)?;
    // It may be a copy.
    if Password::new(prepared).expose().is_empty() {
        return Err(PasswordError::Empty);
    }
    match text.parse::<PlainPassword>() {
        Ok(_) => Ok(()),
        Err(PlainPasswordError::Empty) => Err(PasswordError::Empty),
        Err(PlainPasswordError::Nul) => Err(PasswordError::LineEnd),
        Err(PlainPasswordError::Hash) => Err(PasswordError::Hash),
    }
}

/// The form in which the password is sent to a server of this mode: with a new random salt, or as it is.
pub fn new_password(mode: PasswordMode, password: &Password) -> Result<NewPassword, PasswordError> {
    check_usable(password)?;
    Ok(match mode {
        PasswordMode::Verifier => scram::verifier(password)?.into(),
        PasswordMode::Plaintext => NewPassword::Plain(password.expose().parse().expect("it is usable")),
    })
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
            ("md5c20d5e1d5d5ff0d6b2f3a2c9ed1d2c6b", PasswordError::Hash),
            ("SCRAM-SHA-256$4096:x$y:z", PasswordError::Hash),
        ] {
            assert_eq!(check_usable(&Password::new(text)), Err(error), "{text:?}");
        }
        for text in ["x", "pässwörd", "it's \\ \"quoted\"", "a\u{a0}b", "I\u{ad}X", &"x".repeat(1000)] {
            assert_eq!(check_usable(&Password::new(text)), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_wanted_and_not_what_the_password_is() {
        for (text, part) in [
            ("\u{ad}\u{200d}", "only of characters that SASLprep (RFC 4013) removes"),
            (&"hunter2".repeat(200), "more than 1000 bytes"),
            ("hunter2\n", "a line end in it: often one at its end that was not meant"),
            ("hunter2\u{7}", "ASCII letters, digits and signs always work"),
            ("hunter2\u{627}", "a mix of left-to-right and right-to-left letters"),
            ("SCRAM-SHA-256$hunter2", "the password itself is needed"),
        ] {
            for mode in [PasswordMode::Verifier, PasswordMode::Plaintext] {
                let refusal = new_password(mode, &Password::new(text)).unwrap_err().to_string();
                assert!(refusal.contains(part) && !refusal.contains("hunter2"), "{refusal}");
            }
        }
    }

    #[test]
    fn debug_output_does_not_show_it() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(…)");
    }
}
