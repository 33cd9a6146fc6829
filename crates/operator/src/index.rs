//! Which resources name what, so that a change of one thing costs no look at thousands of resources. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::pass::gather;
use crate::resource::{DatabaseKey, ObjectName, Resource, ServerKey};

/// Resources as they were seen last, by uid, and by what they name.
#[derive(Default)]
pub struct Index {
    known: BTreeMap<String, Resource>,
    naming: BTreeMap<Name, BTreeSet<String>>,
}

/// What a resource names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A login role.
    Role(String),
    /// A database.
    Database(String),
    /// The Secret for its credentials.
    Secret(ObjectName),
    /// The Secret with the admin credentials of its server.
    Superuser(ObjectName),
    /// The namespace of either Secret.
    Namespace(String),
    /// A server.
    Server(ServerKey),
}

/// What of a resource passes depend on: our own writes to its status must not trigger passes.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    generation: Option<i64>,
    is_deleting: bool,
    finalizers: Option<Vec<String>>,
    owners: usize,
    /// Once it is, names that it asked for are free for others.
    pub is_refused: bool,
}

impl Index {
    /// Notes a resource, and what it was before.
    pub fn insert(&mut self, resource: &Resource) -> Option<Resource> {
        let before = self.remove(resource.uid());
        for name in names(resource) {
            self.naming.entry(name).or_default().insert(resource.uid().to_owned());
        }
        self.known.insert(resource.uid().to_owned(), resource.clone());
        before
    }

    /// Forgets a resource that is gone.
    pub fn remove(&mut self, uid: &str) -> Option<Resource> {
        let before = self.known.remove(uid)?;
        for name in names(&before) {
            if let Some(uids) = self.naming.get_mut(&name) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.naming.remove(&name);
                }
            }
        }
        Some(before)
    }

    /// The resources that name this.
    pub fn naming<'a>(&'a self, name: &Name) -> impl Iterator<Item = &'a Resource> {
        self.naming.get(name).into_iter().flatten().filter_map(|uid| self.known.get(uid))
    }

    /// The databases of all resources that ask for something of the same name as this one, itself included.
    pub fn contesting(&self, resource: &Resource) -> BTreeSet<DatabaseKey> {
        self.sharing(resource).map(Resource::key).collect()
    }

    /// The same of all but this one; theirs may be the same database.
    pub fn rivals(&self, resource: &Resource) -> BTreeSet<DatabaseKey> {
        self.sharing(resource).filter(|other| other.uid() != resource.uid()).map(Resource::key).collect()
    }

    fn sharing(&self, resource: &Resource) -> impl Iterator<Item = &Resource> {
        let shared = [
            Name::Role(resource.role().to_owned()),
            Name::Database(resource.database().to_owned()),
            Name::Secret(resource.secret()),
        ];
        shared.into_iter().flat_map(|name| self.naming(&name).collect::<Vec<_>>())
    }
}

impl Seen {
    /// What passes depend on.
    pub fn of(resource: &Resource) -> Self {
        Self {
            generation: resource.generation(),
            is_deleting: resource.is_deleting(),
            finalizers: resource.meta().finalizers.clone(),
            owners: resource.meta().owner_references.as_ref().map_or(0, Vec::len),
            is_refused: gather::is_refused(resource),
        }
    }

    /// Whether nothing but the refusal differs.
    pub fn is_same_but_for_refusal(&self, other: &Self) -> bool {
        Self { is_refused: other.is_refused, ..self.clone() } == *other
    }
}

fn names(resource: &Resource) -> BTreeSet<Name> {
    let secret = resource.secret();
    let mut names = BTreeSet::from([
        Name::Role(resource.role().to_owned()),
        Name::Database(resource.database().to_owned()),
        Name::Namespace(secret.namespace.clone()),
        Name::Secret(secret),
        Name::Server(resource.server_key()),
    ]);
    if let ServerKey::Named { secret, .. } = resource.server_key() {
        names.insert(Name::Namespace(secret.namespace.clone()));
        names.insert(Name::Superuser(secret));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::user::PostgresUser;

    fn user(uid: &str, role: &str) -> Resource {
        let user: PostgresUser = serde_json::from_value(serde_json::json!({
            "apiVersion": "pgprovisioner.drewsonne.github.io/v1",
            "kind": "PostgresUser",
            "metadata": { "name": uid, "namespace": "shop", "uid": uid },
            "spec": { "username": role, "dbName": "app", "access": "read", "secretName": uid },
        }))
        .unwrap();
        Resource::User(user.into())
    }

    fn uids(index: &Index, role: &str) -> Vec<String> {
        index.naming(&Name::Role(role.to_owned())).map(|one| one.uid().to_owned()).collect()
    }

    #[test]
    fn a_resource_is_found_by_what_it_names_now() {
        let mut index = Index::default();
        assert!(index.insert(&user("a", "reader")).is_none());
        index.insert(&user("b", "reader"));
        assert_eq!(uids(&index, "reader"), ["a", "b"]);
        assert_eq!(index.insert(&user("a", "writer")).unwrap().role(), "reader");
        assert_eq!((uids(&index, "reader"), uids(&index, "writer")), (vec!["b".into()], vec!["a".into()]));
        // They are of the same database.
        assert_eq!(index.rivals(&user("a", "writer")), index.contesting(&user("a", "writer")));
        index.remove("b");
        assert!(index.rivals(&user("a", "writer")).is_empty());
        index.remove("a");
        assert!(index.naming.is_empty() && index.known.is_empty());
    }
}
