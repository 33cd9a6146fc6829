//! Flags and environment variables, and what is wrong with them.

pub mod flags;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use exec::{Learned, Part, PasswordMode, Server, SslMode, Tls, Unusable};
use thiserror::Error;

use crate::api::told::Mode;
use crate::election::{Election, Timing};
use crate::lanes::Budget;
use crate::settings::{Boundaries, Definitions, Settings};
use flags::{LogFormat, RunArgs};

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
