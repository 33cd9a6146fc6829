//! Memberships that give a role of ours more than its access: reported, never revoked.

use std::collections::BTreeSet;

use super::Plan;
use super::batch::Class;
use super::view::{Subject, View};
use super::{database, relations, schemas};
use crate::{Contents, Ident, Managed, Membership, Oid, Role, Withheld};

/// Looks at every role that a grantee or the owner was granted, and at those that come with it.
pub(super) fn push_memberships(view: &View<'_>, contents: Option<&Contents>, plan: &mut Plan) {
    let owner = match &view.desired.managed {
        Managed::Yes { owner, .. } => view.logins.get_key_value(owner).map(|(name, _)| *name),
        Managed::Released { .. } | Managed::No => None,
    };
    if let Some((owner, oid)) = owner.and_then(|owner| Some((owner, view.catalog.role_oid(owner)?))) {
        push(view, (owner, oid), &|_| None, plan);
    }
    for subject in view.subjects.iter().filter(|subject| subject.access.is_some()) {
        let Some(oid) = subject.oid else { continue };
        push(view, (subject.name, oid), &|granted| extra(view, contents, subject, granted), plan);
    }
}

fn push(view: &View<'_>, (name, oid): (&Ident, Oid), extra: &dyn Fn(Oid) -> Option<String>, plan: &mut Plan) {
    let direct: BTreeSet<Oid> =
        view.catalog.memberships.iter().filter(|found| found.member == oid).map(|found| found.role).collect();
    for granted in direct {
        let gives = |role: &Oid| rank(&view.catalog.roles[role]).or_else(|| extra(*role));
        let Some(gives) = reached(view, granted).iter().find_map(gives) else { continue };
        let granted = view.name(granted).clone();
        plan.withheld.push(Withheld::MembershipKept { role: name.clone(), granted, gives });
    }
}

/// The role and all that it is a member of; whether it inherits does not matter, it can be changed to.
fn reached(view: &View<'_>, start: Oid) -> BTreeSet<Oid> {
    let mut reached = BTreeSet::from([start]);
    let mut pending = vec![start];
    while let Some(member) = pending.pop() {
        let above = view.catalog.memberships.iter().filter(|found: &&Membership| found.member == member);
        pending.extend(above.map(|found| found.role).filter(|role| reached.insert(*role)));
    }
    reached.retain(|role| view.catalog.roles.contains_key(role));
    reached
}

/// What the role may do anywhere.
fn rank(role: &Role) -> Option<String> {
    let is_predefined = role.name.as_str().starts_with("pg_") && role.name.as_str() != "pg_database_owner";
    if role.superuser {
        Some("is a superuser".to_owned())
    } else if role.is_elevated() || role.create_db {
        Some("has CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS".to_owned())
    } else {
        is_predefined.then(|| "has rights on the whole server".to_owned())
    }
}

/// What the role may do in this database that the subject may not.
fn extra(
    view: &View<'_>,
    contents: Option<&Contents>,
    subject: &Subject<'_>,
    granted: Oid,
) -> Option<String> {
    let found = view.catalog.database.as_ref()?;
    let name = &view.desired.database;
    if view.owner_after(found.owner) == granted {
        return Some(format!("owns database {name}"));
    }
    if !found.acl.of(granted).without(database::wanted(subject)).is_empty() {
        return Some(format!("has more on database {name}"));
    }
    let contents = contents?;
    for schema in contents.schemas.values() {
        if schema.owner == granted {
            return Some(format!("owns schema {}", schema.name));
        }
        if !contents.acl(schema.acl).of(granted).without(schemas::wanted_in(subject, &schema.name)).is_empty()
        {
            return Some(format!("has more on schema {}", schema.name));
        }
    }
    contents.relations.iter().find_map(|group| {
        let schema = &contents.schemas.get(&group.schema)?.name;
        let access = subject.access.filter(|_| subject.schemas.includes(schema));
        let wanted = relations::wanted(access, Class::of(group.kind));
        let relation = || format!("{}.{}", schema.as_str(), group.names[0].as_str());
        if group.owner == granted {
            return Some(format!("owns {}", relation()));
        }
        let surplus = contents.acl(group.acl).of(granted).without(wanted);
        (!surplus.is_empty()).then(|| format!("has {surplus} on {}", relation()))
    })
}
