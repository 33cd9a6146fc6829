//! Passes over a large database without an operator around them. `cargo xtask bench scale` prepares servers, runs
//! this with optimizations, and makes a table of what it prints: a word and a number on each line.

use std::{
    collections::BTreeMap,
    error::Error,
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use exec::{End, Learned, Password, PasswordMode, Server, Sessions, Stored, Tls, Verify};
use plan::{
    Access, Claim, Desired, Grantee, Ident, Login, Managed, PasswordState, Prune, Schemas,
    testing::{ident, verifier},
};
use postgres_provisioner_exec as exec;
use sqlx::{
    ConnectOptions as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgSslMode},
};

/// The queries of a reading, as a superuser's session sends them.
const QUERIES: [&str; 2] = [
    concat!(
        include_str!("../src/introspect/verifiers.sql"),
        include_str!("../src/introspect/control.sql"),
        include_str!("../src/introspect/roles.sql")
    ),
    concat!(
        "WITH RECURSIVE ",
        include_str!("../src/introspect/event_triggers.sql"),
        include_str!("../src/introspect/contents.sql")
    ),
];

const DATABASE: &str = "scale";
const ROUNDS: usize = 6;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [what, port, password, readers, writers, times] = arguments.as_slice() else {
        // `cargo bench` alone has nothing to say to.
        eprintln!("usage: measure pass|check PORT PASSWORD READERS WRITERS TIMES, for `cargo xtask bench`");
        return Ok(());
    };
    let server = Server {
        host: "127.0.0.1".into(),
        port: port.parse()?,
        user: "postgres".into(),
        password: Password::new(password),
        maintenance: ident("postgres"),
        tls: Tls::default(),
        passwords: PasswordMode::Verifier,
        learned: Learned::default(),
    };
    let desired = desired(readers.parse()?, writers.parse()?);
    let mut out = std::io::stdout();
    match what.as_str() {
        "pass" => pass(&server, &desired, &mut out).await?,
        "check" => check(&server, &desired, times.parse()?, &mut out).await?,
        other => return Err(format!("`{other}` is neither `pass` nor `check`").into()),
    }
    writeln!(out, "peak_kibibytes {}", peak_kibibytes()?)?;
    Ok(())
}

/// Everything in the database for some readers and writers.
fn desired(readers: usize, writers: usize) -> Desired {
    let owner = ident(&format!("{DATABASE}_owner"));
    let mut desired = Desired::new(ident(DATABASE));
    let mut add = |name: &Ident| {
        let login = Login {
            claim: Claim::new("bench", name.as_str()),
            recorded: None,
            password: Some(verifier().into()),
        };
        desired.logins.insert(name.clone(), login);
    };
    add(&owner);
    let named = |prefix: &str, count, access| {
        let names = (0..count).map(|number| ident(&format!("{DATABASE}_{prefix}{number}")));
        names.map(|name| (name, access)).collect::<Vec<_>>()
    };
    let mut grantees = named("reader", readers, Access::Read);
    grantees.extend(named("writer", writers, Access::ReadWrite));
    for (name, _) in &grantees {
        add(name);
    }
    let grantee = |(name, access)| (name, Grantee { access, schemas: Schemas::All, prune: Prune::IfCreated });
    desired.grantees = grantees.into_iter().map(grantee).collect::<BTreeMap<_, _>>();
    desired.managed = Managed::Yes {
        owner,
        template: ident("template0"),
        claim: Claim::new("bench", DATABASE),
        recorded: None,
        prune: Prune::IfCreated,
    };
    desired
}

/// Nothing to compute: every role has the verifier that it should have.
struct Trusting;

impl Verify for Trusting {
    fn state(&self, _: &Ident, stored: Stored<'_>) -> PasswordState {
        if stored == Stored::Absent { PasswordState::Absent } else { PasswordState::Matches }
    }
}

/// Reads, plans and applies until nothing is left.
async fn pass(server: &Server, desired: &Desired, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let (start, mut actions) = (Instant::now(), 0);
    let mut sessions = Sessions::new(server, &Trusting);
    for _ in 0..ROUNDS {
        let catalog = sessions.read(desired).await?;
        let plan = plan::plan(desired, &catalog);
        if plan.is_empty() {
            writeln!(out, "actions {actions}\nmicroseconds {}", start.elapsed().as_micros())?;
            return Ok(());
        }
        let applied = sessions.apply(desired, &plan).await?;
        if !matches!(applied.end, End::Complete | End::Stale) {
            return Err(format!("{:?}", applied.end).into());
        }
        actions += applied.done.len();
    }
    Err(format!("something is left to do after {ROUNDS} rounds").into())
}

/// Where nothing is to be done: whole checks on new connections, and, on connections that are open, readings and
/// plans beside the same queries without anybody who looks at the answer.
async fn check(
    server: &Server,
    desired: &Desired,
    times: usize,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let mut sessions = Sessions::new(server, &Trusting);
    let mut bare = Bare::open(server, desired).await?;
    let (mut wholes, mut readings, mut plans, mut alone, mut bytes) = (vec![], vec![], vec![], vec![], 0);
    // The first ones fill caches.
    sessions.read(desired).await?;
    bare.run().await?;
    for _ in 0..times {
        let start = Instant::now();
        let mut fresh = Sessions::new(server, &Trusting);
        let catalog = fresh.read(desired).await?;
        let plan = plan::plan(desired, &catalog);
        wholes.push(start.elapsed());
        fresh.close().await;
        if !plan.is_empty() {
            return Err(format!("something is to be done: {}", plan.actions[0]).into());
        }

        let start = Instant::now();
        let catalog = sessions.read(desired).await?;
        readings.push(start.elapsed());
        let start = Instant::now();
        black_box(plan::plan(desired, &catalog));
        plans.push(start.elapsed());
        drop(catalog);

        let start = Instant::now();
        bytes = bare.run().await?;
        alone.push(start.elapsed());
    }
    writeln!(out, "bytes {bytes}\nwhole {}", median(wholes).as_micros())?;
    // Others may be at work on the machine: what is compared is what each can do.
    for (what, times) in [("reading", readings), ("plan", plans), ("alone", alone)] {
        writeln!(out, "{what} {}", times.into_iter().min().unwrap_or_default().as_micros())?;
    }
    Ok(())
}

/// The queries without anything around them.
struct Bare {
    connection: PgConnection,
    asked: Vec<String>,
}

impl Bare {
    async fn open(server: &Server, desired: &Desired) -> sqlx::Result<Self> {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&server.host)
            .port(server.port)
            .username(&server.user)
            .password(server.password.expose())
            .database(DATABASE)
            .ssl_mode(PgSslMode::Prefer)
            .options([("search_path", ""), ("jit", "off")])
            .disable_statement_logging();
        let asked = desired.logins.keys().map(|name| name.as_str().to_owned()).collect();
        Ok(Self { connection: options.connect().await?, asked })
    }

    /// How many bytes came back.
    async fn run(&mut self) -> Result<usize, Box<dyn Error>> {
        let Self { connection, asked } = self;
        let none: [&str; 0] = [];
        let shared = sqlx::query(QUERIES[0]).bind(&*asked).bind(DATABASE).bind(none).bind(none).bind(none);
        let mut bytes = 0;
        for query in [shared, sqlx::query(QUERIES[1]).bind(&*asked)] {
            let row = query.persistent(false).fetch_one(&mut *connection).await?;
            bytes += row.try_get_raw(0)?.as_bytes().map_or(0, <[u8]>::len);
        }
        Ok(bytes)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The most memory that this process has had resident.
fn peak_kibibytes() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
