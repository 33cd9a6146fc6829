//! What GRANT, REVOKE and ALTER DEFAULT PRIVILEGES are about, and for whom.

use crate::{Ident, Relation};

/// What GRANT and REVOKE are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The database itself.
    Database,
    /// Schemas.
    Schemas(Vec<Ident>),
    /// Tables, views, materialized views and foreign tables.
    Tables(Vec<Relation>),
    /// Sequences.
    Sequences(Vec<Relation>),
    /// Columns of one relation.
    Columns(Relation, Vec<Ident>),
}

/// Who a privilege is given to or taken from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipient {
    /// Every role.
    Public,
    /// One role.
    Role(Ident),
}

/// How much of a privilege REVOKE takes (PostgreSQL manual, "REVOKE").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// The privilege, which its holder could not pass on.
    Privilege,
    /// The privilege and, with `CASCADE`, what its holder passed on.
    WithDependents,
    /// The right to pass it on (`GRANT OPTION FOR`) and, with `CASCADE`, what was passed on.
    GrantOption,
}

/// Kinds of objects that default privileges know (`pg_default_acl.defaclobjtype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefaultObject {
    /// `r`: tables, views, materialized views, foreign tables.
    Tables,
    /// `S`
    Sequences,
    /// `n`
    Schemas,
    /// `f`
    Routines,
    /// `T`
    Types,
    /// `L` (18 and later)
    LargeObjects,
}

impl DefaultObject {
    /// The kind of this `defaclobjtype`; `None` for what later versions bring.
    pub const fn from_char(kind: char) -> Option<Self> {
        match kind {
            'r' => Some(Self::Tables),
            'S' => Some(Self::Sequences),
            'n' => Some(Self::Schemas),
            'f' => Some(Self::Routines),
            'T' => Some(Self::Types),
            'L' => Some(Self::LargeObjects),
            _ => None,
        }
    }
}

/// Whether a default privilege is given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefaultChange {
    /// `GRANT … TO`
    Grant,
    /// `REVOKE … FROM`
    Revoke,
    /// `REVOKE GRANT OPTION FOR … FROM`
    RevokeGrantOption,
}

impl Target {
    /// Each of its objects alone.
    pub(crate) fn split(&self) -> Vec<Self> {
        match self {
            Self::Database | Self::Columns(..) => vec![self.clone()],
            Self::Schemas(all) => all.iter().map(|one| Self::Schemas(vec![one.clone()])).collect(),
            Self::Tables(all) => all.iter().map(|one| Self::Tables(vec![one.clone()])).collect(),
            Self::Sequences(all) => all.iter().map(|one| Self::Sequences(vec![one.clone()])).collect(),
        }
    }
}

impl Recipient {
    /// The role; `None` for PUBLIC.
    pub const fn role(&self) -> Option<&Ident> {
        match self {
            Self::Public => None,
            Self::Role(role) => Some(role),
        }
    }
}
