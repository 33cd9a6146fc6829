//! What resources ask for and have, and whose claim on a name is the better one. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::{World, refuse};
use crate::api::shared::Provisioned;
use crate::conditions::{Finding, Reason};
use crate::resource::{DatabaseKey, ObjectName, Resource};

/// The claims of all resources of a server, in their order. Whom others may have to yield to is found by what it is on:
/// of those that neither have it nor came first, there may be thousands.
pub(super) struct Claims<'r> {
    all: Vec<Claim<'r>>,
    by_database: BTreeMap<&'r str, BTreeSet<usize>>,
    by_role: BTreeMap<&'r str, BTreeSet<usize>>,
    by_secret: BTreeMap<ObjectName, BTreeSet<usize>>,
    /// The first resource of each database in each way in which it is reached.
    first: BTreeMap<DatabaseKey, usize>,
}

/// What a resource asks for; one that was deleted, what it still has.
struct Claim<'r> {
    resource: &'r Resource,
    role: &'r str,
    secret: ObjectName,
    /// Whether it has these already, and not only asks for them.
    has: Has,
    is_accepted: bool,
}

struct Has {
    database: bool,
    role: bool,
    secret: bool,
}

impl<'r> Claims<'r> {
    pub(super) fn of(world: &World<'_>, resources: &'r [Resource]) -> Self {
        let mut claims = Self {
            all: Vec::new(),
            by_database: BTreeMap::new(),
            by_role: BTreeMap::new(),
            by_secret: BTreeMap::new(),
            first: BTreeMap::new(),
        };
        for (at, resource) in resources.iter().enumerate() {
            if matches!(resource, Resource::Database(_)) {
                claims.first.entry(resource.key()).or_insert(at);
            }
            claims.all.push(Claim::of(world, resource));
            claims.index(at);
        }
        claims
    }

    /// From now on it counts as one that came first.
    pub(super) fn accept(&mut self, at: usize) {
        self.all[at].is_accepted = true;
        self.index(at);
    }

    /// Has it found by those who may have to yield to it.
    fn index(&mut self, at: usize) {
        let Claim { resource, role, secret, has, is_accepted } = &self.all[at];
        if matches!(resource, Resource::Database(_)) && (has.database || *is_accepted) {
            self.by_database.entry(resource.database()).or_default().insert(at);
        }
        if has.role || *is_accepted {
            self.by_role.entry(role).or_default().insert(at);
        }
        if has.secret || *is_accepted {
            self.by_secret.entry(secret.clone()).or_default().insert(at);
        }
    }

    /// Refuses what somebody has, and what somebody who came first asks for.
    ///
    /// Whoever has a name keeps it, whatever became of it otherwise, so that no change of a spec takes it away. Who
    /// came first decides between two that have it, or of whom none has.
    pub(super) fn check(&self, at: usize) -> Result<(), Finding> {
        let claim = &self.all[at];
        let is_database = matches!(claim.resource, Resource::Database(_));
        let databases = self.by_database.get(claim.resource.database()).filter(|_| is_database);
        let (roles, secrets) = (self.by_role.get(claim.role), self.by_secret.get(&claim.secret));
        let rivals: BTreeSet<_> = [databases, roles, secrets].into_iter().flatten().flatten().collect();
        for other in rivals.into_iter().filter(|other| **other != at) {
            check_pair(&self.all[*other], claim)?;
        }
        Ok(())
    }

    /// Whose word on a database counts: the one that has it, whichever way it is reached, else the first that asks for
    /// it in the same way. Other credentials prove nothing until they have worked: their namespace may have made them
    /// up.
    pub(super) fn database_of(&self, resource: &Resource) -> Option<&'r Resource> {
        let served = self.by_database.get(resource.database()).into_iter().flatten();
        let has = served.copied().find(|at| self.all[*at].has.database);
        let at = has.or_else(|| self.first.get(&resource.key()).copied())?;
        Some(self.all[at].resource)
    }
}

impl<'r> Claim<'r> {
    fn of(world: &World<'_>, resource: &'r Resource) -> Self {
        let recorded = (world.recorded)(resource);
        // Its spec may say anything by now.
        let left = resource.provisioned().filter(|_| resource.is_deleting());
        let role = left.and_then(|left| left.role.as_deref()).unwrap_or(resource.role());
        let secret = left.and_then(Provisioned::secret).unwrap_or_else(|| resource.secret());
        let is_database = matches!(resource, Resource::Database(_));
        let has = Has {
            database: is_database
                && recorded.is_some_and(|found| found.database.as_deref() == Some(resource.database())),
            role: recorded.is_some_and(|found| found.role.as_deref() == Some(role)),
            secret: recorded.is_some_and(|found| found.secret().as_ref() == Some(&secret)),
        };
        Self { resource, role, secret, has, is_accepted: false }
    }
}

fn check_pair(other: &Claim<'_>, claim: &Claim<'_>) -> Result<(), Finding> {
    let (rival, resource) = (other.resource, claim.resource);
    let wins = |has: fn(&Has) -> bool| match (has(&other.has), has(&claim.has)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) | (false, false) => other.is_accepted,
    };
    let conflict = |what: String| refuse(Reason::Conflict, format!("{rival} came first and {what}"));
    if other.secret == claim.secret && wins(|has| has.secret) {
        return conflict(format!("has its credentials in Secret {} too", claim.secret));
    }
    let is_same_database = rival.database() == resource.database();
    if let (Resource::Database(_), Resource::Database(_)) = (rival, resource)
        && is_same_database
        && wins(|has| has.database)
    {
        return conflict(format!("has database {}", resource.database()));
    }
    if other.role != claim.role || !wins(|has| has.role) {
        return Ok(());
    }
    match (rival, resource) {
        (Resource::User(_) | Resource::Database(_), Resource::User(_)) if is_same_database => {
            conflict(format!("has role {} in this database", claim.role))
        }
        (Resource::User(_), Resource::Database(_)) if is_same_database => {
            conflict(format!("has role {} as a user of this database", claim.role))
        }
        _ if rival.namespace() != resource.namespace() => {
            conflict(format!("has role {}, which namespaces cannot share", claim.role))
        }
        _ => Ok(()),
    }
}
