//! The two kinds as the Kubernetes API knows them, and every name that is part of that contract.

pub mod database;
pub mod shared;
pub mod told;
pub mod user;
pub mod version_one;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt as _;

/// API group of both kinds.
pub const GROUP: &str = "pgprovisioner.drewsonne.github.io";
/// The one version.
pub const VERSION: &str = "v1";
/// The old operator's finalizer too: it finds its successor at work.
pub const FINALIZER: &str = "pgprovisioner.drewsonne.github.io/finalizer";
/// Name of the program: value of [`LABEL_MANAGED_BY`], field manager, reporter of events.
pub const OPERATOR: &str = "postgres-provisioner";

/// Label of our Secrets: [`OPERATOR`].
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label of our Secrets: the uid of the resource that a Secret belongs to. Where no owner reference can be set
/// (another namespace), this is the only link.
pub const LABEL_RESOURCE_UID: &str = "pgprovisioner.drewsonne.github.io/resource-uid";
/// Label of the `ConfigMaps` that keep what is left to do for resources that were let go.
pub const LABEL_LEDGER: &str = "pgprovisioner.drewsonne.github.io/ledger";
/// Annotation of our Secrets and of those `ConfigMaps`, for people: kind, namespace and name of that resource, `kind/namespace/name`.
// Not a label: a name may have 253 characters, a label's value 63.
pub const ANNOTATION_RESOURCE: &str = "pgprovisioner.drewsonne.github.io/resource";
/// Annotation of a Namespace: its consent that resources of other namespaces place Secrets in it. Namespaces
/// separated by commas, or `*`.
pub const ANNOTATION_ALLOW_SECRETS_FROM: &str = "pgprovisioner.drewsonne.github.io/allow-secrets-from";
/// Annotation of a Namespace: its consent that resources of other namespaces use admin credentials that lie in it.
/// Namespaces separated by commas, or `*`.
pub const ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM: &str =
    "pgprovisioner.drewsonne.github.io/allow-superuser-secrets-from";

/// Annotation of a superuser Secret: the only hosts that its credentials may be sent to. Separated by commas.
// No key of the Secret: other operators write a key `host` there, spelled in their own way.
pub const ANNOTATION_HOSTS: &str = "pgprovisioner.drewsonne.github.io/hosts";

/// Annotation of both definitions: the version of the operator that they are from, so that nobody replaces newer ones.
pub const ANNOTATION_VERSION: &str = "pgprovisioner.drewsonne.github.io/version";

/// The definitions of both kinds, as they are installed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![database::PostgresDatabase::crd(), user::PostgresUser::crd()];
    for crd in &mut crds {
        let version = (ANNOTATION_VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        crd.metadata.annotations.get_or_insert_default().extend([version]);
    }
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            join_description_lines(schema);
        }
    }
    crds
}

// They are doc comments, broken where our lines end; `kubectl explain` breaks them where the reader's do.
fn join_description_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.replace('\n', " ");
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        join_description_lines(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_description_lines(items);
    }
}

#[cfg(test)]
mod tests;
