//! What GRANT, REVOKE and ALTER DEFAULT PRIVILEGES are about, and for whom.

use std::collections::BTreeSet;

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

/// How something came to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It was there or should have been from the start: never provisioned, or taken away by someone.
    Missing,
    /// It could not have been there: the object or its creator is new, and no default privilege covered it.
    Growth,
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

    /// Whether an object is in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Database, Self::Database) => true,
            (Self::Schemas(some), Self::Schemas(others)) => shares(some, others),
            (Self::Tables(some), Self::Tables(others)) | (Self::Sequences(some), Self::Sequences(others)) => {
                shares(some, others)
            }
            (Self::Columns(one, some), Self::Columns(another, others)) => {
                one == another && shares(some, others)
            }
            (
                Self::Database | Self::Schemas(_) | Self::Tables(_) | Self::Sequences(_) | Self::Columns(..),
                _,
            ) => false,
        }
    }
}

fn shares<T: Ord>(some: &[T], others: &[T]) -> bool {
    let some: BTreeSet<_> = some.iter().collect();
    others.iter().any(|other| some.contains(other))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QualifiedName, RelationKind, testing::ident};

    fn relations(names: &[&str]) -> Vec<Relation> {
        let name = |name: &&str| QualifiedName { schema: ident("s"), name: ident(name) };
        names.iter().map(|one| Relation { name: name(one), kind: RelationKind::Table }).collect()
    }

    #[test]
    fn targets_overlap_where_they_share_an_object() {
        let tables = |names: &[&str]| Target::Tables(relations(names));
        let columns = |table: &str, names: &[&str]| {
            Target::Columns(relations(&[table]).remove(0), names.iter().map(|name| ident(name)).collect())
        };
        for (one, other, wanted) in [
            (Target::Database, Target::Database, true),
            (Target::Database, tables(&["a"]), false),
            (tables(&["b", "a"]), tables(&["c", "a"]), true),
            (tables(&["a", "b"]), tables(&["c", "d"]), false),
            (tables(&["a"]), Target::Sequences(relations(&["a"])), false),
            (Target::Schemas(vec![ident("a")]), Target::Schemas(vec![ident("a"), ident("b")]), true),
            (columns("a", &["x", "y"]), columns("a", &["y"]), true),
            (columns("a", &["x"]), columns("b", &["x"]), false),
            (columns("a", &["x"]), tables(&["a"]), false),
        ] {
            assert_eq!(one.overlaps(&other), wanted, "{one:?} {other:?}");
            assert_eq!(other.overlaps(&one), wanted, "{other:?} {one:?}");
        }
    }
}
