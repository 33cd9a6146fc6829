//! What was asked for and is not done, with the reason.

use std::collections::BTreeSet;
use std::fmt;

use crate::{Action, Ident, Privileges};

/// The most entries that the plan lets a relation's list of privileges have. `pg_class` is not stored out of line: a
/// row has room for 2,005 to 2,250 entries, depending on their variety, and is refused with `54000` beyond.
pub const MOST_ENTRIES: usize = 1_900;

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
        /// Those that the grantee may pass on to others.
        grantable: Privileges,
    },
    /// The object's list of privileges is as long as PostgreSQL can store it.
    ListIsFull {
        /// The grantee that goes without.
        role: Ident,
        /// The object, in words.
        object: String,
        /// The privileges.
        privileges: Privileges,
    },
    /// Somebody else is at work on the object.
    Busy {
        /// The grantee that waits.
        role: Ident,
        /// The objects, in words.
        object: String,
    },
    /// The role is a member of another one that gives it more than was asked for. Memberships are not revoked.
    MembershipKept {
        /// The member.
        role: Ident,
        /// The role that it was granted.
        granted: Ident,
        /// What that gives it, in words.
        gives: String,
    },
    /// What would fire an event trigger whose code is neither a superuser's nor the operator's own: it would run with
    /// the operator's rights.
    Triggering {
        /// The grantee that waits; `None` for PUBLIC and the database itself.
        role: Option<Ident>,
        /// Which trigger, whose code, and what to do, in words.
        danger: String,
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
    /// The admin role has not the attribute or the option that it takes.
    InsufficientPrivilege,
}

impl Withheld {
    /// The role it concerns; `None` when it concerns the database.
    pub fn role(&self) -> Option<&Ident> {
        match self {
            Self::Role { role, .. }
            | Self::SchemaPending { role, .. }
            | Self::ListIsFull { role, .. }
            | Self::Busy { role, .. }
            | Self::MembershipKept { role, .. }
            | Self::CannotLeave { role, .. } => Some(role),
            Self::NotPermitted { role, .. }
            | Self::PrivilegesKept { role, .. }
            | Self::Triggering { role, .. } => role.as_ref(),
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
            Self::PrivilegesKept { role, object, privileges, grantable } => {
                let grantee = role.as_ref().map_or("PUBLIC", Ident::as_str);
                let passes_on = format!("the right to pass on {grantable}");
                let kept = match (privileges.is_empty(), grantable.is_empty()) {
                    (_, true) => privileges.to_string(),
                    (true, false) => passes_on,
                    (false, false) => format!("{privileges} and {passes_on}"),
                };
                write!(f, "{grantee} keeps {kept} on {object}, which was not asked for")
            }
            Self::ListIsFull { role, object, privileges } => write!(
                f,
                "{role} has no {privileges} on {object}: its list of privileges is as long as PostgreSQL can store \
                 it ({MOST_ENTRIES} entries are the limit here); let users share roles"
            ),
            Self::Busy { role, object } => {
                write!(
                    f,
                    "another session is at work on {object}: what {role} lacks there, or has too much, waits"
                )
            }
            Self::MembershipKept { role, granted, gives } => {
                write!(
                    f,
                    "{role} is a member of {granted}, which {gives}; REVOKE {granted} FROM {role} if that is not wanted"
                )
            }
            Self::Triggering { danger, .. } => {
                write!(f, "privileges in the database are not changed: {danger}")
            }
            Self::Refused { action, message } => write!(f, "the server refused {action}: {message}"),
            Self::CannotLeave { role, reason } => write!(f, "role {role} cannot go: {reason}"),
        }
    }
}
