//! PostgreSQL servers of every supported major.

mod install;
mod launch;
mod session;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
};

use rustix::process::Signal;

use crate::{
    blocking,
    launch::{read, tail},
    process::Process,
};

pub use install::MAJORS;
pub use session::{fetch_rows, fetch_text, is_change, run};

/// The name of the superuser of every server.
pub const SUPERUSER: &str = "postgres";

/// A running PostgreSQL server on 127.0.0.1. Dropping it ends the server and removes its data.
///
/// It logs every statement and every connection, asks for SCRAM passwords and does not wait for the
/// disk.
pub struct Postgres {
    major: u16,
    port: u16,
    password: String,
    directory: PathBuf,
    settings: Vec<(String, String)>,
    // `None` between `stop` and `restart`.
    process: Mutex<Option<Process>>,
}

/// What a server has that others have not.
#[derive(Clone, Debug)]
pub struct Builder {
    major: u16,
    settings: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Builder {
    /// A setting of `postgresql.conf`, given on the command line; it wins over the testbed's own.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the data directory that only the server can read, such as `server.key`, or
    /// `pg_hba.conf` in place of the one that asks for SCRAM passwords.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Starts the server and waits until it answers.
    pub async fn start(self) -> Postgres {
        blocking::on_thread(move || Postgres::launch(self)).await
    }
}

impl Postgres {
    /// A server of one's own; the others need not be careful with it.
    pub async fn start(major: u16) -> Postgres {
        Postgres::builder(major).start().await
    }

    /// A server with settings or files of its own.
    pub fn builder(major: u16) -> Builder {
        Builder { major, settings: Vec::new(), files: Vec::new() }
    }

    /// The one server of this major that the tests of this process share, started by the first to ask.
    ///
    /// It belongs to no runtime, and ends with the process.
    pub async fn shared(major: u16) -> &'static Postgres {
        static SHARED: [OnceLock<Postgres>; MAJORS.len()] = [const { OnceLock::new() }; MAJORS.len()];
        let index = MAJORS.iter().position(|known| *known == major);
        let shared = &SHARED[index.unwrap_or_else(|| panic!("PostgreSQL {major} is not one of {MAJORS:?}"))];
        if let Some(postgres) = shared.get() {
            return postgres;
        }
        blocking::on_thread(move || shared.get_or_init(|| Postgres::launch(Postgres::builder(major)))).await
    }

    /// The address it listens on.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port it listens on, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The major version.
    pub fn major(&self) -> u16 {
        self.major
    }

    /// The password of [`SUPERUSER`], another one for every server.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Where the server logs.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        read(&self.log_path())
    }

    /// The process id of the server, unless it is stopped.
    pub fn process_id(&self) -> Option<u32> {
        self.with_process(|process| process.as_ref().map(Process::id))
    }

    /// Shuts the server down: sessions end, the data stays for [`Postgres::restart`].
    pub async fn stop(&self) {
        let process = self.with_process(Option::take);
        if let Some(mut process) = process {
            blocking::on_thread(move || process.stop(Signal::INT)).await;
        }
    }

    /// Stops the server if it runs, and starts it on the same port with the same data.
    pub async fn restart(&self) {
        self.stop().await;
        let (program, what) = (self.program(), self.to_string());
        let (directory, log) = (self.directory.clone(), self.log_path());
        let process = blocking::on_thread(move || {
            launch::start(&program, &directory)
                .unwrap_or_else(|failure| panic!("{what} did not start again: {failure}\n{}", tail(&log)))
        });
        let process = process.await;
        self.with_process(|running| *running = Some(process));
    }

    /// Stops the server if it runs, and starts it again as a standby of nobody: it can be read only, until
    /// `pg_promote()`.
    pub async fn demote(&self) {
        self.stop().await;
        let signal = self.directory.join("data/standby.signal");
        fs::write(&signal, "").expect("the data directory is ours");
        install::give_to_server(&signal);
        self.restart().await;
    }

    /// Freezes the server: connections are accepted by the system, but nobody answers.
    ///
    /// Sessions that exist go on.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends a [`Postgres::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.with_process(|process| process.iter_mut().for_each(|process| process.signal(signal)));
    }

    fn with_process<T>(&self, change: impl FnOnce(&mut Option<Process>) -> T) -> T {
        change(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Name and log of every server of this process that has ended.
pub fn ended() -> Vec<(String, String)> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

static ENDED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

impl Drop for Postgres {
    fn drop(&mut self) {
        self.with_process(Option::take);
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).push((self.to_string(), self.log()));
        // The guard tries again when this process ends.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl std::fmt::Display for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgreSQL {} at {}:{}", self.major, self.host(), self.port)
    }
}

impl std::fmt::Debug for Postgres {
    // Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({self})")
    }
}
