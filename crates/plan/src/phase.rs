//! The order of statements, in one place.

use crate::{Action, DefaultChange, Target};

/// When a statement runs; the variants stand in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// First: a leaving role must not come back while its things are given away.
    CloseDoor,
    /// After the door is closed, or else it would reconnect.
    Terminate,
    /// Before anything that names them.
    Roles,
    /// What an interrupted DROP left blocks the name.
    Clear,
    /// Its owner must exist. Alone: not allowed in a transaction.
    CreateDatabase,
    /// Owner, access and marker first, then its door opens, in one transaction.
    DatabaseAccess,
    /// Before ownership moves: what runs with its owner's rights must not gain the heir's.
    Disarm,
    /// Before what is in the schema moves.
    Admit,
    /// Before grants: what a downgraded role owned is granted to it like anything else.
    Reassign,
    /// With the right to create in a schema, in one transaction: what a new creator makes is readable from the
    /// first on. Before the relations, which may be too many for one transaction.
    DefaultGrants,
    /// On schemas, before what is in them.
    SchemaGrants,
    /// Before revokes: access that is replaced must not be missing in between.
    Grants,
    /// While who gave it may still take it back.
    RevokesByGrantors,
    /// After what replaces it.
    Revokes,
    /// Likewise.
    DefaultRevokes,
    /// What the leaving role still has was given away; only privileges are left.
    DropOwned,
    /// After all access: a login that works finds everything there.
    Credentials,
    /// Last: a role that anything still names cannot be dropped.
    DropRole,
}

impl Action {
    /// When the action runs.
    pub const fn phase(&self) -> Phase {
        match self {
            Self::RevokeLogin { .. } => Phase::CloseDoor,
            Self::TerminateSessions { .. } => Phase::Terminate,
            Self::CreateRole { .. }
            | Self::CommentOnRole { .. }
            | Self::GrantMembership { .. }
            | Self::RevokeCreateDb { .. }
            | Self::ClearExpiry { .. } => Phase::Roles,
            Self::DropInvalidDatabase { .. } => Phase::Clear,
            Self::CreateDatabase { .. } => Phase::CreateDatabase,
            Self::AlterDatabaseOwner { .. }
            | Self::CommentOnDatabase { .. }
            | Self::AllowConnections { .. }
            | Self::Grant { target: Target::Database, .. }
            | Self::Revoke { target: Target::Database, .. } => Phase::DatabaseAccess,
            Self::SetRoutineInvoker { .. } | Self::SetViewInvoker { .. } | Self::CloseView { .. } => {
                Phase::Disarm
            }
            Self::AdmitHeir { .. } => Phase::Admit,
            Self::ReassignOwned { .. } => Phase::Reassign,
            Self::AlterDefaultPrivileges { change: DefaultChange::Grant, .. } => Phase::DefaultGrants,
            Self::Grant { target: Target::Schemas(_), .. } => Phase::SchemaGrants,
            Self::Grant { .. } => Phase::Grants,
            Self::Revoke { grantor: Some(_), .. } => Phase::RevokesByGrantors,
            Self::Revoke { .. } => Phase::Revokes,
            Self::AlterDefaultPrivileges {
                change: DefaultChange::Revoke | DefaultChange::RevokeGrantOption,
                ..
            } => Phase::DefaultRevokes,
            Self::DropOwned { .. } => Phase::DropOwned,
            Self::SetPassword { .. } | Self::GrantLogin { .. } => Phase::Credentials,
            Self::DropRole { .. } => Phase::DropRole,
        }
    }
}
