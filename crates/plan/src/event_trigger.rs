//! Event triggers: code in a database that runs, with the rights of whoever sends it, when a statement does.

use std::collections::BTreeSet;

use crate::{Action, Oid, Target};

/// A row of `pg_event_trigger` that fires in the operator's sessions: neither disabled nor for replicas only, where
/// event triggers are not off altogether.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTrigger {
    /// Its name as it stands in SQL.
    pub name: String,
    /// Who may enable, disable and rename it.
    pub owner: Oid,
    /// What it waits for.
    pub event: TriggerEvent,
    /// The commands that it is for; empty for all.
    pub tags: BTreeSet<String>,
    /// The function that it calls, as it stands in SQL.
    pub function: String,
    /// Who may replace that: also the members of this role, by becoming it.
    pub function_owner: Oid,
}

/// `pg_event_trigger.evtevent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TriggerEvent {
    /// `ddl_command_start` and `ddl_command_end`.
    Command,
    /// `sql_drop`: a command that drops something on its way.
    Drop,
    /// `table_rewrite`: no statement of ours does that.
    Rewrite,
    /// `login` (17 and later): no statement at all.
    Login,
    /// What later versions bring.
    Other,
}

impl TriggerEvent {
    /// The event of this name.
    pub fn of(name: &str) -> Self {
        match name {
            "ddl_command_start" | "ddl_command_end" => Self::Command,
            "sql_drop" => Self::Drop,
            "table_rewrite" => Self::Rewrite,
            "login" => Self::Login,
            _ => Self::Other,
        }
    }
}

/// Commands that empty a database of a role; what runs at one of them keeps it there.
const DEPARTURE: [&str; 5] = ["ALTER ROUTINE", "ALTER VIEW", "REVOKE", "GRANT", "DROP OWNED"];

impl EventTrigger {
    /// Whether the action, run in the trigger's database, fires it.
    pub(crate) fn fires_on(&self, action: &Action) -> bool {
        action.command_tag().is_some_and(|tag| self.is_for(tag))
    }

    /// Whether emptying its database of a role may fire it.
    pub(crate) fn fires_on_departure(&self) -> bool {
        DEPARTURE.iter().any(|tag| self.is_for(tag))
    }

    fn is_for(&self, tag: &str) -> bool {
        let is_event = match self.event {
            TriggerEvent::Command | TriggerEvent::Other => true,
            // Rows of default privileges and policies go.
            TriggerEvent::Drop => matches!(tag, "ALTER DEFAULT PRIVILEGES" | "DROP OWNED"),
            TriggerEvent::Rewrite | TriggerEvent::Login => false,
        };
        is_event && (self.tags.is_empty() || self.tags.contains(tag))
    }
}

impl Action {
    /// The command as event triggers see it (PostgreSQL manual, "Event Trigger Firing Matrix"); `None` where none
    /// fires: on what all databases share, and on REASSIGN OWNED.
    const fn command_tag(&self) -> Option<&'static str> {
        match self {
            Self::Grant { target: Target::Database, .. }
            | Self::Revoke { target: Target::Database, .. }
            | Self::RevokeLogin { .. }
            | Self::TerminateSessions { .. }
            | Self::CreateRole { .. }
            | Self::CommentOnRole { .. }
            | Self::GrantMembership { .. }
            | Self::RevokeCreateDb { .. }
            | Self::ClearExpiry { .. }
            | Self::CreateDatabase { .. }
            | Self::DropInvalidDatabase { .. }
            | Self::AlterDatabaseOwner { .. }
            | Self::CommentOnDatabase { .. }
            | Self::AllowConnections { .. }
            | Self::ReassignOwned { .. }
            | Self::SetPassword { .. }
            | Self::GrantLogin { .. }
            | Self::DropRole { .. } => None,
            Self::Grant { .. } | Self::AdmitHeir { .. } => Some("GRANT"),
            Self::Revoke { .. } | Self::CloseView { .. } => Some("REVOKE"),
            Self::AlterDefaultPrivileges { .. } => Some("ALTER DEFAULT PRIVILEGES"),
            Self::SetRoutineInvoker { .. } => Some("ALTER ROUTINE"),
            Self::SetViewInvoker { .. } => Some("ALTER VIEW"),
            Self::DropOwned { .. } => Some("DROP OWNED"),
        }
    }
}
