//! Default privileges: what grantees have on objects that creators make later, without a pass in between.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::batch::Class;
use super::creators::{Reach, creators};
use super::relations;
use super::view::{Subject, View};
use crate::{
    Acl, Action, Cause, Contents, DefaultAcl, DefaultChange, DefaultObject, Ident, MOST_ENTRIES, Oid,
    Privileges, Recipient, Schemas, Withheld,
};

/// The kinds of objects that a grantee's access speaks of.
const OBJECTS: [(DefaultObject, Class); 3] = [
    (DefaultObject::Tables, Class::Tables),
    (DefaultObject::Sequences, Class::Sequences),
    (DefaultObject::Schemas, Class::Schemas),
];

/// What the subject gets on objects of this kind that this creator makes in this schema (`None`: in general).
pub(super) fn held(
    view: &View<'_>,
    contents: &Contents,
    creator: Oid,
    schema: Option<Oid>,
    object: DefaultObject,
    subject: &Subject<'_>,
) -> Privileges {
    let Some(grantee) = subject.oid else { return Privileges::NONE };
    let creator = view.owner_after(creator);
    let rows = contents.defaults.iter().filter(|row| {
        row.creator == creator && row.object == object && (row.schema.is_none() || row.schema == schema)
    });
    rows.fold(Privileges::NONE, |all, row| all.union(row.acl.of(grantee)))
}

/// One entry of `pg_default_acl`: creator, schema (`None` is global), kind.
type Row<'a> = (&'a Ident, Option<Oid>, DefaultObject);

/// Everything but creators, schemas and recipients that makes two changes one statement.
type Kind = (DefaultChange, DefaultObject, Cause, Privileges);

/// Brings the default privileges of every creator for every subject to what they should be.
pub(super) fn push_defaults(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let creators = creators(view, contents);
    let found = index(view, contents);
    let mut changes = Changes::default();
    let mut room = Room::new(view, contents);
    for subject in &view.subjects {
        let wanted = wanted_rows(contents, subject, &creators);
        for (row, privileges) in &wanted {
            let held = kept_globally(&wanted, &found, subject, *row).union(held_in(&found, subject, *row));
            let missing = privileges.without(held);
            if missing.is_empty() {
                continue;
            }
            if may_change(view, row.0) && held_in(&found, subject, *row).is_empty() && !room.take(*row) {
                let (role, object) = (subject.name.clone(), format!("{} that {} creates", row.2, row.0));
                plan.withheld.push(Withheld::ListIsFull { role, object, privileges: missing });
            } else if may_change(view, row.0) {
                let cause = cause(view, contents, *row, subject);
                changes.add((DefaultChange::Grant, row.2, cause, missing), *row, subject);
            } else {
                let object = format!("what {} creates", row.0);
                let role = Some(subject.name.clone());
                plan.withheld.push(Withheld::NotPermitted { role, object, privileges: missing });
            }
        }
        // What a creator has on its own objects stands in its global entries as well, and is its own.
        for row in found.keys().filter(|row| row.0 != subject.name) {
            let wanted_here = wanted.get(row).copied().unwrap_or_default();
            let surplus = held_in(&found, subject, *row).without(wanted_here);
            add_surplus(view, *row, subject, surplus, &wanted, &mut changes, plan);
            let grantable = grantable_in(&found, subject, *row).intersection(wanted_here);
            if subject.exact && may_change(view, row.0) {
                let kind = (DefaultChange::RevokeGrantOption, row.2, Cause::Missing, grantable);
                changes.add(kind, *row, subject);
            }
        }
    }
    changes.push(view, contents, plan);
}

fn add_surplus<'a>(
    view: &View<'a>,
    row: Row<'a>,
    subject: &Subject<'a>,
    surplus: Privileges,
    wanted: &BTreeMap<Row<'_>, Privileges>,
    changes: &mut Changes<'a>,
    plan: &mut Plan,
) {
    if surplus.is_empty() {
        return;
    }
    let (creator, _, object) = row;
    if subject.exact && may_change(view, creator) {
        changes.add((DefaultChange::Revoke, object, Cause::Missing, surplus), row, subject);
        return;
    }
    // What the global entry gives anyway is no surplus worth a word.
    let beyond = surplus.without(wanted.get(&(creator, None, object)).copied().unwrap_or_default());
    if !beyond.is_empty() {
        let object = format!("{object} that {creator} creates");
        let role = Some(subject.name.clone());
        let grantable = Privileges::NONE;
        plan.withheld.push(Withheld::PrivilegesKept { role, object, privileges: beyond, grantable });
    }
}

/// Which entries the subject should stand in, and with what.
fn wanted_rows<'a>(
    contents: &Contents,
    subject: &Subject<'a>,
    creators: &BTreeMap<&'a Ident, Reach>,
) -> BTreeMap<Row<'a>, Privileges> {
    let mut rows = BTreeMap::new();
    for (creator, reach) in creators.iter().filter(|(creator, _)| **creator != subject.name) {
        let schemas = places(contents, subject.schemas, reach);
        for (object, class) in OBJECTS {
            let privileges = relations::wanted(subject.access, class);
            // IN SCHEMA … ON SCHEMAS does not exist.
            let fits = |schema: &Option<Oid>| schema.is_none() || object != DefaultObject::Schemas;
            for schema in schemas.iter().copied().filter(fits).filter(|_| !privileges.is_empty()) {
                rows.insert((*creator, schema, object), privileges);
            }
        }
    }
    rows
}

/// The global entry, or the schemas that exist.
fn places(contents: &Contents, wanted: &Schemas, reach: &Reach) -> Vec<Option<Oid>> {
    let listed = |listed: &BTreeSet<Ident>| {
        let present = contents.schemas.iter().filter(|(_, schema)| listed.contains(&schema.name));
        present.map(|(oid, _)| *oid).collect::<BTreeSet<_>>()
    };
    match (wanted, reach) {
        (Schemas::All, Reach::Everywhere) => vec![None],
        (Schemas::All, Reach::Schemas(schemas)) => schemas.iter().copied().map(Some).collect(),
        (Schemas::Listed(names), Reach::Everywhere) => listed(names).into_iter().map(Some).collect(),
        (Schemas::Listed(names), Reach::Schemas(schemas)) => {
            listed(names).intersection(schemas).copied().map(Some).collect()
        }
    }
}

/// Every entry that is there.
fn index<'a>(view: &View<'a>, contents: &'a Contents) -> BTreeMap<Row<'a>, &'a DefaultAcl> {
    let known = |row: &&DefaultAcl| OBJECTS.iter().any(|(object, _)| *object == row.object);
    let is_user_schema =
        |row: &&DefaultAcl| row.schema.is_none_or(|schema| contents.schemas.contains_key(&schema));
    let rows = contents.defaults.iter().filter(known).filter(is_user_schema);
    rows.map(|row| ((view.name(row.creator), row.schema, row.object), row)).collect()
}

fn held_in(found: &BTreeMap<Row<'_>, &DefaultAcl>, subject: &Subject<'_>, row: Row<'_>) -> Privileges {
    let Some(grantee) = subject.oid else { return Privileges::NONE };
    found.get(&row).map_or(Privileges::NONE, |found| found.acl.of(grantee))
}

fn grantable_in(found: &BTreeMap<Row<'_>, &DefaultAcl>, subject: &Subject<'_>, row: Row<'_>) -> Privileges {
    let Some(grantee) = subject.oid else { return Privileges::NONE };
    found.get(&row).map_or(Privileges::NONE, |found| found.acl.grantable_by(grantee))
}

/// What the global entry will still give when the plan is done: an entry in a schema need not repeat it.
fn kept_globally(
    wanted: &BTreeMap<Row<'_>, Privileges>,
    found: &BTreeMap<Row<'_>, &DefaultAcl>,
    subject: &Subject<'_>,
    (creator, _, object): Row<'_>,
) -> Privileges {
    let global = (creator, None, object);
    let held = held_in(found, subject, global);
    if subject.exact { held.intersection(wanted.get(&global).copied().unwrap_or_default()) } else { held }
}

fn may_change(view: &View<'_>, creator: &Ident) -> bool {
    // A role that the plan makes is one that the admin role becomes a member of.
    view.logins.contains_key(creator)
        || view.catalog.role_oid(creator).is_some_and(|oid| view.can_act_as(oid))
}

/// A creator that has entries for the subject elsewhere, or that the resources name, had this one too.
fn cause(view: &View<'_>, contents: &Contents, row: Row<'_>, subject: &Subject<'_>) -> Cause {
    let (creator, schema, _) = row;
    let stands_in = |acl: &Acl| subject.oid.is_some_and(|grantee| !acl.of(grantee).is_empty());
    let uses =
        |schema: Oid| contents.schemas.get(&schema).is_some_and(|schema| stands_in(contents.acl(schema.acl)));
    let was_here = schema.is_none_or(uses);
    let is_named = view.logins.contains_key(creator);
    let oid = view.catalog.role_oid(creator);
    let has_entries = || contents.defaults.iter().any(|row| Some(row.creator) == oid && stands_in(&row.acl));
    if was_here && (is_named || has_entries()) { Cause::Missing } else { Cause::Growth }
}

/// How many more entries fit into lists of default privileges. A new object gets the global entries and those of its
/// schema: where that is too long, nobody can create anything.
struct Room<'a> {
    /// Entries by creator and kind.
    taken: BTreeMap<(&'a Ident, DefaultObject), Entries>,
}

/// How many entries there are: globally, and in each schema.
#[derive(Default)]
struct Entries {
    global: usize,
    schemas: BTreeMap<Oid, usize>,
}

impl<'a> Room<'a> {
    fn new(view: &View<'a>, contents: &'a Contents) -> Self {
        let mut taken: BTreeMap<_, Entries> = BTreeMap::new();
        for row in &contents.defaults {
            let Entries { global, schemas } = taken.entry((view.name(row.creator), row.object)).or_default();
            match row.schema {
                None => *global += row.acl.0.len(),
                Some(schema) => *schemas.entry(schema).or_default() += row.acl.0.len(),
            }
        }
        Self { taken }
    }

    /// Takes room for one entry; false where there is none.
    fn take(&mut self, (creator, schema, object): Row<'a>) -> bool {
        let Entries { global, schemas } = self.taken.entry((creator, object)).or_default();
        let longest = match schema {
            None => schemas.values().max().copied().unwrap_or_default(),
            Some(schema) => schemas.get(&schema).copied().unwrap_or_default(),
        };
        // One is the creator itself.
        let fits = *global + longest + 1 < MOST_ENTRIES;
        match schema {
            _ if !fits => (),
            None => *global += 1,
            Some(schema) => *schemas.entry(schema).or_default() += 1,
        }
        fits
    }
}

/// Changes that wait to be put together: subjects first, then creators, then schemas.
#[derive(Default)]
struct Changes<'a> {
    recipients: BTreeMap<(Kind, Row<'a>), BTreeSet<&'a Ident>>,
}

impl<'a> Changes<'a> {
    fn add(&mut self, kind: Kind, row: Row<'a>, subject: &Subject<'a>) {
        if !kind.3.is_empty() {
            self.recipients.entry((kind, row)).or_default().insert(subject.name);
        }
    }

    fn push(self, view: &View<'_>, contents: &Contents, plan: &mut Plan) {
        let mut by_creators: BTreeMap<_, BTreeSet<&Ident>> = BTreeMap::new();
        for ((kind, (creator, schema, _)), recipients) in self.recipients {
            by_creators.entry((kind, schema, recipients)).or_default().insert(creator);
        }
        let mut by_schemas: BTreeMap<_, BTreeSet<Ident>> = BTreeMap::new();
        for ((kind, schema, recipients), creators) in by_creators {
            let names = by_schemas.entry((kind, schema.is_some(), recipients, creators)).or_default();
            names.extend(schema.map(|schema| contents.schemas[&schema].name.clone()));
        }
        for (((change, object, cause, privileges), _, recipients, creators), schemas) in by_schemas {
            plan.actions.push(Action::AlterDefaultPrivileges {
                database: view.desired.database.clone(),
                creators: creators.into_iter().cloned().collect(),
                schemas: schemas.into_iter().collect(),
                object,
                change,
                privileges,
                recipients: recipients.into_iter().cloned().map(Recipient::Role).collect(),
                cause,
            });
        }
    }
}
