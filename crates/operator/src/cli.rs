//! Flags and environment variables, and what is wrong with them.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, FalseyValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use exec::{Learned, Part, Password, PasswordMode, Server, SslMode, Tls, Unusable};
use plan::Ident;
use thiserror::Error;

use crate::api::told::Mode;
use crate::election::{Election, Timing};
use crate::lanes::Budget;
use crate::settings::{Boundaries, Boundary, Definitions, NamedServers, Settings};

/// Provisions PostgreSQL databases, users and Secrets for `PostgresDatabase` and `PostgresUser` resources.
///
/// Every flag has an environment variable. All defaults work in a pod; elsewhere KUBECONFIG leads to the cluster.
#[derive(Parser)]
#[command(name = "postgres-provisioner", version, disable_version_flag = true, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Run the operator (default)
    Run,
    /// Print the CRDs as YAML
    Crds,
    /// Print the version
    Version,
}

/// What the program is asked to do.
pub enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print the CRDs.
    Crds,
    /// Print the version.
    Version,
}

/// The flags of `run`.
#[derive(Args)]
pub struct RunArgs {
    /// Host of the server of all resources that name no other; without it, every resource needs its own `host` and
    /// `superuserSecret`
    #[arg(long, global = true, env = "PG_HOST", value_name = "HOST")]
    pg_host: Option<String>,
    /// Port of that server
    #[arg(long, global = true, env = "PG_PORT", value_name = "PORT", default_value_t = 5432)]
    pg_port: u16,
    /// Admin role on that server: a superuser, or a role with CREATEDB and CREATEROLE
    #[arg(long, global = true, env = "PG_USER", value_name = "ROLE")]
    pg_user: Option<String>,
    /// Password of the admin role
    #[arg(long, global = true, env = "PG_PASSWORD", value_name = "PASSWORD", hide_env_values = true, value_parser = password)]
    pg_password: Option<Password>,
    /// Maintenance database: where statements about roles and databases run
    #[arg(long, global = true, env = "PG_DATABASE", value_name = "DATABASE", default_value = "postgres")]
    pg_database: Ident,
    /// What new databases are copied from
    #[arg(long, global = true, env = "PG_TEMPLATE", value_name = "DATABASE", default_value = "template0")]
    pg_template: Ident,
    /// Encryption: disable, prefer, require, verify-ca or verify-full [default: prefer; verify-full with a CA]
    #[arg(long, global = true, env = "PG_SSLMODE", value_name = "MODE")]
    pg_sslmode: Option<String>,
    /// File with the certificates (PEM) that sign the server's: then the only trust
    #[arg(long, global = true, env = "PG_SSLROOTCERT", value_name = "FILE")]
    pg_sslrootcert: Option<PathBuf>,
    /// How passwords of roles reach the server: verifier, or plaintext for services that take nothing else
    /// [default: verifier]
    #[arg(long, global = true, env = "PG_PASSWORD_MODE", value_name = "MODE")]
    pg_password_mode: Option<String>,
    /// How often a database is checked although nothing happened, in seconds
    #[arg(long, global = true, env = "RESYNC_SECONDS", value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    resync_seconds: u64,
    /// How long a deleted resource waits for its server, in seconds, before it is let go and what is left to do there is
    /// kept in the operator's namespace
    #[arg(long, global = true, env = "DELETION_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u64).range(1..=604_800))]
    deletion_timeout_seconds: u64,
    /// Namespaces to watch, separated by commas [default: all]
    #[arg(long, global = true, env = "WATCH_NAMESPACES", value_name = "NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// The operator's own namespace, whose resources may reach into others [default: the service account's]
    #[arg(long, global = true, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pod_namespace: Option<String>,
    /// Whether resources outside the operator's namespace may place Secrets in another one: any (always), consent
    /// (where that namespace's annotation lets them), none
    #[arg(
        long,
        global = true,
        env = "SECRETS_ACROSS_NAMESPACES",
        value_name = "WHICH",
        default_value = "consent",
        hide_possible_values = true
    )]
    secrets_across_namespaces: Boundary,
    /// Whether resources outside the operator's namespace may use superuser Secrets of another one: any, consent
    /// (where that namespace's annotation lets them), none
    #[arg(
        long,
        global = true,
        env = "SUPERUSER_SECRETS_ACROSS_NAMESPACES",
        value_name = "WHICH",
        default_value = "consent",
        hide_possible_values = true
    )]
    superuser_secrets_across_namespaces: Boundary,
    /// Whether users outside the operator's namespace may use a database whose resource is in another one:
    /// any (also one that has none), consent (where its `allowUsersFrom` lets them), none
    #[arg(
        long,
        global = true,
        env = "DATABASES_ACROSS_NAMESPACES",
        value_name = "WHICH",
        default_value = "consent",
        hide_possible_values = true
    )]
    databases_across_namespaces: Boundary,
    /// Which servers resources outside the operator's namespace may name in `host`: any, or none but the operator's
    #[arg(
        long,
        global = true,
        env = "NAMED_SERVERS",
        value_name = "WHICH",
        default_value = "any",
        hide_possible_values = true
    )]
    named_servers: NamedServers,
    /// Tells installations apart in the comments on roles and databases [default: the uid of kube-system]
    #[arg(long, global = true, env = "INSTALLATION_ID", value_name = "ID")]
    installation_id: Option<String>,
    /// Connections to one server at a time, at most; a pass over a database has one to three
    #[arg(long, global = true, env = "SERVER_CONNECTIONS", value_name = "NUMBER", default_value_t = Budget::default().server,
          value_parser = clap::value_parser!(u32).range(i64::from(Budget::LEAST)..=1000))]
    server_connections: u32,
    /// Connections to all servers together at a time, at most; the operator's own server has its share for itself
    #[arg(long, global = true, env = "TOTAL_CONNECTIONS", value_name = "NUMBER", default_value_t = Budget::default().total,
          value_parser = clap::value_parser!(u32).range(i64::from(2 * Budget::LEAST)..=10_000))]
    total_connections: u32,
    /// How much may be read of one database, in MiB; a pass needs up to fifteen times as much memory
    #[arg(long, global = true, env = "CATALOG_LIMIT_MIB", value_name = "MIB", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    catalog_limit_mib: u32,
    /// Whether to install the two CRDs and upgrade them to this version, instead of waiting until somebody does
    #[arg(long, global = true, env = "MANAGE_CRDS", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set)]
    manage_crds: bool,
    /// Change nothing, on no server and in no Secret: every resource is observed, and its status shows what would be
    /// done
    #[arg(long, global = true, env = "OBSERVE", value_parser = FalseyValueParser::new())]
    observe: bool,
    /// Work only while holding a Lease, so that several replicas can run: one works, the others are ready to
    #[arg(long, global = true, env = "LEADER_ELECT", value_name = "BOOL", default_value = "false",
          default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_possible_values = true,
          value_parser = BoolishValueParser::new())]
    leader_elect: bool,
    /// Name of the Lease, in the operator's own namespace
    #[arg(
        long,
        global = true,
        env = "LEASE_NAME",
        value_name = "NAME",
        default_value = "postgres-provisioner"
    )]
    lease_name: String,
    /// How long the Lease holds without renewal, in seconds: another replica takes over that long after the last sign
    /// of life, plus a fifth
    #[arg(long, global = true, env = "LEASE_SECONDS", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(5..=120))]
    lease_seconds: u16,
    /// Name of the pod, by which others see who leads
    #[arg(
        long,
        global = true,
        env = "POD_NAME",
        value_name = "NAME",
        default_value = "postgres-provisioner"
    )]
    pod_name: String,
    /// Port of /healthz and /readyz
    #[arg(long, global = true, env = "HTTP_PORT", value_name = "PORT", default_value_t = 8080)]
    http_port: u16,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,operator=debug
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// How to log
    #[arg(long, global = true, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is wrong with the configuration. Nothing has been started.
#[derive(Debug, Error)]
pub enum Error {
    /// A flag or variable cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The default server is named only in part.
    #[error("{given} is set, but {missing} is not: give PG_HOST, PG_USER and PG_PASSWORD, or none of them")]
    HalfServer {
        /// What is there.
        given: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The mode is none that PostgreSQL knows.
    #[error("PG_SSLMODE: {0}")]
    SslMode(#[from] exec::UnknownSslMode),
    /// The mode is none that there is.
    #[error("PG_PASSWORD_MODE: {0}")]
    PasswordMode(#[from] exec::UnknownPasswordMode),
    /// What was given for the default server does not fit together.
    #[error("{variable}: {problem}")]
    Unusable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The CA cannot be read.
    #[error("PG_SSLROOTCERT: cannot read {}: {source}", path.display())]
    RootCertificate {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is left of all connections is too little for servers that resources name.
    #[error(
        "TOTAL_CONNECTIONS: {total} must be at least {least}: SERVER_CONNECTIONS for the operator's own server, and {} for those that resources name",
        Budget::LEAST
    )]
    Budget {
        /// What was given.
        total: u32,
        /// What is needed.
        least: u32,
    },
    /// The installation's name would not survive in a comment.
    #[error("INSTALLATION_ID: `{0}` must be letters, digits, `.`, `_` and `-`, at most 63")]
    Installation(String),
    /// The filter cannot be read.
    #[error("LOG_LEVEL: `{0}` is no level (error, warn, info, debug, trace) and no filter")]
    LogLevel(String),
}

impl Cli {
    /// Reads the command line and the environment. Prints and ends the program for `--help`.
    pub fn read() -> Result<Command, Error> {
        Self::read_from(std::env::args_os())
    }

    fn read_from<I: IntoIterator<Item = T>, T: Into<std::ffi::OsString> + Clone>(
        args: I,
    ) -> Result<Command, Error> {
        let cli = Self::try_parse_from(args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => error.exit(),
            _ => Error::Usage(one_line(&error)),
        })?;
        Ok(match cli.command {
            None | Some(Subcommands::Run) => Command::Run(Box::new(cli.run)),
            Some(Subcommands::Crds) => Command::Crds,
            Some(Subcommands::Version) => Command::Version,
        })
    }
}

impl RunArgs {
    /// What to log.
    pub fn log_filter(&self) -> Result<tracing_subscriber::EnvFilter, Error> {
        self.log_level.parse().map_err(|_| Error::LogLevel(self.log_level.clone()))
    }

    /// How to log.
    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    /// The settings, once all of them make sense. Reads the CA's file.
    pub fn settings(self) -> Result<Settings, Error> {
        let tls = self.tls()?;
        let passwords =
            given(self.pg_password_mode).map_or(Ok(PasswordMode::default()), |mode| mode.parse())?;
        let installation = given(self.installation_id);
        if let Some(id) = installation.as_ref().filter(|id| !is_plain(id)) {
            return Err(Error::Installation(id.clone()));
        }
        let budget = Budget { server: self.server_connections, total: self.total_connections };
        let least = budget.server + Budget::LEAST;
        if budget.total < least {
            return Err(Error::Budget { total: budget.total, least });
        }
        let password = self.pg_password.filter(|password| !password.expose().is_empty());
        let server = match (given(self.pg_host), given(self.pg_user), password) {
            (None, None, None) => None,
            (Some(host), Some(user), Some(password)) => Some(Server {
                host,
                port: self.pg_port,
                user,
                password,
                maintenance: self.pg_database,
                tls,
                passwords,
                learned: Learned::default(),
            }),
            (Some(_), None, _) => return Err(Error::HalfServer { given: "PG_HOST", missing: "PG_USER" }),
            (Some(_), _, None) => return Err(Error::HalfServer { given: "PG_HOST", missing: "PG_PASSWORD" }),
            (None, Some(_), _) => return Err(Error::HalfServer { given: "PG_USER", missing: "PG_HOST" }),
            (None, None, Some(_)) => {
                return Err(Error::HalfServer { given: "PG_PASSWORD", missing: "PG_HOST" });
            }
        };
        if let Some(server) = &server {
            server.check().map_err(unusable)?;
        }
        let timing = Timing::new(self.lease_seconds);
        let election = self.leader_elect.then(|| Election::new(self.lease_name, &self.pod_name, timing));
        let watch: BTreeSet<_> =
            self.watch_namespaces.into_iter().filter_map(|name| given(Some(name))).collect();
        Ok(Settings {
            template: self.pg_template,
            resync: Duration::from_secs(self.resync_seconds),
            deletion_timeout: Duration::from_secs(self.deletion_timeout_seconds),
            watch,
            namespace: given(self.pod_namespace),
            boundaries: Boundaries {
                secrets: self.secrets_across_namespaces,
                superuser_secrets: self.superuser_secrets_across_namespaces,
                databases: self.databases_across_namespaces,
                named_servers: self.named_servers,
            },
            installation,
            budget,
            catalog_limit: self.catalog_limit_mib << 20,
            definitions: if self.manage_crds { Definitions::Apply } else { Definitions::Compare },
            mode: if self.observe { Mode::Observe } else { Mode::Reconcile },
            listen: Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.http_port))),
            election,
            ..Settings::new(server)
        })
    }

    fn tls(&self) -> Result<Tls, Error> {
        let mode = given(self.pg_sslmode.clone()).map_or(Ok(SslMode::default()), |mode| mode.parse())?;
        let path = self.pg_sslrootcert.clone().filter(|path| !path.as_os_str().is_empty());
        let ca =
            path.map(|path| std::fs::read(&path).map_err(|source| Error::RootCertificate { path, source }));
        Ok(Tls { mode, ca: ca.transpose()?, client_certificate: None, client_key: None })
    }
}

fn unusable(Unusable { part, problem }: Unusable) -> Error {
    let variable = match part {
        Part::Login => "PG_USER",
        Part::Mode => "PG_SSLMODE",
        Part::Ca | Part::ClientCertificate | Part::ClientKey => "PG_SSLROOTCERT",
        Part::Passwords => "PG_PASSWORD_MODE",
    };
    Error::Unusable { variable, problem }
}

/// A variable that is set to nothing is not set: charts render them like that.
fn given(value: Option<String>) -> Option<String> {
    value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn is_plain(id: &str) -> bool {
    id.len() <= 63 && id.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a Result")]
fn password(text: &str) -> Result<Password, std::convert::Infallible> {
    Ok(Password::new(text))
}

/// What is wrong, and the variable that stands for the flag: in a pod, nobody gave one.
fn one_line(error: &clap::Error) -> String {
    let message = error.to_string();
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line = line.trim_start_matches("error: ");
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if flag.starts_with("--") => {
            let name = flag.trim_start_matches('-').split([' ', '=']).next().unwrap_or_default();
            format!("{}: {line}", name.replace('-', "_").to_ascii_uppercase())
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests;
