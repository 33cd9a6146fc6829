//! The rounds of a pass: read, plan, write Secrets, apply, until nothing is left. PostgreSQL and Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use exec::{End, Server, Sessions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plan::{
    Action, Catalog, Desired, Ident, NewPassword, PasswordState, Plan, QualifiedName, Refused, Site, plan,
};
use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};

use super::admit::Admission;
use super::credentials::distrust;
use super::desired::{Cast, desired};
use super::look::Look;
use super::outcome::{self, Outcome};
use super::resolve;
use super::verify::{self, Expected, Verifier};
use super::{Error, settled};
use crate::caches::Version;
use crate::conditions::{ConditionType, Finding, Reason, find};
use crate::context::{Context, Settled};
use crate::ledger::Entry;
use crate::metrics::Fate;
use crate::passes::Next;
use crate::resource::{DatabaseKey, Resource};
use crate::servers::{Address, Gate};

/// Rounds until a plan must be empty; each statement that the server refuses costs one.
const ROUNDS: u32 = 8;
/// Rounds in which to wait for relations that somebody else has for itself.
const PATIENCE: u32 = 3;
/// How long to leave objects alone that somebody else is at work on, times the rounds so far.
const PAUSE: Duration = Duration::from_millis(50);

/// How long others wait for a pass that changes roles and databases: as long as `exec` tries to.
const TURN: Duration = Duration::from_secs(30);

/// Everything that stays the same during a pass.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a DatabaseKey,
    pub(super) server: &'a Server,
    pub(super) address: Address,
    pub(super) gate: &'a Gate,
    /// How many bytes may be read of the database.
    pub(super) limit: u32,
    /// The verdict on all resources of the server.
    pub(super) admission: &'a Admission,
    /// What is left to do on the server for resources that are gone.
    pub(super) entries: &'a [Arc<Entry>],
}

/// What changes from round to round.
#[derive(Default)]
pub(super) struct State {
    /// Those that are reconciled.
    pub(super) resources: Vec<Resource>,
    /// Those that would be if none were merely observed; none when none is.
    pub(super) everyone: Vec<Resource>,
    /// Roles of those that are not.
    pub(super) spared: BTreeSet<Ident>,
    pub(super) expected: BTreeMap<Ident, Expected>,
    pub(super) passwords: BTreeMap<Ident, NewPassword>,
    pub(super) refused: Vec<Refused>,
    pub(super) busy: BTreeSet<QualifiedName>,
    /// What is left to do on another server than the one that answered, by uid of the resource.
    pub(super) elsewhere: BTreeSet<String>,
    pub(super) outcome: Outcome,
}

impl State {
    /// The version of the resource's own Secret whose password its role is to have.
    pub(super) fn secret_version(&self, resource: &Resource) -> Option<&Version> {
        let expected = self.expected.get(&resource.role().parse().ok()?)?;
        (expected.secret == resource.secret()).then_some(&expected.version)
    }
}

/// What the rounds of a pass share.
struct Round<'r, 's> {
    verifier: &'r Verifier<'r>,
    sessions: &'r mut Sessions<'s>,
    /// Whether whatever is found was done behind our back, but for resources that waited until now, by uid.
    drift: Option<BTreeSet<String>>,
}

impl Work<'_> {
    /// Brings the database to what its resources want, and reports.
    pub(super) async fn run(&self, resources: Vec<Resource>) -> Result<Next, Error> {
        let mut state = self.state(&resources).await?;
        let (observed, resources): (Vec<_>, Vec<_>) =
            resources.into_iter().partition(|one| self.is_observed(one));
        self.read_passwords(&mut state).await?;
        let verifier = Verifier::new(self.context, self.address.clone());
        let sessions = Sessions::new(self.server, &verifier).with_limit(self.limit);
        let mut sessions = sessions.with_licence(&self.context.term);
        if !resources.is_empty() || self.departures().next().is_some() {
            self.rounds(&mut state, &resources, (&verifier, &mut sessions)).await?;
        }
        let look = match observed.is_empty() {
            true => Look::default(),
            false => self.look(&state, &verifier, &mut sessions).await?,
        };
        sessions.close().await;
        self.miss_passwords(&mut state)?;
        let next = self.finish(&state, &resources).await?;
        if state.outcome.left.is_empty() && state.busy.is_empty() {
            let is_waiting = |one: &&Resource| state.outcome.ready(one).reason != Reason::Provisioned;
            let waiting = resources.iter().filter(is_waiting).map(|one| one.uid().to_owned()).collect();
            let settled = Settled { waiting, ..self.settled(&state, &resources) };
            self.context.memory.settle(self.key, settled);
        }
        self.report_looks(&look, &observed).await?;
        Ok(next)
    }

    /// Rounds until nothing is left to do for the resources that are reconciled.
    async fn rounds(
        &self,
        state: &mut State,
        resources: &[Resource],
        (verifier, sessions): (&Verifier<'_>, &mut Sessions<'_>),
    ) -> Result<(), Error> {
        // Not before: a password that changed while it was read is no drift.
        let drift = self.waited(resources, self.settled(state, resources));
        let mut round = Round { verifier, sessions, drift };
        for number in 1..=ROUNDS {
            let end = self.round(state, &mut round).await?;
            round.drift = None;
            state.outcome.is_stale = matches!(end, Some(End::Stale | End::Busy(_)));
            match end {
                None => break,
                // Somebody is at work on the same objects.
                Some(End::Busy(busy)) if number > PATIENCE => state.busy.extend(busy),
                Some(End::Stale | End::Busy(_)) => sleep(PAUSE * number).await,
                Some(End::Complete | End::Refused(_) | End::NotConverged(_)) => (),
            }
        }
        Ok(())
    }

    /// Reads what the server has of what is wanted.
    pub(super) async fn read(
        &self,
        state: &State,
        sessions: &mut Sessions<'_>,
        wanted: &Desired,
    ) -> Result<Catalog, Error> {
        let mut catalog = sessions.read(wanted).await?;
        self.context.servers.introduce(self.server, &catalog);
        self.context.servers.identify(&self.address, &catalog);
        if self.is_alias() && !self.admission.is_alias {
            return Err(Error::Alias(self.address.clone()));
        }
        let admin = &catalog.roles[&catalog.server.admin];
        if !admin.superuser {
            verify::try_unknown(self.context, self.server, &state.expected, &mut catalog).await?;
        }
        Ok(catalog)
    }

    /// One round, and how applying its plan ended; `None` when nothing was left to do.
    async fn round(&self, state: &mut State, round: &mut Round<'_, '_>) -> Result<Option<End>, Error> {
        round.verifier.expect(&state.expected);
        let mut wanted = self.desired(state)?;
        let mut catalog = self.read(state, round.sessions, &wanted).await?;
        if self.sets_aside(state, &catalog) {
            wanted = self.desired(state)?;
        }
        let mut next = plan(&wanted, &catalog);
        if let Some(waited) = &round.drift {
            state.outcome.drift = outcome::drift_among(&next.actions, &state.resources, waited);
            outcome::count_drift(&self.context.metrics, &state.outcome.drift);
        }
        state.outcome.is_recreated |= self.is_recreated(state, &next);
        // Nobody else makes a new login wait between its Secret and its password.
        let due = self.secrets_due(state, &catalog, &next)?;
        let turn = if due.iter().any(|due| due.is_new) { self.turn().await } else { None };
        let new = self.write_secrets(state, due).await?;
        if !new.is_empty() {
            round.verifier.expect(&state.expected);
            wanted = self.desired(state)?;
            distrust(&mut catalog, &new);
            next = plan(&wanted, &catalog);
        }
        state.outcome.withheld.clone_from(&next.withheld);
        state.outcome.left.clone_from(&next.actions);
        state.outcome.catalog = Some(catalog);
        if next.is_empty() {
            return Ok(None);
        }
        let is_shared = next.actions.iter().any(|action| action.site() == Site::Maintenance);
        let turn = if is_shared && turn.is_none() { self.turn().await } else { turn };
        let applied = in_turn(turn, Box::pin(self.apply(round.sessions, &wanted, &next))).await?;
        Ok(Some(self.remember(state, applied)))
    }

    /// Whether resources name the operator's own server in another way.
    fn is_alias(&self) -> bool {
        let own = self.context.server.as_deref().map(Address::of);
        own.as_ref() != Some(&self.address) && resolve::is_own(self.context, &self.address)
    }

    /// Changes of roles and databases of one server are made by one pass at a time.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.gate.shared_objects.acquire().await.ok()
    }

    /// A role without a usable password in a Secret cannot log in: its resource is not Ready.
    fn miss_passwords(&self, state: &mut State) -> Result<(), Error> {
        let mut findings = BTreeMap::new();
        let cast = self.cast(state);
        for resource in cast.active() {
            if state.passwords.contains_key(&resource.role().parse()?) {
                continue;
            }
            let leader = cast.leader(resource.role()).filter(|leader| leader.uid() != resource.uid());
            let message = match leader {
                Some(leader) => {
                    format!("{leader} comes first, shares role {} and has no Secret yet", resource.role())
                }
                None => format!("Secret {} is not written yet", resource.secret()),
            };
            let reason = if leader.is_some() { Reason::Conflict } else { Reason::NotConverged };
            findings.insert(resource.uid().to_owned(), Finding { reason, message });
        }
        state.outcome.unready = findings;
        Ok(())
    }

    async fn apply(
        &self,
        sessions: &mut Sessions<'_>,
        wanted: &Desired,
        next: &Plan,
    ) -> Result<exec::Applied, exec::Error> {
        for action in &next.actions {
            tracing::debug!(%action, "planned");
        }
        sessions.apply(wanted, next).await
    }

    fn remember(&self, state: &mut State, applied: exec::Applied) -> End {
        super::log::changes(&applied.done);
        for action in &applied.done {
            self.context.metrics.statement(action, Fate::Done);
            if let Action::SetPassword { role, .. } = action
                && let Some(expected) = state.expected.get(role)
            {
                let vault = &self.context.vault;
                vault.set_login(expected.place(), (&self.address, role), PasswordState::Matches);
            }
        }
        state.outcome.done.extend(applied.done);
        match applied.end.clone() {
            End::Complete | End::Stale | End::Busy(_) => (),
            End::Refused(refused) => {
                tracing::debug!(action = %refused.action, answer = refused.message, "the server refused a statement");
                self.context.metrics.statement(&refused.action, Fate::Refused);
                state.refused.push(refused);
            }
            End::NotConverged(left) => state.refused.extend(
                left.into_iter()
                    .map(|action| Refused { action, message: "it succeeded and had no effect".to_owned() }),
            ),
        }
        applied.end
    }

    pub(super) fn cast<'a>(&'a self, state: &'a State) -> Cast<'a> {
        Cast {
            key: self.key,
            address: &self.address,
            installation: &self.context.installation,
            template: &self.context.settings.template,
            resources: &state.resources,
            neighbours: &self.admission.accepted,
            entries: self.entries,
            elsewhere: &state.elsewhere,
            passwords: &state.passwords,
            refused: &state.refused,
            spared: &state.spared,
        }
    }

    fn desired(&self, state: &State) -> Result<Desired, plan::IdentError> {
        Ok(Desired { busy: state.busy.clone(), ..desired(&self.cast(state))? })
    }

    /// What the resources look like now. What is left to do for one that is gone is no drift.
    fn settled(&self, state: &State, resources: &[Resource]) -> Settled {
        let mut settled = settled(self.context, resources);
        // Whoever has changed one since has changed it for the next pass.
        let used = |one: &Resource| Some((one.uid().to_owned(), state.secret_version(one)?.clone()));
        settled.secrets.extend(resources.iter().filter_map(used));
        settled.generations.extend(self.departures().map(|entry| (entry.uid.clone(), None)));
        settled
    }

    /// Which of the resources waited when nothing was left to do, if all are as they were then.
    fn waited(&self, resources: &[Resource], now: Settled) -> Option<BTreeSet<String>> {
        if resources.iter().any(Resource::is_deleting) {
            return None;
        }
        let is_settled = match self.context.memory.settled(self.key) {
            Some(settled) => {
                let now = Settled { waiting: settled.waiting.clone(), ..now };
                return (settled == now).then_some(settled.waiting);
            }
            None if self.departures().next().is_some() => false,
            None => resources.iter().all(|resource| {
                let status = resource.status();
                let found = |of| status.and_then(|status| find(&status.conditions, of));
                let is_of_now = |one: &&Condition| one.observed_generation == resource.generation();
                let is_ready = |one: &Condition| one.status == "True";
                // What could not be repaired before a restart did not come from the resource since.
                let remains = |one: &Condition| one.reason == Reason::DriftRemains.as_str();
                let is_settled = found(ConditionType::Ready).filter(is_of_now).is_some_and(is_ready)
                    || found(ConditionType::Drifted).filter(is_of_now).is_some_and(remains);
                // Nor did it come from the Secret.
                let then = resource.provisioned().and_then(|found| found.secret_version.as_ref());
                let version = now.secrets.get(resource.uid()).map(|version| &version.resource_version);
                is_settled && then.is_none_or(|then| version == Some(then))
            }),
        };
        is_settled.then(BTreeSet::new)
    }

    fn is_recreated(&self, state: &State, next: &Plan) -> bool {
        let was_there = state.resources.iter().any(|resource| {
            matches!(resource, Resource::Database(_))
                && resource.provisioned().is_some_and(|found| {
                    found.database_oid.is_some()
                        && Address::parse(&found.server).as_ref() == Some(&self.address)
                })
        });
        was_there && next.actions.iter().any(|action| matches!(action, Action::CreateDatabase { .. }))
    }
}

/// Does the work and gives the turn back at its end, or when it has been had for long enough: the locks on the server
/// do without it.
async fn in_turn<T>(turn: Option<SemaphorePermit<'_>>, mut work: impl Future<Output = T> + Unpin) -> T {
    if let Ok(done) = timeout(TURN, &mut work).await {
        return done;
    }
    drop(turn);
    work.await
}
