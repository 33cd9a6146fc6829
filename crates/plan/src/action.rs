//! One action is one SQL statement: what it is about, where it runs, when, and for whom.

use crate::{
    Cause, DefaultChange, DefaultObject, Ident, NewPassword, Privileges, Recipient, Relation, Routine, Taken,
    Target,
};

/// A statement that changes the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `ALTER ROLE … NOLOGIN`: a leaving role opens no new session.
    RevokeLogin {
        /// The role.
        role: Ident,
    },
    /// Ends the sessions of a leaving role.
    TerminateSessions {
        /// The role.
        role: Ident,
    },
    /// `CREATE ROLE … NOLOGIN`: without a password until that is in its Secret.
    CreateRole {
        /// The role.
        role: Ident,
    },
    /// `COMMENT ON ROLE`: our marker.
    CommentOnRole {
        /// The role.
        role: Ident,
        /// The whole comment.
        comment: String,
    },
    /// Makes the admin role a member: without superuser it may then act for the role.
    GrantMembership {
        /// The role that is granted.
        role: Ident,
        /// The role that becomes a member.
        member: Ident,
        /// Whether the server knows `WITH INHERIT, SET` (16 and later).
        options: bool,
    },
    /// `ALTER ROLE … NOCREATEDB`: an attribute that a provisioned role never has.
    RevokeCreateDb {
        /// The role.
        role: Ident,
    },
    /// `ALTER ROLE … VALID UNTIL 'infinity'`: an expired password cannot log in.
    ClearExpiry {
        /// The role.
        role: Ident,
    },
    /// `CREATE DATABASE`, closed until it has been made right.
    CreateDatabase {
        /// The database.
        database: Ident,
        /// Its owner.
        owner: Ident,
        /// What it is copied from.
        template: Ident,
    },
    /// `DROP DATABASE` of what an interrupted DROP left: it cannot be entered, its data is gone.
    DropInvalidDatabase {
        /// The database.
        database: Ident,
    },
    /// `ALTER DATABASE … OWNER TO`.
    AlterDatabaseOwner {
        /// The database.
        database: Ident,
        /// The new owner.
        owner: Ident,
    },
    /// `COMMENT ON DATABASE`: our marker.
    CommentOnDatabase {
        /// The database.
        database: Ident,
        /// The whole comment.
        comment: String,
    },
    /// `ALTER DATABASE … ALLOW_CONNECTIONS true`.
    AllowConnections {
        /// The database.
        database: Ident,
    },
    /// `GRANT … ON … TO …`.
    Grant {
        /// The database that holds the target, or is it.
        database: Ident,
        /// On what.
        target: Target,
        /// What.
        privileges: Privileges,
        /// To whom.
        to: Vec<Recipient>,
        /// The owner, where the server would take another to be the giver.
        grantor: Option<Ident>,
        /// How it came to be missing.
        cause: Cause,
    },
    /// `REVOKE … ON … FROM …`.
    Revoke {
        /// The database that holds the target, or is it.
        database: Ident,
        /// On what.
        target: Target,
        /// What.
        privileges: Privileges,
        /// How much of it.
        taken: Taken,
        /// From whom.
        from: Vec<Recipient>,
        /// Who gave it, where that is not the owner, or the server would take another to be: only it can take it
        /// back.
        grantor: Option<Ident>,
    },
    /// `ALTER DEFAULT PRIVILEGES FOR ROLE … [IN SCHEMA …] GRANT or REVOKE …`.
    AlterDefaultPrivileges {
        /// The database.
        database: Ident,
        /// For objects that these roles create.
        creators: Vec<Ident>,
        /// In these schemas; empty for every schema.
        schemas: Vec<Ident>,
        /// For objects of this kind.
        object: DefaultObject,
        /// Given or taken.
        change: DefaultChange,
        /// What.
        privileges: Privileges,
        /// To or from whom.
        recipients: Vec<Recipient>,
        /// How it came to be missing.
        cause: Cause,
    },
    /// `ALTER ROUTINE … SECURITY INVOKER`: the routine's owner changes, its rights must not.
    SetRoutineInvoker {
        /// The database.
        database: Ident,
        /// The role that leaves it behind.
        role: Ident,
        /// The routine.
        routine: Routine,
    },
    /// `ALTER VIEW … SET (security_invoker = true)` (15 and later): likewise.
    SetViewInvoker {
        /// The database.
        database: Ident,
        /// The role that leaves it behind.
        role: Ident,
        /// The view.
        view: Relation,
    },
    /// `REVOKE ALL ON … FROM … CASCADE`: what reads with its owner's rights and cannot be changed so is closed.
    CloseView {
        /// The database.
        database: Ident,
        /// The role that leaves it behind.
        role: Ident,
        /// The view or materialized view.
        view: Relation,
        /// Who may use it no more.
        from: Recipient,
    },
    /// `GRANT CREATE ON SCHEMA … TO …`: unless a superuser gives it away, a routine goes only to a role that may create
    /// in its schema.
    AdmitHeir {
        /// The database.
        database: Ident,
        /// The role that leaves or may no longer own.
        role: Ident,
        /// The schema.
        schema: Ident,
        /// The heir.
        heir: Ident,
    },
    /// `REASSIGN OWNED BY … TO …`, in one database.
    ReassignOwned {
        /// The database.
        database: Ident,
        /// The role that leaves or may no longer own.
        role: Ident,
        /// The heir.
        to: Ident,
    },
    /// `DROP OWNED BY …`, in one database, after everything owned was given away: privileges and defaults.
    DropOwned {
        /// The database.
        database: Ident,
        /// The leaving role.
        role: Ident,
    },
    /// `ALTER ROLE … PASSWORD`.
    SetPassword {
        /// The role.
        role: Ident,
        /// What it is set from.
        password: NewPassword,
    },
    /// `ALTER ROLE … LOGIN`.
    GrantLogin {
        /// The role.
        role: Ident,
    },
    /// `DROP ROLE`.
    DropRole {
        /// The role.
        role: Ident,
    },
}

/// Where a statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Site<'a> {
    /// The maintenance database: roles, databases and what else all databases share.
    Maintenance,
    /// This database.
    Database(&'a Ident),
}

impl Action {
    /// Where the action runs. Roles and databases are shared by all databases of a server, so what concerns them
    /// runs in one place, where one advisory lock orders it.
    pub const fn site(&self) -> Site<'_> {
        match self {
            Self::RevokeLogin { .. }
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
            | Self::Grant { target: Target::Database, .. }
            | Self::Revoke { target: Target::Database, .. }
            | Self::SetPassword { .. }
            | Self::GrantLogin { .. }
            | Self::DropRole { .. } => Site::Maintenance,
            Self::Grant { database, .. }
            | Self::Revoke { database, .. }
            | Self::AlterDefaultPrivileges { database, .. }
            | Self::SetRoutineInvoker { database, .. }
            | Self::SetViewInvoker { database, .. }
            | Self::CloseView { database, .. }
            | Self::AdmitHeir { database, .. }
            | Self::ReassignOwned { database, .. }
            | Self::DropOwned { database, .. } => Site::Database(database),
        }
    }

    /// The role to run the statement as (`SET LOCAL ROLE`): a privilege is taken back by who gave it.
    pub const fn as_role(&self) -> Option<&Ident> {
        match self {
            Self::Grant { grantor, .. } | Self::Revoke { grantor, .. } => grantor.as_ref(),
            _ => None,
        }
    }

    /// Whether the statement may stand in a transaction with others. Ending sessions may, but nothing would be
    /// undone by a rollback, and its effect shows only later: it stands alone too. So does the door that is closed:
    /// no other statement must undo that.
    pub const fn is_transactional(&self) -> bool {
        !matches!(
            self,
            Self::CreateDatabase { .. }
                | Self::DropInvalidDatabase { .. }
                | Self::RevokeLogin { .. }
                | Self::TerminateSessions { .. }
        )
    }

    /// The roles that the action is for; none when it is for the database.
    pub fn roles(&self) -> Vec<&Ident> {
        match self {
            Self::RevokeLogin { role }
            | Self::TerminateSessions { role }
            | Self::CreateRole { role }
            | Self::CommentOnRole { role, .. }
            | Self::GrantMembership { role, .. }
            | Self::RevokeCreateDb { role }
            | Self::ClearExpiry { role }
            | Self::SetRoutineInvoker { role, .. }
            | Self::SetViewInvoker { role, .. }
            | Self::CloseView { role, .. }
            | Self::AdmitHeir { role, .. }
            | Self::ReassignOwned { role, .. }
            | Self::DropOwned { role, .. }
            | Self::SetPassword { role, .. }
            | Self::GrantLogin { role }
            | Self::DropRole { role } => vec![role],
            Self::CreateDatabase { .. }
            | Self::DropInvalidDatabase { .. }
            | Self::AlterDatabaseOwner { .. }
            | Self::CommentOnDatabase { .. }
            | Self::AllowConnections { .. } => Vec::new(),
            Self::Grant { to: recipients, .. }
            | Self::Revoke { from: recipients, .. }
            | Self::AlterDefaultPrivileges { recipients, .. } => {
                recipients.iter().filter_map(Recipient::role).collect()
            }
        }
    }

    /// The relations whose privileges the action changes. They must be locked before, so that it never collides
    /// with someone's DDL.
    pub fn relations(&self) -> &[Relation] {
        match self {
            Self::Grant { target, .. } | Self::Revoke { target, .. } => match target {
                Target::Tables(relations) | Target::Sequences(relations) => relations,
                Target::Columns(relation, _) => std::slice::from_ref(relation),
                Target::Database | Target::Schemas(_) => &[],
            },
            _ => &[],
        }
    }

    /// Whether the two are the same statement, run as the same role; how it came to be missing may differ.
    pub fn is_same_statement(&self, other: &Self) -> bool {
        self.site() == other.site()
            && self.as_role() == other.as_role()
            && self.statement() == other.statement()
    }

    /// The role whose departure, or loss of what it owns, the action is a part of.
    pub(crate) fn departing_role(&self) -> Option<&Ident> {
        match self {
            Self::RevokeLogin { role }
            | Self::TerminateSessions { role }
            | Self::SetRoutineInvoker { role, .. }
            | Self::SetViewInvoker { role, .. }
            | Self::CloseView { role, .. }
            | Self::AdmitHeir { role, .. }
            | Self::ReassignOwned { role, .. }
            | Self::DropOwned { role, .. }
            | Self::DropRole { role } => Some(role),
            Self::Revoke { target: Target::Database, from, .. } => from.iter().find_map(Recipient::role),
            _ => None,
        }
    }

    /// Whether what this action does includes something that the other does.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Grant { database, target, privileges, to: recipients, .. },
                Self::Grant {
                    database: other,
                    target: target2,
                    privileges: privileges2,
                    to: recipients2,
                    ..
                },
            )
            | (
                Self::Revoke { database, target, privileges, from: recipients, .. },
                Self::Revoke {
                    database: other,
                    target: target2,
                    privileges: privileges2,
                    from: recipients2,
                    ..
                },
            ) => {
                database == other
                    && !privileges.intersection(*privileges2).is_empty()
                    && recipients.iter().any(|one| recipients2.contains(one))
                    && target.overlaps(target2)
            }
            _ => self == other,
        }
    }

    /// The same action on each of its objects alone, so that one that the server refuses does not cost the
    /// others; empty when it has one object only.
    pub fn split(&self) -> Vec<Self> {
        let (target, rebuild): (&Target, &dyn Fn(Target) -> Self) = match self {
            Self::Grant { target, .. } => (target, &|one| self.with_target(one)),
            Self::Revoke { target, .. } => (target, &|one| self.with_target(one)),
            _ => return Vec::new(),
        };
        let parts = target.split();
        if parts.len() < 2 { Vec::new() } else { parts.into_iter().map(rebuild).collect() }
    }

    fn with_target(&self, one: Target) -> Self {
        let mut action = self.clone();
        match &mut action {
            Self::Grant { target, .. } | Self::Revoke { target, .. } => *target = one,
            _ => unreachable!("only GRANT and REVOKE have a target"),
        }
        action
    }
}
