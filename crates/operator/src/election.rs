//! Which of several operators leads: the one that holds the Lease. Modelled on client-go's election: whoever follows
//! trusts no clock but its own, and every write names the version that it is made over, so that of two only one
//! succeeds.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use crate::term::Term;

/// For the goodbye.
const RESIGN: Duration = Duration::from_secs(1);

/// What an operator needs to know to take part.
#[derive(Clone, Debug)]
pub struct Election {
    /// Where the Lease is; `None` for the operator's own namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub lease: String,
    /// Who takes part: no two may be called alike, and nobody after a restart as before.
    pub identity: String,
    /// How long it holds without renewal.
    pub timing: Timing,
}

impl Election {
    /// For a Lease in the operator's own namespace, under a name that no other process has: a container that is started
    /// again is not who it was.
    pub fn new(lease: String, pod: &str, timing: Timing) -> Self {
        let identity = format!("{pod}_{:x}", Timestamp::now().as_nanosecond());
        Self { namespace: None, lease, identity, timing }
    }
}

/// How long a Lease holds without being renewed, in whole seconds, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    seconds: u16,
}

impl Timing {
    /// A Lease of so many seconds, at least one.
    pub fn new(seconds: u16) -> Self {
        Self { seconds: seconds.max(1) }
    }

    /// How long others wait since they saw the last renewal.
    pub fn lease(self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// How long the leader works since it began the last renewal that succeeded.
    pub fn deadline(self) -> Duration {
        self.lease() * 7 / 10
    }

    /// How long nobody leads, at least, when a leader was stopped.
    pub fn silence(self) -> Duration {
        self.lease().saturating_sub(self.deadline())
    }

    /// How often the leader renews, and the others look.
    pub fn beat(self) -> Duration {
        self.lease() / 5
    }

    /// How long an answer is waited for: another connection may do better.
    fn patience(self) -> Duration {
        self.deadline() / 2
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(10)
    }
}

/// Takes part in the election.
pub struct Elector {
    api: Api<Lease>,
    election: Election,
    /// The Lease as it was written last while it was ours.
    ours: Option<Lease>,
    seen: Option<Seen>,
    /// What was said last while this operator follows.
    said: String,
}

/// What somebody else's Lease looked like, and since when.
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What became of an attempt.
enum Attempt {
    Won(Term),
    /// Somebody leads; worth another look after this time.
    Lost(String, Duration),
}

impl Elector {
    /// Somebody who has not tried yet; `namespace` is where the Lease is if the election does not say.
    pub fn new(client: Client, namespace: &str, election: Election) -> Self {
        let namespace = election.namespace.as_deref().unwrap_or(namespace);
        let api = Api::namespaced(client, namespace);
        Self { api, election, ours: None, seen: None, said: String::new() }
    }

    /// Returns once this operator leads. Says who does until then.
    pub async fn campaign(&mut self) -> Term {
        loop {
            let timing = self.election.timing;
            let pause = match self.attempt().await {
                Ok(Attempt::Won(term)) => {
                    let (identity, lease) = (&self.election.identity, &self.election.lease);
                    tracing::info!(identity, lease, "this operator leads now");
                    self.said.clear();
                    return term;
                }
                Ok(Attempt::Lost(leader, pause)) => {
                    if self.is_news(&leader) {
                        tracing::info!(leader, "somebody else leads, this operator follows");
                    }
                    pause.min(timing.beat())
                }
                Err(problem) => {
                    if self.is_news(&problem) {
                        tracing::warn!(problem, "this operator cannot take part in the election");
                    }
                    timing.beat()
                }
            };
            sleep(pause).await;
        }
    }

    /// Renews the Lease until the term is over, and ends the term when somebody else has it.
    pub async fn renew(mut self, term: Term) -> Self {
        tokio::select! {
            biased;
            () = term.over() => (),
            leader = self.keep(&term) => {
                term.end();
                tracing::warn!(leader, "the Lease was taken by somebody else");
            }
        }
        self
    }

    /// Gives the Lease back, so that the next one need not wait. Only once nothing of the term is at work any more.
    pub async fn resign(&mut self) {
        let Some(Lease { metadata, spec: Some(spec) }) = self.ours.take() else { return };
        let spec = LeaseSpec { holder_identity: None, renew_time: Some(now()), ..spec };
        match timeout(RESIGN, self.replace(Lease { metadata, spec: Some(spec) })).await {
            Ok(Ok(_)) => tracing::info!("the Lease is given back"),
            Ok(Err(error)) => tracing::debug!(%error, "the Lease is not given back, it runs out"),
            Err(_) => tracing::debug!("the Lease is not given back, it runs out"),
        }
    }

    /// One look at the Lease, and one attempt to have it if nobody has.
    async fn attempt(&mut self) -> Result<Attempt, String> {
        let found = self.in_time(self.api.get_opt(&self.election.lease)).await?;
        let (metadata, spec) = match found {
            None => (self.named(), None),
            Some(found) => (found.metadata, found.spec),
        };
        let spec = spec.unwrap_or_default();
        if let Some((leader, left)) = self.leader(&spec) {
            return Ok(Attempt::Lost(leader, left));
        }
        let is_change = spec.holder_identity.as_ref() != Some(&self.election.identity);
        let transitions = spec.lease_transitions.unwrap_or_default();
        let acquired = if is_change { Some(now()) } else { spec.acquire_time };
        let taken = LeaseSpec {
            holder_identity: Some(self.election.identity.clone()),
            lease_duration_seconds: Some(self.election.timing.seconds.into()),
            acquire_time: acquired,
            renew_time: Some(now()),
            lease_transitions: Some(transitions + i32::from(is_change)),
            ..spec
        };
        let begun = Instant::now();
        let lease = Lease { metadata, spec: Some(taken) };
        self.ours = Some(self.in_time(self.write(lease)).await?);
        self.seen = None;
        let timing = self.election.timing;
        Ok(Attempt::Won(Term::until(begun + timing.deadline(), timing.silence())))
    }

    /// Somebody else whose Lease may still hold, and how long at most. It counts from when it was seen here.
    fn leader(&mut self, spec: &LeaseSpec) -> Option<(String, Duration)> {
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
        if holder == self.election.identity {
            return None;
        }
        let seen = self.seen.take().filter(|seen| seen.spec == *spec);
        let seen = seen.unwrap_or_else(|| Seen { spec: spec.clone(), since: Instant::now() });
        let since = seen.since;
        self.seen = Some(seen);
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lease = seconds.map_or(self.election.timing.lease(), Duration::from_secs);
        let left = lease.checked_sub(since.elapsed()).filter(|left| !left.is_zero())?;
        Some((holder, left))
    }

    /// Renews as long as the Lease is ours; returns who has it then.
    async fn keep(&mut self, term: &Term) -> String {
        let timing = self.election.timing;
        sleep(timing.beat()).await;
        loop {
            let begun = Instant::now();
            match self.renewed().await {
                Ok(None) => {
                    term.extend(begun + timing.deadline());
                    sleep(timing.beat().saturating_sub(begun.elapsed())).await;
                }
                Ok(Some(leader)) => return leader,
                Err(problem) => {
                    tracing::warn!(problem, "the Lease is not renewed yet");
                    sleep(timing.beat() / 4).await;
                }
            }
        }
    }

    /// Renews once; whoever else has the Lease.
    async fn renewed(&mut self) -> Result<Option<String>, String> {
        // Somebody may have changed it, or an answer was lost: then it is looked at first.
        let ours = match self.ours.take() {
            Some(ours) => ours,
            None => match self.in_time(self.api.get_opt(&self.election.lease)).await? {
                Some(found) if self.is_ours(&found) => found,
                found => return Ok(Some(found.and_then(holder).unwrap_or_else(|| "nobody".to_owned()))),
            },
        };
        let spec = LeaseSpec { renew_time: Some(now()), ..ours.spec.unwrap_or_default() };
        let renewed = self.replace(Lease { metadata: ours.metadata, spec: Some(spec) });
        self.ours = Some(self.in_time(renewed).await?);
        Ok(None)
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.election.identity)
    }

    fn named(&self) -> ObjectMeta {
        ObjectMeta { name: Some(self.election.lease.clone()), ..ObjectMeta::default() }
    }

    /// Creates the Lease, or replaces exactly the version that was read.
    async fn write(&self, lease: Lease) -> Result<Lease, kube::Error> {
        match lease.metadata.resource_version {
            None => self.api.create(&PostParams::default(), &lease).await,
            Some(_) => self.replace(lease).await,
        }
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, kube::Error> {
        self.api.replace(&self.election.lease, &PostParams::default(), &lease).await
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        match timeout(self.election.timing.patience(), answer).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    /// Whether this was not what was said last.
    fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.said != text;
        text.clone_into(&mut self.said);
        is_news
    }
}

fn holder(lease: Lease) -> Option<String> {
    lease.spec?.holder_identity
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

#[cfg(test)]
mod tests;
