//! What the API server was asked, by whom, and what it answered.

use std::{collections::BTreeSet, fs, path::Path};

use jiff::Timestamp;
use serde::Deserialize;

/// One request. A watch is there as soon as it has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When it arrived.
    pub time: Timestamp,
    /// Who asked, such as `system:serviceaccount:ns:name`.
    pub user: String,
    /// The program that asked, as it calls itself.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group and for what is no resource.
    pub group: String,
    /// The resource in the plural; empty for what is no resource, such as `/version`.
    pub resource: String,
    /// Such as `status`; mostly empty.
    pub subresource: String,
    /// Empty for cluster-wide requests.
    pub namespace: String,
    /// Empty for requests about no single object.
    pub name: String,
    /// The path and query.
    pub uri: String,
    /// The HTTP status of the response, 0 if there was none.
    pub code: u16,
    /// Whether the authorizer let it pass. A 403 of a request that passed comes from admission.
    pub is_authorized: bool,
}

/// Not what the API server asks itself; of service accounts, whatever was said but what is in Secrets.
pub(super) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: [system:apiserver]
- level: Metadata
  resources: [{group: \"\", resources: [secrets, serviceaccounts/token]}]
- level: RequestResponse
  userGroups: [system:serviceaccounts]
- level: Metadata
";

pub(super) fn read(log: &Path) -> Vec<AuditEntry> {
    let text = fs::read_to_string(log).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut seen = BTreeSet::new();
    whole
        .lines()
        .map(|line| serde_json::from_str(line).expect("the API server writes JSON"))
        // A watch is logged at its beginning and at its end.
        .filter(|event: &Event| seen.insert(event.audit_id.clone()))
        .map(AuditEntry::from)
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "authorization.k8s.io/decision", default)]
    decision: String,
}

impl From<Event> for AuditEntry {
    fn from(event: Event) -> AuditEntry {
        AuditEntry {
            time: event.request_received_timestamp,
            user: event.user.username,
            user_agent: event.user_agent,
            verb: event.verb,
            group: event.object_ref.api_group,
            resource: event.object_ref.resource,
            subresource: event.object_ref.subresource,
            namespace: event.object_ref.namespace,
            name: event.object_ref.name,
            uri: event.request_uri,
            code: event.response_status.code,
            is_authorized: event.annotations.decision == "allow",
        }
    }
}
