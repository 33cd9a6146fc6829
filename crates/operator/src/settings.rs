//! What the operator is told when it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use exec::Server;
use plan::Ident;

use crate::api::told::Mode;
use crate::election::Election;
use crate::lanes::Budget;
use crate::metrics::Metrics;

/// What the operator is told when it starts. Built by [`cli`](crate::cli) from flags and environment, or in code.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server of all resources that name no other.
    pub server: Option<Server>,
    /// The database for statements about roles and databases, on servers that resources name.
    pub maintenance: Ident,
    /// What new databases are copied from.
    pub template: Ident,
    /// How often a database is checked although nothing happened.
    pub resync: Duration,
    /// How long a deletion may wait for a server before it is put off.
    pub deletion_timeout: Duration,
    /// The namespaces that are watched; empty for all.
    pub watch: BTreeSet<String>,
    /// The operator's own namespace, whose resources are trusted; `None` for the client's default.
    pub namespace: Option<String>,
    /// What resources of other namespaces may reach.
    pub boundaries: Boundaries,
    /// Tells installations apart in what they write on roles and databases; `None` for the cluster's own identity.
    pub installation: Option<String>,
    /// How many connections there may be to servers.
    pub budget: Budget,
    /// How many bytes may be read of one database: what is made of them takes up to fifteen times as much memory.
    pub catalog_limit: u32,
    /// Whether anything is changed, for any resource.
    pub mode: Mode,
    /// Where to answer health checks and tell metrics; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// What is done about CRDs that are missing or older than the operator.
    pub definitions: Definitions,
    /// Where to count. Two operators in one process have one each.
    pub metrics: Metrics,
    /// How to find out which of several operators works; `None` for one that is alone.
    pub election: Option<Election>,
}

/// What is done about CRDs that are missing or older than the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Definitions {
    /// They are installed and upgraded.
    Apply,
    /// They are waited for.
    #[default]
    Compare,
}

/// What resources outside the operator's own namespace may reach beyond their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundaries {
    /// Whether they may place their Secrets in another namespace.
    pub secrets: Boundary,
    /// Whether they may use admin credentials that lie in another namespace.
    pub superuser_secrets: Boundary,
    /// Whether their users may use a database whose `PostgresDatabase` is in another namespace, or that has none.
    pub databases: Boundary,
    /// Whether they may name a server at all.
    pub named_servers: NamedServers,
}

/// Whether something crosses from one namespace into another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Boundary {
    /// Always, as the old operator behaved.
    Any,
    /// Where the other namespace consents.
    #[default]
    Consent,
    /// Never.
    None,
}

/// Which servers resources may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamedServers {
    /// Every one for which they have credentials.
    #[default]
    Any,
    /// No other than the operator's.
    None,
}

impl Settings {
    /// Every default, and this server.
    pub fn new(server: Option<Server>) -> Self {
        let constant = |name: &str| name.parse().expect("the constant is a valid name");
        Self {
            server,
            maintenance: constant("postgres"),
            template: constant("template0"),
            resync: Duration::from_mins(5),
            deletion_timeout: Duration::from_mins(10),
            watch: BTreeSet::new(),
            namespace: None,
            boundaries: Boundaries::default(),
            installation: None,
            budget: Budget::default(),
            catalog_limit: 4 << 20,
            mode: Mode::default(),
            listen: None,
            definitions: Definitions::default(),
            metrics: Metrics::default(),
            election: None,
        }
    }
}
