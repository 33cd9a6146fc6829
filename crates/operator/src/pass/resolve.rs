//! Finds the admin credentials of a server. Kubernetes; a Secret is read only when it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use exec::{Learned, Part, Password, PasswordMode, Server, SslMode, Tls, Unusable};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::api::ANNOTATION_HOSTS;
use crate::api::shared::Provisioned;
use crate::conditions::{Finding, Reason};
use crate::context::Context;
use crate::resource::{ObjectName, Resource, ServerKey, spelled};
use crate::servers::Address;

/// How long what is read of a superuser Secret may be: it is remembered for each host that the Secret is used for. A
/// password may be a token, and `ca.crt` a list of authorities.
const LONGEST: [(&str, usize); 8] = [
    ("username", 1 << 10),
    ("password", 8 << 10),
    ("port", 1 << 10),
    ("sslmode", 1 << 10),
    ("passwordMode", 1 << 10),
    ("ca.crt", 256 << 10),
    ("tls.crt", 64 << 10),
    ("tls.key", 64 << 10),
];
/// What is said of another mode.
const PASSWORD_MODES: &str = "unknown mode; use verifier or plaintext";
const SSL_MODES: &str = "unknown mode; use disable, prefer, require, verify-ca or verify-full";

/// Why there are no admin credentials.
#[derive(Debug, Error)]
pub enum Error {
    /// The resource leaves the choice to an operator that has no server.
    #[error("the operator has no server of its own (PG_HOST): give `host` and `superuserSecret`")]
    NoServer,
    /// The Secret is where the operator does not look.
    #[error("superuser Secret {0} is in a namespace that is not watched: add that to WATCH_NAMESPACES")]
    Unwatched(ObjectName),
    /// The Secret is not there.
    #[error("superuser Secret {0} does not exist")]
    NoSecret(ObjectName),
    /// The Secret is incomplete.
    #[error("superuser Secret {secret} has no key `{key}`")]
    NoKey {
        /// The Secret.
        secret: ObjectName,
        /// The key.
        key: &'static str,
    },
    /// A value makes no sense.
    #[error("superuser Secret {secret}, key `{key}`: {problem}")]
    BadKey {
        /// The Secret.
        secret: ObjectName,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The Secret is for other servers.
    #[error("superuser Secret {secret} is not for host {host}: see its annotation {ANNOTATION_HOSTS}")]
    OtherHost {
        /// The Secret.
        secret: ObjectName,
        /// The host that the resource names.
        host: String,
    },
    /// The API server did not give the Secret.
    #[error("superuser Secret {secret} cannot be read: {source}")]
    Unreadable {
        /// The Secret.
        secret: ObjectName,
        /// What it said.
        source: kube::Error,
    },
}

impl Error {
    /// The condition that it makes.
    pub fn finding(&self) -> Finding {
        let reason = match self {
            Self::OtherHost { .. } => Reason::NotAllowed,
            Self::NoServer
            | Self::Unwatched(_)
            | Self::NoSecret(_)
            | Self::NoKey { .. }
            | Self::BadKey { .. }
            | Self::Unreadable { .. } => Reason::InvalidCredentials,
        };
        Finding { reason, message: self.to_string() }
    }
}

/// The server behind a key.
pub async fn server(context: &Context, key: &ServerKey) -> Result<Arc<Server>, Error> {
    let (host, name) = match key {
        ServerKey::Configured => return context.server.clone().ok_or(Error::NoServer),
        ServerKey::Named { host, secret } => (host, secret),
    };
    if !context.caches.watches(&name.namespace) {
        return Err(Error::Unwatched(name.clone()));
    }
    let version = context.caches.secret_version(name);
    if let Some(server) = context.servers.named(host, name, version.as_ref()) {
        return Ok(server);
    }
    if version.is_none() {
        return Err(Error::NoSecret(name.clone()));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &name.namespace);
    let read = api.get_opt(&name.name).await;
    let secret = read
        .map_err(|source| Error::Unreadable { secret: name.clone(), source })?
        .ok_or_else(|| Error::NoSecret(name.clone()))?;
    if !is_for(&secret, host) {
        return Err(Error::OtherHost { secret: name.clone(), host: host.clone() });
    }
    let data = secret.data.unwrap_or_default().into_iter();
    let data = data.map(|(key, value)| (key, Zeroizing::new(value.0))).collect();
    let server = Arc::new(parse(context, host, name, &data)?);
    let mut used: BTreeSet<_> = context.caches.resources().iter().map(Resource::server_key).collect();
    used.extend(context.ledger.keys(|_| true).into_iter().map(|key| key.server));
    let is_used = |host: &str, secret: &ObjectName| {
        used.contains(&ServerKey::Named { host: host.to_owned(), secret: secret.clone() })
    };
    let own = context.server.as_deref();
    context.servers.set_named((host, name), (version, server.clone()), own, is_used);
    Ok(server)
}

/// Whether the Secret's owner lets its credentials go to this host.
fn is_for(secret: &Secret, host: &str) -> bool {
    let annotations = secret.metadata.annotations.as_ref();
    let hosts = annotations.and_then(|annotations| annotations.get(ANNOTATION_HOSTS));
    hosts.is_none_or(|hosts| hosts.split(',').any(|one| spelled(one) == host))
}

/// Where the server of a resource is, as far as it is known without asking anyone.
pub fn address(context: &Context, resource: &Resource) -> Option<Address> {
    address_of(context, &resource.server_key(), resource.provisioned())
}

/// Where a server is, as far as it is known without asking anyone, or is remembered.
pub fn address_of(context: &Context, server: &ServerKey, known: Option<&Provisioned>) -> Option<Address> {
    match server {
        ServerKey::Configured => context.server.as_deref().map(Address::of),
        ServerKey::Named { host, secret } => match context.servers.last_named(host, secret) {
            Some(server) => Some(Address::of(&server)),
            None => Address::parse(&known?.server).filter(|address| address.host == *host),
        },
    }
}

/// Whether the server at this address, which a resource names, says that it is the operator's own. What it says is
/// held against those who name it, and never against others: it may be anybody's.
pub fn is_own(context: &Context, address: &Address) -> bool {
    let own = context.server.as_deref().map(Address::of).and_then(|own| context.servers.identity(&own));
    own.is_some() && context.servers.identity(address) == own
}

/// What a resource has on the server that it asks for, as its status remembers.
pub fn recorded<'r>(context: &Context, resource: &'r Resource) -> Option<&'r Provisioned> {
    resource.recorded_at(&address(context, resource)?.to_string(), &resource.server_key())
}

/// Those who would have the operator's own password sent to a server of their choice: somebody let them use a Secret
/// that holds it, but nobody can mean that. What is in a Secret of their own is theirs to send; to look at it would
/// also tell them whether they have guessed right.
pub fn lent(
    context: &Context,
    key: &ServerKey,
    server: &Server,
    resources: &[Resource],
) -> BTreeMap<String, Finding> {
    let lent = resources
        .iter()
        .filter_map(|one| Some((one.uid().to_owned(), lends(context, key, server, one.namespace())?)));
    lent.collect()
}

/// The same of whoever is in this namespace.
pub fn lends(context: &Context, key: &ServerKey, server: &Server, namespace: &str) -> Option<Finding> {
    let (ServerKey::Named { secret, .. }, Some(own)) = (key, &context.server) else { return None };
    let is_stranger = namespace != context.namespace && namespace != secret.namespace;
    if server.password != own.password || Address::of(server) == Address::of(own) || !is_stranger {
        return None;
    }
    let message = format!(
        "superuser Secret {secret} holds the operator's own password, which goes to no server but {}",
        Address::of(own)
    );
    Some(Finding { reason: Reason::NotAllowed, message })
}

fn parse(
    context: &Context,
    host: &str,
    secret: &ObjectName,
    data: &BTreeMap<String, Zeroizing<Vec<u8>>>,
) -> Result<Server, Error> {
    for (key, longest) in LONGEST {
        if data.get(key).is_some_and(|value| value.len() > longest) {
            return Err(bad(secret, key, &format_args!("longer than {longest} bytes")));
        }
    }
    let text = |key: &'static str| match data.get(key).map(|value| std::str::from_utf8(value.as_slice())) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(bad(secret, key, &"not UTF-8")),
    };
    let required = |key| text(key)?.ok_or_else(|| Error::NoKey { secret: secret.clone(), key });
    let port = match text("port")? {
        None => 5432,
        Some(port) => port.trim().parse().map_err(|error| bad(secret, "port", &error))?,
    };
    let mode = match text("sslmode")? {
        None => SslMode::default(),
        // Whoever reads the status need not be who may read the Secret.
        Some(mode) => mode.trim().parse().map_err(|_| bad(secret, "sslmode", &SSL_MODES))?,
    };
    let passwords = match text("passwordMode")? {
        None => PasswordMode::default(),
        Some(mode) => mode.trim().parse().map_err(|_| bad(secret, "passwordMode", &PASSWORD_MODES))?,
    };
    let file = |key: &str| data.get(key).filter(|value| !value.is_empty());
    let server = Server {
        host: host.to_owned(),
        port,
        user: required("username")?.trim().to_owned(),
        password: Password::new(required("password")?),
        maintenance: context.settings.maintenance.clone(),
        tls: Tls {
            mode,
            ca: file("ca.crt").map(|ca| ca.to_vec()),
            client_certificate: file("tls.crt").map(|certificate| certificate.to_vec()),
            client_key: file("tls.key").cloned(),
        },
        passwords,
        learned: Learned::counted(context.metrics.named_usage()),
    };
    server.check().map_err(|Unusable { part, problem }| bad(secret, key(part), &problem))?;
    Ok(server)
}

const fn key(part: Part) -> &'static str {
    match part {
        Part::Login => "username",
        Part::Mode => "sslmode",
        Part::Ca => "ca.crt",
        Part::ClientCertificate => "tls.crt",
        Part::ClientKey => "tls.key",
        Part::Passwords => "passwordMode",
    }
}

fn bad(secret: &ObjectName, key: &'static str, problem: &dyn std::fmt::Display) -> Error {
    Error::BadKey { secret: secret.clone(), key, problem: problem.to_string() }
}
