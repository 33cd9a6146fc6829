//! The kind `PostgresUser`.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{NAME_MESSAGE, NAME_RULE, Provision, ServerChoice, Status, SuperuserSecret};
use super::told::Mode;

/// A role that can log in, with access to one database, and a Secret with its credentials.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "pgprovisioner.drewsonne.github.io",
    version = "v1",
    kind = "PostgresUser",
    plural = "postgresusers",
    shortname = "pguser",
    namespaced,
    status = "Status",
    derive = "PartialEq",
    doc = "A role that can log in, with read or readwrite access to an existing database, and a Secret with its credentials.",
    printcolumn = r#"{"name":"Database","type":"string","jsonPath":".spec.dbName"}"#,
    printcolumn = r#"{"name":"Username","type":"string","jsonPath":".spec.username"}"#,
    printcolumn = r#"{"name":"Access","type":"string","jsonPath":".spec.access"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Drift","type":"string","jsonPath":".status.conditions[?(@.type=='Drifted')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Last Drift","type":"date","priority":1,"jsonPath":".status.lastDrift.time"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","priority":1,"jsonPath":".spec.mode"}"#,
    printcolumn = r#"{"name":"Suspended","type":"boolean","priority":1,"jsonPath":".spec.suspend"}"#,
    printcolumn = r#"{"name":"Secret","type":"string","priority":1,"jsonPath":".spec.secretName"}"#,
    printcolumn = r#"{"name":"Host","type":"string","priority":1,"jsonPath":".status.server.host"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type=='Ready')].message"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresUserSpec {
    /// Role that can log in, such as `my_app_reader`. It is created when the server does not have it. Letters,
    /// digits and `_`, beginning with a letter or `_`, at most 63; upper and lower case differ. It cannot be
    /// changed later.
    #[schemars(length(max = 63))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": NAME_RULE, "message": NAME_MESSAGE },
        { "rule": "self == oldSelf", "message": "username cannot be changed: create a new PostgresUser instead" },
    ]))]
    pub username: String,

    /// Name of the database that the user works in. The user waits until the server has it. It cannot be
    /// changed later.
    #[schemars(length(max = 63))]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": NAME_RULE, "message": NAME_MESSAGE },
        { "rule": "self == oldSelf", "message": "dbName cannot be changed: create a new PostgresUser instead" },
    ]))]
    pub db_name: String,

    /// `read`: SELECT on all tables and views. `readwrite`: also INSERT, UPDATE and DELETE, the use of sequences,
    /// and CREATE in the schemas. Both include what is created later, and temporary tables.
    pub access: Access,

    /// Schemas that the user has access to, such as `[public, analytics]`. One that does not exist yet is
    /// granted when it appears. Default, also when empty: every schema, those created later included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // A pattern, not a rule: the API server bounds the cost of a rule by the longest list that there could be.
    #[schemars(inner(length(max = 63), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$")))]
    pub schemas: Vec<String>,

    /// Name of the Secret that gets the user's credentials: `username`, `password`, `database`, `host` and
    /// `port`. An existing `password` in it is kept and becomes the role's.
    #[schemars(length(max = 253))]
    pub secret_name: String,

    /// Namespace of the Secret. Default: the namespace of this resource. Another namespace has to consent,
    /// unless this resource is in the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub secret_namespace: Option<String>,

    /// Host name or address of another server than the operator's own. Counts only together with
    /// `superuserSecret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub host: Option<String>,

    /// Secret with the admin credentials of the server named in `host`. Counts only together with `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser_secret: Option<SuperuserSecret>,

    /// Whether privileges of this role in the database that no resource asks for are revoked. Default: yes for
    /// a role that the operator created, no for one that it found (there they are only reported).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,

    /// `Reconcile`: what is missing is made, and what was changed is put right. `Observe`: nothing is written, not
    /// on the server, not in Secrets; `status.planned` shows the SQL that would be run. Default: `Reconcile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Whether the operator leaves the resource alone. What it has stays as it is and is not even looked at, also
    /// while others change. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What a user may do in its schemas.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Look at everything.
    Read,
    /// Change data and create objects as well.
    ReadWrite,
}

impl Access {
    /// The word in the spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "readwrite",
        }
    }
}

impl Provision for PostgresUser {
    fn database(&self) -> &str {
        &self.spec.db_name
    }

    fn role(&self) -> &str {
        &self.spec.username
    }

    fn secret_name(&self) -> &str {
        &self.spec.secret_name
    }

    fn written_secret_namespace(&self) -> Option<&str> {
        self.spec.secret_namespace.as_deref()
    }

    fn server_choice(&self) -> ServerChoice<'_> {
        ServerChoice::of(self.spec.host.as_deref(), self.spec.superuser_secret.as_ref())
    }

    fn prune(&self) -> Option<bool> {
        self.spec.prune
    }

    fn mode(&self) -> Mode {
        self.spec.mode.unwrap_or_default()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }
}
