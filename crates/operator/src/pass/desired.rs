//! From resources to what is wanted of one database. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plan::{
    Access, Claim, Desired, Disposition, Grantee, Ident, Leaving, Login, Managed, Marker, NewPassword, Oid,
    Origin, Prune, Recorded, Refused, Schemas,
};
use sha2::{Digest as _, Sha256};

use crate::api::shared::Provisioned;
use crate::api::user;
use crate::ledger::{Entry, Kind};
use crate::resource::{DatabaseKey, Resource};
use crate::servers::Address;

/// What a pass knows before it looks at the server.
pub struct Cast<'a> {
    /// The database.
    pub key: &'a DatabaseKey,
    /// Where the server is.
    pub address: &'a Address,
    /// Which installation this is.
    pub installation: &'a str,
    /// What new databases are copied from.
    pub template: &'a Ident,
    /// The resources of the database that take part, eldest first.
    pub resources: &'a [Resource],
    /// Every resource that is served on the server, eldest first: a role can stand in several databases.
    pub neighbours: &'a [Resource],
    /// What is left to do on the server for resources that are gone.
    pub entries: &'a [Arc<Entry>],
    /// Those of them that are not for the server that answered, by uid.
    pub elsewhere: &'a BTreeSet<String>,
    /// What the server is sent of the passwords that are in their Secrets.
    pub passwords: &'a BTreeMap<Ident, NewPassword>,
    /// What the server refused.
    pub refused: &'a [Refused],
    /// Roles of resources that are served and do not take part, because they are observed or suspended.
    pub spared: &'a BTreeSet<Ident>,
}

impl Cast<'_> {
    /// The resource of the database itself, if there is one.
    pub fn database(&self) -> Option<&Resource> {
        self.resources.iter().find(|resource| matches!(resource, Resource::Database(_)))
    }

    /// The resources that are wanted.
    pub fn active(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|resource| !resource.is_deleting())
    }

    /// Users that go with the database and are still there.
    pub fn children(&self, database: &Resource) -> Vec<Resource> {
        self.neighbours.iter().filter(|resource| resource.is_child_of(database)).cloned().collect()
    }

    /// The eldest resource that wants this role: its Secret leads.
    pub fn leader(&self, role: &str) -> Option<&Resource> {
        self.neighbours.iter().find(|resource| resource.role() == role && !resource.is_deleting())
    }

    /// Whether a resource other than this one wants the role.
    fn is_wanted_elsewhere(&self, role: &str, resource: &Resource) -> bool {
        let wants = |other: &&Resource| other.role() == role && !other.is_deleting();
        self.neighbours.iter().filter(wants).any(|other| other.uid() != resource.uid())
    }

    /// What the resource may recognise the role by. Sharers are of one namespace: what somebody else's resource left
    /// behind is not theirs.
    fn role_claim(&self, role: &str, claimant: &Resource) -> Claim {
        let is_sharer = |other: &&Resource| {
            other.namespace() == claimant.namespace()
                && (other.role() == role || other.uid() == claimant.uid())
        };
        let sharers: Vec<_> = self.neighbours.iter().filter(is_sharer).collect();
        let leader = sharers.iter().find(|one| one.role() == role && !one.is_deleting());
        let mut claim = claim(self.installation, leader.copied().unwrap_or(claimant), &sharers);
        let is_left = |entry: &&Arc<Entry>| {
            entry.namespace == claimant.namespace() && entry.has_role(role) && !self.is_elsewhere(entry)
        };
        claim.uids.extend(self.entries.iter().filter(is_left).map(|entry| entry.uid.clone()));
        claim
    }

    /// What is left to do in the database for resources that are gone.
    fn departures(&self) -> impl Iterator<Item = &Entry> {
        let is_here =
            |entry: &&Arc<Entry>| entry.database() == self.key.database && !self.is_elsewhere(entry);
        self.entries.iter().filter(is_here).map(|entry| &**entry)
    }

    fn is_elsewhere(&self, entry: &Entry) -> bool {
        self.elsewhere.contains(&entry.uid)
    }

    /// What the status remembers, if it speaks of this server.
    fn provisioned<'a>(&self, resource: &'a Resource) -> Option<&'a Provisioned> {
        resource.provisioned().filter(|found| Address::parse(&found.server).as_ref() == Some(self.address))
    }

    fn recorded_role(&self, role: &str, resource: &Resource) -> Option<Recorded> {
        let found = self.provisioned(resource)?;
        let known = found.roles().find(|known| known.name == role)?;
        Some(recorded(known.oid?, found))
    }
}

/// Puts together what is wanted.
pub fn desired(cast: &Cast<'_>) -> Result<Desired, plan::IdentError> {
    let mut desired = Desired {
        database: cast.key.database.parse()?,
        managed: managed(cast)?,
        logins: BTreeMap::new(),
        grantees: BTreeMap::new(),
        leaving: BTreeMap::new(),
        refused: cast.refused.to_vec(),
        busy: BTreeSet::new(),
        spared: BTreeSet::new(),
    };
    for resource in cast.active() {
        let role: Ident = resource.role().parse()?;
        let login = Login {
            claim: cast.role_claim(resource.role(), resource),
            recorded: cast.recorded_role(resource.role(), resource),
            password: cast.passwords.get(&role).cloned(),
        };
        desired.logins.insert(role.clone(), login);
        if let Resource::User(user) = resource {
            let grantee = grantee(user.spec.access, &user.spec.schemas, prune(resource))?;
            desired.grantees.insert(role, grantee);
        }
    }
    for resource in cast.resources {
        push_leaving(cast, resource, &mut desired)?;
    }
    for entry in cast.departures() {
        push_departure(cast, entry, &mut desired)?;
    }
    // A role that is shared is what those who share it and take part want it to be.
    let is_named = |role: &&Ident| desired.logins.contains_key(*role) || desired.leaving.contains_key(*role);
    desired.spared = cast.spared.iter().filter(|role| !is_named(role)).cloned().collect();
    Ok(desired)
}

fn managed(cast: &Cast<'_>) -> Result<Managed, plan::IdentError> {
    let Some(database) = cast.database() else {
        let gone = cast.departures().find(|entry| entry.kind == Kind::PostgresDatabase);
        return Ok(gone.map_or(Managed::No, |entry| Managed::Released { claim: claim_of_gone(cast, entry) }));
    };
    let claim = claim(cast.installation, database, &[database]);
    if database.is_deleting() {
        let waits = !cast.children(database).is_empty();
        return Ok(if waits { Managed::No } else { Managed::Released { claim } });
    }
    let found = cast.provisioned(database);
    Ok(Managed::Yes {
        owner: database.role().parse()?,
        template: cast.template.clone(),
        claim,
        recorded: found.and_then(|found| Some(recorded(found.database_oid?, found))),
        prune: prune(database),
    })
}

fn grantee(access: user::Access, schemas: &[String], prune: Prune) -> Result<Grantee, plan::IdentError> {
    let schemas = match schemas {
        [] => Schemas::All,
        listed => Schemas::Listed(listed.iter().map(|name| name.parse()).collect::<Result<_, _>>()?),
    };
    let access = match access {
        user::Access::Read => Access::Read,
        user::Access::ReadWrite => Access::ReadWrite,
    };
    Ok(Grantee { access, schemas, prune })
}

/// Deleted users, the owner of a deleted database, and an owner that was replaced.
fn push_leaving(cast: &Cast<'_>, resource: &Resource, desired: &mut Desired) -> Result<(), plan::IdentError> {
    let is_wanted = |role: &str| cast.is_wanted_elsewhere(role, resource);
    let current = resource.role();
    let former = cast.provisioned(resource).into_iter().flat_map(Provisioned::roles);
    let former: Vec<_> = former.map(|found| found.name).filter(|role| role != current).collect();
    let mut leaving = Vec::new();
    match resource {
        Resource::User(_) if resource.is_deleting() => {
            leaving.push((current, if is_wanted(current) { Disposition::Detach } else { Disposition::Drop }));
        }
        Resource::Database(_) if resource.is_deleting() => {
            if matches!(desired.managed, Managed::Released { .. }) {
                let all = former.iter().map(String::as_str).chain([current]);
                leaving.extend(all.filter(|role| !is_wanted(role)).map(|role| (role, Disposition::Release)));
            }
        }
        Resource::User(_) | Resource::Database(_) => {
            let disposition =
                |role| if is_wanted(role) { Disposition::Detach } else { Disposition::DropIfCreated };
            leaving.extend(former.iter().map(|role| (role.as_str(), disposition(role))));
        }
    }
    for (role, disposition) in leaving {
        let name: Ident = role.parse()?;
        if !desired.logins.contains_key(&name) {
            let claim = cast.role_claim(role, resource);
            let recorded = cast.recorded_role(role, resource);
            desired.leaving.insert(name, Leaving { claim, recorded, disposition });
        }
    }
    Ok(())
}

/// What is left of a resource that is gone. Its roles are known by its uid alone: one that a namesake has taken over
/// since, or that was lost and made again, is not touched. Whoever names a role keeps it.
fn push_departure(cast: &Cast<'_>, entry: &Entry, desired: &mut Desired) -> Result<(), plan::IdentError> {
    for role in entry.roles() {
        let name: Ident = role.name.parse()?;
        let is_named = desired.logins.contains_key(&name) || desired.leaving.contains_key(&name);
        if is_named || cast.spared.contains(&name) {
            continue;
        }
        let wants = |one: &&Resource| {
            one.role() == role.name && one.namespace() == entry.namespace && !one.is_deleting()
        };
        let sharers: Vec<_> = cast.neighbours.iter().filter(wants).collect();
        let disposition = match entry.kind {
            Kind::PostgresDatabase if sharers.is_empty() => Disposition::Release,
            Kind::PostgresDatabase => continue,
            Kind::PostgresUser if sharers.is_empty() => Disposition::Drop,
            Kind::PostgresUser => Disposition::Detach,
        };
        let mut claim = claim_of_gone(cast, entry);
        if disposition != Disposition::Release {
            // No resource's digest.
            claim.marker.resource.clone_from(&entry.uid);
        }
        claim.uids.extend(sharers.iter().map(|one| one.uid().to_owned()));
        desired.leaving.insert(name, Leaving { claim, recorded: None, disposition });
    }
    Ok(())
}

fn claim_of_gone(cast: &Cast<'_>, entry: &Entry) -> Claim {
    let marker = marker(cast.installation, &entry.to_string(), &entry.uid);
    let uids = [entry.uid.clone()].into();
    Claim { marker, uids, names: [(entry.namespace.clone(), entry.name.clone())].into() }
}

fn claim(installation: &str, leader: &Resource, sharers: &[&Resource]) -> Claim {
    let name = |resource: &Resource| {
        let name = resource.name();
        (name.namespace, name.name)
    };
    let marker = marker(installation, &format!("{}/{}", leader.kind(), leader.name()), leader.uid());
    let uids: BTreeSet<_> = sharers.iter().map(|resource| resource.uid().to_owned()).collect();
    Claim { marker, uids, names: sharers.iter().map(|resource| name(resource)).collect() }
}

/// What is written on what the resource has, which is named by kind, namespace and name.
fn marker(installation: &str, resource: &str, uid: &str) -> Marker {
    Marker {
        installation: installation.to_owned(),
        resource: digest(resource),
        uid: uid.to_owned(),
        origin: Origin::Created,
        released: false,
    }
}

fn recorded(oid: u32, found: &Provisioned) -> Recorded {
    Recorded {
        system_identifier: found.system_identifier.clone(),
        oid: Oid(oid),
        origin: if found.adopted_generation.is_some() { Origin::Adopted } else { Origin::Created },
    }
}

/// What was adopted keeps what it has until its resource changes.
fn prune(resource: &Resource) -> Prune {
    let adopted = resource.provisioned().and_then(|found| found.adopted_generation);
    match (resource.prune(), adopted) {
        (Some(true), _) => Prune::Always,
        (Some(false), _) => Prune::Never,
        (None, Some(adopted)) if resource.generation().is_some_and(|now| now > adopted) => Prune::Always,
        (None, _) => Prune::IfCreated,
    }
}

/// Tells resources apart without naming them: roles' comments are readable by every role of the server. Long enough
/// that nobody finds a name of his own with another's digest.
fn digest(name: &str) -> String {
    let digest = Sha256::digest(name);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    format!("{:032x}", u128::from_be_bytes(first))
}

#[cfg(test)]
mod tests;
