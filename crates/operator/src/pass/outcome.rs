//! What a pass found and did, and what that means for each resource. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Action, Catalog, Cause, Ident, Refusal, Withheld};

use crate::api::shared::{Provisioned, ServerChoice};
use crate::conditions::{Finding, LONGEST_MESSAGE, Reason};
use crate::drift;
use crate::events::presentable;
use crate::lanes::SLOW_LIMIT;
use crate::metrics::Metrics;
use crate::resource::Resource;

/// What a pass found and did.
#[derive(Default)]
pub struct Outcome {
    /// The server as it was read last.
    pub catalog: Option<Catalog>,
    /// What was asked for and is not done.
    pub withheld: Vec<Withheld>,
    /// What had been changed behind our back.
    pub drift: Vec<Action>,
    /// What took effect.
    pub done: Vec<Action>,
    /// What is still to be done after the last round.
    pub left: Vec<Action>,
    /// Whether that is so because somebody is at work on the same objects.
    pub is_stale: bool,
    /// Whether the database had been there before and was made again.
    pub is_recreated: bool,
    /// Resources that do not take part, by uid.
    pub findings: BTreeMap<String, Finding>,
    /// Resources whose Secret the API server does not take, by uid.
    pub refused_secrets: BTreeMap<String, Finding>,
    /// Resources that take part and whose role has no password, by uid.
    pub unready: BTreeMap<String, Finding>,
    /// Uids of resources whose Secret was written.
    pub secrets_written: Vec<String>,
}

impl Outcome {
    /// `Ready` of this resource.
    pub fn ready(&self, resource: &Resource) -> Finding {
        if let Some(finding) = self.findings.get(resource.uid()) {
            return finding.clone();
        }
        let refusal = self.withheld.iter().find_map(|withheld| refusal(withheld, resource));
        if let Some(finding) = refusal {
            return finding;
        }
        let left: Vec<_> = self.left.iter().map(ToString::to_string).collect();
        if !left.is_empty() {
            let message = format!("still to be done after all statements were run: {}", left.join("; "));
            return Finding { reason: Reason::NotConverged, message };
        }
        let unready = [&self.refused_secrets, &self.unready];
        if let Some(finding) = unready.iter().find_map(|findings| findings.get(resource.uid())) {
            return finding.clone();
        }
        let (role, database) = (resource.role(), resource.database());
        let message = match resource {
            Resource::Database(_) => format!("database {database} belongs to {role}"),
            Resource::User(_) => format!("{role} has its access to database {database}"),
        };
        Finding { reason: Reason::Provisioned, message }
    }

    /// `Withheld` of this resource.
    pub fn withheld(&self, resource: &Resource) -> Finding {
        let mut parts: Vec<_> =
            self.withheld.iter().filter(|part| concerns(part, resource)).filter_map(partial).collect();
        if let ServerChoice::HalfNamed { given, missing } = resource.server_choice() {
            let message = format!("{given} is ignored without {missing}: give both, or none");
            parts.push(Finding { reason: Reason::OverrideIgnored, message });
        }
        parts.sort_by_key(|part| part.reason);
        let messages: Vec<_> = parts.iter().map(|part| part.message.as_str()).collect();
        let message = messages.join("; ");
        let reason = parts.first().map_or(Reason::NothingWithheld, |part| part.reason);
        Finding { reason, message }
    }

    /// What had been changed of this resource behind our back, without what follows from it.
    pub fn drift(&self, resource: &Resource) -> Vec<String> {
        let mine: Vec<_> =
            self.drift.iter().filter(|action| !is_growth(action) && is_for(action, resource)).collect();
        let made: Vec<_> = mine.iter().filter(|action| is_creation(action)).collect();
        let told = if made.is_empty() { mine.iter().collect() } else { made };
        told.into_iter().map(|action| drift::sentence(action)).collect()
    }

    /// Whether a statement for this resource was refused.
    pub fn is_refused(&self, resource: &Resource) -> bool {
        self.withheld.iter().any(|withheld| match withheld {
            Withheld::Refused { action, .. } => is_for(action, resource),
            _ => false,
        })
    }

    /// What grew, and was granted. A role that is made again did not grow.
    pub fn growth(&self, resource: &Resource) -> Vec<String> {
        let mine = || self.drift.iter().filter(|action| is_for(action, resource));
        if mine().any(is_creation) {
            return Vec::new();
        }
        mine().filter(|action| is_growth(action)).map(ToString::to_string).collect()
    }

    /// The role of this resource on the server.
    pub fn role<'a>(&'a self, resource: &Resource) -> Option<(plan::Oid, &'a plan::Role)> {
        let name: Ident = resource.role().parse().ok()?;
        let catalog = self.catalog.as_ref()?;
        let oid = catalog.role_oid(&name)?;
        Some((oid, &catalog.roles[&oid]))
    }
}

/// Whether the action is for this resource.
pub fn is_for(action: &Action, resource: &Resource) -> bool {
    let roles = action.roles();
    let is_databases = roles.is_empty() && matches!(resource, Resource::Database(_));
    is_databases || roles.iter().any(|role| role.as_str() == resource.role())
}

/// What was gone took everything else with it.
fn is_creation(action: &Action) -> bool {
    matches!(action, Action::CreateRole { .. } | Action::CreateDatabase { .. })
}

/// Without it there is no login that works.
fn is_essential(action: &Action) -> bool {
    matches!(
        action,
        Action::CreateRole { .. }
            | Action::SetPassword { .. }
            | Action::GrantLogin { .. }
            | Action::CreateDatabase { .. }
            | Action::AlterDatabaseOwner { .. }
            | Action::AllowConnections { .. }
    )
}

fn is_growth(action: &Action) -> bool {
    matches!(
        action,
        Action::Grant { cause: Cause::Growth, .. }
            | Action::AlterDefaultPrivileges { cause: Cause::Growth, .. }
    )
}

/// The actions that are for others than the resources that waited, by uid.
pub fn drift_among(actions: &[Action], resources: &[Resource], waited: &BTreeSet<String>) -> Vec<Action> {
    let (waited, others): (Vec<_>, Vec<_>) = resources.iter().partition(|one| waited.contains(one.uid()));
    let is_for_one = |action: &Action, of: &[&Resource]| of.iter().any(|one| is_for(action, one));
    let is_drift = |action: &&Action| !is_for_one(action, &waited) || is_for_one(action, &others);
    actions.iter().filter(is_drift).cloned().collect()
}

/// Counts what was found changed.
pub fn count_drift(metrics: &Metrics, actions: &[Action]) {
    for action in actions {
        if is_growth(action) { metrics.growth(action) } else { metrics.tampering(action) }
    }
}

/// The condition of a resource for which nothing is done.
fn refusal(withheld: &Withheld, resource: &Resource) -> Option<Finding> {
    let is_user = matches!(resource, Resource::User(_));
    let reason = |refusal: &Refusal| match refusal {
        Refusal::NotOurs => Reason::NotOurs,
        Refusal::Reserved => Reason::Reserved,
        Refusal::InsufficientPrivilege => Reason::InsufficientPrivilege,
    };
    let reason = match withheld {
        Withheld::Role { role, refusal, .. } if role.as_str() == resource.role() => reason(refusal),
        Withheld::Database { refusal, .. } => reason(refusal),
        Withheld::DatabaseMissing { .. } if is_user => Reason::DatabaseMissing,
        Withheld::CannotLeave { role, .. } if resource.is_deleting() && role.as_str() == resource.role() => {
            Reason::Deleting
        }
        Withheld::Refused { action, .. } if is_essential(action) && is_for(action, resource) => {
            Reason::NotConverged
        }
        _ => return None,
    };
    Some(Finding { reason, message: withheld.to_string() })
}

fn concerns(withheld: &Withheld, resource: &Resource) -> bool {
    match withheld.role() {
        Some(role) => {
            let mut before = resource.provisioned().into_iter().flat_map(Provisioned::roles);
            role.as_str() == resource.role() || before.any(|found| found.name == role.as_str())
        }
        None => matches!(resource, Resource::Database(_)),
    }
}

/// The condition of a part that is left out while the rest is done.
fn partial(withheld: &Withheld) -> Option<Finding> {
    let reason = match withheld {
        Withheld::SchemaPending { .. } => Reason::SchemaPending,
        Withheld::NotPermitted { .. } | Withheld::CannotLeave { .. } => Reason::NotPermitted,
        Withheld::PrivilegesKept { .. } => Reason::PrivilegesKept,
        Withheld::MembershipKept { .. } => Reason::MembershipKept,
        Withheld::ListIsFull { .. } => Reason::ListIsFull,
        Withheld::Triggering { .. } => Reason::UnsafeEventTrigger,
        Withheld::Busy { .. } => Reason::RelationBusy,
        Withheld::Refused { .. } => Reason::StatementFailed,
        Withheld::Role { .. } | Withheld::Database { .. } | Withheld::DatabaseMissing { .. } => return None,
    };
    Some(Finding { reason, message: withheld.to_string() })
}

/// The condition of a pass that was given up.
pub fn too_slow() -> Finding {
    let seconds = SLOW_LIMIT.as_secs();
    let message = format!(
        "the pass over this database was not done within {seconds} s: look in pg_stat_activity and pg_locks for sessions \
         that hold it up, and for a server that is overloaded"
    );
    Finding { reason: Reason::TooSlow, message }
}

/// The condition that trouble with a server makes.
pub fn trouble(error: &exec::Error) -> Finding {
    use exec::Class;
    let reason = match error.class() {
        Class::Transient
        | Class::Unavailable
        | Class::TooManyConnections
        | Class::Superseded
        | Class::Bug => Reason::ServerUnavailable,
        Class::Forbidden | Class::InvalidCredentials => Reason::InvalidCredentials,
        Class::Tls => Reason::TlsError,
        Class::Pooler => Reason::PoolerDetected,
        Class::Standby => Reason::ServerIsStandby,
        Class::ReadOnly => Reason::ServerReadOnly,
        Class::TemplateBusy => Reason::TemplateBusy,
        Class::Unsupported => Reason::UnsupportedServer,
        Class::TooLarge => Reason::CatalogTooLarge,
        Class::Slow => Reason::TooSlow,
        Class::Refused => Reason::NotConverged,
    };
    // A server may say a lot, and this is kept for as long as it is left alone.
    Finding { reason, message: presentable(&error.to_string(), LONGEST_MESSAGE) }
}
