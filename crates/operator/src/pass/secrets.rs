//! Secrets: whether one is ours, and what it lacks. Kubernetes; a Secret that is right is not written.

use std::collections::BTreeMap;
use std::sync::Arc;

use exec::Password;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource as _;
use kube::api::ObjectMeta;
use serde_json::json;

use crate::api::database::PostgresDatabase;
use crate::api::shared::{FormerSecret, Provisioned};
use crate::api::{ANNOTATION_RESOURCE, LABEL_MANAGED_BY, LABEL_RESOURCE_UID, OPERATOR};
use crate::conditions::{ConditionType, Finding, Notice, Reason, find};
use crate::context::Context;
use crate::metrics::SecretWrite;
use crate::resource::{ObjectName, Resource, ServerKey, spelled};
use crate::vault::{Contents, Freshness, KEYS};

/// What a Secret is to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It carries the resource's owner reference or label.
    Ours,
    /// Nobody owns it, it holds nothing but keys of ours and the name of no other role, and it lies where the resource
    /// may choose its Secrets: a person's choice of password, or the output of the old operator.
    Preset,
    /// It is somebody else's.
    Foreign,
}

/// What the Secret of this name is to a resource, which is trusted if it is of the `trusted` namespace.
pub fn relation(trusted: &str, name: &ObjectName, contents: &Contents, resource: &Resource) -> Relation {
    let uid = resource.uid();
    if contents.owners.iter().any(|owner| owner == uid) || contents.label.as_deref() == Some(uid) {
        return Relation::Ours;
    }
    // Left behind by a namesake that is gone: the finalizer was removed by force.
    let is_namesakes = contents.annotation.as_deref() == Some(&annotation(resource));
    let is_unmarked = contents.owners.is_empty() && (contents.label.is_none() || is_namesakes);
    let username = contents.data.get("username").map(Password::expose);
    let is_of_role = username.is_none_or(|username| username == resource.role());
    // Consent to take Secrets is none to use what is there: what is in it may be another's, and would prove to the
    // server that the role is the resource's. Elsewhere only what that namespace says is meant for this resource.
    let is_at_home = resource.namespace() == trusted || name.namespace == resource.namespace();
    let is_meant = (is_of_role && (is_at_home || is_namesakes))
        || is_recorded(name, contents, resource)
        || (!is_at_home && is_inherited(contents, resource));
    match contents.is_plain && is_unmarked && !contents.has_others && is_meant {
        true => Relation::Preset,
        false => Relation::Foreign,
    }
}

/// Whether this is what version 1 wrote for the resource, in whatever namespace. The status tells, which only operators
/// write, that it provided this role and this database for this resource, and the Secret holds them and nothing else. It
/// is younger than the resource, so that nobody asks for what was there before, and older than the first word of this
/// operator on the resource, so that nobody lies in wait for what comes later. Whether the password in it is the role's
/// is left to the server.
fn is_inherited(contents: &Contents, resource: &Resource) -> bool {
    let text = |key| contents.data.get(key).map(Password::expose);
    let is_whole = KEYS.iter().all(|key| contents.data.contains_key(key));
    let is_its = text("username") == Some(resource.role()) && text("database") == Some(resource.database());
    let is_there = match resource.server_key() {
        ServerKey::Configured => true,
        ServerKey::Named { host, .. } => text("host").map(spelled) == Some(host),
    };
    let (asked, _) = resource.seniority();
    let ready = resource.status().and_then(|status| find(&status.conditions, ConditionType::Ready));
    let first_word = ready.map(|ready| ready.last_transition_time.0);
    let is_in_time = contents.created.is_some_and(|created| {
        asked.is_some_and(|asked| asked <= created) && first_word.is_none_or(|said| created <= said)
    });
    is_whole && is_its && is_there && is_in_time && resource.is_untaken()
}

/// Whether this is where the credentials were put before, for the role that the resource had then.
fn is_recorded(name: &ObjectName, contents: &Contents, resource: &Resource) -> bool {
    let is_it = |one: &FormerSecret| one.name == name.name && one.namespace == name.namespace;
    resource.provisioned().is_some_and(|found| {
        (found.secret().as_ref() == Some(name) || found.former_secrets.iter().any(is_it))
            && found.role.is_some()
            && found.role.as_deref() == contents.data.get("username").map(Password::expose)
    })
}

/// The finding for a Secret that is somebody else's.
pub fn conflict(resource: &Resource) -> Finding {
    let secret = resource.secret();
    let way = if secret.namespace == resource.namespace() {
        String::new()
    } else {
        let ObjectName { namespace, name } = &secret;
        let mark = format!("{ANNOTATION_RESOURCE}={}", annotation(resource));
        format!("; if it is meant for it: kubectl annotate secret -n {namespace} {name} {mark}")
    };
    let message = format!(
        "Secret {secret} exists and is not this resource's: choose another secretName, or delete it{way}"
    );
    Finding { reason: Reason::SecretConflict, message }
}

/// What the Secret should hold.
pub fn wanted(
    resource: &Resource,
    password: &Password,
    host: &str,
    port: u16,
) -> BTreeMap<&'static str, Password> {
    let values = [
        Password::new(resource.role()),
        password.clone(),
        Password::new(resource.database()),
        Password::new(host),
        Password::new(port.to_string()),
    ];
    KEYS.into_iter().zip(values).collect()
}

/// Brings the Secret to what it should hold. `None` when it was right already; 409 when it is not as it was found.
pub async fn write(
    context: &Context,
    resource: &Resource,
    found: Option<&Contents>,
    wanted: &BTreeMap<&'static str, Password>,
) -> Result<Option<Arc<Contents>>, kube::Error> {
    let name = resource.secret();
    let Some(found) = found else {
        let created = context.vault.create(&name, &new(resource, wanted)).await?;
        context.metrics.secret_write(SecretWrite::Created);
        return Ok(created);
    };
    if is_right(resource, found, wanted) {
        return Ok(None);
    }
    let data: BTreeMap<_, _> = missing(found, wanted)
        .map(|(key, value)| (key, ByteString(value.expose().as_bytes().to_vec())))
        .collect();
    let marks = new(resource, wanted).metadata;
    let patch = json!({
        "metadata": {
            // Fails when somebody changed it since it was read.
            "resourceVersion": found.version.resource_version,
            "labels": marks.labels,
            "annotations": marks.annotations,
            "ownerReferences": marks.owner_references,
        },
        "data": data,
    });
    let patched = context.vault.patch(&name, &found.version, &patch).await?;
    context.metrics.secret_write(SecretWrite::Patched);
    Ok(patched)
}

/// Whether nothing has to be written.
pub fn is_right(resource: &Resource, found: &Contents, wanted: &BTreeMap<&'static str, Password>) -> bool {
    let is_marked = found.label.as_deref() == Some(resource.uid());
    let is_owned = found.owners.iter().any(|owner| owner == resource.uid());
    // The old operator's: right as it is. Marking it would change its version, and restart applications.
    let is_unmarked = found.label.is_none() && found.owners.is_empty();
    missing(found, wanted).next().is_none() && (is_marked || is_owned || is_unmarked)
}

fn missing<'w>(
    found: &Contents,
    wanted: &'w BTreeMap<&'static str, Password>,
) -> impl Iterator<Item = (&'static str, &'w Password)> {
    let lacks = |(key, value): &(&&'static str, &'w Password)| found.data.get(**key) != Some(*value);
    wanted.iter().filter(lacks).map(|(key, value)| (*key, value))
}

/// Deletes the Secret if it is the resource's. One in a namespace that is not watched any more stays, and is named.
pub async fn delete(context: &Context, resource: &Resource, name: &ObjectName) -> Result<bool, kube::Error> {
    if !context.caches.watches(&name.namespace) {
        if resource.provisioned().and_then(Provisioned::secret).as_ref() == Some(name) {
            context.events.publish(resource.object_ref(), Notice::SecretKept, &format!("Secret {name}"));
        }
        return Ok(false);
    }
    let Some(found) = context.vault.read(&context.caches, name, Freshness::Now).await? else {
        return Ok(false);
    };
    let is_ours = match relation(&context.namespace, name, &found, resource) {
        Relation::Ours => true,
        // The old operator's, which is known by what is in it and by our own memory.
        Relation::Preset => is_recorded(name, &found, resource) || is_inherited(&found, resource),
        Relation::Foreign => false,
    };
    if is_ours {
        context.vault.delete(name, &found.version).await?;
        context.metrics.secret_write(SecretWrite::Deleted);
    }
    Ok(is_ours)
}

fn annotation(resource: &Resource) -> String {
    format!("{}/{}", resource.kind(), resource.name())
}

fn new(resource: &Resource, wanted: &BTreeMap<&'static str, Password>) -> Secret {
    let name = resource.secret();
    let labels = [(LABEL_MANAGED_BY, OPERATOR), (LABEL_RESOURCE_UID, resource.uid())];
    let bytes = |value: &Password| ByteString(value.expose().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.name.clone()),
            namespace: Some(name.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            annotations: Some([(ANNOTATION_RESOURCE.to_owned(), annotation(resource))].into()),
            // The collector deletes an object whose owner is in another namespace.
            owner_references: (name.namespace == resource.namespace()).then(|| vec![owner(resource)]),
            ..ObjectMeta::default()
        },
        data: Some(wanted.iter().map(|(key, value)| ((*key).to_owned(), bytes(value))).collect()),
        ..Secret::default()
    }
}

fn owner(resource: &Resource) -> OwnerReference {
    OwnerReference {
        api_version: PostgresDatabase::api_version(&()).into_owned(),
        kind: resource.kind().to_owned(),
        name: resource.name().name,
        uid: resource.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

#[cfg(test)]
mod tests;
