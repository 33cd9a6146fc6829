//! From resources to what is wanted of one database. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use plan::{
    Access, Claim, Desired, Disposition, Grantee, Ident, Leaving, Login, Managed, Marker, NewPassword, Oid,
    Origin, Prune, Recorded, Refused, Schemas,
};
use sha2::{Digest as _, Sha256};

use crate::api::shared::Provisioned;
use crate::api::user;
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
        claim(self.installation, leader.copied().unwrap_or(claimant), &sharers)
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
    // A role that is shared is what those who share it and take part want it to be.
    let is_named = |role: &&Ident| desired.logins.contains_key(*role) || desired.leaving.contains_key(*role);
    desired.spared = cast.spared.iter().filter(|role| !is_named(role)).cloned().collect();
    Ok(desired)
}

fn managed(cast: &Cast<'_>) -> Result<Managed, plan::IdentError> {
    let Some(database) = cast.database() else { return Ok(Managed::No) };
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

fn claim(installation: &str, leader: &Resource, sharers: &[&Resource]) -> Claim {
    let name = |resource: &Resource| {
        let name = resource.name();
        (name.namespace, name.name)
    };
    let marker = Marker {
        installation: installation.to_owned(),
        resource: digest(&format!("{}/{}", leader.kind(), leader.name())),
        uid: leader.uid().to_owned(),
        origin: Origin::Created,
        released: false,
    };
    let uids: BTreeSet<_> = sharers.iter().map(|resource| resource.uid().to_owned()).collect();
    Claim { marker, uids, names: sharers.iter().map(|resource| name(resource)).collect() }
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
