//! Documents into a cluster.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{GroupVersionKind, TypeMeta},
    discovery::{self, Scope},
};

use crate::{eventually, unique};

/// How this crate calls itself in `managedFields`.
pub(super) const MANAGER: &str = "testbed";

const DEADLINE: Duration = Duration::from_secs(30);

/// Applies every document of a YAML text (server-side, by force) and returns them as stored.
///
/// A namespaced document without a namespace goes into `namespace`. Documents after a
/// `CustomResourceDefinition` may already use it. Panics when the text is no YAML of objects.
pub async fn apply(client: &Client, yaml: &str, namespace: &str) -> Result<Vec<DynamicObject>, kube::Error> {
    let mut applied = Vec::new();
    for document in documents(yaml) {
        applied.push(apply_one(client, &document, namespace).await?);
        if document.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition") {
            wait_crds_established(client).await;
        }
    }
    Ok(applied)
}

/// Waits until every `CustomResourceDefinition` of the cluster is served.
pub async fn wait_crds_established(client: &Client) {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    eventually("the custom resources to be served", DEADLINE, async || {
        for crd in crds.list(&ListParams::default()).await.map_err(|error| error.to_string())? {
            let spec = &crd.spec;
            for version in spec.versions.iter().filter(|version| version.served) {
                let kind = GroupVersionKind::gvk(&spec.group, &version.name, &spec.names.kind);
                let served = discovery::pinned_kind(client, &kind).await;
                served.map_err(|error| format!("{}: {error}", crd.name_any()))?;
            }
            let mut conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
            if !conditions.any(|condition| condition.type_ == "Established" && condition.status == "True") {
                return Err(format!("{} is not established", crd.name_any()));
            }
        }
        Ok(())
    })
    .await;
}

/// Creates a namespace that no other test has, and returns its name.
pub async fn namespace(client: &Client, prefix: &str) -> String {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(unique(prefix));
    let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
    created.unwrap_or_else(|error| panic!("cannot create a namespace {prefix}…: {error}")).name_any()
}

/// The objects of a YAML text; documents that are empty are left out.
pub(super) fn documents(yaml: &str) -> Vec<DynamicObject> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("these are not objects: {error}\n{yaml}"))
}

pub(super) async fn apply_one(
    client: &Client,
    document: &DynamicObject,
    namespace: &str,
) -> Result<DynamicObject, kube::Error> {
    let TypeMeta { api_version, kind } =
        document.types.as_ref().unwrap_or_else(|| panic!("no apiVersion and kind: {document:?}"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (resource, capabilities) =
        discovery::pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = document.metadata.namespace.as_deref().unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let name = document.metadata.name.as_ref().unwrap_or_else(|| panic!("a {kind} without a name"));
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(document)).await
}
