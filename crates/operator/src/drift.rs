//! What a repaired change was, in a person's words.

use plan::{Action, DefaultChange, Recipient, Taken, Target};

/// What somebody had done that this statement undoes.
pub fn sentence(action: &Action) -> String {
    match action {
        Action::CreateRole { role } => format!("role {} was dropped", role.as_str()),
        Action::CreateDatabase { database, .. } => format!("database {} was dropped", database.as_str()),
        Action::DropInvalidDatabase { database } => {
            format!("database {} was left invalid by an interrupted DROP", database.as_str())
        }
        Action::CommentOnRole { role, .. } => format!("the marker on role {} was changed", role.as_str()),
        Action::CommentOnDatabase { database, .. } => {
            format!("the marker on database {} was changed", database.as_str())
        }
        Action::GrantMembership { role, member, .. } => {
            format!("the membership of {} in {} was revoked", member.as_str(), role.as_str())
        }
        Action::RevokeCreateDb { role } => format!("CREATEDB was given to {}", role.as_str()),
        Action::ClearExpiry { role } => format!("the password of {} was made to expire", role.as_str()),
        Action::SetPassword { role, .. } => format!("the password of {} was changed", role.as_str()),
        Action::GrantLogin { role } => format!("LOGIN was taken from {}", role.as_str()),
        Action::AlterDatabaseOwner { database, owner } => {
            format!("database {} was taken from its owner {}", database.as_str(), owner.as_str())
        }
        Action::AllowConnections { database } => {
            format!("database {} was closed to connections", database.as_str())
        }
        Action::Grant { database, target, privileges, to, .. } => {
            format!("{privileges} on {} was revoked from {}", object(database.as_str(), target), names(to))
        }
        Action::Revoke { database, target, privileges, taken, from, .. } => {
            let right = if *taken == Taken::GrantOption { "the right to pass on " } else { "" };
            let object = object(database.as_str(), target);
            format!("{right}{privileges} on {object} was given to {}", names(from))
        }
        Action::AlterDefaultPrivileges { creators, object, change, privileges, recipients, .. } => {
            let creators: Vec<_> = creators.iter().map(plan::Ident::as_str).collect();
            let (taken, link) = match change {
                DefaultChange::Grant => ("revoked", "from"),
                DefaultChange::Revoke | DefaultChange::RevokeGrantOption => ("given", "to"),
            };
            let what = format!("{privileges} on future {object} of {}", creators.join(", "));
            format!("{what} was {taken} {link} {}", names(recipients))
        }
        Action::AdmitHeir { role, .. } | Action::ReassignOwned { role, .. } => {
            format!("{} had come to own objects", role.as_str())
        }
        Action::SetRoutineInvoker { routine, .. } => format!("{routine} ran with its owner's rights"),
        Action::SetViewInvoker { view, .. } | Action::CloseView { view, .. } => {
            format!("{view} read with its owner's rights")
        }
        Action::RevokeLogin { role }
        | Action::TerminateSessions { role }
        | Action::DropOwned { role, .. }
        | Action::DropRole { role } => format!("role {} had come back", role.as_str()),
    }
}

fn object(database: &str, target: &Target) -> String {
    let relations = |all: &[plan::Relation]| {
        let name = |one: &plan::Relation| format!("{}.{}", one.name.schema.as_str(), one.name.name.as_str());
        several(&all.iter().map(name).collect::<Vec<_>>())
    };
    match target {
        Target::Database => format!("database {database}"),
        Target::Schemas(all) => {
            format!("schema {}", several(&all.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>()))
        }
        Target::Tables(all) | Target::Sequences(all) => relations(all),
        Target::Columns(relation, columns) => {
            let columns: Vec<_> = columns.iter().map(plan::Ident::as_str).collect();
            format!("{} ({})", relations(std::slice::from_ref(relation)), columns.join(", "))
        }
    }
}

/// The first few, and how many more.
fn several(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

fn names(recipients: &[Recipient]) -> String {
    let name = |recipient: &Recipient| recipient.role().map_or("PUBLIC", plan::Ident::as_str).to_owned();
    several(&recipients.iter().map(name).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use plan::testing::{desired, ident};
    use plan::{Cause, Privilege, Privileges, QualifiedName, Relation, RelationKind};

    use super::*;

    #[test]
    fn a_revoked_select_is_said_with_its_table_and_role() {
        let name = QualifiedName { schema: ident("public"), name: ident("orders") };
        let action = Action::Grant {
            database: desired(&[]).database,
            target: Target::Tables(vec![Relation { name, kind: RelationKind::Table }]),
            privileges: Privileges::of(&[Privilege::Select]),
            to: vec![Recipient::Role(ident("app_reader"))],
            grantor: None,
            cause: Cause::Missing,
        };
        assert_eq!(sentence(&action), "SELECT on public.orders was revoked from app_reader");
    }

    #[test]
    fn many_objects_are_counted() {
        let names: Vec<_> = (0..7).map(|number| format!("t{number}")).collect();
        assert_eq!(several(&names), "t0, t1, t2, t3, t4 and 2 more");
    }
}
