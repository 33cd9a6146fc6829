//! One resource of either kind, and the names by which resources, Secrets, servers and databases are told apart.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::api::ObjectMeta;

use crate::api::FINALIZER;
use crate::api::database::PostgresDatabase;
use crate::api::shared::{Provision, Provisioned, ServerChoice, Status, SuperuserSecret};
use crate::api::told::Mode;
use crate::api::user::PostgresUser;
use crate::api::version_one::Asked;

/// A resource of either kind.
#[derive(Clone, Debug)]
pub enum Resource {
    /// A database and its owner.
    Database(Arc<PostgresDatabase>),
    /// A user of a database.
    User(Arc<PostgresUser>),
}

/// What is done for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// What it asks for.
    Reconciled,
    /// It is looked at, and nothing is written but its status.
    Observed,
    /// Nothing: it is not even looked at.
    Suspended,
}

/// Namespace and name of an object of a kind that the context tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A server and where its admin credentials come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerKey {
    /// The operator's own.
    Configured,
    /// One that resources name.
    Named {
        /// The host, [spelled] in the one way.
        host: String,
        /// The Secret with the admin credentials.
        secret: ObjectName,
    },
}

/// What one pass is about: a database of a server. Credentials are part of it, so that a pass never mixes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseKey {
    /// The server.
    pub server: ServerKey,
    /// The database's name.
    pub database: String,
}

/// Evaluates an expression for the object of either kind.
macro_rules! each {
    ($resource:expr, $object:ident => $value:expr) => {
        match $resource {
            Resource::Database($object) => $value,
            Resource::User($object) => $value,
        }
    };
}

impl Resource {
    /// Its metadata.
    pub fn meta(&self) -> &ObjectMeta {
        each!(self, object => object.meta())
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "PostgresDatabase",
            Self::User(_) => "PostgresUser",
        }
    }

    /// Its namespace and name.
    pub fn name(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace().to_owned(),
            name: self.meta().name.clone().unwrap_or_default(),
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// Its generation, which counts changes of the spec.
    pub fn generation(&self) -> Option<i64> {
        self.meta().generation
    }

    /// Whether it is on its way out.
    pub fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// Whether it waits for us before it goes.
    pub fn has_finalizer(&self) -> bool {
        self.has_finalizer_named(FINALIZER)
    }

    /// Whether it waits for somebody.
    pub fn has_finalizer_named(&self, name: &str) -> bool {
        self.meta().finalizers.iter().flatten().any(|found| found == name)
    }

    /// What decides who came first: age, then name.
    pub fn seniority(&self) -> (Option<k8s_openapi::jiff::Timestamp>, ObjectName) {
        (self.meta().creation_timestamp.as_ref().map(|time| time.0), self.name())
    }

    /// The name of its database.
    pub fn database(&self) -> &str {
        each!(self, object => Provision::database(&**object))
    }

    /// The name of its login role.
    pub fn role(&self) -> &str {
        each!(self, object => object.role())
    }

    /// The schemas that it lists; none for every schema.
    pub fn schemas(&self) -> &[String] {
        match self {
            Self::Database(_) => &[],
            Self::User(user) => &user.spec.schemas,
        }
    }

    /// Where its credentials go.
    pub fn secret(&self) -> ObjectName {
        each!(self, object => ObjectName {
            namespace: object.secret_namespace().to_owned(),
            name: object.secret_name().to_owned(),
        })
    }

    /// Which server it asks for.
    pub fn server_choice(&self) -> ServerChoice<'_> {
        each!(self, object => object.server_choice())
    }

    /// Whether surplus privileges are revoked, if it says so.
    pub fn prune(&self) -> Option<bool> {
        each!(self, object => object.prune())
    }

    /// What is done for it by an operator that runs in this mode.
    pub fn treatment(&self, operators: Mode) -> Treatment {
        let own = each!(self, object => object.mode());
        match (each!(self, object => object.is_suspended()), own, operators) {
            (true, _, _) => Treatment::Suspended,
            (false, Mode::Observe, _) | (false, _, Mode::Observe) => Treatment::Observed,
            (false, Mode::Reconcile, Mode::Reconcile) => Treatment::Reconciled,
        }
    }

    /// Its status as the API has it.
    pub fn status(&self) -> Option<&Status> {
        each!(self, object => object.status.as_ref())
    }

    /// What exists because of it.
    pub fn provisioned(&self) -> Option<&Provisioned> {
        self.status().and_then(|status| status.provisioned.as_ref())
    }

    /// What exists because of it on the server at this address, if these credentials were used.
    pub fn recorded_at(&self, address: &str, server: &ServerKey) -> Option<&Provisioned> {
        self.provisioned().filter(|found| found.server == address && found.server_key() == *server)
    }

    /// Whether it was provisioned as it is now, on the server at this address and with these credentials.
    pub fn is_provisioned_at(&self, address: &str, server: &ServerKey) -> bool {
        self.recorded_at(address, server).is_some_and(|found| {
            found.role.as_deref() == Some(self.role()) && found.database.as_deref() == Some(self.database())
        })
    }

    /// Whether version 1 provided exactly what it asks for now, as the status tells. Only operators write that.
    pub fn is_inherited(&self) -> bool {
        let asked = Asked {
            role_key: if matches!(self, Self::Database(_)) { "owner" } else { "username" },
            role: self.role(),
            database: self.database(),
            access: match self {
                Self::Database(_) => None,
                Self::User(user) => Some(user.spec.access.as_str()),
            },
            schemas: self.schemas(),
        };
        self.status().is_some_and(|status| status.version_one.tell_of(asked))
    }

    /// Whether it may keep its Secret where version 1 put it: it has not been taken over yet, or asks for the same place
    /// and server as then.
    pub fn inherits_place(&self) -> bool {
        let is_same = |found: &Provisioned| {
            found.secret().as_ref() == Some(&self.secret()) && found.server_key() == self.server_key()
        };
        self.is_inherited() && self.provisioned().is_none_or(is_same)
    }

    /// Whether what version 1 provided for it was not taken over yet.
    pub fn is_untaken(&self) -> bool {
        self.is_inherited() && self.provisioned().is_none()
    }

    /// Whether nobody's word is needed any more to let it go: it has something on a server.
    pub fn is_leaving(&self) -> bool {
        self.is_deleting() && self.provisioned().is_some()
    }

    /// The same resource with a status that is newer than the cache's.
    #[must_use]
    pub fn with_status(&self, status: Status) -> Self {
        match self {
            Self::Database(object) => {
                Self::Database(Arc::new(PostgresDatabase { status: Some(status), ..(**object).clone() }))
            }
            Self::User(object) => {
                Self::User(Arc::new(PostgresUser { status: Some(status), ..(**object).clone() }))
            }
        }
    }

    /// How events and owner references name it.
    pub fn object_ref(&self) -> ObjectReference {
        each!(self, object => object.object_ref(&()))
    }

    /// The server it asks for; of one that is being deleted, the server that it was provisioned on.
    pub fn server_key(&self) -> ServerKey {
        if let Some(found) = self.provisioned().filter(|_| self.is_deleting()) {
            return found.server_key();
        }
        match self.server_choice() {
            ServerChoice::Configured | ServerChoice::HalfNamed { .. } => ServerKey::Configured,
            ServerChoice::Named { host, secret } => ServerKey::Named {
                host: spelled(host),
                secret: ObjectName { namespace: secret.namespace.clone(), name: secret.name.clone() },
            },
        }
    }

    /// The database it belongs to.
    pub fn key(&self) -> DatabaseKey {
        DatabaseKey { server: self.server_key(), database: self.database().to_owned() }
    }

    /// Whether this is a user that goes with a database, as its owner reference says.
    pub fn is_child_of(&self, database: &Self) -> bool {
        matches!(self, Self::User(_))
            && self.namespace() == database.namespace()
            && self.meta().owner_references.iter().flatten().any(|owner| owner.uid == database.uid())
    }
}

/// A host in the one way in which hosts are compared: case and the root's dot make no difference to DNS.
pub fn spelled(host: &str) -> String {
    host.trim().trim_end_matches('.').to_ascii_lowercase()
}

impl Provisioned {
    /// Where the credentials were put.
    pub fn secret(&self) -> Option<ObjectName> {
        Some(ObjectName { namespace: self.secret_namespace.clone()?, name: self.secret_name.clone()? })
    }

    /// The server and the credentials that were used.
    pub(crate) fn server_key(&self) -> ServerKey {
        let host = self.server.rsplit_once(':').map_or(&*self.server, |(host, _)| host);
        match &self.superuser_secret {
            None => ServerKey::Configured,
            Some(SuperuserSecret { name, namespace }) => ServerKey::Named {
                host: spelled(host),
                secret: ObjectName { namespace: namespace.clone(), name: name.clone() },
            },
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the operator's server"),
            Self::Named { host, secret } => write!(f, "{host} (Secret {secret})"),
        }
    }
}

impl fmt::Display for DatabaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.database, self.server)
    }
}
