//! From a data directory to a server that answers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Mutex};

use sqlx::Connection as _;

use super::{Builder, Postgres, SUPERUSER, install, session};
use crate::{
    blocking, cache,
    launch::{Failure, launch, read, tail},
    port,
    process::{Ending, Process, Program},
    scratch,
    unique::random,
};

/// What every server is started with, before the settings of its builder.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    // The paths of sockets are too short for some temporary directories.
    ("unix_socket_directories", ""),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("shared_buffers", "16MB"),
    ("max_connections", "200"),
    ("log_statement", "all"),
    // Whatever is said at all is said with its statement.
    ("log_min_error_statement", "debug5"),
    ("log_connections", "on"),
    ("shared_preload_libraries", "pg_stat_statements"),
    ("pg_stat_statements.track", "all"),
    ("pg_stat_statements.max", "20000"),
    ("log_line_prefix", "%m [%p] %q%u@%d/%a "),
];

impl Postgres {
    pub(super) fn launch(builder: Builder) -> Postgres {
        let directory = scratch::directory("postgresql-");
        let data = install::new_data(builder.major, &directory);
        for (name, content) in &builder.files {
            let path = data.join(name);
            fs::write(&path, content).expect("the data directory is ours");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
            install::give_to_server(&path);
        }
        let mut postgres = Postgres {
            major: builder.major,
            port: port::free(),
            password: random(24),
            directory,
            settings: builder.settings,
            process: Mutex::new(None),
        };
        let process = postgres.first_start();
        postgres.with_process(|running| *running = Some(process));
        blocking::wait_for(postgres.set_password());
        postgres
    }

    fn first_start(&mut self) -> Process {
        for _ in 0..10 {
            match start(&self.program(), &self.directory) {
                Ok(process) => return process,
                Err(Failure::PortTaken) => self.port = port::free(),
                Err(failure) => panic!("{self} did not start: {failure}\n{}", tail(&self.log_path())),
            }
        }
        panic!("{self} did not start: ten ports were taken, one after the other\n{}", tail(&self.log_path()))
    }

    pub(super) fn program(&self) -> Program {
        let mut arguments = vec!["-D".into(), self.directory.join("data").into_os_string()];
        arguments.extend(["-p".into(), self.port.to_string().into()]);
        let settings = SETTINGS.iter().map(|(name, value)| format!("{name}={value}"));
        let own = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        arguments.extend(settings.chain(own).flat_map(|setting| ["-c".into(), setting.into()]));
        Program {
            path: install::programs(self.major).join("bin/postgres"),
            arguments,
            user: cache::unprivileged(),
            log: self.log_path(),
            ending: Ending::Quit,
        }
    }

    async fn set_password(&self) {
        let set = async {
            let options = session::options(self, "postgres", SUPERUSER, install::TEMPLATE_PASSWORD)
                // The password must be told nowhere, and must be what `pg_hba.conf` asks for.
                .options([("log_statement", "none"), ("pg_stat_statements.track", "none")])
                .options([("password_encryption", "scram-sha-256")]);
            let mut session = sqlx::PgConnection::connect_with(&options).await?;
            let sql = format!("ALTER ROLE {SUPERUSER} PASSWORD '{}'", self.password);
            session::run(&mut session, sql).await?;
            session.close().await
        };
        if let Err(error) = set.await {
            panic!("{self} does not let its superuser in: {error}\n{}", tail(&self.log_path()));
        }
    }
}

/// Starts the server and waits until it takes connections.
pub(super) fn start(program: &Program, directory: &Path) -> Result<Process, Failure> {
    launch(program, || is_ready(directory))
}

/// As `pg_ctl` does it: the server writes its state into its lock file. Whoever answers on the port
/// might be somebody else.
fn is_ready(directory: &Path) -> bool {
    let lock_file = read(&directory.join("data/postmaster.pid"));
    lock_file.lines().nth(7).is_some_and(|state| state.trim() == "ready")
}
