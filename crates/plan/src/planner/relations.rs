//! Tables, views, materialized views, foreign tables and sequences, and their columns.

use super::Plan;
use super::batch::{Batch, Cell, Change, Class, Objects};
use super::schemas::{push_losses, withhold_kept};
use super::surplus::{self, Object, Way};
use super::view::{Subject, View};
use crate::{
    Access, Acl, AclItem, Action, Cause, ColumnGrant, Contents, DefaultObject, Ident, MOST_ENTRIES, Oid,
    Privilege, Privileges, QualifiedName, Recipient, Relation, RelationGroup, Target, Withheld,
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

/// Brings every subject's privileges on every relation to what they should be. On what belongs to an extension
/// nobody should have anything.
pub(super) fn push_relations(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let mut batch = Batch::default();
    let own = contents.relations.iter().map(|group| (group, false));
    for (group, is_extensions) in own.chain(contents.extensions.iter().map(|group| (group, true))) {
        let Some(schema) = contents.schemas.get(&group.schema) else { continue };
        let acl = contents.acl(group.acl);
        let object = Object { acl, owner: group.owner, schema: Some((schema, contents.acl(schema.acl))) };
        let mut place = Place { contents, group, is_extensions, schema: &schema.name, object, room: 0 };
        let wanted = |subject: &Subject<'_>| place.wanted(subject);
        let remaining = surplus::remaining(view, object, &wanted);
        place.room = MOST_ENTRIES.saturating_sub(remaining.0.len());
        let mut cell = Cell::default();
        for subject in view.subjects.iter().filter(|subject| !view.owns(subject, group.owner)) {
            place.add_missing(view, subject, &remaining, &mut cell, plan);
            place.add_surplus(view, subject, &remaining, &mut cell, plan);
        }
        for subject in view.departing() {
            place.add_departure(view, &subject, &remaining, &mut cell, plan);
        }
        let (busy, free): (Vec<_>, Vec<_>) =
            place.relations().partition(|relation| view.desired.busy.contains(&relation.name));
        if !busy.is_empty() {
            for role in cell.roles() {
                plan.withheld.push(Withheld::Busy { role, object: describe(&busy) });
            }
        }
        batch.add(cell, Class::of(group.kind), &Objects::Relations(free));
    }
    batch.push(&view.desired.database, plan);
}

/// One group of relations that are alike.
struct Place<'a> {
    contents: &'a Contents,
    group: &'a RelationGroup,
    is_extensions: bool,
    schema: &'a Ident,
    object: Object<'a>,
    /// For so many more entries.
    room: usize,
}

impl Place<'_> {
    fn add_missing(
        &mut self,
        view: &View<'_>,
        subject: &Subject<'_>,
        remaining: &Acl,
        cell: &mut Cell,
        plan: &mut Plan,
    ) {
        let owner = self.group.owner;
        let found = subject.oid.map_or(Privileges::NONE, |oid| view.held(subject, owner, remaining.of(oid)));
        let privileges = self.wanted(subject).without(found);
        if privileges.is_empty() {
            return;
        }
        if !view.can_act_as(owner) {
            plan.withheld.push(Withheld::NotPermitted {
                role: Some(subject.name.clone()),
                object: self.describe(&format!(" owned by {}", view.name(owner))),
                privileges,
            });
            return;
        }
        let is_new = |oid: Oid| remaining.items_of(oid).all(|item| item.grantor != owner);
        if subject.oid.is_none_or(is_new) {
            let Some(room) = self.room.checked_sub(1) else {
                let (role, object) = (subject.name.clone(), self.describe(""));
                plan.withheld.push(Withheld::ListIsFull { role, object, privileges });
                return;
            };
            self.room = room;
        }
        let grantor = surplus::owner_by_name(view, self.object, privileges);
        let change = Change::Grant { grantor, cause: self.cause(view, subject, privileges) };
        cell.add(change, privileges, Recipient::Role(subject.name.clone()));
    }

    fn add_surplus(
        &self,
        view: &View<'_>,
        subject: &Subject<'_>,
        remaining: &Acl,
        cell: &mut Cell,
        plan: &mut Plan,
    ) {
        // What an owner has moves with what it owns.
        let Some(oid) = subject.oid.filter(|oid| *oid != self.group.owner) else { return };
        let (acl, wanted) = (self.object.acl, self.wanted(subject));
        if !subject.exact {
            withhold_kept(subject, (acl, oid, wanted), || self.describe(""), plan);
            return;
        }
        for item in acl.items_of(oid) {
            let losses = surplus::losses(view, self.object, remaining, item, wanted);
            let recipient = Recipient::Role(subject.name.clone());
            push_losses(losses, (&recipient, &|| self.describe("")), cell, plan);
        }
    }

    /// What a role that is dropped has and DROP OWNED does not take.
    fn add_departure(
        &self,
        view: &View<'_>,
        subject: &Subject<'_>,
        remaining: &Acl,
        cell: &mut Cell,
        plan: &mut Plan,
    ) {
        let Some(oid) = subject.oid.filter(|oid| *oid != self.group.owner) else { return };
        let outlasts = |item: &&AclItem| surplus::outlasts_drop_owned(view, self.object, item);
        for item in self.object.acl.items_of(oid).filter(outlasts) {
            let losses = surplus::losses(view, self.object, remaining, item, Privileges::NONE);
            let recipient = Recipient::Role(subject.name.clone());
            push_losses(losses, (&recipient, &|| self.describe("")), cell, plan);
        }
    }

    fn wanted(&self, subject: &Subject<'_>) -> Privileges {
        if subject.schemas.includes(self.schema) && !self.is_extensions {
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
        if by_default.contains(missing) { Cause::Missing } else { Cause::Growth }
    }

    fn describe(&self, owned: &str) -> String {
        match self.group.names.as_slice() {
            [name] => format!("{}.{}{owned}", self.schema.as_str(), name.as_str()),
            names => format!("{} relations in schema {}{owned}", names.len(), self.schema.as_str()),
        }
    }

    fn relations(&self) -> impl Iterator<Item = Relation> {
        self.group.names.iter().map(|name| Relation {
            name: QualifiedName { schema: self.schema.clone(), name: name.clone() },
            kind: self.group.kind,
        })
    }
}

/// The first few by name.
fn describe(relations: &[Relation]) -> String {
    const SHOWN: usize = 5;
    let name =
        |relation: &Relation| format!("{}.{}", relation.name.schema.as_str(), relation.name.name.as_str());
    let names: Vec<_> = relations.iter().take(SHOWN).map(name).collect();
    match relations.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Privileges on single columns that go beyond what the subject has on the whole relation.
pub(super) fn push_columns(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let mut columns: Vec<_> = contents.columns.iter().collect();
    columns.sort_unstable_by_key(|found| (&found.relation, &found.column, found.item));
    for found in columns {
        let Some(subject) = view.subjects.iter().find(|subject| subject.oid == Some(found.item.grantee))
        else {
            continue;
        };
        let includes = subject.schemas.includes(&found.relation.name.schema);
        let wanted =
            if includes { wanted(subject.access, Class::of(found.relation.kind)) } else { Privileges::NONE };
        if view.owns(subject, found.owner) {
            continue;
        }
        if view.desired.busy.contains(&found.relation.name) {
            let object = describe(std::slice::from_ref(&found.relation));
            plan.withheld.push(Withheld::Busy { role: subject.name.clone(), object });
            continue;
        }
        let acl = Acl(vec![found.item]);
        let describe = || format!("column {} of {}", found.column, found.relation);
        if !subject.exact {
            withhold_kept(subject, (&acl, found.item.grantee, wanted), describe, plan);
            continue;
        }
        push_column_losses(view, contents, found, (subject, wanted), plan);
    }
    for subject in view.departing() {
        let outlasts = |found: &&ColumnGrant| {
            subject.oid == Some(found.item.grantee)
                && subject.oid != Some(found.owner)
                && found.item.grantor != found.owner
        };
        for found in contents.columns.iter().filter(outlasts) {
            if view.desired.busy.contains(&found.relation.name) {
                let object = describe(std::slice::from_ref(&found.relation));
                plan.withheld.push(Withheld::Busy { role: subject.name.clone(), object });
                continue;
            }
            push_column_losses(view, contents, found, (&subject, Privileges::NONE), plan);
        }
    }
}

fn push_column_losses(
    view: &View<'_>,
    contents: &Contents,
    found: &ColumnGrant,
    (subject, wanted): (&Subject<'_>, Privileges),
    plan: &mut Plan,
) {
    let schema = contents.schemas.values().find(|schema| schema.name == found.relation.name.schema);
    let schema = schema.map(|schema| (schema, contents.acl(schema.acl)));
    // Whoever gave it need not have the right to on the column alone.
    let may_give = AclItem {
        grantee: found.item.grantor,
        grantor: found.owner,
        privileges: found.item.privileges,
        grantable: found.item.privileges,
    };
    let acl = Acl(vec![found.item, may_give]);
    let object = Object { acl: &acl, owner: found.owner, schema };
    for loss in surplus::losses(view, object, &acl, &found.item, wanted) {
        let Way::As(grantor) = loss.way else {
            let object = format!("column {} of {}", found.column, found.relation);
            let role = Some(subject.name.clone());
            plan.withheld.push(Withheld::NotPermitted { role, object, privileges: loss.privileges });
            continue;
        };
        plan.actions.push(Action::Revoke {
            database: view.desired.database.clone(),
            target: Target::Columns(found.relation.clone(), vec![found.column.clone()]),
            privileges: loss.privileges,
            taken: loss.taken,
            from: vec![Recipient::Role(subject.name.clone())],
            grantor,
        });
    }
}
