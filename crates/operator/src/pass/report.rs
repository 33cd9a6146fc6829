//! Tells what a pass found: status and events. Kubernetes; what did not change is not written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use plan::{Action, Catalog, Marker, Origin, Withheld};
use serde_json::json;

use super::credentials::former_secrets;
use super::outcome::{Outcome, is_for};
use super::{gather, log};
use crate::api::shared::{FormerRole, FormerSecret, Provisioned, ServerStatus, Status, SuperuserSecret};
use crate::caches::Version;
use crate::conditions::{ConditionType, Finding, LONGEST_MESSAGE, Notice, Reason, find, set, unset};
use crate::context::Context;
use crate::events::presentable;
use crate::patch;
use crate::resource::{ObjectName, Resource, ServerKey, Treatment};
use crate::servers::Address;
use crate::shown::{self, Repair};

/// Writes one finding to all of these resources: the pass did not get to look at the server.
pub async fn failure(
    context: &Context,
    resources: &[Resource],
    finding: &Finding,
) -> Result<(), kube::Error> {
    for resource in resources {
        let mut status = resource.status().cloned().unwrap_or_default();
        observe(&mut status, resource, ready_or_deleting(resource, finding.clone()));
        write(context, resource, status).await?;
    }
    Ok(())
}

/// Writes what the pass found of one resource, with the version of its own Secret whose password its role has, and
/// returns its status.
pub async fn outcome(
    context: &Context,
    outcome: &Outcome,
    address: &Address,
    (resource, secret): (&Resource, Option<&Version>),
) -> Result<Status, kube::Error> {
    let mut status = resource.status().cloned().unwrap_or_default();
    let ready = outcome.ready(resource);
    let drift = outcome.drift(resource);
    let now = Time(Timestamp::now());
    if ready.reason == Reason::Provisioned {
        let version = secret.map(|version| version.resource_version.clone());
        status.provisioned = Some(provisioned(outcome, address, resource, version));
    }
    if let Some(catalog) = &outcome.catalog {
        status.server = Some(server(catalog, address));
    }
    let is_repaired = ready.reason == Reason::Provisioned && !outcome.is_refused(resource);
    let drifted = Finding {
        reason: match (drift.is_empty(), is_repaired) {
            (true, _) => Reason::InSync,
            (false, true) => Reason::DriftRepaired,
            (false, false) => Reason::DriftRemains,
        },
        message: drift.join("; "),
    };
    let is_clean = outcome.catalog.is_some() && is_repaired && drift.is_empty();
    match drifted.reason {
        Reason::DriftRepaired => {
            shown::note_drift(&mut status, &drift, Repair::Done, &now);
            announce_drift(context, resource, &drifted, "repaired");
        }
        // Each check finds it again.
        Reason::DriftRemains if shown::note_drift(&mut status, &drift, Repair::Missing, &now) => {
            announce_drift(context, resource, &drifted, "not repaired");
        }
        _ if is_clean => shown::note_repair(&mut status, &now),
        _ => (),
    }
    announce(context, outcome, resource);
    observe(&mut status, resource, ready_or_deleting(resource, ready));
    if outcome.catalog.is_some() {
        observe(&mut status, resource, drifted);
        observe(&mut status, resource, outcome.withheld(resource));
    }
    write(context, resource, status.clone()).await?;
    Ok(status)
}

/// A resource on its way out says what that waits for.
fn ready_or_deleting(resource: &Resource, finding: Finding) -> Finding {
    if !resource.is_deleting() || finding.reason == Reason::Deleting {
        return finding;
    }
    Finding { reason: Reason::Deleting, message: format!("{}: {}", finding.reason.as_str(), finding.message) }
}

/// Puts one finding into the status.
pub(super) fn observe(status: &mut Status, resource: &Resource, finding: Finding) {
    status.observed_generation = resource.generation();
    set(&mut status.conditions, finding, resource.generation(), Time(Timestamp::now()));
}

/// The server as it was just seen.
pub(super) fn server(catalog: &Catalog, address: &Address) -> ServerStatus {
    let number = catalog.server.version.0;
    ServerStatus {
        host: address.host.clone(),
        port: address.port,
        version: Some(format!("{}.{}", number / 10_000, number % 10_000)),
        encrypted: Some(catalog.server.encrypted),
    }
}

fn former_secret(ObjectName { namespace, name }: ObjectName) -> FormerSecret {
    FormerSecret { name, namespace }
}

/// Notes which of the Secrets that the resource had before are still there. The resource is one with its newest status.
pub(super) async fn keep_former_secrets(
    context: &Context,
    resource: &Resource,
    left: Vec<ObjectName>,
) -> Result<(), kube::Error> {
    let mut status = resource.status().cloned().unwrap_or_default();
    if let Some(found) = &mut status.provisioned {
        found.former_secrets = left.into_iter().map(former_secret).collect();
    }
    write(context, resource, status).await
}

fn provisioned(
    outcome: &Outcome,
    address: &Address,
    resource: &Resource,
    secret_version: Option<String>,
) -> Provisioned {
    let catalog = outcome.catalog.as_ref();
    let role = outcome.role(resource);
    let origin =
        |comment: Option<&String>| comment.and_then(|text| Marker::of(text)).map(|marker| marker.origin);
    let database = catalog.and_then(|catalog| catalog.database.as_ref());
    let of_role = role.and_then(|(_, role)| origin(role.comment.as_ref()));
    let of_database = database.and_then(|database| origin(database.comment.as_ref()));
    let is_adopted = match resource {
        Resource::Database(_) => of_database == Some(Origin::Adopted),
        Resource::User(_) => of_role == Some(Origin::Adopted),
    };
    let before = resource.provisioned().and_then(|found| found.adopted_generation);
    let secret = resource.secret();
    Provisioned {
        server: address.to_string(),
        system_identifier: catalog.and_then(|catalog| catalog.server.system_identifier.clone()),
        superuser_secret: match resource.server_key() {
            ServerKey::Configured => None,
            ServerKey::Named { secret, .. } => {
                Some(SuperuserSecret { name: secret.name, namespace: secret.namespace })
            }
        },
        database: Some(resource.database().to_owned()),
        database_oid: database.map(|database| database.oid.0),
        role: Some(resource.role().to_owned()),
        role_oid: role.map(|(oid, _)| oid.0),
        former_roles: roles_that_stay(outcome, resource),
        adopted_generation: if is_adopted { before.or(resource.generation()) } else { None },
        secret_name: Some(secret.name),
        secret_namespace: Some(secret.namespace),
        secret_version,
        former_secrets: former_secrets(resource).into_iter().map(former_secret).collect(),
    }
}

/// An owner that was replaced and cannot go yet must not be forgotten.
fn roles_that_stay(outcome: &Outcome, resource: &Resource) -> Vec<FormerRole> {
    let stays = |found: &FormerRole| {
        outcome.withheld.iter().any(|withheld| match withheld {
            Withheld::CannotLeave { role, .. } => role.as_str() == found.name,
            _ => false,
        })
    };
    let before = resource.provisioned().into_iter().flat_map(Provisioned::roles);
    before.filter(|found| found.name != resource.role() && stays(found)).collect()
}

/// Says that the server was changed.
pub(super) fn announce_drift(context: &Context, resource: &Resource, drifted: &Finding, end: &str) {
    let note = format!("{}; {end}", drifted.message);
    let what = presentable(&drifted.message, LONGEST_MESSAGE);
    match drifted.reason {
        Reason::DriftRepaired => tracing::warn!(%resource, what, "drift was repaired"),
        Reason::DriftFound => tracing::warn!(%resource, what, "drift was found, and is merely observed"),
        // What remains is told with the condition.
        _ => (),
    }
    context.events.publish(resource.object_ref(), drifted.reason, &note);
}

fn announce(context: &Context, outcome: &Outcome, resource: &Resource) {
    let say = |kind: crate::conditions::EventKind, note: &str| {
        context.events.publish(resource.object_ref(), kind, note);
    };
    let growth = outcome.growth(resource);
    // What was refused is found again by each check.
    if !growth.is_empty() && !outcome.is_refused(resource) {
        say(Notice::Extended.into(), &growth.join("; "));
    }
    if outcome.is_recreated && matches!(resource, Resource::Database(_)) {
        let note = format!(
            "database {} had vanished from its server and was made again, empty",
            resource.database()
        );
        say(Notice::DatabaseRecreated.into(), &note);
    }
    if outcome.secrets_written.iter().any(|uid| uid == resource.uid()) {
        say(Notice::SecretWritten.into(), &format!("Secret {}", resource.secret()));
    }
    if !outcome.drift.iter().any(|action| is_for(action, resource)) {
        for (notice, note) in changes(&outcome.done, resource) {
            say(notice.into(), &note);
        }
    }
}

/// What was done for the resource, a line for each kind of change.
fn changes(done: &[Action], resource: &Resource) -> Vec<(Notice, String)> {
    let mine = done.iter().filter(|action| is_for(action, resource));
    let mut notices: Vec<(Notice, Vec<String>)> = Vec::new();
    let is_new = done
        .iter()
        .any(|action| matches!(action, Action::CreateRole { role } if role.as_str() == resource.role()));
    for action in mine {
        let notice = match action {
            Action::CreateRole { .. } | Action::CreateDatabase { .. } => Notice::Created,
            Action::AlterDatabaseOwner { .. } => Notice::OwnerChanged,
            Action::SetPassword { .. } if !is_new => Notice::PasswordSet,
            Action::SetRoutineInvoker { .. } | Action::SetViewInvoker { .. } | Action::CloseView { .. } => {
                Notice::RightsDisarmed
            }
            Action::Grant { .. } | Action::Revoke { .. } if !is_new => Notice::AccessChanged,
            _ => continue,
        };
        let text = action.to_string();
        match notices.iter_mut().find(|(found, _)| *found == notice) {
            Some((_, texts)) => texts.push(text),
            None => notices.push((notice, vec![text])),
        }
    }
    notices.into_iter().map(|(notice, texts)| (notice, texts.join("; "))).collect()
}

/// Writes that the resource is left alone; what was found before stays.
pub(super) async fn suspended(context: &Context, resource: &Resource) -> Result<(), kube::Error> {
    let mut status = resource.status().cloned().unwrap_or_default();
    let message = "spec.suspend is true".to_owned();
    observe(&mut status, resource, Finding { reason: Reason::Suspended, message });
    write(context, resource, status).await
}

/// Writes what changed of the status. Not over that of a namesake that was made meanwhile, and not if the resource is by
/// now on another server or of another database: another pass tells of that.
pub(super) async fn write(
    context: &Context,
    resource: &Resource,
    mut status: Status,
) -> Result<(), kube::Error> {
    let is_same = |now: &Resource| {
        now.server_choice() == resource.server_choice() && now.database() == resource.database()
    };
    if !context.caches.current(resource).as_ref().is_some_and(is_same) {
        return Ok(());
    }
    match context.treatment(resource) {
        Treatment::Suspended => (),
        Treatment::Observed => unset(&mut status.conditions, ConditionType::Suspended),
        Treatment::Reconciled => {
            unset(&mut status.conditions, ConditionType::Suspended);
            status.planned = None;
        }
    }
    let is_ready = find(&status.conditions, ConditionType::Ready).is_some_and(|ready| ready.status == "True");
    if is_ready || gather::tells_of_refusal(&status) {
        context.memory.set_refused(resource.uid(), !is_ready);
    }
    let before = json!(resource.status().cloned().unwrap_or_default());
    let Some(change) = patch::difference(&before, &json!(status)) else { return Ok(()) };
    announce_reason(context, resource, &status);
    match patch::patch_status(&context.client, resource, change).await {
        Ok(_) => {
            let conditions = resource.status().map(|status| status.conditions.as_slice());
            log::conditions(resource, conditions.unwrap_or_default(), &status.conditions);
            context.memory.reported(resource, status);
        }
        // It is gone: nobody reads its status.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => (),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A new reason that a resource is not ready is an event too.
fn announce_reason(context: &Context, resource: &Resource, status: &Status) {
    let reason = |conditions| find(conditions, ConditionType::Ready).map(|found| found.reason.clone());
    let before = resource.status().and_then(|status| reason(&status.conditions));
    let Some(now) = find(&status.conditions, ConditionType::Ready) else { return };
    if before.as_ref() == Some(&now.reason) {
        return;
    }
    if let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str() == now.reason) {
        context.events.publish(resource.object_ref(), *reason, &now.message);
    }
}
