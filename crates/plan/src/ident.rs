//! Names and strings that can stand in SQL text without being misread.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest name a server keeps, in bytes (`NAMEDATALEN` - 1). A longer one would be cut silently and then
/// address another object (PostgreSQL manual, "Identifiers and Key Words").
const MAX_BYTES: usize = 63;

/// A PostgreSQL identifier; `Display` quotes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(String); // Invariant: 1 to 63 bytes, no NUL.

/// Why a text is no [`Ident`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdentError {
    /// A quoted identifier of no characters is a syntax error.
    #[error("a name must not be empty")]
    Empty,
    /// The server would cut the name and address another object.
    #[error("`{name}` has {bytes} bytes; PostgreSQL names have at most {MAX_BYTES}")]
    TooLong {
        /// The name as given.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// NUL cannot be sent.
    #[error("a name must not contain NUL")]
    Nul,
}

impl Ident {
    /// The name without quotes: for bind parameters, messages and comparison, never for SQL text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ident {
    type Err = IdentError;

    fn from_str(name: &str) -> Result<Self, IdentError> {
        match name {
            "" => Err(IdentError::Empty),
            _ if name.len() > MAX_BYTES => {
                Err(IdentError::TooLong { name: name.to_owned(), bytes: name.len() })
            }
            _ if name.contains('\0') => Err(IdentError::Nul),
            _ => Ok(Self(name.to_owned())),
        }
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A string constant; `Display` quotes it, as an escape string where it holds a backslash, so that
/// `standard_conforming_strings` does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal<'a>(pub &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = self.0.replace('\'', "''");
        if quoted.contains('\\') {
            write!(f, "E'{}'", quoted.replace('\\', "\\\\"))
        } else {
            write!(f, "'{quoted}'")
        }
    }
}

/// An object in a schema; `Display` quotes both parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedName {
    /// The schema that holds it.
    pub schema: Ident,
    /// Its own name.
    pub name: Ident,
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_a_name_are_doubled() {
        let name: Ident = r#"a"b; DROP ROLE x"#.parse().unwrap();
        assert_eq!(name.to_string(), r#""a""b; DROP ROLE x""#);
    }

    #[test]
    fn a_name_that_the_server_would_cut_is_refused() {
        assert!("x".repeat(63).parse::<Ident>().is_ok());
        assert_eq!(
            "ä".repeat(32).parse::<Ident>(),
            Err(IdentError::TooLong { name: "ä".repeat(32), bytes: 64 })
        );
        assert_eq!("".parse::<Ident>(), Err(IdentError::Empty));
        assert_eq!("a\0b".parse::<Ident>(), Err(IdentError::Nul));
    }

    #[test]
    fn a_backslash_makes_an_escape_string() {
        assert_eq!(Literal("it's").to_string(), "'it''s'");
        assert_eq!(Literal(r"a\'b").to_string(), r"E'a\\''b'");
    }
}
