//! Who takes part in a pass. Resources that are suspended, and those that were deleted while nothing is to be changed
//! for them, do not. Kubernetes.

use super::work::{State, Work};
use super::{Error, report};
use crate::api::shared::Provisioned;
use crate::api::told::Mode;
use crate::conditions::{Finding, Notice, Reason};
use crate::context::Context;
use crate::patch;
use crate::resource::{Resource, Treatment};

/// What somebody is told whose resource waits for another operator, or for this one in another mode.
pub(super) fn stays() -> Finding {
    let message = "the operator runs with --observe: nothing is cleaned up, and nothing is let go".to_owned();
    Finding { reason: Reason::Deleting, message }
}

/// Whether a resource that was deleted may be let go: an operator that changes nothing leaves that to the one that does.
pub(super) fn may_go(context: &Context, resource: &Resource) -> bool {
    match context.settings.mode {
        Mode::Reconcile => resource.is_deleting(),
        Mode::Observe => false,
    }
}

/// Reports the resources that are suspended, lets go what was deleted while it was observed or suspended, and gives
/// back the others.
pub(super) async fn set_aside(
    context: &Context,
    resources: Vec<Resource>,
) -> Result<Vec<Resource>, kube::Error> {
    let mut rest = Vec::new();
    for resource in resources {
        match context.treatment(&resource) {
            Treatment::Observed | Treatment::Suspended if may_go(context, &resource) => {
                let_go(context, &resource).await?;
            }
            Treatment::Reconciled | Treatment::Observed => rest.push(resource),
            Treatment::Suspended if resource.is_deleting() => {
                report::failure(context, &[resource], &stays()).await?;
            }
            Treatment::Suspended => report::suspended(context, &resource).await?,
        }
    }
    Ok(rest)
}

/// Lets a resource go and leaves everything as it is.
async fn let_go(context: &Context, resource: &Resource) -> Result<(), kube::Error> {
    if !resource.has_finalizer() {
        return Ok(());
    }
    if let Some(found) = resource.provisioned() {
        let (database, server) = (resource.database(), &found.server);
        let what = match resource {
            Resource::Database(_) => format!("database {database} and role {}", resource.role()),
            Resource::User(_) => format!("role {} and what it has in database {database}", resource.role()),
        };
        let note = format!("{what} stay on {server} as they are");
        context.events.publish(resource.object_ref(), Notice::LeftInPlace, &note);
    }
    patch::remove_finalizer(&context.client, resource).await
}

impl Work<'_> {
    /// Who takes part in what.
    pub(super) async fn state(&self, resources: &[Resource]) -> Result<State, Error> {
        let mut able = Vec::new();
        for resource in resources {
            if self.obstacle(resource).await?.is_none() {
                able.push(resource.clone());
            }
        }
        let is_reconciled = |one: &&Resource| self.context.treatment(one) == Treatment::Reconciled;
        let acting = able.iter().filter(is_reconciled).cloned().collect();
        let mut state = State { resources: self.taking_part(resources, acting), ..State::default() };
        if resources.iter().any(|one| self.is_observed(one)) {
            state.everyone = self.taking_part(resources, able);
        }
        for resource in self.neighbours.iter().filter(|one| !is_reconciled(one)) {
            let former =
                resource.provisioned().into_iter().flat_map(Provisioned::roles).map(|role| role.name);
            for role in former.chain([resource.role().to_owned()]) {
                state.spared.insert(role.parse()?);
            }
        }
        let takes_part = |resource: &Resource| {
            let those = if self.is_observed(resource) { &state.everyone } else { &state.resources };
            those.iter().any(|other| other.uid() == resource.uid())
        };
        state.outcome.findings = self.findings(resources, takes_part).await?;
        Ok(state)
    }
}
