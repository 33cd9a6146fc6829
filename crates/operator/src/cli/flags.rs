//! The flags of the program and their variables.

use std::path::PathBuf;

use clap::builder::{BoolishValueParser, FalseyValueParser};
use clap::{Args, ValueEnum};
use exec::Password;
use plan::Ident;

use crate::lanes::Budget;
use crate::settings::{Boundary, NamedServers};

/// The flags of `run`.
#[derive(Args)]
pub struct RunArgs {
    /// Host of the server of all resources that name no other; without it, every resource needs its own `host` and
    /// `superuserSecret`
    #[arg(long, global = true, env = "PG_HOST", value_name = "HOST")]
    pub(super) pg_host: Option<String>,
    /// Port of that server
    #[arg(long, global = true, env = "PG_PORT", value_name = "PORT", default_value_t = 5432)]
    pub(super) pg_port: u16,
    /// Admin role on that server: a superuser, or a role with CREATEDB and CREATEROLE
    #[arg(long, global = true, env = "PG_USER", value_name = "ROLE")]
    pub(super) pg_user: Option<String>,
    /// Password of the admin role
    #[arg(long, global = true, env = "PG_PASSWORD", value_name = "PASSWORD", hide_env_values = true, value_parser = password)]
    pub(super) pg_password: Option<Password>,
    /// Maintenance database: where statements about roles and databases run
    #[arg(long, global = true, env = "PG_DATABASE", value_name = "DATABASE", default_value = "postgres")]
    pub(super) pg_database: Ident,
    /// What new databases are copied from
    #[arg(long, global = true, env = "PG_TEMPLATE", value_name = "DATABASE", default_value = "template0")]
    pub(super) pg_template: Ident,
    /// Encryption: disable, prefer, require, verify-ca or verify-full [default: prefer; verify-full with a CA]
    #[arg(long, global = true, env = "PG_SSLMODE", value_name = "MODE")]
    pub(super) pg_sslmode: Option<String>,
    /// File with the certificates (PEM) that sign the server's: then the only trust
    #[arg(long, global = true, env = "PG_SSLROOTCERT", value_name = "FILE")]
    pub(super) pg_sslrootcert: Option<PathBuf>,
    /// How passwords of roles reach the server: verifier, or plaintext for services that take nothing else
    /// [default: verifier]
    #[arg(long, global = true, env = "PG_PASSWORD_MODE", value_name = "MODE")]
    pub(super) pg_password_mode: Option<String>,
    /// How often a database is checked although nothing happened, in seconds
    #[arg(long, global = true, env = "RESYNC_SECONDS", value_name = "SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) resync_seconds: u64,
    /// How long a deleted resource waits for its server, in seconds, before it is let go and what is left to do there is
    /// kept in the operator's namespace
    #[arg(long, global = true, env = "DELETION_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub(super) deletion_timeout_seconds: u64,
    /// Namespaces to watch, separated by commas [default: all]
    #[arg(long, global = true, env = "WATCH_NAMESPACES", value_name = "NAMESPACES", value_delimiter = ',')]
    pub(super) watch_namespaces: Vec<String>,
    /// The operator's own namespace, whose resources may reach into others [default: the service account's]
    #[arg(long, global = true, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub(super) pod_namespace: Option<String>,
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
    pub(super) secrets_across_namespaces: Boundary,
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
    pub(super) superuser_secrets_across_namespaces: Boundary,
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
    pub(super) databases_across_namespaces: Boundary,
    /// Which servers resources outside the operator's namespace may name in `host`: any, or none but the operator's
    #[arg(
        long,
        global = true,
        env = "NAMED_SERVERS",
        value_name = "WHICH",
        default_value = "any",
        hide_possible_values = true
    )]
    pub(super) named_servers: NamedServers,
    /// Tells installations apart in the comments on roles and databases [default: the uid of kube-system]
    #[arg(long, global = true, env = "INSTALLATION_ID", value_name = "ID")]
    pub(super) installation_id: Option<String>,
    /// Connections to one server at a time, at most; a pass over a database has one to three
    #[arg(long, global = true, env = "SERVER_CONNECTIONS", value_name = "NUMBER", default_value_t = Budget::default().server,
          value_parser = clap::value_parser!(u32).range(i64::from(Budget::LEAST)..=1000))]
    pub(super) server_connections: u32,
    /// Connections to all servers together at a time, at most; the operator's own server has its share for itself
    #[arg(long, global = true, env = "TOTAL_CONNECTIONS", value_name = "NUMBER", default_value_t = Budget::default().total,
          value_parser = clap::value_parser!(u32).range(i64::from(2 * Budget::LEAST)..=10_000))]
    pub(super) total_connections: u32,
    /// How much may be read of one database, in MiB; a pass needs up to fifteen times as much memory
    #[arg(long, global = true, env = "CATALOG_LIMIT_MIB", value_name = "MIB", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) catalog_limit_mib: u32,
    /// Whether to install the two CRDs and upgrade them to this version, instead of waiting until somebody does
    #[arg(long, global = true, env = "MANAGE_CRDS", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set)]
    pub(super) manage_crds: bool,
    /// Change nothing, on no server and in no Secret: every resource is observed, and its status shows what would be
    /// done
    #[arg(long, global = true, env = "OBSERVE", value_parser = FalseyValueParser::new())]
    pub(super) observe: bool,
    /// Work only while holding a Lease, so that several replicas can run: one works, the others are ready to
    #[arg(long, global = true, env = "LEADER_ELECT", value_name = "BOOL", default_value = "false",
          default_missing_value = "true", num_args = 0..=1, require_equals = true, hide_possible_values = true,
          value_parser = BoolishValueParser::new())]
    pub(super) leader_elect: bool,
    /// Name of the Lease, in the operator's own namespace
    #[arg(
        long,
        global = true,
        env = "LEASE_NAME",
        value_name = "NAME",
        default_value = "postgres-provisioner"
    )]
    pub(super) lease_name: String,
    /// How long the Lease holds without renewal, in seconds: another replica takes over that long after the last sign
    /// of life, plus a fifth
    #[arg(long, global = true, env = "LEASE_SECONDS", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(5..=120))]
    pub(super) lease_seconds: u16,
    /// Name of the pod, by which others see who leads
    #[arg(
        long,
        global = true,
        env = "POD_NAME",
        value_name = "NAME",
        default_value = "postgres-provisioner"
    )]
    pub(super) pod_name: String,
    /// Port of /healthz and /readyz
    #[arg(long, global = true, env = "HTTP_PORT", value_name = "PORT", default_value_t = 8080)]
    pub(super) http_port: u16,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,operator=debug
    #[arg(long, global = true, env = "LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: String,
    /// How to log
    #[arg(long, global = true, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a Result")]
fn password(text: &str) -> Result<Password, std::convert::Infallible> {
    Ok(Password::new(text))
}
