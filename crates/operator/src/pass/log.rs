//! What of a pass is worth a line: what it changed, and what is different about a resource since. A check that finds
//! everything as it should be says nothing, or else a thousand databases would drown the rest.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use plan::Action;

use crate::conditions::{Class, ConditionType, Reason, find};
use crate::events::presentable;
use crate::metrics::words;
use crate::resource::Resource;

/// How much of a message stands in a line; the condition has more of it.
const LONGEST: usize = 512;

/// One line for everything that took effect together.
pub(super) fn changes(done: &[Action]) {
    if done.is_empty() {
        return;
    }
    let mut counts = BTreeMap::<_, usize>::new();
    for action in done {
        *counts.entry(words::action(action)).or_default() += 1;
    }
    let kinds: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    tracing::info!(statements = done.len(), kinds = kinds.join(", "), "changed");
}

/// A line for each condition that is not what it was. Drift that was repaired is told by whoever repaired it.
pub(super) fn conditions(resource: &Resource, before: &[Condition], after: &[Condition]) {
    let found = |conditions, condition_type| {
        let condition: &Condition = find(conditions, condition_type)?;
        let reason = Reason::ALL.iter().find(|reason| reason.as_str() == condition.reason)?;
        Some((*reason, presentable(&condition.message, LONGEST)))
    };
    for condition_type in ConditionType::ALL {
        let (was, Some((reason, message))) = (found(before, condition_type), found(after, condition_type))
        else {
            continue;
        };
        let was_reason = was.as_ref().map(|(reason, _)| *reason);
        let is_same_text = was.is_some_and(|(_, before)| before == message);
        // The message of `Ready` may name what changes all the time.
        if was_reason == Some(reason) && (is_same_text || condition_type == ConditionType::Ready) {
            continue;
        }
        match reason.class() {
            Class::Ready if was_reason.is_some_and(is_of_server) => tracing::debug!(%resource, "ready again"),
            Class::Ready => tracing::info!(%resource, "ready"),
            // The line about the server stands for all of them.
            Class::Waits | Class::NeedsPerson if is_of_server(reason) => {
                tracing::debug!(%resource, reason = reason.as_str(), why = message, "not ready");
            }
            Class::Planned => {
                tracing::info!(%resource, what = message, "merely observed: changes are planned");
            }
            Class::Suspended => tracing::info!(%resource, "suspended"),
            Class::Waits => tracing::info!(%resource, reason = reason.as_str(), why = message, "not ready"),
            Class::NeedsPerson => {
                tracing::warn!(%resource, reason = reason.as_str(), why = message, "not ready");
            }
            Class::Drifted if reason == Reason::DriftRemains => {
                tracing::warn!(%resource, what = message, "drift that cannot be repaired");
            }
            Class::Withheld => {
                tracing::warn!(%resource, reason = reason.as_str(), what = message, "something is withheld");
            }
            Class::Complete if was_reason.is_some_and(|was| was.class() == Class::Withheld) => {
                tracing::info!(%resource, "nothing is withheld any more");
            }
            Class::Drifted | Class::InSync | Class::Complete => (),
        }
    }
}

/// Whether a reason is one of the server, which all its resources share.
fn is_of_server(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ServerUnavailable
            | Reason::ServerReadOnly
            | Reason::ServerIsStandby
            | Reason::TlsError
            | Reason::PoolerDetected
            | Reason::UnsupportedServer
    )
}
