//! Puts what is missing or surplus into as few statements as it takes.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use crate::{Action, Cause, Ident, Privileges, Recipient, Relation, RelationKind, Taken, Target};

/// The most objects that one statement names.
const MOST: usize = 500;

/// Objects of one kind of target.
#[derive(Clone, Debug)]
pub(super) enum Objects {
    Schemas(Vec<Ident>),
    Relations(Vec<Relation>),
}

/// What kind of target an object makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Schemas,
    Tables,
    Sequences,
}

impl Class {
    pub(super) const fn of(kind: RelationKind) -> Self {
        match kind {
            RelationKind::Sequence => Self::Sequences,
            RelationKind::Table
            | RelationKind::PartitionedTable
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::ForeignTable => Self::Tables,
        }
    }
}

/// What makes two changes one statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Grant { grantor: Option<Ident>, cause: Cause },
    Revoke { grantor: Option<Ident>, taken: Taken },
}

/// Changes that wait to be put together, by everything but the object.
#[derive(Default)]
pub(super) struct Batch {
    changes: BTreeMap<(Change, Class, Privileges, Vec<Recipient>), Objects>,
}

/// Changes on one set of objects, by everything but the recipient.
#[derive(Default)]
pub(super) struct Cell {
    changes: BTreeMap<(Change, Privileges), BTreeSet<Recipient>>,
}

impl Cell {
    pub(super) fn add(&mut self, change: Change, privileges: Privileges, recipient: Recipient) {
        if !privileges.is_empty() {
            self.changes.entry((change, privileges)).or_default().insert(recipient);
        }
    }

    /// Whom the changes concern.
    pub(super) fn roles(&self) -> BTreeSet<Ident> {
        self.changes.values().flatten().filter_map(Recipient::role).cloned().collect()
    }
}

impl Batch {
    /// Adds a cell's changes for these objects.
    pub(super) fn add(&mut self, cell: Cell, class: Class, objects: &Objects) {
        if objects.is_empty() {
            return;
        }
        for ((change, privileges), recipients) in cell.changes {
            let recipients = recipients.into_iter().collect();
            self.changes
                .entry((change, class, privileges, recipients))
                .and_modify(|present| present.extend(objects))
                .or_insert_with(|| objects.clone());
        }
    }

    /// The statements.
    pub(super) fn push(self, database: &Ident, plan: &mut Plan) {
        for ((change, class, privileges, recipients), objects) in self.changes {
            for target in objects.into_targets(class) {
                let database = database.clone();
                let recipients = recipients.clone();
                plan.actions.push(match change.clone() {
                    Change::Grant { grantor, cause } => {
                        Action::Grant { database, target, privileges, to: recipients, grantor, cause }
                    }
                    Change::Revoke { grantor, taken } => {
                        Action::Revoke { database, target, privileges, taken, from: recipients, grantor }
                    }
                });
            }
        }
    }
}

impl Objects {
    fn is_empty(&self) -> bool {
        match self {
            Self::Schemas(schemas) => schemas.is_empty(),
            Self::Relations(relations) => relations.is_empty(),
        }
    }

    fn extend(&mut self, more: &Self) {
        match (self, more) {
            (Self::Schemas(present), Self::Schemas(more)) => present.extend_from_slice(more),
            (Self::Relations(present), Self::Relations(more)) => present.extend_from_slice(more),
            (Self::Schemas(_), Self::Relations(_)) | (Self::Relations(_), Self::Schemas(_)) => {
                unreachable!("the class in the key tells schemas from relations")
            }
        }
    }

    fn into_targets(self, class: Class) -> Vec<Target> {
        match self {
            Self::Schemas(schemas) => chunks(schemas).map(Target::Schemas).collect(),
            Self::Relations(relations) => chunks(relations)
                .map(if class == Class::Sequences { Target::Sequences } else { Target::Tables })
                .collect(),
        }
    }
}

fn chunks<T: Ord + Clone>(mut objects: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    objects.sort_unstable();
    let starts = (0..objects.len()).step_by(MOST);
    let all: Vec<_> = starts.map(|from| objects[from..objects.len().min(from + MOST)].to_vec()).collect();
    all.into_iter()
}
