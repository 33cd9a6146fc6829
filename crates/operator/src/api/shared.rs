//! What both kinds have in common: fields of the spec, the status, and one view over both.

use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Resource, core::object::HasStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::told::{LastDrift, Mode, Planned};

/// CEL: the names that both kinds accept, the old operator's pattern without its length (which is `maxLength`).
pub(super) const NAME_RULE: &str = "self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')";
/// What a person reads who chose another name.
pub(super) const NAME_MESSAGE: &str =
    "use letters (a-z, A-Z), digits and _ only, beginning with a letter or _, such as my_app";

/// A Secret with the admin credentials of a server.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SuperuserSecret {
    /// Name of the Secret. Keys: `username` and `password`; optional `port`, `sslmode`, `ca.crt`, `tls.crt`,
    /// `tls.key` and `passwordMode`.
    pub name: String,
    /// Namespace of the Secret. Outside the operator's own namespace only the resource's own namespace is
    /// allowed, unless the cluster's administrator opened this up.
    pub namespace: String,
}

/// Which server a resource asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerChoice<'a> {
    /// The operator's own: the spec names no other.
    Configured,
    /// Also the operator's own, because the spec names only half of another: shown as `Withheld`.
    HalfNamed {
        /// The field that is there.
        given: &'static str,
        /// The field that is missing.
        missing: &'static str,
    },
    /// The one that the spec names in full.
    Named {
        /// Host name or address.
        host: &'a str,
        /// Where its admin credentials are.
        secret: &'a SuperuserSecret,
    },
}

impl<'a> ServerChoice<'a> {
    pub(super) fn of(host: Option<&'a str>, secret: Option<&'a SuperuserSecret>) -> Self {
        let (given, missing) = ("host", "superuserSecret");
        match (host.filter(|host| !host.trim().is_empty()), secret) {
            (None, None) => Self::Configured,
            (Some(_), None) => Self::HalfNamed { given, missing },
            (None, Some(_)) => Self::HalfNamed { given: missing, missing: given },
            (Some(host), Some(secret)) => Self::Named { host, secret },
        }
    }
}

/// What is known about a resource.
// The old operator wrote fields of its own here (`create_fn`); they survive until the resource is gone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Status {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Drifted` and `Withheld`, each with a reason and a message; `Suspended` while it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What exists because of this resource: where a deletion, or a change of the spec, finds it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<Provisioned>,
    /// The server that was used last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerStatus>,
    /// What was last found changed although the resource was not. It stays when that is repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_drift: Option<LastDrift>,
    /// What would be done if the resource were not merely observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
    /// What version 1 has left there.
    #[serde(flatten, skip_serializing)]
    #[schemars(skip)]
    pub version_one: super::version_one::Results,
}

/// What exists on a server and in the cluster because of a resource.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Provisioned {
    /// The server, as `host:port`.
    pub server: String,
    /// The server's own identifier, which survives a change of its address: `system_identifier` of
    /// `pg_control_system()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// The admin credentials that were used, when they are not the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser_secret: Option<SuperuserSecret>,
    /// Name of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// OID of the database: another one under the same name is another database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub database_oid: Option<u32>,
    /// Name of the role: the database's owner, or the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// OID of the role: another one under the same name is another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub role_oid: Option<u32>,
    /// Roles that this resource had before and that cannot go yet: owners that were replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_roles: Vec<FormerRole>,
    /// Set when the role or the database was there before this resource: the resource's `metadata.generation`
    /// when it was taken over. Until the spec changes, what else is granted is left as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted_generation: Option<i64>,
    /// Name of the Secret that holds the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Namespace of that Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_namespace: Option<String>,
    /// That Secret's `metadata.resourceVersion` when the role had the password in it. Whoever changes the Secret while no
    /// operator runs changes no role behind its back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<String>,
    /// Secrets that held the credentials before and are still to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_secrets: Vec<FormerSecret>,
}

/// A Secret that held a resource's credentials before.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerSecret {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A role that a resource had before.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerRole {
    /// Its name.
    pub name: String,
    /// Its OID: another one under the same name is another role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub oid: Option<u32>,
}

impl Provisioned {
    /// Every role that the resource has or had on the server, the current one last.
    pub fn roles(&self) -> impl Iterator<Item = FormerRole> {
        let current = self.role.clone().map(|name| FormerRole { name, oid: self.role_oid });
        self.former_roles.iter().cloned().chain(current)
    }
}

/// A server as it was last seen.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    #[schemars(extend("format" = "int32"))]
    pub port: u16,
    /// Version of PostgreSQL, such as `17.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the operator's connection to it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
}

/// One view over both kinds, for the parts of the operator that treat them alike.
pub trait Provision:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status = Status>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The database: `dbName`.
    fn database(&self) -> &str;
    /// The login role: `owner`, or `username`.
    fn role(&self) -> &str;
    /// The Secret's name: `secretName`.
    fn secret_name(&self) -> &str;
    /// `secretNamespace` as written, if it is.
    fn written_secret_namespace(&self) -> Option<&str>;
    /// `host` and `superuserSecret`, which count only together.
    fn server_choice(&self) -> ServerChoice<'_>;
    /// Whether privileges that nobody asked for are revoked; absent: depends on who made the role.
    fn prune(&self) -> Option<bool>;
    /// Whether it is merely observed.
    fn mode(&self) -> Mode;
    /// Whether it is left alone.
    fn is_suspended(&self) -> bool;

    /// Where the Secret goes: `secretNamespace`, or the resource's own namespace.
    fn secret_namespace(&self) -> &str {
        self.written_secret_namespace().or(self.meta().namespace.as_deref()).unwrap_or_default()
    }

    /// The conditions, none before the first pass.
    fn conditions(&self) -> &[Condition] {
        self.status().map_or(&[], |status| &status.conditions)
    }

    /// What exists because of it, as far as the status remembers.
    fn provisioned(&self) -> Option<&Provisioned> {
        self.status().and_then(|status| status.provisioned.as_ref())
    }
}
