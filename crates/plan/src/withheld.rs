//! What was asked for and is not done, with the reason.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Action, Ident, Privileges};

/// A part of the desired state that the plan leaves out. It is reported, never dropped silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The role is not touched, and nothing that needs it is done.
    Role {
        /// The role.
        role: Ident,
        /// Why.
        refusal: Refusal,
        /// What a person can do about it, or details; may be empty.
        hint: String,
    },
    /// The database is not touched, and nobody is given access to it.
    Database {
        /// The database.
        database: Ident,
        /// Why.
        refusal: Refusal,
        /// What a person can do about it, or details; may be empty.
        hint: String,
    },
    /// The database is expected to exist and does not.
    DatabaseMissing {
        /// The database.
        database: Ident,
    },
    /// Schemas that are listed and do not exist yet.
    SchemaPending {
        /// The grantee.
        role: Ident,
        /// The schemas.
        schemas: BTreeSet<Ident>,
    },
    /// The admin role may not change this object's privileges.
    NotPermitted {
        /// The grantee that goes without; `None` for PUBLIC and the database itself.
        role: Option<Ident>,
        /// The object, in words.
        object: String,
        /// The privileges.
        privileges: Privileges,
    },
    /// Privileges beyond what was asked for, kept because the role was adopted or pruning is off.
    PrivilegesKept {
        /// The grantee; `None` for PUBLIC.
        role: Option<Ident>,
        /// The object, in words.
        object: String,
        /// The privileges.
        privileges: Privileges,
    },
    /// The server refused the statement.
    Refused {
        /// The statement.
        action: Action,
        /// The server's message.
        message: String,
    },
    /// A role that should go owns something that cannot be given away here.
    CannotLeave {
        /// The role.
        role: Ident,
        /// What holds it, in words.
        reason: String,
    },
}

/// Why a role or database is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It belongs to someone else.
    NotOurs,
    /// Its name or rank is reserved: superusers, the admin role, predefined roles and databases.
    Reserved,
}

impl Withheld {
    /// The role it concerns; `None` when it concerns the database.
    pub fn role(&self) -> Option<&Ident> {
        match self {
            Self::Role { role, .. } | Self::SchemaPending { role, .. } | Self::CannotLeave { role, .. } => {
                Some(role)
            }
            Self::NotPermitted { role, .. } | Self::PrivilegesKept { role, .. } => role.as_ref(),
            Self::Refused { action, .. } => action.roles().into_iter().next(),
            Self::Database { .. } | Self::DatabaseMissing { .. } => None,
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { role, hint, .. } => write!(f, "role {role} is not touched: {hint}"),
            Self::Database { database, hint, .. } => write!(f, "database {database} is not touched: {hint}"),
            Self::DatabaseMissing { database } => write!(f, "database {database} does not exist"),
            Self::SchemaPending { schemas, .. } => {
                let names: Vec<_> = schemas.iter().map(Ident::as_str).collect();
                write!(f, "schema {} does not exist yet", names.join(", "))
            }
            Self::NotPermitted { object, privileges, .. } => {
                write!(f, "the admin role may not change {privileges} on {object}")
            }
            Self::PrivilegesKept { role, object, privileges } => {
                let grantee = role.as_ref().map_or("PUBLIC", Ident::as_str);
                write!(f, "{grantee} keeps {privileges} on {object}, which was not asked for")
            }
            Self::Refused { action, message } => write!(f, "the server refused {action}: {message}"),
            Self::CannotLeave { role, reason } => write!(f, "role {role} cannot go: {reason}"),
        }
    }
}
