//! Event triggers that would run somebody's code with the operator's rights: nothing that fires them is done.

use std::collections::BTreeSet;

use super::Plan;
use super::view::View;
use crate::{Contents, EventTrigger, Withheld};

/// Leaves out what would fire such a trigger in the database at hand. Statements on roles and databases fire none, so
/// that logins still come and go; what a departing role has is kept by [`obstacle`](super::leaving::obstacle).
pub(super) fn withhold_triggering(view: &View<'_>, contents: &Contents, plan: &mut Plan) {
    let mut withheld = BTreeSet::new();
    plan.actions.retain(|action| {
        let fired = contents.event_triggers.iter().filter(|trigger| trigger.fires_on(action));
        let dangers: Vec<_> = fired.filter_map(|trigger| danger(view, trigger)).collect();
        let roles = action.roles();
        let concerned = if roles.is_empty() { vec![None] } else { roles.into_iter().map(Some).collect() };
        for role in concerned {
            withheld.extend(dangers.iter().map(|danger| (role.cloned(), danger.clone())));
        }
        dangers.is_empty()
    });
    plan.withheld.extend(withheld.into_iter().map(|(role, danger)| Withheld::Triggering { role, danger }));
}

/// What keeps a role from being taken out of the database with these triggers.
pub(super) fn obstacle(view: &View<'_>, triggers: &[EventTrigger]) -> Option<String> {
    let fired = triggers.iter().filter(|trigger| trigger.fires_on_departure());
    let dangers: Vec<_> = fired.filter_map(|trigger| danger(view, trigger)).collect();
    (!dangers.is_empty()).then(|| dangers.join("; "))
}

/// Whose code it would be, if not a superuser's or the operator's own, and what to do.
fn danger(view: &View<'_>, trigger: &EventTrigger) -> Option<String> {
    let is_trusted = |oid| view.is_superuser(oid) || oid == view.catalog.server.admin;
    let EventTrigger { name, function, .. } = trigger;
    let (what, owner) = if !is_trusted(trigger.function_owner) {
        (format!("FUNCTION {function}()"), trigger.function_owner)
    } else if !is_trusted(trigger.owner) {
        (format!("EVENT TRIGGER {name}"), trigger.owner)
    } else {
        return None;
    };
    let owner = view.catalog.roles.get(&owner).map_or("another role", |role| role.name.as_str());
    Some(format!(
        "event trigger {name} would run function {function} with the operator's rights, and {what} belongs to {owner}, \
         which is no superuser: ALTER {what} OWNER TO one, or ALTER EVENT TRIGGER {name} DISABLE"
    ))
}
