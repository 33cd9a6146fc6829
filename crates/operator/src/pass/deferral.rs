//! Deletions that have to wait, and for how long: then what is left to do goes to the ledger, and the resource goes.
//! Kubernetes.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp, Unit};

use super::credentials::former_secrets;
use super::secrets::{self, Relation};
use super::{departures, finish, gather, report, resolve};
use crate::caches::NamespaceState;
use crate::conditions::{Finding, Notice};
use crate::context::Context;
use crate::ledger::{Entry, Kind};
use crate::passes::Next;
use crate::patch;
use crate::resource::{DatabaseKey, Resource, ServerKey};
use crate::vault::Freshness;

/// How long at least a deletion is tried by one process, if the limit is not shorter: what happened while the operator
/// was down says nothing about the server.
const FAIR: SignedDuration = SignedDuration::from_mins(1);
/// How much longer a database waits than its users.
const AFTER_USERS: SignedDuration = SignedDuration::from_secs(5);
/// How soon to try again what could not be put off in time.
const AGAIN: Duration = Duration::from_secs(10);
/// So that a pass that is run when the time is over finds it over.
const MARGIN: Duration = Duration::from_millis(50);

/// Says what a deleted resource waits for; lets it go if that has taken too long, or can never end.
pub(super) async fn hold(
    context: &Context,
    resource: &Resource,
    finding: &Finding,
) -> Result<(), kube::Error> {
    delete_users(context, resource).await?;
    let due = due(context, resource, context.memory.waits_since(resource.uid()));
    if Timestamp::now() < due && !is_hopeless(context, resource) {
        return say(context, resource, finding, &format!("gives up at {due}")).await;
    }
    let entry = entry(context, resource, finding);
    let given_up = match context.ledger.add(&context.client, entry.clone()).await {
        Ok(given_up) => given_up,
        // Better it stays than that nobody knows of it.
        Err(error) => {
            return say(context, resource, finding, &format!("and cannot be put off: {error}")).await;
        }
    };
    for one in given_up {
        tracing::warn!(resource = %one, "given up: {}", one.summary());
        let note = format!("{one} was given up, {}", one.summary());
        context.events.publish(context.ledger.object(&one), Notice::DeletionGivenUp, &note);
    }
    clear_secrets(context, resource).await?;
    announce(context, resource, &entry);
    patch::remove_finalizer(&context.client, resource).await
}

/// Removes the Secrets of a resource that goes. One that the API server does not let go of stays in the end, and is
/// named.
pub(super) async fn clear_secrets(context: &Context, resource: &Resource) -> Result<(), kube::Error> {
    for name in former_secrets(resource).into_iter().chain([resource.secret()]) {
        match secrets::delete(context, resource, &name).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                let since = context.memory.waits_since(resource.uid());
                if Timestamp::now() < due(context, resource, since) {
                    return Err(kube::Error::Api(status));
                }
                let note = format!("Secret {name}: {}", status.message);
                context.events.publish(resource.object_ref(), Notice::SecretKept, &note);
            }
            deleted => _ = deleted?,
        }
    }
    Ok(())
}

/// The next pass comes no later than when a deletion that waits is to be put off.
pub(super) fn in_time(context: &Context, key: &DatabaseKey, next: Next) -> Next {
    let (now, waiting) = (Timestamp::now(), context.memory.waiting());
    if waiting.is_empty() {
        return next;
    }
    let resources = gather::census(context).of(key).into_iter().filter(Resource::is_deleting);
    let waits = resources.filter_map(|resource| {
        let due = due(context, &resource, *waiting.get(resource.uid())?);
        Some(Duration::try_from(due.duration_since(now)).unwrap_or(AGAIN))
    });
    let Some(first) = waits.min().map(|wait| wait + MARGIN) else { return next };
    match next {
        Next::After(pause) => Next::After(pause.min(first)),
        Next::Resync if first < context.settings.resync => Next::After(first),
        Next::Resync | Next::Never => next,
    }
}

/// Whether there may be something of it on a server, as far as Kubernetes tells.
pub(super) async fn has_something(context: &Context, resource: &Resource) -> Result<bool, kube::Error> {
    if resource.is_leaving() || resource.status().is_some_and(|status| status.server.is_some()) {
        return Ok(true);
    }
    // The old operator's, which kept no such status.
    let name = resource.secret();
    let found = context.vault.read(&context.caches, &name, Freshness::Watched).await?;
    let relation = found.map(|found| secrets::relation(&context.namespace, &name, &found, resource));
    Ok(relation == Some(Relation::Ours))
}

/// A database takes its users along, also when its server is not there.
async fn delete_users(context: &Context, resource: &Resource) -> Result<(), kube::Error> {
    if matches!(resource, Resource::User(_)) || finish::waits_for_collector(resource) {
        return Ok(());
    }
    for user in users(context, resource).iter().filter(|user| !user.is_deleting()) {
        patch::delete_user(&context.client, user).await?;
    }
    Ok(())
}

fn users(context: &Context, resource: &Resource) -> Vec<Resource> {
    match resource {
        Resource::User(_) => Vec::new(),
        Resource::Database(_) => {
            let all = context.caches.resources();
            all.into_iter().filter(|other| other.is_child_of(resource)).collect()
        }
    }
}

/// When a deletion that waits since then is put off.
fn due(context: &Context, resource: &Resource, since: Timestamp) -> Timestamp {
    let limit = SignedDuration::try_from(context.settings.deletion_timeout).unwrap_or(SignedDuration::MAX);
    let users = users(context, resource);
    let deleted = users.iter().chain([resource]).filter_map(|one| one.meta().deletion_timestamp.as_ref());
    let deleted = deleted.map(|time| time.0).max().unwrap_or(since);
    let more = if users.is_empty() { SignedDuration::ZERO } else { AFTER_USERS };
    let after = |time: Timestamp, pause| time.saturating_add(pause).unwrap_or(Timestamp::MAX);
    let due = after(deleted, limit).max(after(since, limit.min(FAIR)));
    after(due, more).round(Unit::Second).unwrap_or(due)
}

/// Whether the admin credentials are gone for good: nothing can be put into a namespace that is being deleted.
fn is_hopeless(context: &Context, resource: &Resource) -> bool {
    let ServerKey::Named { host, secret } = resource.server_key() else { return false };
    context.caches.namespace_state(&secret.namespace) == NamespaceState::Terminating
        && context.caches.secret_version(&secret).is_none()
        && context.servers.last_named(&host, &secret).is_none()
}

fn entry(context: &Context, resource: &Resource, finding: &Finding) -> Entry {
    let address = resolve::address(context, resource);
    let entry = Entry::of(resource, &context.installation, address.as_ref(), finding);
    Entry { credentials_from: departures::credentials_from(context, &entry.server()), ..entry }
}

async fn say(
    context: &Context,
    resource: &Resource,
    finding: &Finding,
    more: &str,
) -> Result<(), kube::Error> {
    let message = format!("{}; {more}", finding.message);
    let finding = Finding { reason: finding.reason, message };
    report::failure(context, std::slice::from_ref(resource), &finding).await
}

fn announce(context: &Context, resource: &Resource, entry: &Entry) {
    let stays = match entry.kind {
        Kind::PostgresUser => format!("role {} stays on {}", resource.role(), entry.provisioned.server),
        Kind::PostgresDatabase => format!("nothing was marked as released on {}", entry.provisioned.server),
    };
    let object = context.ledger.object(entry);
    let note = format!(
        "{stays} for now ({}); what is left to do is in ConfigMap {}/{}",
        entry.reason,
        object.namespace.as_deref().unwrap_or_default(),
        entry.map_name()
    );
    tracing::warn!(%resource, "deletion put off: {note}");
    context.events.publish(resource.object_ref(), Notice::DeletionDeferred, &note);
    // The resource's namespace may take no event any more.
    context.events.publish(object, Notice::DeletionDeferred, &format!("{entry}: {note}"));
}
