//! The md5 hashes that PostgreSQL stored before SCRAM: recognised, never made.

use md5::{Digest as _, Md5};
use plan::Ident;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Password;

/// Whether `stored` is the hash of this password of this role, compared in constant time.
pub(crate) fn matches(stored: &str, role: &Ident, password: &Password) -> bool {
    let mut hash = Md5::new();
    hash.update(password.expose());
    hash.update(role.as_str());
    let digits = hash.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let made: Zeroizing<String> = Zeroizing::new(
        "md5".chars().chain(digits.filter_map(|digit| char::from_digit(digit.into(), 16))).collect(),
    );
    made.as_bytes().ct_eq(stored.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_password_of_one_role() {
        // SELECT 'md5' || md5('secret' || 'app')
        let (stored, secret) = ("md56a422f785c9e20873908ce25d1736ae2", Password::new("secret"));
        let [app, other] = ["app", "other"].map(|name| name.parse().unwrap());
        assert!(matches(stored, &app, &secret));
        assert!(!matches(stored, &other, &secret));
        assert!(!matches(stored, &app, &Password::new("secret ")));
        assert!(!matches(&stored[..34], &app, &secret));
    }
}
