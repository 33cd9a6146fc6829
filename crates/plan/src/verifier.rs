//! The one form in which a password may reach a server.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A SCRAM-SHA-256 verifier as `pg_authid.rolpassword` stores it (RFC 5803 with PostgreSQL's spelling):
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
///
/// It is redacted in `Debug` and has no `Display`: a weak password can be guessed from it offline.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(String); // Invariant: well-formed; a server takes anything else for a plain password.

/// The text is no SCRAM-SHA-256 verifier. The text itself is not repeated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct VerifierError;

impl Verifier {
    /// The verifier itself, for the statement that sets it and for comparison with a stored one.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Verifier {
    type Err = VerifierError;

    fn from_str(text: &str) -> Result<Self, VerifierError> {
        is_well_formed(text).then(|| Self(text.to_owned())).ok_or(VerifierError)
    }
}

fn is_well_formed(text: &str) -> bool {
    let Some((iterations, salt, stored, server)) = parts(text) else { return false };
    let counts =
        iterations.bytes().all(|b| b.is_ascii_digit()) && iterations.parse::<u32>().is_ok_and(|n| n > 0);
    counts && !iterations.starts_with('0') && is_base64(salt) && is_key(stored) && is_key(server)
}

fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = head.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    Some((iterations, salt, stored, server))
}

/// 32 bytes in base64.
fn is_key(text: &str) -> bool {
    text.len() == 44 && text.ends_with('=') && !text.ends_with("==") && is_base64(text)
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    !digits.is_empty()
        && text.len() - digits.len() <= 2
        && text.len().is_multiple_of(4)
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                          WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn what_a_server_would_take_for_a_plain_password_is_refused() {
        assert!(STORED.parse::<Verifier>().is_ok());
        for wrong in [
            "",
            "secret",
            "md5c20d5e1d5d5ff0d6b2f3a2c9ed1d2c6b",
            &STORED.replace("4096", "0"),
            &STORED.replace("4096", "04096"),
            &STORED.replace("256$", "256"),
            &STORED[..STORED.len() - 1],
            &format!("{STORED}\n"),
        ] {
            assert_eq!(wrong.parse::<Verifier>(), Err(VerifierError), "{wrong}");
        }
    }

    #[test]
    fn debug_output_does_not_show_it() {
        assert_eq!(format!("{:?}", STORED.parse::<Verifier>()), "Ok(Verifier(…))");
    }
}
