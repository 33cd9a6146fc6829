//! Schemas: who may use them and create in them.

use std::collections::BTreeSet;

use super::Plan;
use super::batch::{Batch, Cell, Change, Class, Objects};
use super::database::Verdict;
use super::surplus::{self, Loss, Object, Way};
use super::view::{Subject, View};
use crate::{
    Access, Acl, AclItem, Cause, Contents, Ident, Managed, Oid, Privilege, Privileges, Recipient, Schema,
    Schemas, Withheld,
};

const CREATE: Privileges = Privileges::of(&[Privilege::Create]);
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
    let is_owners = view.is_pg_database_owner(schema.owner) || view.name(schema.owner) == owner;
    let held = view.catalog.role_oid(owner).map_or(Privileges::NONE, |oid| acl.of(oid));
    let missing = if is_owners || !view.is_superuser(schema.owner) {
        Privileges::NONE
    } else {
        READ_WRITE.without(held)
    };
    let mut cell = Cell::default();
    let object = Object { acl, owner: schema.owner, schema: None };
    if view.can_act_as(schema.owner) {
        let grantor = surplus::owner_by_name(view, object, missing);
        let change = Change::Grant { grantor, cause: Cause::Missing };
        cell.add(change, missing, Recipient::Role(owner.clone()));
    } else {
        withhold(Some(owner), &schema.name, missing, plan);
    }
    for item in acl.items_of(Oid::PUBLIC) {
        let losses = surplus::losses(view, object, acl, item, item.privileges.without(CREATE));
        push_losses(losses, (&Recipient::Public, &|| format!("schema {}", schema.name)), &mut cell, plan);
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
        let object = Object { acl: contents.acl(schema.acl), owner: schema.owner, schema: None };
        let wanted = |subject: &Subject<'_>| wanted_in(subject, &schema.name);
        let remaining = surplus::remaining(view, object, &wanted);
        let place = Place { contents, schema, object, remaining: &remaining };
        for subject in view.subjects.iter().filter(|subject| !view.owns(subject, schema.owner)) {
            place.add_subject(view, subject, &mut cell, plan);
        }
        for subject in view.departing() {
            place.add_departure(view, &subject, &mut cell, plan);
        }
        batch.add(cell, Class::Schemas, &Objects::Schemas(vec![schema.name.clone()]));
    }
    batch.push(&view.desired.database, plan);
    push_pending(view, contents, plan);
}

pub(super) fn wanted_in(subject: &Subject<'_>, schema: &Ident) -> Privileges {
    if subject.schemas.includes(schema) { wanted(subject.access) } else { Privileges::NONE }
}

/// One schema.
struct Place<'a> {
    contents: &'a Contents,
    schema: &'a Schema,
    object: Object<'a>,
    remaining: &'a Acl,
}

impl Place<'_> {
    fn add_subject(&self, view: &View<'_>, subject: &Subject<'_>, cell: &mut Cell, plan: &mut Plan) {
        let (schema, acl) = (self.schema, self.object.acl);
        let wanted = wanted_in(subject, &schema.name);
        let held = |acl: &Acl| {
            subject.oid.map_or(Privileges::NONE, |oid| view.held(subject, schema.owner, acl.of(oid)))
        };
        let recipient = Recipient::Role(subject.name.clone());
        let missing = wanted.without(held(self.remaining));
        if !missing.is_empty() && !view.can_act_as(schema.owner) {
            withhold(Some(subject.name), &schema.name, missing, plan);
        } else if !missing.is_empty() {
            let cause = cause(view, self.contents, schema, subject, missing);
            let grantor = surplus::owner_by_name(view, self.object, missing);
            cell.add(Change::Grant { grantor, cause }, missing, recipient.clone());
        }
        let Some(oid) = subject.oid.filter(|oid| *oid != schema.owner) else { return };
        let describe = || format!("schema {}", schema.name);
        if subject.exact {
            for item in acl.items_of(oid) {
                let losses = surplus::losses(view, self.object, self.remaining, item, wanted);
                push_losses(losses, (&recipient, &describe), cell, plan);
            }
        } else {
            withhold_kept(subject, (acl, oid, wanted), describe, plan);
        }
    }
}

impl Place<'_> {
    /// What a role that is dropped has and DROP OWNED does not take.
    fn add_departure(&self, view: &View<'_>, subject: &Subject<'_>, cell: &mut Cell, plan: &mut Plan) {
        let Some(oid) = subject.oid.filter(|oid| *oid != self.schema.owner) else { return };
        let outlasts = |item: &&AclItem| surplus::outlasts_drop_owned(view, self.object, item);
        let describe = || format!("schema {}", self.schema.name);
        for item in self.object.acl.items_of(oid).filter(outlasts) {
            let losses = surplus::losses(view, self.object, self.remaining, item, Privileges::NONE);
            let recipient = Recipient::Role(subject.name.clone());
            push_losses(losses, (&recipient, &describe), cell, plan);
        }
    }
}

/// Puts what somebody loses with the other changes of the object.
pub(super) fn push_losses(
    losses: Vec<Loss>,
    (recipient, describe): (&Recipient, &dyn Fn() -> String),
    cell: &mut Cell,
    plan: &mut Plan,
) {
    for Loss { privileges, taken, way } in losses {
        match way {
            Way::As(grantor) => cell.add(Change::Revoke { grantor, taken }, privileges, recipient.clone()),
            Way::From { giver, by: grantor } => {
                cell.add(Change::Revoke { grantor, taken }, privileges, Recipient::Role(giver));
            }
            Way::Kept => plan.withheld.push(borne(recipient, &describe(), privileges)),
            Way::Barred(giver) => {
                let object = format!("{}, given by {giver}", describe());
                plan.withheld.push(Withheld::NotPermitted {
                    role: recipient.role().cloned(),
                    object,
                    privileges,
                });
            }
        }
    }
}

/// What stays although it was not asked for, because others are not to lose what they have from there.
pub(super) fn borne(recipient: &Recipient, object: &str, privileges: Privileges) -> Withheld {
    let object = format!("{object}, from where a role has it that is observed or suspended");
    Withheld::PrivilegesKept {
        role: recipient.role().cloned(),
        object,
        privileges,
        grantable: Privileges::NONE,
    }
}

/// What a subject has beyond what was asked for, where that is not ours to take.
pub(super) fn withhold_kept(
    subject: &Subject<'_>,
    (acl, oid, wanted): (&Acl, Oid, Privileges),
    describe: impl FnOnce() -> String,
    plan: &mut Plan,
) {
    let (privileges, grantable) = (acl.of(oid).without(wanted), acl.grantable_by(oid));
    if !privileges.union(grantable).is_empty() {
        let (role, object) = (Some(subject.name.clone()), describe());
        plan.withheld.push(Withheld::PrivilegesKept { role, object, privileges, grantable });
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
    if is_public || by_default.contains(missing) { Cause::Missing } else { Cause::Growth }
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
