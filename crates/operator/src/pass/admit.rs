//! Who may have what: namespaces, reserved names, conflicts. No I/O.

mod claims;

use std::collections::BTreeMap;

use plan::{Ident, is_reserved};

use crate::api::shared::Provisioned;
use crate::caches::Consent;
use crate::conditions::{Finding, Reason};
use crate::resource::{ObjectName, Resource, ServerKey};
use crate::settings::{Boundaries, Boundary, NamedServers};
use claims::Claims;

/// What the rules need to know of the cluster.
pub struct World<'a> {
    /// The operator's own namespace.
    pub trusted: &'a str,
    /// How far the others reach.
    pub boundaries: Boundaries,
    /// Which namespaces may place Secrets in this one.
    pub secrets_from: &'a dyn Fn(&str) -> Consent,
    /// Which namespaces may use admin credentials of this one.
    pub superuser_secrets_from: &'a dyn Fn(&str) -> Consent,
    /// What a resource has on this server already, as its status remembers. Only the operator writes that.
    pub recorded: &'a dyn for<'r> Fn(&'r Resource) -> Option<&'r Provisioned>,
}

/// The verdict on the resources of one server.
#[derive(Debug, Default)]
pub struct Admission {
    /// Those that are served, eldest first.
    pub accepted: Vec<Resource>,
    /// Why others are not, by uid.
    pub refused: BTreeMap<String, Finding>,
    /// Whether those were among them that have the operator's own server, because this is it by another name.
    pub is_alias: bool,
}

/// Judges all resources of one server, eldest first: what somebody has stays with it, and what an elder asks for a
/// younger one cannot get.
pub fn admit(world: &World<'_>, resources: &[Resource]) -> Admission {
    let mut admission = Admission::default();
    let mut claims = Claims::of(world, resources);
    for (at, resource) in resources.iter().enumerate() {
        let verdict = match resource.is_leaving() {
            true => Ok(()),
            false => judge(world, resource, &claims, at),
        };
        match verdict {
            Ok(()) => {
                claims.accept(at);
                admission.accepted.push(resource.clone());
            }
            Err(finding) => _ = admission.refused.insert(resource.uid().to_owned(), finding),
        }
    }
    admission
}

fn judge(world: &World<'_>, resource: &Resource, claims: &Claims<'_>, at: usize) -> Result<(), Finding> {
    check_names(resource)?;
    check_server(world, resource.namespace(), &resource.server_key())?;
    check_secret(world, resource)?;
    check_database(world, resource, claims)?;
    claims.check(at)
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

/// Whether a boundary lets somebody through.
fn crosses(boundary: Boundary, consents: impl FnOnce() -> bool) -> bool {
    match boundary {
        Boundary::Any => true,
        Boundary::Consent => consents(),
        Boundary::None => false,
    }
}

/// How to have it let somebody through, or why nobody can.
fn way_through(boundary: Boundary, consent: &str) -> String {
    match boundary {
        Boundary::Any | Boundary::Consent => format!("to consent: {consent}"),
        Boundary::None => "the operator is configured to let nobody through".to_owned(),
    }
}

/// Whether resources of this namespace may use the server and its admin credentials.
pub(super) fn check_server(world: &World<'_>, own: &str, server: &ServerKey) -> Result<(), Finding> {
    let ServerKey::Named { host, secret } = server else { return Ok(()) };
    if own == world.trusted {
        return Ok(());
    }
    match world.boundaries.named_servers {
        NamedServers::Any => (),
        NamedServers::None => {
            let message = format!("the operator is configured to let {own} name no server: remove spec.host");
            return refuse(Reason::NotAllowed, message);
        }
    }
    // Not the directory of a socket in the operator's own pod, nor anything that would break a line of its log.
    if !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:%".contains(c)) {
        return refuse(Reason::NotAllowed, format!("{host:?} is no host name and no address"));
    }
    let boundary = world.boundaries.superuser_secrets;
    let consents = || (world.superuser_secrets_from)(&secret.namespace).includes(own);
    if secret.namespace == own || crosses(boundary, consents) {
        return Ok(());
    }
    let annotation = crate::api::ANNOTATION_ALLOW_SUPERUSER_SECRETS_FROM;
    let consent = format!("kubectl annotate namespace {} {annotation}={own}", secret.namespace);
    let way = way_through(boundary, &consent);
    refuse(Reason::NotAllowed, format!("superuser Secret {secret} may not be used by {own}; {way}"))
}

/// Who has its Secret in another namespace since version 1 needs nobody's word for it, unless nobody has a word. That the
/// Secret is there and fits is looked at later, before anything is done.
fn check_secret(world: &World<'_>, resource: &Resource) -> Result<(), Finding> {
    let boundary = world.boundaries.secrets;
    match check_place(resource, world.trusted, boundary, world.secrets_from) {
        Err(_) if boundary == Boundary::Consent && resource.inherits_place() => Ok(()),
        checked => checked,
    }
}

/// Whether the resource may place a new Secret where it wants it.
pub fn check_place(
    resource: &Resource,
    trusted: &str,
    boundary: Boundary,
    secrets_from: &dyn Fn(&str) -> Consent,
) -> Result<(), Finding> {
    let own = resource.namespace();
    let ObjectName { namespace: target, .. } = resource.secret();
    let consents = || secrets_from(&target).includes(own);
    if own == trusted || target == own || crosses(boundary, consents) {
        return Ok(());
    }
    let annotation = crate::api::ANNOTATION_ALLOW_SECRETS_FROM;
    let way = way_through(boundary, &format!("kubectl annotate namespace {target} {annotation}={own}"));
    refuse(Reason::NotAllowed, format!("namespace {target} does not take Secrets from {own}; {way}"))
}

/// A user needs the consent of its database's resource. Without one it is for those who have the server anyway. Who has
/// its access since version 1 keeps it, and no more than that, as long as the database is not another one.
fn check_database(world: &World<'_>, resource: &Resource, claims: &Claims<'_>) -> Result<(), Finding> {
    let own = resource.namespace();
    let (Resource::User(_), false) = (resource, own == world.trusted) else { return Ok(()) };
    let boundary = world.boundaries.databases;
    let is_inherited = boundary == Boundary::Consent && resource.is_inherited();
    match claims.database_of(resource) {
        Some(found) if is_inherited && found.is_inherited() => Ok(()),
        Some(Resource::Database(database)) => {
            let home = database.metadata.namespace.as_deref().unwrap_or_default();
            let lets_in = || database.spec.allow_users_from.iter().any(|name| name == own || name == "*");
            if home == own || crosses(boundary, lets_in) {
                return Ok(());
            }
            let consent = format!("add {own} to spec.allowUsersFrom of its PostgresDatabase");
            let (database, way) = (resource.database(), way_through(boundary, &consent));
            refuse(Reason::NotAllowed, format!("database {database} belongs to namespace {home}; {way}"))
        }
        Some(Resource::User(_)) | None if resource.server_key() != ServerKey::Configured => Ok(()),
        Some(Resource::User(_)) | None if boundary == Boundary::Any => Ok(()),
        None if is_inherited => Ok(()),
        Some(Resource::User(_)) | None => refuse(
            Reason::DatabaseMissing,
            format!(
                "there is no PostgresDatabase with dbName {}: apply it, and this user follows",
                resource.database()
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
