//! Opens connections with settings that nothing in the database overrides.

use std::time::Duration;

use plan::Ident;
use rand::{TryRng as _, rngs::SysRng};
use sqlx::{
    ConnectOptions as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::time::timeout;

use crate::{Error, Password, Server, SslMode, Tls, line::Line};

/// For the whole handshake: a server that takes longer is down for our purposes.
const CONNECT: Duration = Duration::from_secs(5);

/// Carries a random word through whatever is between us and the server.
pub(crate) const NONCE: &str = "postgres_provisioner.nonce";

/// Settings of every session, sent with the startup packet: `ALTER DATABASE` and `ALTER ROLE … SET` do not
/// override them. Only what versions 13 and later know: an unknown one is fatal.
///
/// `default_transaction_read_only` is not among them, or else a read-only server could not be told apart from a
/// read-only database: the first statement looks who set it.
const SETTINGS: [(&str, &str); 9] = [
    ("search_path", ""),
    ("role", "none"),
    ("local_preload_libraries", ""),
    ("default_transaction_isolation", "read committed"),
    ("row_security", "on"),
    ("standard_conforming_strings", "on"),
    ("jit", "off"),
    ("lock_timeout", "2s"),
    ("statement_timeout", "60s"),
];

/// How long a server waits for us inside a transaction, with the others.
const SILENCE: &str = "idle_in_transaction_session_timeout";

/// For whoever may. A superuser's trigger may run a function that a tenant owns, with our rights.
pub(crate) const EVENT_TRIGGERS_OFF: (&str, &str) = ("event_triggers", "off");

/// As whom, where, with which random word, and how long the server waits for us inside a transaction.
#[derive(Clone, Copy)]
pub(crate) struct Login<'a> {
    pub(crate) role: &'a str,
    pub(crate) password: &'a Password,
    pub(crate) database: &'a Ident,
    pub(crate) nonce: &'a str,
    pub(crate) silence: Duration,
}

/// Opens a connection as the admin role, unverified: without event triggers where that can be had (17 and later, as
/// superuser or with `GRANT SET ON PARAMETER event_triggers`). A trigger on `login` runs before any statement of ours.
pub(crate) async fn connect_as_admin(
    server: &Server,
    login: Login<'_>,
) -> Result<(PgConnection, Line), Error> {
    if server.learned.event_triggers_stay_on() {
        return connect(server, login).await;
    }
    match open(server, options(server, login).options([EVENT_TRIGGERS_OFF])).await {
        // Unknown to the server, or not for us, or the session is refused for another reason.
        Err(Error::Login { code, .. }) if matches!(code.as_str(), "42704" | "42501") => (),
        answer => return answer,
    }
    let connection = connect(server, login).await?;
    server.learned.set_event_triggers_stay_on(true);
    Ok(connection)
}

/// Opens a connection as this role, unverified.
pub(crate) async fn connect(server: &Server, login: Login<'_>) -> Result<(PgConnection, Line), Error> {
    open(server, options(server, login)).await
}

async fn open(server: &Server, options: PgConnectOptions) -> Result<(PgConnection, Line), Error> {
    server.check()?;
    let (address, usage) = (address(server), server.learned.usage());
    usage.attempt();
    let answer = match timeout(CONNECT, establish(server, options, &address)).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Timeout { address, seconds: CONNECT.as_secs() }),
    };
    match &answer {
        Ok(_) | Err(Error::Login { .. }) => (),
        Err(_) => usage.fail(),
    }
    answer
}

async fn establish(
    server: &Server,
    mut options: PgConnectOptions,
    address: &str,
) -> Result<(PgConnection, Line), Error> {
    let failed = |error| Error::of_login(address.to_owned(), error);
    let line = Line::open(server, &nonce()).await.map_err(|error| failed(error.into()))?;
    if let Some(directory) = &line.directory {
        options = options.socket(directory);
    }
    match options.connect().await {
        Ok(connection) => Ok((connection, line)),
        Err(error) => Err(line.explain(address, failed(error))),
    }
}

/// Opens a connection that lacks these of our settings: what they are good for is seen where they are missing.
#[cfg(test)]
pub(crate) async fn connect_without(
    server: &Server,
    login: Login<'_>,
    missing: &[&str],
) -> Result<(PgConnection, Line), Error> {
    let settings =
        SETTINGS.into_iter().chain([EVENT_TRIGGERS_OFF]).filter(|(name, _)| !missing.contains(name));
    open(server, bare(server, login).options(settings)).await
}

fn options(server: &Server, login: Login<'_>) -> PgConnectOptions {
    bare(server, login).options(SETTINGS)
}

/// Without what keeps a database's settings away.
fn bare(server: &Server, login: Login<'_>) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
        .username(login.role)
        .password(login.password.expose())
        .database(login.database.as_str())
        .application_name("postgres-provisioner")
        // Poolers refuse it, and nothing here reads floating-point numbers.
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .options([(NONCE, login.nonce)])
        .options([(SILENCE, format!("{}ms", login.silence.as_millis()))])
        // The driver logs whole statements, and with them the verifiers that some of them carry.
        .disable_statement_logging();
    with_tls(options, &server.tls)
}

fn with_tls(options: PgConnectOptions, tls: &Tls) -> PgConnectOptions {
    let mut options = options.ssl_mode(match tls.effective_mode() {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    });
    // Set even when there is none, or else the driver takes one from its environment.
    options = options.ssl_root_cert_from_pem(tls.ca.clone().unwrap_or_default());
    if let (Some(certificate), Some(key)) = (&tls.client_certificate, &tls.client_key) {
        options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key.as_slice());
    }
    options
}

pub(crate) fn address(server: &Server) -> String {
    format!("{}:{}", server.host, server.port)
}

pub(crate) fn nonce() -> String {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).expect("the operating system has random bytes");
    u128::from_ne_bytes(bytes).to_string()
}
