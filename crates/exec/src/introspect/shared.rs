//! What all databases of a server share: roles, memberships, the row of the database.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Database, Desired, Ident, Membership, Oid, PasswordState, Role, Server};

use super::{
    asked, memberships, roles,
    wire::{AskedRow, DatabaseRow, RolesReply, acl, ident},
};
use crate::{Error, Stored, Verify, facts::Facts, session::Session};

/// The query by what the admin role may read: whether verifiers, then whether the system identifier.
const QUERIES: [[&str; 2]; 2] = [
    [
        bounded!(
            "What databases share",
            "$6",
            include_str!("no_verifiers.sql"),
            include_str!("no_control.sql"),
            include_str!("roles.sql")
        ),
        bounded!(
            "What databases share",
            "$6",
            include_str!("no_verifiers.sql"),
            include_str!("control.sql"),
            include_str!("roles.sql")
        ),
    ],
    [
        bounded!(
            "What databases share",
            "$6",
            include_str!("verifiers.sql"),
            include_str!("no_control.sql"),
            include_str!("roles.sql")
        ),
        bounded!(
            "What databases share",
            "$6",
            include_str!("verifiers.sql"),
            include_str!("control.sql"),
            include_str!("roles.sql")
        ),
    ],
];

/// The part of a catalog that is the same in every database.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) server: Server,
    /// The names that were asked for, whether they exist or not.
    pub(crate) asked: BTreeSet<Ident>,
    pub(crate) roles: BTreeMap<Oid, Role>,
    pub(crate) memberships: Vec<Membership>,
    pub(crate) database: Option<Database>,
}

/// An unsigned number of 64 bits: what is longer, a server made up, and it would be remembered.
const LONGEST_IDENTIFIER: usize = 20;

/// Who knows whether passwords are right.
#[derive(Clone, Copy)]
pub(crate) struct Passwords<'a> {
    pub(crate) verify: &'a dyn Verify,
    /// Roles that were given their verifier in this pass.
    pub(crate) set: &'a BTreeSet<Ident>,
}

/// Reads it, in any database.
pub(crate) async fn shared(
    session: &mut Session,
    desired: &Desired,
    (passwords, limit): (Passwords<'_>, u32),
) -> Result<Shared, Error> {
    let asked = asked(desired);
    let leaving: Vec<_> = desired.leaving.keys().map(Ident::as_str).collect();
    let (names, values): (Vec<_>, Vec<_>) = std::mem::take(&mut session.unsent).into_iter().unzip();
    let facts = &session.facts;
    let query = QUERIES[usize::from(facts.reads_verifiers)][usize::from(facts.reads_control)];
    let query = sqlx::query_as(query)
        .bind(asked.iter().map(Ident::as_str).collect::<Vec<_>>())
        .bind(desired.database.as_str())
        .bind(leaving)
        .bind(names)
        .bind(values);
    let reply = session.document(limit, query).await?;
    decode(&session.facts, desired, asked, (reply, passwords))
}

pub(super) fn decode(
    facts: &Facts,
    desired: &Desired,
    asked: BTreeSet<Ident>,
    (reply, passwords): (RolesReply, Passwords<'_>),
) -> Result<Shared, Error> {
    let mut roles = roles(reply.roles.as_ref());
    let reads_verifiers = facts.reads_verifiers;
    for row in reply.asked.unwrap_or_default() {
        if let Some(role) = roles.get_mut(&Oid(row.oid)) {
            role.password = password(&role.name, desired, stored(&row, reads_verifiers), passwords);
            role.comment = row.comment;
            role.sessions = row.sessions;
            role.owned_databases =
                row.owned_databases.iter().flatten().filter_map(|name| ident(name)).collect();
        }
    }
    let admin = reply.admin.map(Oid).filter(|admin| roles.contains_key(admin));
    let admin = admin.ok_or_else(|| Error::Bug("the server does not know our own role".to_owned()))?;
    if let Some(row) = reply.database.as_ref().filter(|row| !roles.contains_key(&Oid(row.owner))) {
        return Err(Error::Bug(format!(
            "the owner of the database, role {}, has no name that can be written",
            row.owner
        )));
    }
    Ok(Shared {
        server: Server {
            version: facts.version(),
            system_identifier: reply.system_identifier.filter(|found| found.len() <= LONGEST_IDENTIFIER),
            in_recovery: false,
            read_only: false,
            encrypted: facts.encrypted,
            admin,
        },
        memberships: memberships(reply.memberships, &roles),
        database: reply.database.map(database),
        asked,
        roles,
    })
}

fn stored(row: &AskedRow, is_readable: bool) -> Stored<'_> {
    match &row.verifier {
        _ if !is_readable => Stored::Unreadable,
        None => Stored::Absent,
        Some(verifier) if verifier.starts_with("SCRAM-SHA-256$") => Stored::Verifier(verifier),
        Some(hash) if hash.starts_with("md5") => Stored::Md5(hash),
        Some(_) => Stored::Other,
    }
}

fn password(role: &Ident, desired: &Desired, stored: Stored<'_>, passwords: Passwords<'_>) -> PasswordState {
    let wanted = match desired.logins.get(role) {
        Some(login) => login.password.as_ref(),
        // It may be the proof that the role is one's own to drop.
        None if desired.leaving.contains_key(role) => None,
        None => return PasswordState::Unknown,
    };
    match (stored, wanted) {
        // Nothing to compute: this is the very verifier that would be set.
        (Stored::Verifier(found), Some(wanted)) if wanted.is_stored_as(found) => PasswordState::Matches,
        (Stored::Unreadable, _) if passwords.set.contains(role) => PasswordState::Matches,
        (stored, _) => passwords.verify.state(role, stored),
    }
}

fn database(row: DatabaseRow) -> Database {
    Database {
        oid: Oid(row.oid),
        owner: Oid(row.owner),
        acl: acl(row.acl),
        allow_connections: row.allow_connections,
        invalid: row.invalid,
        comment: row.comment,
    }
}
