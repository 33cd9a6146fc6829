//! One entry of the ledger, and the `ConfigMap` that it is kept in. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::ObjectMeta;
use plan::Ident;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::api::shared::{FormerRole, Provisioned, SuperuserSecret};
use crate::api::{ANNOTATION_RESOURCE, LABEL_LEDGER, LABEL_MANAGED_BY, LABEL_RESOURCE_UID, OPERATOR};
use crate::conditions::Finding;
use crate::events::presentable;
use crate::resource::{DatabaseKey, ObjectName, Resource, ServerKey};
use crate::servers::Address;

/// The key that the operator reads.
const ENTRY: &str = "entry.json";
/// The key for people.
const SUMMARY: &str = "summary";
/// How long a reason may be, in bytes.
const LONGEST_REASON: usize = 1024;

/// What is still to be done on a server for a resource that was let go.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The installation that made the roles, as their markers spell it.
    pub installation: String,
    /// What kind of resource it was.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, which the markers of its roles must still carry.
    pub uid: String,
    /// What it had, and on which server.
    pub provisioned: Provisioned,
    /// The uid of the namespace whose admin credentials were used: whoever has a namespace of its name later has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_from: Option<String>,
    /// When it was let go.
    pub since: Timestamp,
    /// Why it could not be done before.
    pub reason: String,
}

/// The kind of a resource that is gone, and with it what is to be done.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// Database and owner stay; their markers say that their next namesake may take them.
    PostgresDatabase,
    /// The role is dropped.
    PostgresUser,
}

/// Why a `ConfigMap` is no entry.
#[derive(Debug, Error)]
pub enum Error {
    /// It lacks what is read of it.
    #[error("it has no key `{ENTRY}`")]
    NoKey,
    /// What is in it is something else.
    #[error("key `{ENTRY}`: {0}")]
    Json(#[from] serde_json::Error),
    /// It speaks of no database, or of no role.
    #[error("key `{ENTRY}`: `provisioned` has no `{0}`")]
    Incomplete(&'static str),
    /// A name is none.
    #[error("key `{ENTRY}`: {0}")]
    Name(#[from] plan::IdentError),
}

impl Entry {
    /// What this resource leaves on the server at this address.
    pub fn of(resource: &Resource, installation: &str, address: Option<&Address>, finding: &Finding) -> Self {
        let kind = match resource {
            Resource::Database(_) => Kind::PostgresDatabase,
            Resource::User(_) => Kind::PostgresUser,
        };
        let reason = format!("{}: {}", finding.reason.as_str(), finding.message);
        let mut provisioned = resource.provisioned().cloned().unwrap_or_else(|| guess(resource, address));
        provisioned.database.get_or_insert_with(|| resource.database().to_owned());
        provisioned.role.get_or_insert_with(|| resource.role().to_owned());
        Self {
            installation: installation.to_owned(),
            kind,
            namespace: resource.namespace().to_owned(),
            name: resource.name().name,
            uid: resource.uid().to_owned(),
            provisioned,
            credentials_from: None,
            since: Timestamp::now(),
            reason: presentable(&reason, LONGEST_REASON),
        }
    }

    /// What is in a `ConfigMap`.
    ///
    /// # Errors
    /// It holds something else, or less.
    pub fn read(map: &ConfigMap) -> Result<Self, Error> {
        let text = map.data.as_ref().and_then(|data| data.get(ENTRY)).ok_or(Error::NoKey)?;
        let entry: Self = serde_json::from_str(text)?;
        let database = entry.provisioned.database.as_deref().ok_or(Error::Incomplete("database"))?;
        database.parse::<Ident>()?;
        entry.provisioned.role.as_ref().ok_or(Error::Incomplete("role"))?;
        for role in entry.roles() {
            role.name.parse::<Ident>()?;
        }
        Ok(entry)
    }

    /// The `ConfigMap` of this namespace that keeps it.
    pub fn config_map(&self, namespace: &str) -> ConfigMap {
        let text = serde_json::to_string_pretty(self).expect("an entry has no maps");
        let labels = [
            (LABEL_MANAGED_BY, OPERATOR),
            (LABEL_LEDGER, "deletion"),
            (LABEL_RESOURCE_UID, self.uid.as_str()),
        ];
        let data = [(SUMMARY, self.summary()), (ENTRY, text)];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.map_name()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                annotations: Some([(ANNOTATION_RESOURCE.to_owned(), self.to_string())].into()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from(data.map(|(key, value)| (key.to_owned(), value)))),
            ..ConfigMap::default()
        }
    }

    /// The name of that `ConfigMap`: a resource has at most one.
    pub fn map_name(&self) -> String {
        format!("deferred-deletion-{}", self.uid)
    }

    /// The resource's namespace and name.
    pub fn resource(&self) -> ObjectName {
        ObjectName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The server and the credentials that were used.
    pub fn server(&self) -> ServerKey {
        self.provisioned.server_key()
    }

    /// The database that it belongs to.
    pub fn key(&self) -> DatabaseKey {
        DatabaseKey { server: self.server(), database: self.database().to_owned() }
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.provisioned.database.as_deref().unwrap_or_default()
    }

    /// The roles that the resource had, the last one last.
    pub fn roles(&self) -> impl Iterator<Item = FormerRole> {
        self.provisioned.roles()
    }

    /// Whether the resource had this role.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles().any(|role| role.name == name)
    }

    /// Whether this is the server that it speaks of: by who it says it is, else by where it is.
    pub fn is_on(&self, address: &Address, identifier: Option<&str>) -> bool {
        match (self.provisioned.system_identifier.as_deref(), identifier) {
            (Some(then), Some(now)) => then == now,
            (Some(_) | None, None) | (None, Some(_)) => {
                Address::parse(&self.provisioned.server).as_ref() == Some(address)
            }
        }
    }

    /// What is to be done, for a person.
    pub fn summary(&self) -> String {
        let roles: Vec<_> = self.roles().map(|role| role.name).collect();
        let (roles, database) = (roles.join(", "), self.database());
        let todo = match self.kind {
            Kind::PostgresUser => {
                format!(
                    "role {roles} is to be dropped; what it owns goes to the owner of database {database}"
                )
            }
            Kind::PostgresDatabase => {
                format!("database {database} and role {roles} stay and are to be marked as released")
            }
        };
        let credentials = match self.server() {
            ServerKey::Configured => "the operator's own admin credentials".to_owned(),
            ServerKey::Named { secret, .. } => format!("the admin credentials in Secret {secret}"),
        };
        format!("on {}, with {credentials}: {todo}; since {:.0}", self.provisioned.server, self.since)
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::PostgresDatabase => "PostgresDatabase",
            Kind::PostgresUser => "PostgresUser",
        };
        write!(f, "{kind}/{}", self.resource())
    }
}

/// What a resource may have that has never been Ready.
fn guess(resource: &Resource, address: Option<&Address>) -> Provisioned {
    let (host, superuser_secret) = match resource.server_key() {
        ServerKey::Configured => (String::new(), None),
        ServerKey::Named { host, secret } => {
            (host, Some(SuperuserSecret { name: secret.name, namespace: secret.namespace }))
        }
    };
    let seen = resource.status().and_then(|status| status.server.as_ref());
    let seen = seen.map(|server| Address { host: server.host.clone(), port: server.port });
    let server = seen.as_ref().or(address).map_or_else(|| format!("{host}:5432"), ToString::to_string);
    let secret = resource.secret();
    Provisioned {
        server,
        superuser_secret,
        database: Some(resource.database().to_owned()),
        role: Some(resource.role().to_owned()),
        secret_name: Some(secret.name),
        secret_namespace: Some(secret.namespace),
        ..Provisioned::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::user::PostgresUser;
    use crate::conditions::Reason;

    fn reader(status: &serde_json::Value) -> Resource {
        let user: PostgresUser = serde_json::from_value(json!({
            "apiVersion": "pgprovisioner.drewsonne.github.io/v1",
            "kind": "PostgresUser",
            "metadata": { "name": "reader", "namespace": "shop", "uid": "u1" },
            "spec": {
                "username": "reader", "dbName": "app", "access": "read", "secretName": "reader",
                "host": "DB.example", "superuserSecret": { "name": "admin", "namespace": "shop" },
            },
            "status": status,
        }))
        .unwrap();
        Resource::User(std::sync::Arc::new(user))
    }

    fn entry(status: &serde_json::Value) -> Entry {
        let down = Finding { reason: Reason::ServerUnavailable, message: "no\nroute".to_owned() };
        let address = Address { host: "db.example".to_owned(), port: 6432 };
        Entry::of(&reader(status), "i", Some(&address), &down)
    }

    #[test]
    fn an_entry_is_read_back_as_written() {
        let provisioned = json!({
            "server": "db.example:6432", "systemIdentifier": "7", "role": "reader", "roleOid": 16400,
            "superuserSecret": { "name": "admin", "namespace": "shop" }, "database": "app",
        });
        for status in [json!({}), json!({ "provisioned": provisioned })] {
            let written = entry(&status);
            let map = written.config_map("ops");
            assert_eq!(Entry::read(&map).unwrap(), written);
            assert_eq!(written.key(), reader(&status).key());
            let summary = &map.data.unwrap()["summary"];
            for part in ["db.example:6432", "role reader", "Secret shop/admin"] {
                assert!(summary.contains(part), "{summary}");
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_named() {
        let read = |data: serde_json::Value| {
            let map = serde_json::from_value(json!({ "metadata": {}, "data": data })).unwrap();
            Entry::read(&map).unwrap_err().to_string()
        };
        assert!(read(json!({})).contains("no key"));
        assert!(read(json!({ "entry.json": "{}" })).contains("installation"));
        let mut without_role = serde_json::to_value(entry(&json!({}))).unwrap();
        without_role["provisioned"].as_object_mut().unwrap().remove("role");
        assert!(read(json!({ "entry.json": without_role.to_string() })).contains("no `role`"));
    }

    #[test]
    fn a_server_is_known_by_its_identifier_and_only_without_one_by_its_address() {
        let here = Address { host: "db.example".to_owned(), port: 6432 };
        let there = Address { host: "other".to_owned(), port: 5432 };
        let provisioned = |identifier: Option<&str>| json!({ "provisioned": { "server": "db.example:6432", "systemIdentifier": identifier } });
        let known = entry(&provisioned(Some("7")));
        assert!(known.is_on(&there, Some("7")) && !known.is_on(&here, Some("8")));
        let unknown = entry(&provisioned(None));
        assert!(unknown.is_on(&here, Some("8")) && !unknown.is_on(&there, Some("8")));
        assert!(known.is_on(&here, None) && !known.is_on(&there, None));
    }
}
