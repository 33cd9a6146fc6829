//! The end of a pass: reports, and what is removed or let go. Kubernetes.

use std::time::Duration;

use super::credentials::former_secrets;
use super::desired::Cast;
use super::work::{State, Work};
use super::{Error, SOON, deferral, report, secrets};
use crate::api::shared::Status;
use crate::conditions::{Finding, Notice, Reason};
use crate::passes::Next;
use crate::patch;
use crate::resource::Resource;
use crate::servers::Address;

/// The finalizer of `kubectl delete --cascade=orphan`: until the collector has taken it off, users that are to
/// stay still look like children.
const ORPHAN: &str = "orphan";

/// How soon to look again whether the server is back about which there is something left to do, where another one
/// answers.
const ELSEWHERE: Duration = Duration::from_hours(1);

/// What the next pass waits for, the most urgent last. What is watched wakes it besides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    /// Nothing.
    No,
    /// Somebody has to do something: asked for ever less often.
    ForSomebody,
    /// Somebody is at work on the same objects.
    Shortly,
}

impl Work<'_> {
    /// Reports, removes what is no longer needed, lets go what was deleted.
    pub(super) async fn finish(&self, state: &State, resources: &[Resource]) -> Result<Next, Error> {
        let mut waits = match (state.outcome.left.is_empty(), state.outcome.is_stale) {
            (true, _) if !state.busy.is_empty() => Waits::Shortly,
            (true, _) => Waits::No,
            (false, false) => Waits::ForSomebody,
            (false, true) => Waits::Shortly,
        };
        let mut trouble = None;
        for resource in resources {
            match self.finish_one(state, resource, resources).await {
                Ok(found) => waits = waits.max(found),
                // The others need not wait for it; the pass says so in the end.
                Err(error) => {
                    tracing::debug!(%resource, %error, "not reported");
                    trouble = Some(error);
                }
            }
        }
        if let Err(error) = self.work_off(state).await {
            trouble = Some(error.into());
        }
        match (trouble, waits) {
            (Some(error), _) => Err(error),
            (None, Waits::No) => {
                self.context.pauses.clear(self.key);
                let has_departures = self.departures().next().is_some();
                let is_all_elsewhere = state.everyone.is_empty()
                    && resources.is_empty()
                    && has_departures
                    && self.departures().all(|it| state.elsewhere.contains(&it.uid));
                Ok(if is_all_elsewhere { Next::After(ELSEWHERE) } else { Next::Resync })
            }
            (None, Waits::ForSomebody) => Ok(Next::After(self.context.pauses.failed(self.key.clone()))),
            (None, Waits::Shortly) => Ok(Next::After(SOON * 5)),
        }
    }

    async fn finish_one(
        &self,
        state: &State,
        resource: &Resource,
        resources: &[Resource],
    ) -> Result<Waits, Error> {
        if resource.is_deleting() {
            return self.let_go(state, resource).await;
        }
        self.adopt_by_database(resource, resources).await?;
        let is_ready = state.outcome.ready(resource).reason == Reason::Provisioned;
        if is_ready {
            self.leave_server(resource);
        }
        let told = (resource, state.secret_version(resource));
        let told = report::outcome(self.context, &state.outcome, &self.address, told).await?;
        // Not before the status tells where the password is now: who looks for it finds it there, or here.
        if is_ready {
            self.leave_secrets(resource, told).await?;
        }
        let is_unready = !is_ready && state.outcome.unready.contains_key(resource.uid());
        Ok(if is_unready { Waits::ForSomebody } else { Waits::No })
    }

    /// A user goes with the database of its namespace.
    async fn adopt_by_database(
        &self,
        resource: &Resource,
        resources: &[Resource],
    ) -> Result<(), kube::Error> {
        let database = resources.iter().find(|one| {
            matches!(one, Resource::Database(_))
                && one.namespace() == resource.namespace()
                && !one.is_deleting()
        });
        match (resource, database) {
            (Resource::User(_), Some(database)) if !patch::has_owner(resource) => {
                match patch::add_owner(&self.context.client, resource, database).await {
                    // Somebody changed it at the same time: the next pass tries again.
                    Err(kube::Error::Api(status))
                        if status.code == 422 || status.code == 404 || status.code == 409 =>
                    {
                        Ok(())
                    }
                    patched => patched,
                }
            }
            _ => Ok(()),
        }
    }

    /// Removes the Secrets that the resource named before.
    async fn leave_secrets(&self, resource: &Resource, told: Status) -> Result<(), kube::Error> {
        let all = former_secrets(resource);
        if all.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for former in all {
            // It may be that one's by now, or still to be taken over.
            if self.admission.accepted.iter().any(|other| other.secret() == former) {
                left.push(former);
                continue;
            }
            match secrets::delete(self.context, resource, &former).await {
                Ok(false) => (),
                Ok(true) => {
                    let note = format!("Secret {former}");
                    self.context.events.publish(resource.object_ref(), Notice::SecretDeleted, &note);
                }
                // Somebody will not let it go. It is tried again with each pass, and the others need not wait.
                Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 409 | 422) => {
                    tracing::debug!(%resource, %former, %status, "a former Secret stays");
                    left.push(former);
                }
                Err(error) => return Err(error),
            }
        }
        report::keep_former_secrets(self.context, &resource.with_status(told), left).await
    }

    /// Names what stays on the server that the resource named before.
    fn leave_server(&self, resource: &Resource) {
        let former = resource.provisioned().and_then(|found| Address::parse(&found.server));
        if let Some(former) = former.filter(|former| *former != self.address) {
            let note = format!("{} and {} stay on {former}", resource.database(), resource.role());
            self.context.events.publish(resource.object_ref(), Notice::ServerLeft, &note);
        }
    }

    /// Lets a deleted resource go if nothing is left of it; else says what that waits for.
    async fn let_go(&self, state: &State, resource: &Resource) -> Result<Waits, Error> {
        let cast = self.cast(state);
        let children = match resource {
            Resource::Database(_) => self.children_left(&cast, resource).await?,
            Resource::User(_) => None,
        };
        let is_held = |withheld: &plan::Withheld| matches!(withheld, plan::Withheld::CannotLeave { role, .. } if role.as_str() == resource.role());
        let held = state.outcome.withheld.iter().find(|withheld| is_held(withheld)).map(ToString::to_string);
        let left = state.outcome.left.first().map(|action| format!("still to be done: {action}"));
        if let Some(message) = children.or(held).or(left) {
            let finding = Finding { reason: Reason::Deleting, message };
            deferral::hold(self.context, resource, &finding).await?;
            return Ok(Waits::ForSomebody);
        }
        deferral::clear_secrets(self.context, resource).await?;
        let (notice, note) = match resource {
            Resource::User(_) if state.outcome.role(resource).is_some() => {
                (Notice::RoleKept, format!("role {}", resource.role()))
            }
            Resource::User(_) => (Notice::UserDeleted, format!("role {}", resource.role())),
            Resource::Database(_) => (
                Notice::DatabaseKept,
                format!("database {} and role {}", resource.database(), resource.role()),
            ),
        };
        self.context.events.publish(resource.object_ref(), notice, &note);
        patch::remove_finalizer(&self.context.client, resource).await?;
        Ok(Waits::No)
    }

    /// Deletes the users that go with the database; says which are still there.
    async fn children_left(
        &self,
        cast: &Cast<'_>,
        database: &Resource,
    ) -> Result<Option<String>, kube::Error> {
        if waits_for_collector(database) {
            return Ok(Some("waiting for the collector to let go its PostgresUsers".to_owned()));
        }
        let children = cast.children(database);
        for child in children.iter().filter(|child| !child.is_deleting()) {
            patch::delete_user(&self.context.client, child).await?;
        }
        let names: Vec<_> = children.iter().map(|child| child.name().name).collect();
        Ok((!names.is_empty()).then(|| format!("waiting for PostgresUser {}", names.join(", "))))
    }
}

/// Whether users that go with the database may be about to be let go by it.
pub(super) fn waits_for_collector(database: &Resource) -> bool {
    database.has_finalizer_named(ORPHAN)
}
