//! Reads catalogs. The queries stand beside, in SQL; what differs per server version is joined here.

/// A query for one JSON document as a query for its length in bytes, and for the document unless that is longer than
/// this parameter: what is in a database is up to its owner, and must not be more than we can hold. The title comes
/// first, because a server's log shows the first line of a statement only.
macro_rules! bounded {
    ($title:literal, $limit:literal, $($text:expr),+ $(,)?) => {
        concat!(
            "-- ", $title, ".\nSELECT d.bytes, CASE WHEN d.bytes <= ", $limit, " THEN d.document END FROM (SELECT r.document, \
             pg_catalog.octet_length(r.document::pg_catalog.text)::pg_catalog.int8 AS bytes FROM (",
            $($text),+,
            ") AS r (document) OFFSET 0) AS d"
        )
    };
}

mod contents;
mod dependencies;
mod known;
mod shared;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use plan::{Catalog, Desired, Managed, Membership, Oid, PasswordState, Role};

pub(crate) use contents::{Inside, contents};
pub(crate) use dependencies::{Concerned, Others, concerned, dependencies, given, owned};
pub(crate) use shared::{Passwords, Shared, shared};

/// A catalog in the parts in which it is read.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) shared: Shared,
    pub(crate) inside: Option<Inside>,
    pub(crate) others: Others,
}

impl Parts {
    /// The parts as one; where two know the same role, the shared part knows best.
    pub(crate) fn catalog(&self) -> Catalog {
        let mut roles = self.others.roles.clone();
        let mut memberships: BTreeSet<_> = self.shared.memberships.iter().copied().collect();
        if let Some(inside) = &self.inside {
            roles.extend(inside.roles.clone());
            memberships.extend(&inside.memberships);
        }
        // A role asked for that the shared part lacks was dropped since.
        roles.retain(|_, role| !self.shared.asked.contains(&role.name));
        roles.extend(self.shared.roles.clone());
        memberships
            .retain(|Membership { role, member, .. }| roles.contains_key(role) && roles.contains_key(member));
        let mut catalog = Catalog {
            server: self.shared.server.clone(),
            roles,
            memberships: memberships.into_iter().collect(),
            database: self.shared.database.clone(),
            contents: self.inside.as_ref().map(|inside| inside.contents.clone()),
            dependencies: self.others.dependencies.clone(),
        };
        known::keep_known(&mut catalog);
        catalog
    }
}

/// The names of all roles that are asked for.
pub(crate) fn asked(desired: &Desired) -> BTreeSet<plan::Ident> {
    let owner = match &desired.managed {
        Managed::Yes { owner, .. } => Some(owner),
        Managed::Released { .. } | Managed::No => None,
    };
    let named = desired.logins.keys().chain(desired.grantees.keys()).chain(desired.leaving.keys());
    named.chain(owner).cloned().collect()
}

fn roles(rows: Option<&Vec<wire::RoleRow>>) -> BTreeMap<Oid, Role> {
    rows.into_iter().flatten().filter_map(|row| Some((Oid(row.oid), role(row)?))).collect()
}

fn role(row: &wire::RoleRow) -> Option<Role> {
    Some(Role {
        name: wire::ident(&row.name)?,
        superuser: row.superuser,
        inherit: row.inherit,
        create_role: row.create_role,
        create_db: row.create_db,
        login: row.login,
        replication: row.replication,
        bypass_rls: row.bypass_rls,
        expires: row.expires,
        comment: None,
        password: PasswordState::Unknown,
        sessions: 0,
        owned_databases: BTreeSet::new(),
    })
}

/// Up to version 15 a member inherits if it inherits at all, and may always become the role.
fn memberships(rows: Option<Vec<wire::MembershipRow>>, roles: &BTreeMap<Oid, Role>) -> Vec<Membership> {
    let membership = |(role, member, grantor, admin, inherit, set): wire::MembershipRow| {
        let member = Oid(member);
        let inherit = inherit.unwrap_or_else(|| roles.get(&member).is_some_and(|member| member.inherit));
        Membership {
            role: Oid(role),
            member,
            grantor: Oid(grantor),
            admin,
            inherit,
            set: set.unwrap_or(true),
        }
    };
    rows.unwrap_or_default().into_iter().map(membership).collect()
}

#[cfg(test)]
mod tests;
