//! A catalog in memory that actions can be applied to, and short ways to write states down: for tests of plans
//! without a server.
//!
//! [`simulate()`] does to a [`Catalog`] what a server, asked by a superuser, does to itself; [`converge`] shows that
//! a plan, applied, leaves nothing to do.

mod build;
mod lists;
mod privileges;
mod simulate;

pub use build::{Builder, claim, desired, ident, login, verifier};
pub use simulate::simulate;

use crate::{Catalog, Desired, Plan, plan};

/// Plans and applies until nothing is left, and gives back the plans that were not empty: one, or two where the
/// database is yet to be made and read.
///
/// # Panics
///
/// If more is left to do after that.
#[track_caller]
pub fn converge(desired: &Desired, catalog: &mut Catalog) -> Vec<Plan> {
    let mut plans = Vec::new();
    let rounds = if catalog.contents.is_some() { 1 } else { 2 };
    for _ in 0..rounds {
        let next = plan(desired, catalog);
        if next.is_empty() {
            return plans;
        }
        for action in &next.actions {
            simulate(catalog, &desired.database, action);
        }
        plans.push(next);
    }
    let rest: Vec<_> = plan(desired, catalog).actions.iter().map(ToString::to_string).collect();
    assert!(rest.is_empty(), "not converged after {rounds} rounds:\n{}", rest.join("\n"));
    plans
}
