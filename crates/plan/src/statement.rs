//! Actions as SQL text.

use std::fmt::{self, Display, Write as _};

use crate::{
    Action, DefaultChange, DefaultObject, Ident, Literal, Recipient, Relation, Routine, Taken, Target,
};

/// What stands for a password or verifier wherever a statement is shown.
const REDACTED: &str = "…";

impl Action {
    /// The statement, with secrets: for the server only.
    pub fn statement(&self) -> String {
        match self {
            Self::SetPassword { role, password } => set_password(role, password.expose()),
            _ => self.to_string(),
        }
    }
}

/// The statement without secrets: for logs, events and plans.
impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RevokeLogin { role } => write!(f, "ALTER ROLE {role} NOLOGIN"),
            Self::TerminateSessions { role } => write!(
                f,
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
                 WHERE usename = {} AND pid <> pg_catalog.pg_backend_pid()",
                Literal(role.as_str())
            ),
            Self::CreateRole { role } => write!(f, "CREATE ROLE {role} NOLOGIN"),
            Self::CommentOnRole { role, comment } => {
                write!(f, "COMMENT ON ROLE {role} IS {}", Literal(comment))
            }
            Self::GrantMembership { role, member, options } => {
                write!(
                    f,
                    "GRANT {role} TO {member}{}",
                    if *options { " WITH INHERIT TRUE, SET TRUE" } else { "" }
                )
            }
            Self::RevokeCreateDb { role } => write!(f, "ALTER ROLE {role} NOCREATEDB"),
            Self::ClearExpiry { role } => write!(f, "ALTER ROLE {role} VALID UNTIL 'infinity'"),
            Self::CreateDatabase { database, owner, template } => write!(
                f,
                "CREATE DATABASE {database} OWNER {owner} TEMPLATE {template} ENCODING 'UTF8' ALLOW_CONNECTIONS false"
            ),
            Self::DropInvalidDatabase { database } => write!(f, "DROP DATABASE {database}"),
            Self::AlterDatabaseOwner { database, owner } => {
                write!(f, "ALTER DATABASE {database} OWNER TO {owner}")
            }
            Self::CommentOnDatabase { database, comment } => {
                write!(f, "COMMENT ON DATABASE {database} IS {}", Literal(comment))
            }
            Self::AllowConnections { database } => {
                write!(f, "ALTER DATABASE {database} ALLOW_CONNECTIONS true")
            }
            Self::Grant { database, target, privileges, to, .. } => {
                write!(f, "GRANT {} TO {}", on(database, target, &privileges.to_string()), list(to))
            }
            Self::Revoke { database, target, privileges, taken, from, .. } => {
                let what = on(database, target, &privileges.to_string());
                match taken {
                    Taken::Privilege => write!(f, "REVOKE {what} FROM {}", list(from)),
                    Taken::WithDependents => write!(f, "REVOKE {what} FROM {} CASCADE", list(from)),
                    Taken::GrantOption => {
                        write!(f, "REVOKE GRANT OPTION FOR {what} FROM {} CASCADE", list(from))
                    }
                }
            }
            Self::AlterDefaultPrivileges {
                creators,
                schemas,
                object,
                change,
                privileges,
                recipients,
                ..
            } => {
                write!(f, "ALTER DEFAULT PRIVILEGES FOR ROLE {}", list(creators))?;
                if !schemas.is_empty() {
                    write!(f, " IN SCHEMA {}", list(schemas))?;
                }
                match change {
                    DefaultChange::Grant => {
                        write!(f, " GRANT {privileges} ON {object} TO {}", list(recipients))
                    }
                    DefaultChange::Revoke => {
                        write!(f, " REVOKE {privileges} ON {object} FROM {}", list(recipients))
                    }
                    DefaultChange::RevokeGrantOption => {
                        write!(
                            f,
                            " REVOKE GRANT OPTION FOR {privileges} ON {object} FROM {}",
                            list(recipients)
                        )
                    }
                }
            }
            Self::SetRoutineInvoker { routine, .. } => write!(f, "ALTER ROUTINE {routine} SECURITY INVOKER"),
            Self::SetViewInvoker { view, .. } => write!(f, "ALTER VIEW {view} SET (security_invoker = true)"),
            Self::AdmitHeir { schema, heir, .. } => write!(f, "GRANT CREATE ON SCHEMA {schema} TO {heir}"),
            Self::CloseView { view, from, .. } => write!(f, "REVOKE ALL ON TABLE {view} FROM {from} CASCADE"),
            Self::ReassignOwned { role, to, .. } => write!(f, "REASSIGN OWNED BY {role} TO {to}"),
            Self::DropOwned { role, .. } => write!(f, "DROP OWNED BY {role}"),
            Self::SetPassword { role, .. } => f.write_str(&set_password(role, REDACTED)),
            Self::GrantLogin { role } => write!(f, "ALTER ROLE {role} LOGIN"),
            Self::DropRole { role } => write!(f, "DROP ROLE {role}"),
        }
    }
}

fn set_password(role: &Ident, password: &str) -> String {
    format!("ALTER ROLE {role} PASSWORD {}", Literal(password))
}

/// `<privileges> ON <target>`; column privileges name their columns one by one.
fn on(database: &Ident, target: &Target, privileges: &str) -> String {
    match target {
        Target::Database => format!("{privileges} ON DATABASE {database}"),
        Target::Schemas(schemas) => format!("{privileges} ON SCHEMA {}", list(schemas)),
        Target::Tables(tables) => format!("{privileges} ON TABLE {}", list(tables)),
        Target::Sequences(sequences) => format!("{privileges} ON SEQUENCE {}", list(sequences)),
        Target::Columns(relation, columns) => {
            let columns = list(columns);
            let each: Vec<_> =
                privileges.split(", ").map(|privilege| format!("{privilege} ({columns})")).collect();
            format!("{} ON TABLE {relation}", each.join(", "))
        }
    }
}

fn list(items: &[impl Display]) -> String {
    let mut text = String::new();
    for (at, item) in items.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        write!(text, "{separator}{item}").expect("writing to a String cannot fail");
    }
    text
}

impl Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("PUBLIC"),
            Self::Role(role) => role.fmt(f),
        }
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

impl Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With IN: a procedure of the same name may have OUT arguments of these types.
        let arguments: Vec<_> = self.arguments.iter().map(|argument| format!("IN {argument}")).collect();
        write!(f, "{}({})", self.name, arguments.join(", "))
    }
}

impl Display for DefaultObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tables => "TABLES",
            Self::Sequences => "SEQUENCES",
            Self::Schemas => "SCHEMAS",
            Self::Routines => "ROUTINES",
            Self::Types => "TYPES",
            Self::LargeObjects => "LARGE OBJECTS",
        })
    }
}
