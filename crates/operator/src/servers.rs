//! The servers in use: what they may bear at a time, and whether they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exec::Server;
use plan::{Catalog, Role};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backoff::Backoffs;
use crate::caches::Version;
use crate::lanes::{Budget, Lane, Lanes};
use crate::lock::lock;
use crate::pass::gather::Clock;
use crate::resource::{ObjectName, ServerKey, spelled};

/// The longest pause between two tries of a server that is down: for as long it may be back unnoticed.
const LONGEST: Duration = Duration::from_secs(6);

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
    /// Whether the operator's own was asked who it is.
    own: Mutex<Own>,
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

/// Whether the operator's own server was asked who it is, on behalf of others.
#[derive(Clone, Copy, Debug, Default)]
enum Own {
    #[default]
    Never,
    At(Instant),
    /// It has answered, if only that it may not say.
    Answered,
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
            own: Mutex::default(),
            introduced: Mutex::default(),
        }
    }

    /// What passes of this server share. Those of resources that name it wait for those that name others: whoever names
    /// the operator's own must not make its passes wait too.
    pub fn gate(&self, address: &Address, key: &ServerKey) -> Arc<Gate> {
        let mut gates = lock(&self.gates);
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
        let mut introduced = lock(&self.introduced);
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

    /// Notes who a server says it is.
    pub fn identify(&self, address: &Address, catalog: &Catalog) {
        let Some(found) = &catalog.server.system_identifier else { return };
        let mut identities = lock(&self.identities);
        let is_news = identities.insert(address.clone(), found.clone()).as_ref() != Some(found);
        if is_news {
            self.clock.tick();
        }
    }

    /// Who the server at this address said it is.
    pub fn identity(&self, address: &Address) -> Option<String> {
        lock(&self.identities).get(address).cloned()
    }

    /// Whether the operator's own server is to be asked who it is: by one caller per step until it answers.
    pub fn may_ask_own(&self) -> bool {
        let (mut own, now) = (lock(&self.own), Instant::now());
        let is_due = match *own {
            Own::Never => true,
            Own::At(last) => now >= last + LONGEST,
            Own::Answered => false,
        };
        if is_due {
            *own = Own::At(now);
        }
        is_due
    }

    /// Notes that it has answered.
    pub fn own_answered(&self) {
        *lock(&self.own) = Own::Answered;
    }

    /// Notes whether something can be done there; what was known before.
    pub fn set_state(&self, server: &Server, state: State) -> State {
        let mut states = lock(&self.states);
        states.insert(backoff_key(server), state).unwrap_or_default()
    }

    /// Whether something can be done there, as far as it is known.
    pub fn state(&self, server: &Server) -> State {
        let states = lock(&self.states);
        states.get(&backoff_key(server)).copied().unwrap_or_default()
    }

    /// The servers that resources name and whose credentials were read.
    pub fn all_named(&self) -> Vec<Arc<Server>> {
        let named = lock(&self.named);
        named.values().map(|(_, server)| server.clone()).collect()
    }

    /// The server that was made from this version of a Secret. One without version is not kept.
    pub fn named(&self, host: &str, secret: &ObjectName, version: Option<&Version>) -> Option<Arc<Server>> {
        let named = lock(&self.named);
        let (found, server) = named.get(&(host.to_owned(), secret.clone()))?;
        (version.is_some() && found.as_ref() == version).then(|| server.clone())
    }

    /// The server that was made from a Secret last.
    pub fn last_named(&self, host: &str, secret: &ObjectName) -> Option<Arc<Server>> {
        let named = lock(&self.named);
        named.get(&(host.to_owned(), secret.clone())).map(|(_, server)| server.clone())
    }

    /// Remembers the server that was made from a Secret, besides those that are still in use, and forgets all about the
    /// others. New credentials are tried at once.
    pub fn set_named(
        &self,
        (host, secret): (&str, &ObjectName),
        (version, server): Named,
        own: Option<&Server>,
        is_used: impl Fn(&str, &ObjectName) -> bool,
    ) {
        self.backoffs.clear(&backoff_key(&server));
        let mut named = lock(&self.named);
        named.retain(|(host, secret), _| is_used(host, secret));
        named.insert((host.to_owned(), secret.clone()), (version, server));
        let logins = named.values().map(|(_, server)| &**server).chain(own).map(backoff_key).collect();
        self.keep(&logins);
        self.clock.tick();
    }

    /// Forgets what is known of servers, or of admin roles there, that nobody names any more.
    fn keep(&self, logins: &BTreeSet<(Address, String)>) {
        let addresses: BTreeSet<_> = logins.iter().map(|(address, _)| address).collect();
        lock(&self.identities).retain(|address, _| addresses.contains(address));
        // Whoever is at work there shares its places with those who come.
        let is_shared = |gate: &Arc<Gate>| Arc::strong_count(gate) > 1;
        lock(&self.gates).retain(|(address, _), gate| addresses.contains(address) || is_shared(gate));
        lock(&self.states).retain(|login, _| logins.contains(login));
        lock(&self.introduced).retain(|login, _| logins.contains(login));
        self.backoffs.retain(|login| logins.contains(login));
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

#[cfg(test)]
mod tests {
    use exec::{Learned, Password, PasswordMode, Tls};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_operators_own_server_is_asked_who_it_is_once_per_step_until_it_answers() {
        let servers = Servers::new(Budget::default(), Clock::default());
        assert!(servers.may_ask_own() && !servers.may_ask_own());
        tokio::time::advance(LONGEST).await;
        assert!(servers.may_ask_own() && !servers.may_ask_own());
        servers.own_answered();
        tokio::time::advance(LONGEST * 100).await;
        assert!(!servers.may_ask_own());
    }

    fn server(host: &str) -> Arc<Server> {
        Arc::new(Server {
            host: host.to_owned(),
            port: 5432,
            user: "admin".to_owned(),
            password: Password::new("secret"),
            maintenance: "postgres".parse().unwrap(),
            tls: Tls::default(),
            passwords: PasswordMode::default(),
            learned: Learned::default(),
        })
    }

    #[tokio::test]
    async fn what_nobody_names_any_more_is_forgotten() {
        let servers = Servers::new(Budget::default(), Clock::default());
        let secret = ObjectName { namespace: "team".to_owned(), name: "admin".to_owned() };
        let own = server("own");
        let name =
            |host: &str| servers.set_named((host, &secret), (None, server(host)), Some(&own), |_, _| false);
        let key = |host: &str| ServerKey::Named { host: host.to_owned(), secret: secret.clone() };
        let use_it = |server: &Server, key: &ServerKey| {
            servers.set_state(server, State::Up);
            servers.gate(&Address::of(server), key)
        };
        drop(use_it(&own, &ServerKey::Configured));
        name("first");
        let busy = use_it(&server("first"), &key("first"));
        name("second");
        drop(use_it(&server("second"), &key("second")));
        name("third");
        let is_known = |server: &Server| servers.state(server) == State::Up;
        assert!(is_known(&own) && !is_known(&server("first")) && !is_known(&server("second")));
        // The first is still in use, and then there is the operator's own.
        assert_eq!(lock(&servers.gates).len(), 2);
        assert!(Arc::ptr_eq(&busy, &servers.gate(&Address::of(&server("first")), &key("first"))));
    }
}
