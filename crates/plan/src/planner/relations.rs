//! Tables, views, materialized views, foreign tables and sequences, and their columns.

use super::Plan;
use super::batch::{Batch, Cell, Change, Class, Objects};
use super::view::{Subject, View};
use crate::{
    Access, Acl, Action, Cause, Contents, DefaultObject, Ident, Oid, Privilege, Privileges, QualifiedName,
    Recipient, Relation, RelationGroup, Target, Withheld,
};

/// `nextval` needs USAGE, reading the value SELECT; `setval` (UPDATE) stays with the owner.
const SEQUENCES: Privileges = Privileges::of(&[Privilege::Usage, Privilege::Select]);

/// What this access means on objects of this class.
pub(super) const fn wanted(access: Option<Access>, class: Class) -> Privileges {
    match (access, class) {
        (None, _) | (Some(Access::Read), Class::Sequences) => Privileges::NONE,
        (Some(Access::Read), Class::Tables) => Privileges::READ,
        (Some(Access::ReadWrite), Class::Tables) => Privileges::READ_WRITE,
        (Some(Access::ReadWrite), Class::Sequences) => SEQUENCES,
        (Some(_), Class::Schemas) => super::schemas::wanted(access),
    }
}

/// Brings every subject's privileges on every relation to what they should be.
pub(super) fn push_relations(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let mut batch = Batch::default();
    for group in &contents.relations {
        let Some(schema) = contents.schemas.get(&group.schema) else { continue };
        let mut cell = Cell::default();
        let place = Place { contents, group, schema: &schema.name, acl: contents.acl(group.acl) };
        for subject in view.subjects.iter().filter(|subject| !view.owns(subject, group.owner)) {
            place.add_subject(view, subject, &mut cell, plan);
        }
        batch.add(cell, Class::of(group.kind), &place.objects());
    }
    batch.push(&view.desired.database, plan);
}

/// One group of relations that are alike.
struct Place<'a> {
    contents: &'a Contents,
    group: &'a RelationGroup,
    schema: &'a Ident,
    acl: &'a Acl,
}

impl Place<'_> {
    fn add_subject(&self, view: &View<'_>, subject: &Subject<'_>, cell: &mut Cell, plan: &mut Plan) {
        let owner = self.group.owner;
        let wanted = self.wanted(subject);
        let found = subject.oid.map_or(Privileges::NONE, |oid| view.held(subject, owner, self.acl.of(oid)));
        let missing = wanted.without(found);
        if !missing.is_empty() && !view.can_act_as(owner) {
            plan.withheld.push(Withheld::NotPermitted {
                role: Some(subject.name.clone()),
                object: self.describe(&format!(" owned by {}", view.name(owner))),
                privileges: missing,
            });
        } else {
            let change = Change::Grant(self.cause(view, subject, missing));
            cell.add(change, missing, Recipient::Role(subject.name.clone()));
        }
        self.add_surplus(view, subject, found.without(wanted), cell, plan);
    }

    fn add_surplus(
        &self,
        view: &View<'_>,
        subject: &Subject<'_>,
        surplus: Privileges,
        cell: &mut Cell,
        plan: &mut Plan,
    ) {
        if surplus.is_empty() {
            return;
        }
        if !subject.exact {
            let role = Some(subject.name.clone());
            let object = self.describe("");
            plan.withheld.push(Withheld::PrivilegesKept { role, object, privileges: surplus });
            return;
        }
        for item in subject.oid.into_iter().flat_map(|oid| self.acl.items_of(oid)) {
            let grantor = third_grantor(view, item.grantor, self.group.owner);
            let privileges = item.privileges.intersection(surplus);
            cell.add(Change::Revoke { grantor }, privileges, Recipient::Role(subject.name.clone()));
        }
    }

    fn wanted(&self, subject: &Subject<'_>) -> Privileges {
        if subject.schemas.includes(self.schema) {
            wanted(subject.access, Class::of(self.group.kind))
        } else {
            Privileges::NONE
        }
    }

    /// A relation whose owner's default privileges give the access must have had it.
    fn cause(&self, view: &View<'_>, subject: &Subject<'_>, missing: Privileges) -> Cause {
        let object = match Class::of(self.group.kind) {
            Class::Sequences => DefaultObject::Sequences,
            Class::Tables | Class::Schemas => DefaultObject::Tables,
        };
        let schema = Some(self.group.schema);
        let by_default =
            super::defaults::held(view, self.contents, self.group.owner, schema, object, subject);
        if subject.oid.is_none() || by_default.contains(missing) { Cause::Missing } else { Cause::Growth }
    }

    fn describe(&self, owned: &str) -> String {
        match self.group.names.as_slice() {
            [name] => format!("{}.{}{owned}", self.schema.as_str(), name.as_str()),
            names => format!("{} relations in schema {}{owned}", names.len(), self.schema.as_str()),
        }
    }

    fn objects(&self) -> Objects {
        let relation = |name: &Ident| Relation {
            name: QualifiedName { schema: self.schema.clone(), name: name.clone() },
            kind: self.group.kind,
        };
        Objects::Relations(self.group.names.iter().map(relation).collect())
    }
}

/// Who has to take a privilege back: `None` when a superuser or the owner can, because the owner gave it.
pub(super) fn third_grantor(view: &View<'_>, grantor: Oid, owner: Oid) -> Option<Ident> {
    // What an owner gave moves with what it owns, and nothing else does.
    (grantor != owner).then(|| view.name(grantor).clone())
}

/// Privileges on single columns that go beyond what the subject has on the whole relation.
pub(super) fn push_columns(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    for found in &contents.columns {
        let Some(subject) = view.subjects.iter().find(|subject| subject.oid == Some(found.item.grantee))
        else {
            continue;
        };
        let includes = subject.schemas.includes(&found.relation.name.schema);
        let wanted =
            if includes { wanted(subject.access, Class::of(found.relation.kind)) } else { Privileges::NONE };
        let surplus = found.item.privileges.without(wanted);
        if surplus.is_empty() || view.owns(subject, found.owner) {
            continue;
        }
        if !subject.exact {
            let object = format!("column {} of {}", found.column, found.relation);
            let role = Some(subject.name.clone());
            plan.withheld.push(Withheld::PrivilegesKept { role, object, privileges: surplus });
            continue;
        }
        plan.actions.push(Action::Revoke {
            database: view.desired.database.clone(),
            target: Target::Columns(found.relation.clone(), vec![found.column.clone()]),
            privileges: surplus,
            from: vec![Recipient::Role(subject.name.clone())],
            grantor: third_grantor(view, found.item.grantor, found.owner),
        });
    }
}
