//! SCRAM-SHA-256 verifiers as PostgreSQL stores them (RFC 5802, RFC 5803; `scram-common.c`).

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use plan::Verifier;
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Password, PasswordError, check_usable};

/// PostgreSQL's default. More would buy nothing: generated passwords cannot be guessed.
const ITERATIONS: u32 = 4096;

/// Whoever can write a role's verifier could otherwise keep us busy for minutes.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The two keys of a verifier, overwritten when dropped.
struct Keys {
    stored: [u8; 32],
    server: [u8; 32],
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stored.zeroize();
        self.server.zeroize();
    }
}

/// A verifier with a new random salt.
pub fn verifier(password: &Password) -> Result<Verifier, PasswordError> {
    check_usable(password)?;
    let mut salt = [0; 16];
    SysRng.try_fill_bytes(&mut salt).expect("the operating system has random bytes");
    Ok(with_salt(password, &salt))
}

/// Whether `stored` was made from this password: recomputed with its salt and iterations, compared in constant
/// time. What is no verifier, or would take minutes to recompute, matches nothing.
pub fn matches(stored: &str, password: &Password) -> bool {
    let Some((iterations, salt, wanted)) = parse(stored) else { return false };
    if iterations > MAX_ITERATIONS {
        return false;
    }
    let found = keys(password, &salt, iterations);
    bool::from(found.stored.ct_eq(&wanted.stored) & found.server.ct_eq(&wanted.server))
}

fn with_salt(password: &Password, salt: &[u8]) -> Verifier {
    let keys = keys(password, salt, ITERATIONS);
    let [salt, stored, server] =
        [salt, &keys.stored, &keys.server].map(|bytes| BASE64_STANDARD.encode(bytes));
    let text = format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}");
    text.parse().expect("this is the form of a verifier")
}

fn parse(stored: &str) -> Option<(u32, Vec<u8>, Keys)> {
    let verifier: Verifier = stored.parse().ok()?;
    let mut parts = verifier.expose().split(['$', ':']).skip(1);
    let iterations = parts.next()?.parse().ok()?;
    let salt = BASE64_STANDARD.decode(parts.next()?).ok()?;
    let mut key = || BASE64_STANDARD.decode(parts.next()?).ok()?.try_into().ok();
    Some((iterations, salt, Keys { stored: key()?, server: key()? }))
}

fn keys(password: &Password, salt: &[u8], iterations: u32) -> Keys {
    let prepared = prepare(password);
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(prepared.expose().as_bytes(), salt, iterations, salted.as_mut_slice());
    let client = hmac(&salted, b"Client Key");
    Keys { stored: Sha256::digest(client.as_slice()).into(), server: *hmac(&salted, b"Server Key") }
}

/// Like the server, which takes the bytes as they are where `SASLprep` fails.
fn prepare(password: &Password) -> Cow<'_, Password> {
    match stringprep::saslprep(password.expose()) {
        Ok(Cow::Owned(prepared)) => Cow::Owned(Password::new(prepared)),
        Ok(Cow::Borrowed(_)) | Err(_) => Cow::Borrowed(password),
    }
}

fn hmac(key: &[u8; 32], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3: user `user`, password `pencil`.
    const RFC_7677: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                            WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn the_example_of_rfc_7677_is_reproduced() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert_eq!(with_salt(&Password::new("pencil"), &salt).expose(), RFC_7677);
    }

    #[test]
    fn only_the_right_password_matches() {
        assert!(matches(RFC_7677, &Password::new("pencil")));
        assert!(!matches(RFC_7677, &Password::new("pencil ")));
        assert!(!matches(&RFC_7677.replace("4096", "4095"), &Password::new("pencil")));
    }

    #[test]
    fn what_is_no_verifier_matches_nothing() {
        for stored in
            ["", "pencil", "md5c20d5e1d5d5ff0d6b2f3a2c9ed1d2c6b", &RFC_7677.replace("4096", "4000000000")]
        {
            assert!(!matches(stored, &Password::new("pencil")), "{stored}");
        }
    }

    #[test]
    fn a_salt_is_never_used_twice() {
        let password = Password::new("pencil");
        let (one, other) = (verifier(&password).unwrap(), verifier(&password).unwrap());
        assert_ne!(one.expose(), other.expose());
        assert!(matches(one.expose(), &password) && matches(other.expose(), &password));
    }

    #[test]
    fn spellings_that_saslprep_makes_equal_are_one_password() {
        for (one, other) in [("I\u{ad}X", "IX"), ("a\u{a0}b", "a b"), ("ª", "a"), ("e\u{301}", "é")] {
            let verifier = verifier(&Password::new(one)).unwrap();
            assert!(matches(verifier.expose(), &Password::new(other)), "{one} {other}");
        }
    }
}
