//! What is looked up when somebody asks: resources and servers as they are then.

use std::sync::atomic::Ordering::Relaxed;

use exec::Usage;
use k8s_openapi::jiff::Timestamp;

use super::repeats::Repeats;
use super::{Metrics, words};
use crate::conditions::{ConditionType, Reason, find};
use crate::context::Context;
use crate::lock::lock;
use crate::resource::{Resource, Treatment};
use crate::servers::State;

/// Kinds and states that are shown even where nothing is of them.
const KINDS: [&str; 2] = ["PostgresDatabase", "PostgresUser"];

impl Metrics {
    /// Brings up to date what is not counted as it happens.
    pub(super) fn look(&self, context: Option<&Context>) {
        let families = &self.0.families;
        families.resources.clear();
        families.drifted.clear();
        families.repeated.clear();
        families.withheld.clear();
        families.oldest_unready.clear();
        families.servers.clear();
        families.oldest_check.clear();
        if let Some(oldest) = lock(&self.0.passes).checked.values().min() {
            families.oldest_check.of([]).set(seconds(*oldest));
        }
        self.look_at_usage("named", &self.0.named);
        let Some(context) = context else { return };
        families.resync_interval.of([]).set(context.settings.resync.as_secs_f64());
        if let Some(server) = &context.server {
            self.look_at_usage("configured", server.learned.usage());
        }
        self.look_at_servers(context);
        self.look_at_resources(context);
    }

    fn look_at_usage(&self, server: &'static str, usage: &Usage) {
        let families = &self.0.families;
        families.connections.of([server]).set(i64::try_from(usage.open()).unwrap_or(i64::MAX));
        families.attempts.of([server]).inner().store(usage.attempts(), Relaxed);
        families.connection_failures.of([server]).inner().store(usage.failures(), Relaxed);
        families.requests.of([server]).inner().store(usage.requests(), Relaxed);
    }

    fn look_at_servers(&self, context: &Context) {
        let servers = &self.0.families.servers;
        for server in words::SERVERS {
            for state in [State::Up, State::Down, State::Unknown] {
                servers.of([server, state.as_str()]);
            }
        }
        if let Some(server) = &context.server {
            servers.of(["configured", context.servers.state(server).as_str()]).inc();
        }
        for server in context.servers.all_named() {
            servers.of(["named", context.servers.state(&server).as_str()]).inc();
        }
    }

    fn look_at_resources(&self, context: &Context) {
        let families = &self.0.families;
        for kind in KINDS {
            families.resources.of([kind, "ready", Reason::Provisioned.as_str()]);
            families.drifted.of([kind, Reason::DriftRemains.as_str()]);
            families.drifted.of([kind, Reason::DriftRepaired.as_str()]);
            families.withheld.of([kind, Reason::StatementFailed.as_str()]);
            families.repeated.of([kind]);
        }
        let (mut repeats, now) = (lock(&self.0.repeats), Timestamp::now());
        for resource in context.caches.resources() {
            let treatment = context.treatment(&resource);
            // Deleted, it waits like any other.
            if treatment == Treatment::Suspended && !resource.is_deleting() {
                let reason = Reason::Suspended;
                families.resources.of([resource.kind(), words::state(reason), reason.as_str()]).inc();
            } else {
                self.look_at_resource(&resource);
            }
            if treatment == Treatment::Reconciled {
                self.look_at_repeats(&mut repeats, &resource, now);
            }
        }
        repeats.end(now);
    }

    fn look_at_repeats(&self, repeats: &mut Repeats, resource: &Resource, now: Timestamp) {
        let last = resource.status().and_then(|status| status.last_drift.as_ref());
        if repeats.is_repeated(resource.uid(), last, now) {
            self.0.families.repeated.of([resource.kind()]).inc();
        }
    }

    fn look_at_resource(&self, resource: &Resource) {
        let (families, kind) = (&self.0.families, resource.kind());
        let Some((ready, since)) = condition(resource, ConditionType::Ready) else {
            families.resources.of([kind, "unknown", "Unknown"]).inc();
            return self.is_unready(
                kind,
                "unknown",
                resource.meta().creation_timestamp.as_ref().map(|time| time.0),
            );
        };
        let state = words::state(ready);
        families.resources.of([kind, state, ready.as_str()]).inc();
        if ready != Reason::Provisioned {
            self.is_unready(kind, state, Some(since));
        }
        for (condition_type, family) in
            [(ConditionType::Drifted, &families.drifted), (ConditionType::Withheld, &families.withheld)]
        {
            let found = condition(resource, condition_type)
                .filter(|(reason, _)| reason.class().condition().1 == "True");
            if let Some((reason, _)) = found {
                family.of([kind, reason.as_str()]).inc();
            }
        }
    }

    fn is_unready(&self, kind: &'static str, state: &'static str, since: Option<Timestamp>) {
        let (since, oldest) = (since.map_or(0.0, seconds), self.0.families.oldest_unready.of([kind, state]));
        if oldest.get() == 0.0 || since < oldest.get() {
            oldest.set(since);
        }
    }
}

/// The reason of a condition, and since when it has its status. A reason that is none of ours was not written by us.
fn condition(resource: &Resource, condition_type: ConditionType) -> Option<(Reason, Timestamp)> {
    let found = find(&resource.status()?.conditions, condition_type)?;
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == found.reason)?;
    (reason.class().condition().0 == condition_type).then_some((*reason, found.last_transition_time.0))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
