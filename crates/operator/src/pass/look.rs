//! What would be done for the resources that are merely observed. Reads from PostgreSQL and Kubernetes; writes nothing
//! but the status of these resources, and that only when it changes.

use exec::Sessions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use plan::{Action, Catalog, Ident, Site, Withheld, plan};

use super::Error;
use super::desired::{Cast, desired};
use super::outcome::{Outcome, is_for};
use super::verify::Verifier;
use super::work::{State, Work};
use super::{aside, report, secrets};
use crate::api::shared::Provisioned;
use crate::conditions::{ConditionType, Finding, Reason, find};
use crate::resource::{Resource, Treatment};
use crate::shown::{self, Repair};
use crate::vault::{Contents, Freshness};

/// What was seen of a database whose resources are observed, some or all.
#[derive(Default)]
pub(super) struct Look {
    /// As if all of them had been reconciled, up to the first statement.
    outcome: Outcome,
    /// What that would have been.
    actions: Vec<Action>,
    /// What would be written into Secrets, by uid.
    secrets: Vec<(String, String)>,
}

impl Work<'_> {
    /// Plans for all resources what the rounds did only for those that are reconciled.
    pub(super) async fn look(
        &self,
        state: &State,
        verifier: &Verifier<'_>,
        sessions: &mut Sessions<'_>,
    ) -> Result<Look, Error> {
        let mut look = Look::default();
        look.outcome.findings.clone_from(&state.outcome.findings);
        if state.everyone.is_empty() {
            return Ok(look);
        }
        verifier.expect(&state.expected);
        let cast = Cast { resources: &state.everyone, refused: &[], ..self.cast(state) };
        let wanted = desired(&cast)?;
        let catalog = self.read(state, sessions, &wanted).await?;
        let next = plan(&wanted, &catalog);
        let is_there = catalog.contents.is_some();
        look.outcome.withheld = next.withheld;
        look.outcome.drift = self.drift(state, &cast, &catalog)?;
        look.actions = next.actions;
        look.outcome.catalog = Some(catalog);
        let observed = state.everyone.iter().filter(|one| self.is_observed(one) && !one.is_deleting());
        for resource in observed.filter(|_| is_there) {
            if !is_withheld(&look.outcome, resource) && self.lacks_secret(state, &cast, resource).await? {
                let line = format!("-- Secret {} is written", resource.secret());
                look.secrets.push((resource.uid().to_owned(), line));
            }
        }
        Ok(look)
    }

    /// What would be done if those that are new or were changed were not there: nothing else of the plan follows from
    /// what somebody did on the server. A password that was changed in its Secret does not either.
    fn drift(
        &self,
        state: &State,
        cast: &Cast<'_>,
        catalog: &Catalog,
    ) -> Result<Vec<Action>, plan::IdentError> {
        let is_settled = |one: &&Resource| !self.is_observed(one) || was_settled(one);
        let resources: Vec<_> = cast.resources.iter().filter(is_settled).cloned().collect();
        let wanted = desired(&Cast { resources: &resources, ..*cast })?;
        let mut actions = plan(&wanted, catalog).actions;
        actions.retain(|action| match action {
            Action::SetPassword { role, .. } => {
                let mut its = resources.iter().filter(|one| one.role() == role.as_str());
                !its.any(|one| Self::is_secret_changed(state, one))
            }
            _ => true,
        });
        Ok(actions)
    }

    /// Whether the Secret is not as it was when the role had the password in it.
    fn is_secret_changed(state: &State, resource: &Resource) -> bool {
        let then = resource.provisioned().and_then(|found| found.secret_version.as_ref());
        let now = state.secret_version(resource).map(|version| &version.resource_version);
        then.is_some() && now.is_some() && then != now
    }

    pub(super) fn is_observed(&self, resource: &Resource) -> bool {
        self.context.treatment(resource) == Treatment::Observed
    }

    /// Whether the Secret would be written.
    async fn lacks_secret(&self, state: &State, cast: &Cast<'_>, resource: &Resource) -> Result<bool, Error> {
        let secret = resource.secret();
        let found = self.context.vault.read(&self.context.caches, &secret, Freshness::Watched).await?;
        let Some(found) = found else { return Ok(true) };
        let leads = cast.leader(resource.role()).is_some_and(|leader| leader.uid() == resource.uid());
        let role: Ident = resource.role().parse()?;
        let password = match leads {
            true => found.password().filter(|password| !password.expose().is_empty()),
            false => state.expected.get(&role).map(|expected| &expected.password),
        };
        let is_right = |found: &Contents, password| {
            let wanted = secrets::wanted(resource, password, &self.server.host, self.server.port);
            secrets::is_right(resource, found, &wanted)
        };
        Ok(password.is_none_or(|password| !is_right(&found, password)))
    }

    /// Tells what was seen of these resources.
    pub(super) async fn report_looks(&self, look: &Look, observed: &[Resource]) -> Result<(), kube::Error> {
        let mut result = Ok(());
        for resource in observed {
            // The others need not wait for one that cannot be reported.
            result = self.report_look(look, resource).await.and(result);
        }
        result
    }

    async fn report_look(&self, look: &Look, resource: &Resource) -> Result<(), kube::Error> {
        let lines = look.lines(self, resource);
        let now = Time(Timestamp::now());
        let mut status = resource.status().cloned().unwrap_or_default();
        let drift = if was_settled(resource) { look.outcome.drift(resource) } else { Vec::new() };
        let drifted = drifted(resource, &lines, &drift);
        if drifted.reason == Reason::DriftFound
            && shown::note_drift(&mut status, &drift, Repair::Missing, &now)
        {
            report::announce_drift(self.context, resource, &drifted, "not repaired");
        }
        status.planned = shown::planned(&lines);
        let ready = look.ready(resource, lines.len());
        if ready.reason == Reason::Provisioned {
            shown::note_repair(&mut status, &now);
        }
        report::observe(&mut status, resource, ready);
        if let Some(catalog) = &look.outcome.catalog {
            status.server = Some(report::server(catalog, &self.address));
            report::observe(&mut status, resource, drifted);
            report::observe(&mut status, resource, look.outcome.withheld(resource));
        }
        report::write(self.context, resource, status).await
    }
}

impl Look {
    /// What would be done for this resource, a statement or a Secret a line.
    fn lines(&self, work: &Work<'_>, resource: &Resource) -> Vec<String> {
        let mine = self.actions.iter().filter(|action| belongs(action, resource));
        let secrets = self.secrets.iter().filter(|(uid, _)| uid == resource.uid());
        mine.map(|action| line(action, work)).chain(secrets.map(|(_, line)| line.clone())).collect()
    }

    fn ready(&self, resource: &Resource, changes: usize) -> Finding {
        if resource.is_deleting() {
            return aside::stays();
        }
        let ready = self.outcome.ready(resource);
        if ready.reason != Reason::Provisioned || changes == 0 {
            return ready;
        }
        let message =
            format!("it is merely observed; changes that would be made: {changes}, see status.planned");
        Finding { reason: Reason::ChangesPlanned, message }
    }
}

/// Whether the server was as the resource asks when it was looked at last, but for what somebody did, and the resource
/// is as it was then.
fn was_settled(resource: &Resource) -> bool {
    let conditions = resource.status().map_or(&[][..], |status| &status.conditions);
    let reason = |condition| {
        let found = find(conditions, condition);
        let found = found.filter(|found| found.observed_generation == resource.generation());
        found.map_or("", |found| found.reason.as_str())
    };
    let [ready, drifted] = [ConditionType::Ready, ConditionType::Drifted].map(reason);
    let is_known = [Reason::InSync, Reason::DriftFound].iter().any(|one| one.as_str() == drifted);
    ready == Reason::Provisioned.as_str() || (ready == Reason::ChangesPlanned.as_str() && is_known)
}

fn drifted(resource: &Resource, lines: &[String], drift: &[String]) -> Finding {
    let (reason, message) = match (lines.is_empty(), drift.is_empty()) {
        (true, _) => (Reason::InSync, String::new()),
        (false, false) => (Reason::DriftFound, drift.join("; ")),
        (false, true) if was_settled(resource) => (Reason::InSync, "but for what has grown since".to_owned()),
        (false, true) => (Reason::NoDrift, String::new()),
    };
    Finding { reason, message }
}

/// Whether the action is for this resource, or for what it had before.
fn belongs(action: &Action, resource: &Resource) -> bool {
    let mut before = resource.provisioned().into_iter().flat_map(Provisioned::roles);
    is_for(action, resource)
        || before.any(|found| action.roles().iter().any(|role| role.as_str() == found.name))
}

/// The statement as an administrator runs it in the database that the pass is about.
fn line(action: &Action, work: &Work<'_>) -> String {
    let place = match action.site() {
        Site::Database(database) if database.as_str() != work.key.database => {
            format!("/* in database {database} */ ")
        }
        Site::Database(_) | Site::Maintenance => String::new(),
    };
    match action.as_role() {
        Some(role) => format!("{place}SET ROLE {role}; {action}; RESET ROLE"),
        None => format!("{place}{action}"),
    }
}

/// Whether there would be nothing to put into a Secret.
fn is_withheld(outcome: &Outcome, resource: &Resource) -> bool {
    outcome.withheld.iter().any(|withheld| match withheld {
        Withheld::Role { role, .. } => role.as_str() == resource.role(),
        Withheld::Database { .. } | Withheld::DatabaseMissing { .. } => true,
        _ => false,
    })
}
