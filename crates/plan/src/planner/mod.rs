//! From what is wanted and what is there to the statements in between.

mod batch;
mod creators;
mod database;
mod defaults;
mod leaving;
mod memberships;
mod relations;
mod roles;
mod schemas;
mod surplus;
mod triggers;
mod view;

use std::collections::BTreeSet;

use crate::{Action, Catalog, Desired, Ident, Phase, Refusal, Site, Withheld};
pub use leaving::is_laundered;
use view::View;

/// What to do, in order, and what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The statements, in the order in which they must run.
    pub actions: Vec<Action>,
    /// What was asked for and is not done.
    pub withheld: Vec<Withheld>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Whether a role or the database may not be touched that could be touched before.
    pub fn refuses_more_than(&self, before: &Self) -> bool {
        let is_refusal = |one: &&Withheld| match one {
            Withheld::Role { refusal, .. } | Withheld::Database { refusal, .. } => match refusal {
                Refusal::NotOurs | Refusal::Reserved => true,
                Refusal::InsufficientPrivilege => false,
            },
            _ => false,
        };
        self.withheld.iter().filter(is_refusal).any(|one| !before.withheld.contains(one))
    }

    /// Runs of actions that share a site and may share a transaction; what may not stands alone. A run that names
    /// more than [`MOST_RELATIONS`] is cut: each one is locked, and the server's table of locks is everybody's.
    pub fn steps(&self) -> impl Iterator<Item = &[Action]> {
        let mut relations = 0;
        self.actions.chunk_by(move |a, b| {
            let more = b.relations().len();
            relations = if relations == 0 { a.relations().len() } else { relations } + more;
            let fits = more == 0 || relations <= MOST_RELATIONS;
            let continues = a.is_transactional() && b.is_transactional() && a.site() == b.site() && fits;
            if !continues {
                relations = 0;
            }
            continues
        })
    }
}

/// The most relations that one step names.
pub const MOST_RELATIONS: usize = 1_000;

/// The statements between `desired` and `catalog`. Total and deterministic.
///
/// Applying the result and planning again gives no actions, with one exception: what goes into a database that
/// the plan makes is planned once the database is there to be read.
pub fn plan(desired: &Desired, catalog: &Catalog) -> Plan {
    let mut plan = Plan::default();
    let view = View::new(desired, catalog, &mut plan);
    roles::push_logins(&view, &mut plan);
    database::push_database(&view, &mut plan);
    leaving::push_leaving(&view, &mut plan);
    memberships::push_memberships(&view, view.contents(), &mut plan);
    if let Some(contents) = view.contents() {
        leaving::push_downgrades(&view, &mut plan);
        schemas::push_public(&view, contents, &mut plan);
        schemas::push_schemas(&view, contents, &mut plan);
        relations::push_relations(&view, contents, &mut plan);
        relations::push_columns(&view, contents, &mut plan);
        defaults::push_defaults(&view, contents, &mut plan);
        triggers::withhold_triggering(&view, contents, &mut plan);
    }
    withhold_refused(desired, &mut plan);
    plan.actions.sort_by(|a, b| position(a).cmp(&position(b)));
    plan
}

/// Work in a database stays together, so that it is one transaction there; before and after it comes what runs
/// in the maintenance database.
fn position(action: &Action) -> (u8, &str, Phase) {
    let phase = action.phase();
    match (action.site(), phase) {
        (Site::Database(database), _) => (1, database.as_str(), phase),
        (Site::Maintenance, Phase::Credentials | Phase::DropRole) => (2, "", phase),
        (Site::Maintenance, _) => (0, "", phase),
    }
}

/// A statement that the server refused is tried on each of its objects alone; what is refused then is withheld.
///
/// A role that cannot give away one thing keeps everything: what is not disarmed must not go to its heir, and what
/// was not given away must not be dropped.
fn withhold_refused(desired: &Desired, plan: &mut Plan) {
    if desired.refused.is_empty() {
        return;
    }
    let message = |action: &Action| {
        desired
            .refused
            .iter()
            .find(|refused| refused.action == *action)
            .map(|refused| refused.message.clone())
    };
    let mut held = BTreeSet::new();
    let mut pending: Vec<_> = std::mem::take(&mut plan.actions).into_iter().rev().collect();
    while let Some(action) = pending.pop() {
        let Some(message) = message(&action) else {
            plan.actions.push(action);
            continue;
        };
        let parts = action.split();
        if !parts.is_empty() {
            pending.extend(parts.into_iter().rev());
            continue;
        }
        let departing = action.departing_role().cloned();
        plan.withheld.push(match departing.clone().filter(|role| desired.leaving.contains_key(role)) {
            Some(role) => {
                let reason = format!("the server refused {action}: {message}");
                Withheld::CannotLeave { role, reason }
            }
            None => Withheld::Refused { action, message },
        });
        held.extend(departing);
    }
    plan.actions.retain(|action| !held.iter().any(|role| departs(action, role)));
}

/// Whether the action gives away or drops what a role owns, or the role.
fn departs(action: &Action, leaving: &Ident) -> bool {
    match action {
        Action::ReassignOwned { role, .. } | Action::DropOwned { role, .. } | Action::DropRole { role } => {
            role == leaving
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
