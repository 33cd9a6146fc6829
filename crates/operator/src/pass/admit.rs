//! Who may have what: namespaces, reserved names, conflicts. No I/O.

use std::collections::BTreeMap;

use plan::{Ident, is_reserved};

use crate::caches::Consent;
use crate::conditions::{Finding, Reason};
use crate::resource::{ObjectName, Resource, ServerKey};

/// What the rules need to know of the cluster.
pub struct World<'a> {
    /// The operator's own namespace.
    pub trusted: &'a str,
    /// Which namespaces may place Secrets in this one.
    pub secrets_from: &'a dyn Fn(&str) -> Consent,
    /// Which namespaces may use admin credentials of this one.
    pub superuser_secrets_from: &'a dyn Fn(&str) -> Consent,
}

/// The verdict on the resources of one server.
#[derive(Debug, Default)]
pub struct Admission {
    /// Those that are served, eldest first.
    pub accepted: Vec<Resource>,
    /// Why others are not, by uid.
    pub refused: BTreeMap<String, Finding>,
}

/// Judges all resources of one server, eldest first: what an elder has, a younger one cannot get.
pub fn admit(world: &World<'_>, resources: Vec<Resource>) -> Admission {
    let mut admission = Admission::default();
    let databases: Vec<_> =
        resources.iter().filter(|one| matches!(one, Resource::Database(_))).cloned().collect();
    for resource in resources {
        let is_leaving = resource.is_deleting() && resource.provisioned().is_some();
        let verdict = match is_leaving {
            true => Ok(()),
            false => judge(world, &databases, &admission, &resource),
        };
        match verdict {
            Ok(()) => admission.accepted.push(resource),
            Err(finding) => _ = admission.refused.insert(resource.uid().to_owned(), finding),
        }
    }
    admission
}

fn judge(
    world: &World<'_>,
    databases: &[Resource],
    admission: &Admission,
    resource: &Resource,
) -> Result<(), Finding> {
    check_names(resource)?;
    check_namespaces(world, resource)?;
    check_database(world, databases, resource)?;
    for elder in &admission.accepted {
        check_conflict(elder, resource)?;
    }
    Ok(())
}

fn refuse(reason: Reason, message: String) -> Result<(), Finding> {
    Err(Finding { reason, message })
}

fn check_names(resource: &Resource) -> Result<(), Finding> {
    for name in [resource.role(), resource.database()] {
        match name.parse() {
            Ok(ident) if is_reserved(&ident) => {
                return refuse(Reason::Reserved, format!("the name {name} is reserved: choose another"));
            }
            Ok(_) => (),
            Err(error) => return refuse(Reason::Reserved, error.to_string()),
        }
    }
    // An object that is older than the CRD may have what the API server would refuse today.
    match resource.schemas().iter().find_map(|name| name.parse::<Ident>().err()) {
        Some(error) => refuse(Reason::Reserved, format!("schemas: {error}")),
        None => Ok(()),
    }
}

fn check_namespaces(world: &World<'_>, resource: &Resource) -> Result<(), Finding> {
    let own = resource.namespace();
    if own == world.trusted {
        return Ok(());
    }
    let ObjectName { namespace: target, .. } = resource.secret();
    if target != own && !(world.secrets_from)(&target).includes(own) {
        let annotation = crate::api::ANNOTATION_ALLOW_SECRETS_FROM;
        let consent = format!("kubectl annotate namespace {target} {annotation}={own}");
        return refuse(
            Reason::NotAllowed,
            format!("namespace {target} does not take Secrets from {own}; to consent: {consent}"),
        );
    }
    if let ServerKey::Named { secret, .. } = resource.server_key()
        && secret.namespace != own
        && !(world.superuser_secrets_from)(&secret.namespace).includes(own)
    {
        let annotation = crate::api::ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM;
        let consent = format!("kubectl annotate namespace {} {annotation}={own}", secret.namespace);
        return refuse(
            Reason::NotAllowed,
            format!("superuser Secret {secret} may not be used by {own}; to consent: {consent}"),
        );
    }
    Ok(())
}

/// A user needs the consent of its database's resource. Without one it is for those who have the server anyway.
fn check_database(world: &World<'_>, databases: &[Resource], resource: &Resource) -> Result<(), Finding> {
    let own = resource.namespace();
    let (Resource::User(_), false) = (resource, own == world.trusted) else { return Ok(()) };
    // One that is reached with other credentials proves nothing: its namespace may have made them up.
    let owner = databases.iter().find(|database| database.key() == resource.key());
    match owner {
        Some(Resource::Database(database)) => {
            let home = database.metadata.namespace.as_deref().unwrap_or_default();
            let lets_in = database.spec.allow_users_from.iter().any(|name| name == own || name == "*");
            if home == own || lets_in {
                return Ok(());
            }
            refuse(
                Reason::NotAllowed,
                format!(
                    "database {} belongs to namespace {home}; to consent, add {own} to spec.allowUsersFrom of its \
                     PostgresDatabase",
                    resource.database()
                ),
            )
        }
        Some(Resource::User(_)) | None if resource.server_key() != ServerKey::Configured => Ok(()),
        Some(Resource::User(_)) | None => refuse(
            Reason::DatabaseMissing,
            format!(
                "there is no PostgresDatabase with dbName {}: apply it, and this user follows",
                resource.database()
            ),
        ),
    }
}

fn check_conflict(elder: &Resource, resource: &Resource) -> Result<(), Finding> {
    let conflict = |what: String| refuse(Reason::Conflict, format!("{elder} came first and {what}"));
    if elder.secret() == resource.secret() {
        return conflict(format!("has its credentials in Secret {} too", resource.secret()));
    }
    let same_database = elder.database() == resource.database();
    match (elder, resource) {
        (Resource::Database(_), Resource::Database(_)) if same_database => {
            return conflict(format!("has database {}", resource.database()));
        }
        (Resource::User(_) | Resource::Database(_), Resource::User(_))
            if same_database && elder.role() == resource.role() =>
        {
            return conflict(format!("has role {} in this database", resource.role()));
        }
        (Resource::User(_), Resource::Database(_)) if same_database && elder.role() == resource.role() => {
            return conflict(format!("has role {} as a user of this database", resource.role()));
        }
        _ => (),
    }
    if elder.role() == resource.role() && elder.namespace() != resource.namespace() {
        return conflict(format!("has role {}, which namespaces cannot share", resource.role()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
