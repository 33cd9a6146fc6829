//! A database, its owner, a reader and a writer on a PostgreSQL server: the SQL that is missing, printed and, when
//! asked for, applied. A tool of your own would start from here.
//!
//! ```sh
//! PGPASSWORD=… cargo run --package postgres-provisioner-exec --example provision -- --host db.example.org
//! ```

use std::{collections::BTreeMap, error::Error, io::Write, process::ExitCode};

use exec::{End, Learned, Password, PasswordMode, Server, Sessions, Stored, Tls, Verify, scram};
use plan::{
    Access, Action, Claim, Desired, Grantee, Ident, Login, Managed, PasswordState, Plan, Prune, Schemas, Site,
};
use postgres_provisioner_exec as exec;

const HELP: &str = "\
Prints the SQL between what a PostgreSQL server has and a database with an owner,
a reader and a writer, and applies it when asked to.

usage: provision [OPTION]...

  --host HOST      where the server is (or PGHOST; 127.0.0.1)
  --port PORT      its port (or PGPORT; 5432)
  --user ROLE      the admin role, at least CREATEDB and CREATEROLE (or PGUSER; postgres)
  --database NAME  the database to provision (example); its roles are NAME_owner,
                   NAME_reader and NAME_writer
  --apply          do it; without it nothing is changed
  --help           print this

PGPASSWORD is the admin role's password, PGSSLMODE how to encrypt (prefer).
OWNER_PASSWORD, READER_PASSWORD and WRITER_PASSWORD are those of the roles; a role
without one is made, but cannot log in.
";

/// The first round makes the database, the second reads and fills it. More are needed where the server refuses a
/// statement or somebody else is at work.
const ROUNDS: usize = 6;

/// Where settings come from that are no arguments.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match run(&arguments, &|name| std::env::var(name).ok(), &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The whole program.
pub(crate) async fn run(
    arguments: &[String],
    environment: Environment<'_>,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let Some(Settings { server, database, apply }) = settings(arguments, environment)? else {
        return Ok(out.write_all(HELP.as_bytes())?);
    };
    let passwords = Passwords::of(&database, environment)?;
    let mut desired = desired(&database, &passwords)?;
    let mut sessions = Sessions::new(&server, &passwords);
    for _ in 0..ROUNDS {
        let catalog = sessions.read(&desired).await?;
        let plan = plan::plan(&desired, &catalog);
        print(&plan, out)?;
        if plan.is_empty() {
            writeln!(out, "-- nothing is left to do")?;
        } else if !apply {
            writeln!(out, "-- nothing was changed: --apply does it, and goes on with what shows then")?;
        }
        if plan.is_empty() || !apply {
            sessions.close().await;
            return Ok(());
        }
        match sessions.apply(&desired, &plan).await?.end {
            // Somebody else was at work: the next round sees what is left.
            End::Complete | End::Stale => (),
            // The next round leaves out what somebody else has for itself.
            End::Busy(relations) => desired.busy.extend(relations),
            // The next round leaves it out and says so, so that it does not cost the others theirs.
            End::Refused(refused) => desired.refused.push(refused),
            End::NotConverged(left) => {
                return Err(format!("the server took these without effect:\n{}", lines(&left)).into());
            }
        }
    }
    Err(format!("there is still something left to do after {ROUNDS} rounds").into())
}

/// What is to be done, with where, and what is not done and why.
fn print(plan: &Plan, out: &mut impl Write) -> std::io::Result<()> {
    for step in plan.steps() {
        match step[0].site() {
            Site::Maintenance => writeln!(out, "-- for all databases")?,
            Site::Database(database) => writeln!(out, "-- in database {database}")?,
        }
        // Without secrets: those are in `Action::statement` only.
        writeln!(out, "{}", lines(step))?;
    }
    for withheld in &plan.withheld {
        writeln!(out, "-- withheld: {withheld}")?;
    }
    Ok(())
}

fn lines(actions: &[Action]) -> String {
    actions.iter().map(|action| format!("{action};")).collect::<Vec<_>>().join("\n")
}

/// What this tool calls itself in the markers it leaves (`COMMENT ON ROLE`): what carries another name is not
/// touched.
const TOOL: &str = "example";

/// The names of the owner, the reader and the writer of a database.
fn roles(database: &Ident) -> Result<[Ident; 3], Box<dyn Error>> {
    let name = |role: &str| -> Result<Ident, Box<dyn Error>> {
        Ok(format!("{}_{role}", database.as_str()).parse()?)
    };
    Ok([name("owner")?, name("reader")?, name("writer")?])
}

/// The wanted state. Nothing here is about how to get there.
fn desired(database: &Ident, passwords: &Passwords) -> Result<Desired, Box<dyn Error>> {
    let [owner, reader, writer] = roles(database)?;
    let mut desired = Desired::new(database.clone());
    for role in [&owner, &reader, &writer] {
        let verifier = passwords.0.get(role).map(scram::verifier).transpose()?;
        let password = verifier.map(Into::into);
        let claim = Claim::new(TOOL, role.as_str());
        desired.logins.insert(role.clone(), Login { claim, recorded: None, password });
    }
    for (role, access) in [(reader, Access::Read), (writer, Access::ReadWrite)] {
        let grantee = Grantee { access, schemas: Schemas::All, prune: Prune::IfCreated };
        desired.grantees.insert(role, grantee);
    }
    desired.managed = Managed::Yes {
        owner,
        template: "template0".parse()?,
        claim: Claim::new(TOOL, database.as_str()),
        recorded: None,
        prune: Prune::IfCreated,
    };
    Ok(desired)
}

/// The passwords that the roles should have.
struct Passwords(BTreeMap<Ident, Password>);

impl Passwords {
    fn of(database: &Ident, environment: Environment<'_>) -> Result<Self, Box<dyn Error>> {
        let variables = ["OWNER_PASSWORD", "READER_PASSWORD", "WRITER_PASSWORD"];
        let pairs = roles(database)?.into_iter().zip(variables);
        Ok(Self(pairs.filter_map(|(role, name)| Some((role, Password::new(environment(name)?)))).collect()))
    }
}

impl Verify for Passwords {
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState {
        // `exec::try_login` could tell more where only superusers may read verifiers.
        self.0.get(role).map_or(PasswordState::Unknown, |password| stored.compare(role, password))
    }
}

/// What the arguments and the environment say.
struct Settings {
    server: Server,
    database: Ident,
    apply: bool,
}

/// `None` when help is asked for.
fn settings(arguments: &[String], environment: Environment<'_>) -> Result<Option<Settings>, Box<dyn Error>> {
    let mut given = BTreeMap::new();
    let mut apply = false;
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "--help" => return Ok(None),
            "--apply" => apply = true,
            "--host" | "--port" | "--user" | "--database" => {
                let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
                given.insert(argument, value.to_owned());
            }
            other => return Err(format!("`{other}` is no option; --help lists them").into()),
        }
    }
    let mut setting = |option: &str, variable: &str, default: &str| {
        given.remove(option).or_else(|| environment(variable)).unwrap_or_else(|| default.to_owned())
    };
    let port = setting("--port", "PGPORT", "5432");
    let mode = environment("PGSSLMODE").map(|mode| mode.parse()).transpose()?.unwrap_or_default();
    let server = Server {
        host: setting("--host", "PGHOST", "127.0.0.1"),
        port: port.parse().map_err(|_| format!("`{port}` is no port"))?,
        user: setting("--user", "PGUSER", "postgres"),
        password: Password::new(environment("PGPASSWORD").unwrap_or_default()),
        maintenance: "postgres".parse()?,
        tls: Tls { mode, ..Tls::default() },
        passwords: PasswordMode::Verifier,
        learned: Learned::default(),
    };
    let database = given.remove("--database").unwrap_or_else(|| "example".to_owned()).parse()?;
    Ok(Some(Settings { server, database, apply }))
}
