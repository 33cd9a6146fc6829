//! Several replicas of one installation, as processes of their own, with the chart's rights.

use std::cell::Cell;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::config::Kubeconfig;
use testbed::{Postgres, eventually, unique};
use tokio::time::Instant;

use crate::program::Program;
use crate::world::{PATIENCE, World, new_identity_with};

/// How long it may take until somebody leads after the leader was killed.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(15);

/// An installation whose replicas are still to be started.
pub(crate) struct Installation {
    pub(crate) world: World,
    /// Its Lease, in the operator's namespace.
    pub(crate) lease: String,
    started: Cell<usize>,
}

/// One of several.
pub(crate) struct Replica {
    /// What stands before the `_` in the Lease while it leads.
    pub(crate) name: String,
    pub(crate) program: Program,
    /// When it was killed or stopped.
    ends: Vec<Timestamp>,
}

/// From when to when somebody led.
pub(crate) type Term = (Timestamp, Timestamp);

impl Installation {
    /// One with a server of its own, whose log nobody else writes, and with rights of its own.
    pub(crate) async fn new() -> Self {
        let mut world = World::without_operator(17).await;
        world.postgres = Box::leak(Box::new(Postgres::start(17).await));
        let lease = unique("replicas").replace('_', "-");
        let values = format!("fullnameOverride: {lease}\nnamespace: {}\nreplicas: 2\n", world.namespace);
        world.identity = new_identity_with(world.cluster, &values).await;
        Self { world, lease, started: Cell::new(0) }
    }

    /// One more replica that looks only at what it is told of.
    pub(crate) fn start(&self) -> Replica {
        self.start_by(&self.world.identity.kubeconfig)
    }

    /// The same, with another way to the API server.
    pub(crate) fn start_by(&self, way: &Kubeconfig) -> Replica {
        self.started.set(self.started.get() + 1);
        let name = format!("replica-{}", self.started.get());
        let variables = [
            ("LEADER_ELECT", "true"),
            ("LEASE_NAME", &self.lease),
            ("POD_NAME", &name),
            ("RESYNC_SECONDS", "86400"),
        ];
        let program = Program::start_by(way, (&self.world, self.world.postgres), &variables);
        Replica { name, program, ends: Vec::new() }
    }

    /// The Leases of the operator's namespace, as the administrator reaches them.
    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.world.admin.clone(), &self.world.namespace)
    }

    /// What the Lease says.
    pub(crate) async fn lease(&self) -> LeaseSpec {
        self.leases().get(&self.lease).await.unwrap().spec.unwrap()
    }

    /// What was written to the API server with the operator's rights, without renewals.
    pub(crate) fn writes(&self) -> Vec<String> {
        let is_write = |verb: &str| !["get", "list", "watch"].contains(&verb);
        self.world.requests(|entry| is_write(&entry.verb) && entry.resource != "leases")
    }

    /// Panics when a request was forbidden.
    pub(crate) fn assert_allowed(&self) {
        let report = self.world.cluster.audit_against(&[&self.world.identity]);
        assert_eq!(report.forbidden, []);
    }
}

impl Replica {
    /// Whether it says that it leads; an error when it says nothing.
    pub(crate) async fn leads(&self) -> Result<bool, std::io::Error> {
        Ok(self.program.answer("/readyz", "").await?.ends_with("ok: leader"))
    }

    /// Waits until it is ready, and follows.
    pub(crate) async fn follows(&self) {
        let what = format!("{} to follow", self.name);
        eventually(&what, PATIENCE, async || {
            let answer = self.program.answer("/readyz", "").await.map_err(|error| error.to_string())?;
            if answer.ends_with("ok: follower") {
                Ok(())
            } else {
                Err(format!("{answer}\n{}", self.program.log()))
            }
        })
        .await;
    }

    /// Kills or stops it.
    pub(crate) fn end(&mut self, signal: &str) {
        self.program.signal(signal);
        self.ends.push(Timestamp::now());
    }

    /// When it said this first, by its own clock; panics when it did not.
    pub(crate) fn time_of(&self, text: &str) -> Timestamp {
        let lines = self.program.lines(text);
        time(lines.first().unwrap_or_else(|| panic!("{text:?}: {}", self.program.log())))
    }

    /// When it led.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let mut terms: Vec<Term> = Vec::new();
        for line in self.program.lines("this operator leads ") {
            match (line.contains("leads now"), terms.last_mut()) {
                (true, _) => terms.push((time(&line), Timestamp::MAX)),
                (false, term) => term.expect("it led before").1 = time(&line),
            }
        }
        // Whoever is stopped says so only when it goes on.
        for (start, end) in &mut terms {
            let stopped = self.ends.iter().find(|stopped| *stopped > start);
            *end = stopped.copied().unwrap_or(*end).min(*end);
        }
        terms
    }
}

fn time(line: &str) -> Timestamp {
    let time = line.split_whitespace().next().unwrap();
    time.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// Waits until one of these leads; which, and how long that took since `start`.
pub(crate) async fn leader(replicas: &[Replica], start: Instant) -> (usize, Duration) {
    let leading = eventually("somebody to lead", TAKEOVER * 2, async || {
        for (number, replica) in replicas.iter().enumerate() {
            if matches!(replica.leads().await, Ok(true)) {
                return Ok(number);
            }
        }
        let logs: Vec<_> = replicas.iter().map(|replica| replica.program.log()).collect();
        Err(logs.join("\n---\n"))
    })
    .await;
    (leading, start.elapsed())
}
