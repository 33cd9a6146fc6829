//! The rights that an identity has, held against those it used.

use std::{collections::BTreeSet, fmt};

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{AuditEntry, Identity};

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The API group, empty for the core group.
    pub group: String,
    /// The resource, with a subresource as `resource/subresource`, or a path such as `/version`.
    pub resource: String,
    /// The verb.
    pub verb: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Permission { group, resource, verb } = self;
        if group.is_empty() { write!(f, "{verb} {resource}") } else { write!(f, "{verb} {resource}.{group}") }
    }
}

/// What identities did with their rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Requests that the authorizer refused.
    pub forbidden: Vec<AuditEntry>,
    /// Rights that a request made use of.
    pub used: BTreeSet<Permission>,
    /// Rights that no request made use of.
    pub unused: BTreeSet<Permission>,
}

impl AuditReport {
    /// Panics, and lists them, when a request was forbidden or a right was never used.
    #[track_caller]
    pub fn assert_exact(&self) {
        let asked = |entry: &AuditEntry| format!("forbidden: {} {} ({})", entry.verb, entry.uri, entry.user);
        let unused = self.unused.iter().map(|permission| format!("never used: {permission}"));
        let findings: Vec<String> = self.forbidden.iter().map(asked).chain(unused).collect();
        assert!(findings.is_empty(), "the rules are not what is needed:\n{}", findings.join("\n"));
    }
}

/// Identities with the same rules count as one: a right is used when any of them used it.
pub(super) fn report(entries: &[AuditEntry], identities: &[&Identity]) -> AuditReport {
    let mut report = AuditReport::default();
    for identity in identities {
        let own = |entry: &&AuditEntry| entry.user == identity.service_account;
        let (allowed, forbidden): (Vec<_>, Vec<_>) =
            entries.iter().filter(own).partition(|entry| entry.is_authorized);
        report.forbidden.extend(forbidden.into_iter().cloned());
        for rule in &identity.rules {
            for permission in permissions(rule) {
                let names = rule.resource_names.as_deref().unwrap_or_default();
                let covers = |entry: &&AuditEntry| permission.covers(entry) && is_named(names, entry);
                let used = if allowed.iter().any(covers) { &mut report.used } else { &mut report.unused };
                used.insert(permission);
            }
        }
    }
    let AuditReport { used, unused, .. } = &mut report;
    unused.retain(|permission| !used.contains(permission));
    report
}

impl Permission {
    fn covers(&self, entry: &AuditEntry) -> bool {
        let is = |allowed: &str, asked: &str| allowed == "*" || allowed == asked;
        is(&self.verb, &entry.verb)
            && if self.resource.starts_with('/') {
                let path = entry.uri.split('?').next().unwrap_or_default();
                let prefix = self.resource.strip_suffix('*');
                prefix.map_or(path == self.resource, |prefix| path.starts_with(prefix))
            } else {
                is(&self.group, &entry.group) && is(&self.resource, &entry.full_resource())
            }
    }
}

impl AuditEntry {
    fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

fn is_named(names: &[String], entry: &AuditEntry) -> bool {
    names.is_empty() || names.contains(&entry.name)
}

fn permissions(rule: &PolicyRule) -> Vec<Permission> {
    let mut permissions = Vec::new();
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let (group, resource) = (group.clone(), resource.clone());
                permissions.push(Permission { group, resource, verb: verb.clone() });
            }
        }
        for path in rule.non_resource_urls.iter().flatten() {
            permissions.push(Permission { group: String::new(), resource: path.clone(), verb: verb.clone() });
        }
    }
    permissions
}
