//! What the operator sees of the cluster: both kinds in full, Secrets and Namespaces by their metadata only.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::PartialObjectMeta;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};

use crate::api::ANNOTATION_ALLOW_SECRETS_FROM;
use crate::api::ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM;
use crate::api::database::PostgresDatabase;
use crate::api::user::PostgresUser;
use crate::resource::{ObjectName, Resource};

/// A Secret without its contents.
pub type SecretMeta = PartialObjectMeta<Secret>;
/// A Namespace without its contents.
pub type NamespaceMeta = PartialObjectMeta<Namespace>;

/// The caches of all watches, one store for each watched namespace, or one for all.
pub struct Caches {
    /// Every `PostgresDatabase`.
    pub databases: Vec<Store<PostgresDatabase>>,
    /// Every `PostgresUser`.
    pub users: Vec<Store<PostgresUser>>,
    /// Every Secret's metadata.
    pub secrets: Vec<Store<SecretMeta>>,
    /// Metadata of the Namespaces.
    pub namespaces: Vec<Store<NamespaceMeta>>,
    /// The namespaces that are watched; empty for all.
    pub watched: BTreeSet<String>,
}

/// Whether something can be put into a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceState {
    /// It can.
    Active,
    /// It is being deleted: nothing may be created in it.
    Terminating,
    /// It is not there.
    Missing,
    /// It is not among those that are watched: nothing in it is read or written.
    Unwatched,
}

/// What a Secret's metadata tell: which version of which object it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub resource_version: String,
}

impl Caches {
    /// Waits until every cache has been filled once.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        for store in &self.databases {
            store.wait_until_ready().await?;
        }
        for store in &self.users {
            store.wait_until_ready().await?;
        }
        for store in &self.secrets {
            store.wait_until_ready().await?;
        }
        for store in &self.namespaces {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// Every resource of both kinds.
    pub fn resources(&self) -> Vec<Resource> {
        let databases = self.databases.iter().flat_map(Store::state).map(Resource::Database);
        let users = self.users.iter().flat_map(Store::state).map(Resource::User);
        databases.chain(users).collect()
    }

    /// The resource as it is now, unless it is gone.
    pub fn current(&self, resource: &Resource) -> Option<Resource> {
        let ObjectName { namespace, name } = resource.name();
        let found = match resource {
            Resource::Database(_) => {
                find(&self.databases, &ObjectRef::new(&name).within(&namespace)).map(Resource::Database)
            }
            Resource::User(_) => {
                find(&self.users, &ObjectRef::new(&name).within(&namespace)).map(Resource::User)
            }
        };
        found.filter(|found| found.uid() == resource.uid())
    }

    /// How many resources there are of each kind, databases first.
    pub fn counts(&self) -> (usize, usize) {
        (self.databases.iter().map(Store::len).sum(), self.users.iter().map(Store::len).sum())
    }

    /// Whether this namespace is seen.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watched.is_empty() || self.watched.contains(namespace)
    }

    /// Which version of a Secret there is; `None` when there is none.
    pub fn secret_version(&self, secret: &ObjectName) -> Option<Version> {
        let meta = self.secret(secret)?.metadata.clone();
        Some(Version { uid: meta.uid?, resource_version: meta.resource_version? })
    }

    fn secret(&self, secret: &ObjectName) -> Option<Arc<SecretMeta>> {
        let reference = ObjectRef::new(&secret.name).within(&secret.namespace);
        find(&self.secrets, &reference)
    }

    /// Whether something can be put into this namespace.
    pub fn namespace_state(&self, namespace: &str) -> NamespaceState {
        match find(&self.namespaces, &ObjectRef::new(namespace)) {
            None if !self.watches(namespace) => NamespaceState::Unwatched,
            None => NamespaceState::Missing,
            Some(found) if found.metadata.deletion_timestamp.is_some() => NamespaceState::Terminating,
            Some(_) => NamespaceState::Active,
        }
    }

    /// The uid of this namespace, if it is there.
    pub fn namespace_uid(&self, namespace: &str) -> Option<String> {
        find(&self.namespaces, &ObjectRef::new(namespace))?.metadata.uid.clone()
    }

    /// The namespaces whose resources may place Secrets in this one.
    pub fn allows_secrets_from(&self, namespace: &str) -> Consent {
        self.consent(namespace, ANNOTATION_ALLOW_SECRETS_FROM)
    }

    /// The namespaces whose resources may use admin credentials that lie in this one.
    pub fn allows_superuser_secrets_from(&self, namespace: &str) -> Consent {
        self.consent(namespace, ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM)
    }

    fn consent(&self, namespace: &str, annotation: &str) -> Consent {
        let found = find(&self.namespaces, &ObjectRef::new(namespace));
        let text = found.as_ref().and_then(|found| found.metadata.annotations.as_ref()?.get(annotation));
        Consent::of(text.map_or("", String::as_str))
    }
}

/// Whom a namespace lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent(BTreeSet<String>);

impl Consent {
    /// Namespaces separated by commas, or `*` for all.
    pub fn of(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Whether this namespace is let in.
    pub fn includes(&self, namespace: &str) -> bool {
        self.0.contains(namespace) || self.0.contains("*")
    }
}

fn find<K>(stores: &[Store<K>], reference: &ObjectRef<K>) -> Option<Arc<K>>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    stores.iter().find_map(|store| store.get(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_is_a_list_of_namespaces_or_a_star() {
        assert!(Consent::of("app-db, shop").includes("shop"));
        assert!(Consent::of("*").includes("shop"));
        assert!(!Consent::of("app-db,").includes(""));
        assert!(!Consent::of("").includes("shop"));
    }
}
