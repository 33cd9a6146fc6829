//! Schemas: who may use them and create in them.

use std::collections::BTreeSet;

use super::Plan;
use super::batch::{Batch, Cell, Change, Class, Objects};
use super::database::Verdict;
use super::view::{Subject, View};
use crate::{
    Access, Cause, Contents, Ident, Managed, Oid, Privilege, Privileges, Recipient, Schema, Schemas, Withheld,
};

const READ: Privileges = Privileges::of(&[Privilege::Usage]);
const READ_WRITE: Privileges = Privileges::of(&[Privilege::Usage, Privilege::Create]);

/// What this access means on a schema.
pub(super) const fn wanted(access: Option<Access>) -> Privileges {
    match access {
        None => Privileges::NONE,
        Some(Access::Read) => READ,
        Some(Access::ReadWrite) => READ_WRITE,
    }
}

/// Up to version 14 every role may create in `public`, which belongs to a superuser: in a database that we made
/// only its owner may.
pub(super) fn push_public(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let (Managed::Yes { owner, prune, .. }, Verdict::Ours(origin)) = (&view.desired.managed, view.verdict)
    else {
        return;
    };
    let Some((schema, acl)) = contents
        .schemas
        .values()
        .find(|schema| schema.name.as_str() == "public")
        .map(|schema| (schema, contents.acl(schema.acl)))
        .filter(|_| prune.is_exact(origin))
    else {
        return;
    };
    let surplus = acl.of(Oid::PUBLIC).intersection(Privileges::of(&[Privilege::Create]));
    let is_owners = view.is_pg_database_owner(schema.owner) || view.name(schema.owner) == owner;
    let held = view.catalog.role_oid(owner).map_or(Privileges::NONE, |oid| acl.of(oid));
    let missing = if is_owners || !view.is_superuser(schema.owner) {
        Privileges::NONE
    } else {
        READ_WRITE.without(held)
    };
    let mut cell = Cell::default();
    if view.can_act_as(schema.owner) {
        cell.add(Change::Revoke { grantor: None }, surplus, Recipient::Public);
        cell.add(Change::Grant(Cause::Missing), missing, Recipient::Role(owner.clone()));
    } else {
        withhold(None, &schema.name, surplus, plan);
        withhold(Some(owner), &schema.name, missing, plan);
    }
    let mut batch = Batch::default();
    batch.add(cell, Class::Schemas, &Objects::Schemas(vec![schema.name.clone()]));
    batch.push(&view.desired.database, plan);
}

/// Brings every subject's access to every schema to what it should be.
pub(super) fn push_schemas(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let mut batch = Batch::default();
    for schema in contents.schemas.values() {
        let mut cell = Cell::default();
        for subject in view.subjects.iter().filter(|subject| !view.owns(subject, schema.owner)) {
            add_subject(view, contents, schema, subject, &mut cell, plan);
        }
        batch.add(cell, Class::Schemas, &Objects::Schemas(vec![schema.name.clone()]));
    }
    batch.push(&view.desired.database, plan);
    push_pending(view, contents, plan);
}

fn add_subject(
    view: &View<'_>,
    contents: &Contents,
    schema: &Schema,
    subject: &Subject<'_>,
    cell: &mut Cell,
    plan: &mut Plan,
) {
    let acl = contents.acl(schema.acl);
    let wanted =
        if subject.schemas.includes(&schema.name) { wanted(subject.access) } else { Privileges::NONE };
    let found = subject.oid.map_or(Privileges::NONE, |oid| view.held(subject, schema.owner, acl.of(oid)));
    let recipient = Recipient::Role(subject.name.clone());
    let missing = wanted.without(found);
    if !missing.is_empty() && !view.can_act_as(schema.owner) {
        withhold(Some(subject.name), &schema.name, missing, plan);
    } else {
        cell.add(Change::Grant(cause(view, contents, schema, subject, missing)), missing, recipient.clone());
    }
    let surplus = found.without(wanted);
    if surplus.is_empty() {
        return;
    }
    if !subject.exact {
        let object = format!("schema {}", schema.name);
        plan.withheld.push(Withheld::PrivilegesKept {
            role: Some(subject.name.clone()),
            object,
            privileges: surplus,
        });
        return;
    }
    for item in subject.oid.into_iter().flat_map(|oid| acl.items_of(oid)) {
        let grantor = super::relations::third_grantor(view, item.grantor, schema.owner);
        cell.add(Change::Revoke { grantor }, item.privileges.intersection(surplus), recipient.clone());
    }
}

/// Access to a new schema is growth unless its creator's default privileges should have given it.
fn cause(
    view: &View<'_>,
    contents: &Contents,
    schema: &Schema,
    subject: &Subject<'_>,
    missing: Privileges,
) -> Cause {
    let by_default =
        super::defaults::held(view, contents, schema.owner, None, crate::DefaultObject::Schemas, subject);
    let is_public = schema.name.as_str() == "public";
    if subject.oid.is_none() || is_public || by_default.contains(missing) {
        Cause::Missing
    } else {
        Cause::Growth
    }
}

fn push_pending(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let present: BTreeSet<&Ident> = contents.schemas.values().map(|schema| &schema.name).collect();
    for subject in &view.subjects {
        let Schemas::Listed(listed) = subject.schemas else { continue };
        let schemas: BTreeSet<_> =
            listed.iter().filter(|schema| !present.contains(schema)).cloned().collect();
        if !schemas.is_empty() {
            plan.withheld.push(Withheld::SchemaPending { role: subject.name.clone(), schemas });
        }
    }
}

fn withhold(role: Option<&Ident>, schema: &Ident, privileges: Privileges, plan: &mut Plan) {
    if !privileges.is_empty() {
        let object = format!("schema {schema}");
        plan.withheld.push(Withheld::NotPermitted { role: role.cloned(), object, privileges });
    }
}
