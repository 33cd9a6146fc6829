//! What the status tells of drift and of plans.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the operator changes anything for a resource.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mode {
    /// What is missing is made, and what was changed is put right.
    #[default]
    Reconcile,
    /// Nothing is written; the status shows what would be.
    Observe,
}

/// What was last found changed although the resource was not.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastDrift {
    /// When it was found.
    pub time: Time,
    /// When the server was found as the resource asks again: at once, where it could be repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repaired: Option<Time>,
    /// How many changes were found.
    #[schemars(extend("format" = "int64"))]
    pub changes: u32,
    /// What was changed, the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// How often drift was found on this resource so far, this one included.
    #[schemars(extend("format" = "int64"))]
    pub count: u32,
}

/// What would be done if the resource were not merely observed.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// How many changes there are.
    #[schemars(extend("format" = "int64"))]
    pub changes: u32,
    /// The SQL, in order and without passwords, the first statements of it. Lines that begin with `--` are other
    /// changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// How many of the changes are not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "int64"))]
    pub left_out: Option<u32>,
}
