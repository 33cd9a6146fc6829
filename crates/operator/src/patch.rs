//! Changes to our own resources: finalizer, owner reference, status. Each is one patch that fails rather than
//! undoes somebody else's change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource as _};
use serde_json::{Map, Value, json};

use crate::api::FINALIZER;
use crate::api::database::PostgresDatabase;
use crate::api::user::PostgresUser;
use crate::resource::Resource;

/// Puts the finalizer on, before anything is provisioned.
pub(crate) async fn add_finalizer(client: &Client, resource: &Resource) -> Result<(), kube::Error> {
    let found = resource.meta().finalizers.clone();
    apply(
        client,
        resource,
        json!(append("/metadata/finalizers", found.map(|found| json!(found)), &json!(FINALIZER))),
    )
    .await
}

/// Lets the resource go. That it is gone already does not matter.
pub(crate) async fn remove_finalizer(client: &Client, resource: &Resource) -> Result<(), kube::Error> {
    let finalizers = resource.meta().finalizers.as_deref().unwrap_or_default();
    let Some(at) = finalizers.iter().position(|found| found == FINALIZER) else { return Ok(()) };
    let path = format!("/metadata/finalizers/{at}");
    let operations = json!([
        { "op": "test", "path": path, "value": FINALIZER },
        { "op": "remove", "path": path },
    ]);
    match apply(client, resource, operations).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched,
    }
}

/// Makes the user go with the database.
pub(crate) async fn add_owner(
    client: &Client,
    user: &Resource,
    database: &Resource,
) -> Result<(), kube::Error> {
    let reference = OwnerReference {
        api_version: PostgresDatabase::api_version(&()).into_owned(),
        kind: database.kind().to_owned(),
        name: database.name().name,
        uid: database.uid().to_owned(),
        controller: Some(false),
        block_owner_deletion: None,
    };
    let found = user.meta().owner_references.as_ref().map(|found| json!(found));
    apply(client, user, json!(append("/metadata/ownerReferences", found, &json!(reference)))).await
}

/// Deletes a user; its own clean-up follows. That it is gone already does not matter.
pub(crate) async fn delete_user(client: &Client, user: &Resource) -> Result<(), kube::Error> {
    let is_it = Preconditions { uid: Some(user.uid().to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(is_it), ..DeleteParams::default() };
    match api(client, user).delete(&user.name().name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(|_| ()),
    }
}

/// Whether the user goes with some `PostgresDatabase` already.
pub(crate) fn has_owner(user: &Resource) -> bool {
    user.meta().owner_references.iter().flatten().any(|owner| owner.kind == PostgresDatabase::kind(&()))
}

/// Writes the part of the status that changed; returns the new resource version.
pub(crate) async fn patch_status(
    client: &Client,
    resource: &Resource,
    change: Value,
) -> Result<Option<String>, kube::Error> {
    let patch = Patch::Merge(json!({ "status": change }));
    let patched =
        api(client, resource).patch_status(&resource.name().name, &PatchParams::default(), &patch).await?;
    Ok(patched.metadata.resource_version)
}

/// The merge patch that leads from one value to another; `None` when they are equal.
pub(crate) fn difference(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let gone = from.keys().filter(|key| !to.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let changed = to.iter().filter_map(|(key, value)| match from.get(key) {
                None => Some((key.clone(), value.clone())),
                Some(old) => Some((key.clone(), difference(old, value)?)),
            });
            let change: Map<_, _> = gone.chain(changed).collect();
            (!change.is_empty()).then_some(Value::Object(change))
        }
        (from, to) => (from != to).then(|| to.clone()),
    }
}

/// Appends to a list that is as we saw it.
fn append(path: &str, found: Option<Value>, value: &Value) -> [Value; 2] {
    match found {
        // A test for null holds where the list is missing.
        None => [
            json!({ "op": "test", "path": path, "value": null }),
            json!({ "op": "add", "path": path, "value": [value] }),
        ],
        Some(found) => [
            json!({ "op": "test", "path": path, "value": found }),
            json!({ "op": "add", "path": format!("{path}/-"), "value": value }),
        ],
    }
}

/// Applies operations to this resource, and not to a namesake that came after it.
async fn apply(client: &Client, resource: &Resource, operations: Value) -> Result<(), kube::Error> {
    let is_it = json!({ "op": "test", "path": "/metadata/uid", "value": resource.uid() });
    let operations = operations.as_array().into_iter().flatten().cloned();
    let operations: Value = [is_it].into_iter().chain(operations).collect();
    let operations = serde_json::from_value(operations).map_err(kube::Error::SerdeError)?;
    let patch = Patch::Json::<()>(operations);
    api(client, resource).patch(&resource.name().name, &PatchParams::default(), &patch).await.map(|_| ())
}

fn api(client: &Client, resource: &Resource) -> Api<DynamicObject> {
    let kind = match resource {
        Resource::Database(_) => ApiResource::erase::<PostgresDatabase>(&()),
        Resource::User(_) => ApiResource::erase::<PostgresUser>(&()),
    };
    Api::namespaced_with(client.clone(), resource.namespace(), &kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_what_changed_and_what_is_gone() {
        let from = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "e": [1] });
        let to = json!({ "a": 1, "b": { "c": 2 }, "e": [1, 2] });
        assert_eq!(difference(&from, &to), Some(json!({ "b": { "c": 2, "d": null }, "e": [1, 2] })));
        assert_eq!(difference(&to, &to), None);
    }
}
