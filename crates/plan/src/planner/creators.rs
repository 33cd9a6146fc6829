//! Creators: the roles whose future objects the grantees must be able to use at once.

use std::collections::{BTreeMap, BTreeSet};

use super::view::View;
use crate::{Access, Contents, Ident, Oid, Privilege, Privileges};

/// Where a creator's default privileges are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Wherever the grantee has access.
    Everywhere,
    /// Only in these schemas: a superuser's global defaults would also reach the objects of extensions that it
    /// creates.
    Schemas(BTreeSet<Oid>),
}

/// Every creator: the database's owner, owners of schemas and relations, holders of CREATE, readwrite users (also
/// those still to be made), and the login members of all these.
pub(super) fn creators<'a>(view: &View<'a>, contents: &'a Contents) -> BTreeMap<&'a Ident, Reach> {
    let mut creators = BTreeMap::new();
    if let Some(owner) = view.database_owner() {
        add(view, owner, None, &mut creators);
    }
    for (oid, schema) in &contents.schemas {
        add_role(view, schema.owner, None, &mut creators);
        let create = Privileges::of(&[Privilege::Create]);
        for item in contents.acl(schema.acl).0.iter().filter(|item| item.privileges.contains(create)) {
            add_role(view, item.grantee, None, &mut creators);
        }
        for group in contents.relations.iter().filter(|group| group.schema == *oid) {
            add_role(view, group.owner, Some(*oid), &mut creators);
        }
    }
    for subject in view.subjects.iter().filter(|subject| subject.access == Some(Access::ReadWrite)) {
        add(view, subject.name, None, &mut creators);
    }
    add_members(view, &mut creators);
    creators
}

fn add_role<'a>(view: &View<'a>, oid: Oid, evidence: Option<Oid>, creators: &mut BTreeMap<&'a Ident, Reach>) {
    if oid != Oid::PUBLIC {
        add(view, view.name(view.owner_after(oid)), evidence, creators);
    }
}

fn add<'a>(
    view: &View<'a>,
    name: &'a Ident,
    evidence: Option<Oid>,
    creators: &mut BTreeMap<&'a Ident, Reach>,
) {
    let oid = view.catalog.role_oid(name);
    if view.is_leaving(name) || name.as_str().starts_with("pg_") || is_reader(view, name) {
        return;
    }
    let is_restricted = oid.is_some_and(|oid| view.is_superuser(oid) || oid == view.catalog.server.admin);
    match (is_restricted, evidence) {
        (false, _) => _ = creators.insert(name, Reach::Everywhere),
        (true, Some(schema)) => {
            let reach = creators.entry(name).or_insert_with(|| Reach::Schemas(BTreeSet::new()));
            if let Reach::Schemas(schemas) = reach {
                schemas.insert(schema);
            }
        }
        (true, None) => (),
    }
}

/// A reader creates nothing: what it owned is reassigned, and what it keeps of an adopted past is reported.
fn is_reader(view: &View<'_>, name: &Ident) -> bool {
    view.subjects.iter().any(|subject| subject.name == name && subject.access == Some(Access::Read))
}

/// Login roles that inherit a creator's rights create under their own name.
fn add_members<'a>(view: &View<'a>, creators: &mut BTreeMap<&'a Ident, Reach>) {
    let mut pending: Vec<Oid> = creators
        .iter()
        .filter(|(_, reach)| **reach == Reach::Everywhere)
        .filter_map(|(name, _)| view.catalog.role_oid(name))
        .collect();
    let mut seen: BTreeSet<Oid> = pending.iter().copied().collect();
    while let Some(role) = pending.pop() {
        for membership in view.catalog.memberships.iter().filter(|found| found.role == role && found.inherit)
        {
            if !seen.insert(membership.member) {
                continue;
            }
            pending.push(membership.member);
            if view.catalog.roles.get(&membership.member).is_some_and(|member| member.login) {
                add_role(view, membership.member, None, creators);
            }
        }
    }
}
