//! Who takes part in a pass. Resources that are suspended, and those that were deleted while nothing is to be changed
//! for them, do not. Kubernetes.

use std::collections::BTreeMap;

use exec::check_usable;

use super::secrets::{self, Relation};
use super::work::{State, Work};
use super::{Error, admit, gather, report};
use crate::api::shared::Provisioned;
use crate::api::told::Mode;
use crate::caches::NamespaceState;
use crate::conditions::{Finding, Notice, Reason};
use crate::context::Context;
use crate::patch;
use crate::resource::{Resource, Treatment};
use crate::vault::Freshness;

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
        // What they have, not what they ask for, and in this database.
        let looked_at =
            self.admission.accepted.iter().filter(|one| !is_reconciled(one) && one.key() == *self.key);
        for resource in looked_at {
            let recorded = resource.recorded_at(&self.address.to_string(), &self.key.server);
            for role in recorded.into_iter().flat_map(Provisioned::roles) {
                state.spared.insert(role.name.parse()?);
            }
        }
        let takes_part = |resource: &Resource| {
            let those = if self.is_observed(resource) { &state.everyone } else { &state.resources };
            those.iter().any(|other| other.uid() == resource.uid())
        };
        state.outcome.findings = self.findings(resources, takes_part).await?;
        Ok(state)
    }

    /// Those that can be provisioned, of the resources that Kubernetes does not stand in the way of.
    pub(super) fn taking_part(&self, resources: &[Resource], able: Vec<Resource>) -> Vec<Resource> {
        let mut taking_part = able;
        let census = gather::census(self.context);
        let known = census.databases(self.key).iter();
        let mut databases = known.chain(resources.iter().filter(|one| matches!(one, Resource::Database(_))));
        let has_resource = databases.clone().next().is_some();
        let is_known = databases.any(|one| self.has_database(one));
        let database = taking_part.iter().find(|one| matches!(one, Resource::Database(_)));
        let is_managed = database.is_some_and(|database| !database.is_deleting());
        if has_resource && !is_managed {
            // The database may not be what its resource claims: nobody new is let in, and nobody at all unless it
            // was the resource's before.
            taking_part.retain(|one| {
                matches!(one, Resource::Database(_))
                    || one.is_deleting()
                    || (is_known && one.is_provisioned_at(&self.address.to_string(), &self.key.server))
            });
        }
        taking_part
    }

    fn has_database(&self, resource: &Resource) -> bool {
        let recorded = resource.recorded_at(&self.address.to_string(), &self.key.server);
        recorded.is_some_and(|found| found.database.as_deref() == Some(resource.database()))
    }

    /// Why resources do not take part.
    pub(super) async fn findings(
        &self,
        resources: &[Resource],
        takes_part: impl Fn(&Resource) -> bool,
    ) -> Result<BTreeMap<String, Finding>, kube::Error> {
        let mut findings = BTreeMap::new();
        for resource in resources.iter().filter(|one| !takes_part(one)) {
            let obstacle = self.obstacle(resource).await?;
            let waits = || Finding {
                reason: Reason::DatabaseMissing,
                message: format!(
                    "the PostgresDatabase of {} is not Ready, or not reconciled",
                    resource.database()
                ),
            };
            findings.insert(resource.uid().to_owned(), obstacle.unwrap_or_else(waits));
        }
        Ok(findings)
    }

    pub(super) async fn obstacle(&self, resource: &Resource) -> Result<Option<Finding>, kube::Error> {
        if resource.is_deleting() {
            return Ok(None);
        }
        let secret = resource.secret();
        let state = self.context.caches.namespace_state(&secret.namespace);
        let why = match state {
            NamespaceState::Active => None,
            NamespaceState::Missing => Some("does not exist"),
            NamespaceState::Terminating => Some("is being deleted"),
            NamespaceState::Unwatched => Some("is not watched: add it to WATCH_NAMESPACES"),
        };
        if let Some(why) = why {
            let message = format!("namespace {} of the Secret {why}", secret.namespace);
            return Ok(Some(Finding { reason: Reason::SecretNamespaceMissing, message }));
        }
        let found = self.context.vault.read(&self.context.caches, &secret, Freshness::Watched).await?;
        let Some(found) = found else { return Ok(self.missing_consent(resource)) };
        if self.relation(&secret, &found, resource) == Relation::Foreign {
            let conflict = || secrets::conflict(resource);
            return Ok(Some(self.missing_consent(resource).unwrap_or_else(conflict)));
        }
        let problem = found.password().filter(|password| !password.expose().is_empty()).map(check_usable);
        Ok(problem.and_then(Result::err).map(|problem| Finding {
            reason: Reason::InvalidPassword,
            message: format!("Secret {secret}: {problem}; set another, or remove the key `password`"),
        }))
    }

    /// The consent that the resource lacks to have more in another namespace than what version 1 left there.
    fn missing_consent(&self, resource: &Resource) -> Option<Finding> {
        if resource.provisioned().is_some() {
            return None;
        }
        let Context { namespace, settings, caches, .. } = self.context;
        let secrets_from = |target: &str| caches.allows_secrets_from(target);
        admit::check_place(resource, namespace, settings.boundaries.secrets, &secrets_from).err()
    }
}
