//! The servers in use: what they may bear at a time, and whether they answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use exec::Server;
use plan::{Catalog, Role};
use tokio::sync::Semaphore;

use crate::backoff::Backoffs;
use crate::caches::Version;
use crate::lanes::{Budget, Lane, Lanes};
use crate::pass::gather::Clock;
use crate::resource::{ObjectName, ServerKey, spelled};

/// The longest pause between two tries of a server that is down: for as long it may be back unnoticed.
const LONGEST: Duration = Duration::from_secs(10);

/// A server by address: host, [spelled] in the one way, and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Every server in use.
pub struct Servers {
    /// Servers that do not answer, by address and admin role: other credentials may work.
    pub backoffs: Backoffs<(Address, String)>,
    /// Which passes run at a time.
    pub lanes: Lanes,
    budget: Budget,
    clock: Clock,
    gates: Mutex<BTreeMap<(Address, bool), Arc<Gate>>>,
    named: Mutex<BTreeMap<(String, ObjectName), Named>>,
    /// What servers said last who they are.
    identities: Mutex<BTreeMap<Address, String>>,
    /// Whether they answer, by address and admin role.
    states: Mutex<BTreeMap<(Address, String), State>>,
    /// What was said last of a server and its admin role.
    introduced: Mutex<BTreeMap<(Address, String), Introduction>>,
}

/// What the operator may do on a server, as it is said at first sight and when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Introduction {
    version: u32,
    encrypted: bool,
    rank: &'static str,
}

/// A server and the version of the Secret that it was made from.
type Named = (Option<Version>, Arc<Server>);

/// Whether something can be done on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// The last pass came to its end.
    Up,
    /// The last pass did not.
    Down,
}

/// What passes of one server share.
pub struct Gate {
    /// Permits for passes that are connected.
    pub lane: Lane,
    /// One permit: roles and databases are changed by one pass at a time, and the others need not wait on the
    /// server's locks.
    pub shared_objects: Semaphore,
}

impl Servers {
    /// None is in use yet.
    pub fn new(budget: Budget, clock: Clock) -> Self {
        Self {
            backoffs: Backoffs::new(LONGEST),
            lanes: Lanes::new(budget),
            budget,
            clock,
            gates: Mutex::default(),
            named: Mutex::default(),
            identities: Mutex::default(),
            states: Mutex::default(),
            introduced: Mutex::default(),
        }
    }

    /// What passes of this server share. Those of resources that name it wait for those that name others: whoever names
    /// the operator's own must not make its passes wait too.
    pub fn gate(&self, address: &Address, key: &ServerKey) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Gate { lane: Lane::of(self.budget.server), shared_objects: Semaphore::new(1) });
        gates.entry((address.clone(), *key == ServerKey::Configured)).or_insert_with(new).clone()
    }

    /// Says what kind of server this is and what the admin role may do there, unless that was said before.
    pub fn introduce(&self, server: &Server, catalog: &Catalog) {
        let admin = &catalog.roles[&catalog.server.admin];
        let found = Introduction {
            version: catalog.server.version.0,
            encrypted: catalog.server.encrypted,
            rank: rank(admin),
        };
        let mut introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        let before = introduced.insert(backoff_key(server), found.clone());
        if before.as_ref() != Some(&found) {
            let (major, minor) = (found.version / 10_000, found.version % 10_000);
            tracing::info!(
                server = %Address::of(server),
                version = format!("{major}.{minor}"),
                encrypted = found.encrypted,
                admin = admin.name.as_str(),
                "{}",
                found.rank
            );
        }
    }

    /// Notes who a server says it is; true when that is news.
    pub fn identify(&self, address: &Address, catalog: &Catalog) -> bool {
        let Some(found) = &catalog.server.system_identifier else { return false };
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = identities.insert(address.clone(), found.clone()).as_ref() != Some(found);
        if is_news {
            self.clock.tick();
        }
        is_news
    }

    /// Who the server at this address said it is.
    pub fn identity(&self, address: &Address) -> Option<String> {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    /// Notes whether something can be done there; what was known before.
    pub fn set_state(&self, server: &Server, state: State) -> State {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(backoff_key(server), state).unwrap_or_default()
    }

    /// Whether something can be done there, as far as it is known.
    pub fn state(&self, server: &Server) -> State {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(&backoff_key(server)).copied().unwrap_or_default()
    }

    /// The servers that resources name and whose credentials were read.
    pub fn all_named(&self) -> Vec<Arc<Server>> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.values().map(|(_, server)| server.clone()).collect()
    }

    /// The server that was made from this version of a Secret. One without version is not kept.
    pub fn named(&self, host: &str, secret: &ObjectName, version: Option<&Version>) -> Option<Arc<Server>> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, server) = named.get(&(host.to_owned(), secret.clone()))?;
        (version.is_some() && found.as_ref() == version).then(|| server.clone())
    }

    /// The server that was made from a Secret last.
    pub fn last_named(&self, host: &str, secret: &ObjectName) -> Option<Arc<Server>> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.get(&(host.to_owned(), secret.clone())).map(|(_, server)| server.clone())
    }

    /// Remembers the server that was made from a Secret, besides those that are still in use. New credentials are tried
    /// at once.
    pub fn set_named(
        &self,
        (host, secret): (&str, &ObjectName),
        (version, server): Named,
        is_used: impl Fn(&str, &ObjectName) -> bool,
    ) {
        self.backoffs.clear(&backoff_key(&server));
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|(host, secret), _| is_used(host, secret));
        named.insert((host.to_owned(), secret.clone()), (version, server));
        self.clock.tick();
    }
}

impl State {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What the admin role may do.
const fn rank(admin: &Role) -> &'static str {
    match (admin.superuser, admin.create_role, admin.create_db) {
        (true, ..) => "the admin role is a superuser",
        (false, true, true) => {
            "the admin role has CREATEROLE and CREATEDB: passwords are compared by logging in, and what belongs to \
             superusers is left alone"
        }
        (false, true, false) => "the admin role lacks CREATEDB: it makes users of databases that are there",
        (false, false, true) => "the admin role lacks CREATEROLE: it can make no roles",
        (false, false, false) => "the admin role has neither CREATEROLE nor CREATEDB: it can make nothing",
    }
}

impl Address {
    /// Where this server is.
    pub fn of(server: &Server) -> Self {
        Self { host: spelled(&server.host), port: server.port }
    }

    /// The address as the status spells it.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: spelled(host), port: port.parse().ok()? })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a server's failures are counted by.
pub fn backoff_key(server: &Server) -> (Address, String) {
    (Address::of(server), server.user.clone())
}
