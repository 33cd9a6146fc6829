//! Work that breaks off at any point: the next pass finishes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use exec::{Class, End, Error, Server, Sessions, SslMode, Tls};
use plan::{
    Access, Action, Desired, Disposition, Grantee, Ident, Leaving, Managed, PasswordState, Prune, Schemas,
    testing::ident,
};
use sqlx::PgConnection;
use testbed::{
    Postgres, eventually,
    postgres::{fetch_rows, fetch_text, is_change, run},
    relay::postgres::{Cut, Relay},
    unique,
};
use tokio::task::{JoinSet, LocalSet};

use crate::support::{Admin, Place, by_hand, leave, own_superuser, place, place_on, rounds, sql};

/// How many are interrupted at the same time, each in a database of its own.
const AT_ONCE: usize = 6;

/// The versions and admin roles whose ways are the most different.
pub(crate) const LEGS: [(u16, Admin); 4] =
    [(13, Admin::Superuser), (18, Admin::Superuser), (13, Admin::Limited), (18, Admin::Limited)];

/// What is interrupted.
#[derive(Clone, Copy, Debug)]
enum Work {
    Creation,
    Change,
    Downgrade,
    Departure,
}

/// Something that is about to be done.
struct Job {
    place: Place,
    desired: Desired,
    /// What tenants have, as a query, and its answer.
    data: Option<(&'static str, String)>,
    /// A role that has to be gone, and what it leaves in the maintenance database.
    gone: Option<(Ident, Heirloom)>,
}

/// A table and a large object of a leaving role, and a session of it.
struct Heirloom {
    table: String,
    large_object: String,
    _session: PgConnection,
}

#[tokio::test]
async fn a_creation_that_breaks_off_anywhere_is_finished_by_the_next_pass() {
    interrupt_everywhere(Work::Creation).await;
}

#[tokio::test]
async fn a_change_that_breaks_off_anywhere_is_finished_by_the_next_pass() {
    interrupt_everywhere(Work::Change).await;
}

#[tokio::test]
async fn a_downgrade_that_breaks_off_anywhere_is_finished_by_the_next_pass() {
    interrupt_everywhere(Work::Downgrade).await;
}

#[tokio::test]
async fn a_departure_that_breaks_off_anywhere_is_finished_by_the_next_pass() {
    interrupt_everywhere(Work::Departure).await;
}

/// Prepares a piece of work.
async fn job(work: Work, (major, admin): (u16, Admin)) -> Job {
    match work {
        Work::Creation => creation(major, admin).await,
        Work::Change => change(major, admin).await,
        Work::Downgrade => downgrade(major, admin).await,
        Work::Departure => departure(major, admin).await,
    }
}

#[tokio::test]
async fn a_server_that_restarts_during_a_pass_is_put_right_by_the_next() {
    for major in [13, 18] {
        let postgres: &'static Postgres = Box::leak(Box::new(Postgres::start(major).await));
        let place = place_on(postgres, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        // Holds the role's row: the statement that gives it its password back waits.
        let mut other = postgres.admin("postgres").await;
        run(&mut other, format!("ALTER ROLE {} PASSWORD 'another'", place.reader)).await.unwrap();
        run(&mut other, format!("BEGIN; ALTER ROLE {} CONNECTION LIMIT 5", place.reader)).await.unwrap();
        let mut sessions = place.sessions();
        let catalog = sessions.read(&desired).await.unwrap();
        let plan = plan::plan(&desired, &catalog);
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let restart = async {
            eventually("the pass waits", Duration::from_secs(10), async || place.ask(waiting).await).await;
            postgres.restart().await;
        };
        let (applied, ()) = tokio::join!(sessions.apply(&desired, &plan), restart);
        assert_eq!(applied.map_err(|error| error.class()), Err(Class::Unavailable));
        place.converge(&desired).await;
        place.sql_as(&place.reader, "SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_an_interrupted_drop_left_invalid_is_made_again() {
    for (major, admin) in LEGS {
        let place = place(major, admin).await;
        let desired = place.desired();
        let before = place.converge(&desired).await.database.unwrap().oid;
        let database = place.database.as_str();
        let invalid = format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{database}'");
        sql(place.postgres, "postgres", invalid).await;
        let after = place.converge(&desired).await.database.unwrap();
        assert!(!after.invalid && after.oid != before, "{after:?}");
        place.sql_as(&place.writer, "SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_database_that_was_made_and_never_opened_is_finished() {
    for (major, admin) in LEGS {
        let place = place(major, admin).await;
        let desired = place.desired();
        let mut sessions = place.sessions();
        let catalog = sessions.read(&desired).await.unwrap();
        let mut actions = plan::plan(&desired, &catalog).actions;
        let made = actions.iter().position(|action| matches!(action, Action::CreateDatabase { .. })).unwrap();
        actions.truncate(made + 1);
        let applied = sessions.apply(&desired, &by_hand(actions)).await.unwrap();
        assert_eq!(applied.end, End::Complete);
        let half = sessions.read(&desired).await.unwrap().database.unwrap();
        assert_eq!((half.allow_connections, &half.comment), (false, &None));
        sessions.close().await;
        let whole = place.converge(&desired).await.database.unwrap();
        assert_eq!((whole.allow_connections, whole.oid), (true, half.oid));
        assert!(whole.comment.is_some_and(|comment| !comment.contains("adopted")), "on {major}");
    }
}

/// A database, its owner, a reader and a writer, all to be made.
async fn creation(major: u16, admin: Admin) -> Job {
    let place = own_superuser(place(major, admin).await).await;
    let desired = place.desired();
    Job { place, desired, data: None, gone: None }
}

/// The same with tables of the owner and the writer in them.
async fn inhabited(major: u16, admin: Admin) -> Job {
    let job = creation(major, admin).await;
    let place = &job.place;
    place.converge(&job.desired).await;
    let made = format!(
        "CREATE SCHEMA shop; CREATE SCHEMA audit; CREATE TABLE audit.entries (n int); \
         CREATE TABLE shop.orders (n serial); INSERT INTO shop.orders SELECT FROM generate_series(1, 3); \
         GRANT USAGE, CREATE ON SCHEMA shop TO {}",
        place.writer
    );
    place.sql_as(&place.owner, made).await.unwrap();
    let made = "CREATE TABLE shop.stock (n int); INSERT INTO shop.stock VALUES (4), (5); \
                CREATE VIEW shop.few AS SELECT * FROM shop.stock; \
                CREATE FUNCTION shop.leak(int) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'";
    place.sql_as(&place.writer, made).await.unwrap();
    place.converge(&job.desired).await;
    let rows = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM (TABLE shop.orders UNION TABLE shop.stock) t";
    Job { data: Some((rows, "1 2 3 4 5".to_owned())), ..job }
}

/// The reader's schemas narrow, another reader comes, and the database gets a new owner.
async fn change(major: u16, admin: Admin) -> Job {
    let mut job = inhabited(major, admin).await;
    let (place, desired) = (&mut job.place, &mut job.desired);
    let heir = place.another(desired, "heir");
    let second = place.another(desired, "second");
    desired.grantees.get_mut(&place.reader).unwrap().schemas = Schemas::Listed([ident("shop")].into());
    let reader = Grantee { access: Access::Read, schemas: Schemas::All, prune: Prune::IfCreated };
    desired.grantees.insert(second, reader);
    let former = desired.logins.remove(&place.owner).unwrap();
    let Managed::Yes { owner, .. } = &mut desired.managed else { unreachable!("it is managed") };
    *owner = heir;
    let disposition = Disposition::DropIfCreated;
    let leaving = Leaving { claim: former.claim, recorded: None, disposition };
    desired.leaving.insert(place.owner.clone(), leaving);
    job
}

/// The writer becomes a reader.
async fn downgrade(major: u16, admin: Admin) -> Job {
    let mut job = inhabited(major, admin).await;
    job.desired.grantees.get_mut(&job.place.writer).unwrap().access = Access::Read;
    job
}

/// The writer goes, who is at work and has things in another database too.
async fn departure(major: u16, admin: Admin) -> Job {
    let mut job = inhabited(major, admin).await;
    let place = &job.place;
    let password = place.secrets.0[&place.writer].expose();
    let session = place.postgres.connect("postgres", place.writer.as_str(), password).await;
    let mut session = session.unwrap();
    let large_object = fetch_text(&mut session, "SELECT lo_create(0)").await.unwrap().unwrap();
    let table = unique("left_behind");
    let made = format!(
        "CREATE TABLE public.{table} AS SELECT 6 AS n; ALTER TABLE public.{table} OWNER TO {}",
        place.writer
    );
    run(&mut place.postgres.admin("postgres").await, made).await.unwrap();
    leave(&mut job.desired, &place.writer);
    let heirloom = Heirloom { table, large_object, _session: session };
    Job { gone: Some((place.writer.clone(), heirloom)), ..job }
}

/// Breaks the line to the server at every statement that matters, and sees each time that the next pass finishes
/// the work.
async fn interrupt_everywhere(work: Work) {
    Box::pin(LocalSet::new().run_until(interrupt_on_every_leg(work))).await;
}

async fn interrupt_on_every_leg(work: Work) {
    for (number, leg) in LEGS.into_iter().enumerate() {
        let (statements, error) = interrupt(&job(work, leg).await, Cut::Never).await;
        assert_eq!(error, None);
        let mut cuts = cuts(&statements, number).into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(cut) = cuts.next()
            {
                running.spawn_local(interrupt_and_finish(work, leg, cut));
            }
            let Some(done) = running.join_next().await else { break };
            done.unwrap();
        }
    }
}

/// Cuts at every statement that changes something, begins or ends, and at one of each other kind, which are shared out
/// among the legs. The answer is lost on every other leg.
fn cuts(statements: &[String], leg: usize) -> Vec<Cut> {
    let (mut cuts, mut seen) = (Vec::new(), BTreeSet::new());
    for (number, text) in (1..).zip(statements) {
        let changes = is_change(text);
        let is_new = seen.insert(text.chars().take(24).collect::<String>());
        if changes || (is_new && number % LEGS.len() == leg) {
            cuts.push(if (number + leg).is_multiple_of(2) {
                Cut::Sent(number)
            } else {
                Cut::Answered(number)
            });
        }
    }
    cuts
}

async fn interrupt_and_finish(work: Work, leg: (u16, Admin), cut: Cut) {
    let job = job(work, leg).await;
    let (statements, error) = interrupt(&job, cut).await;
    let at = format!("{work:?} {cut:?} of {:?} on {leg:?}", statements.last());
    if let Some(error) = error {
        assert_eq!(error.class(), Class::Unavailable, "{error}: {at}");
    }
    finish(&job, &at).await;
}

/// A pass over a line that breaks; what it said, and the error that ended it.
async fn interrupt(job: &Job, cut: Cut) -> (Vec<String>, Option<Error>) {
    let relay = Relay::start(job.place.server.port, cut).await;
    let tls = Tls { mode: SslMode::Disable, ..Tls::default() };
    let server = Server { port: relay.port, tls, ..job.place.server.clone() };
    let mut sessions = Sessions::new(&server, &job.place.secrets);
    let error = rounds(&mut sessions, &job.desired).await.err();
    sessions.close().await;
    (relay.statements(), error)
}

/// What an interrupted pass left is enough for the next.
async fn finish(job: &Job, at: &str) {
    let place = &job.place;
    ended(place, at).await;
    if job.data.is_some() {
        // What ran with the rights of one role must not run with those of its heir, not even until the next pass.
        let laundered = format!(
            "SELECT count(*) FROM pg_proc WHERE proname = 'leak' AND prosecdef \
             AND pg_get_userbyid(proowner) NOT IN ('{}')",
            place.writer.as_str()
        );
        assert_eq!(place.ask(laundered).await.as_deref(), Some("0"), "{at}");
    }
    let before = numbers(job).await;
    let mut sessions = place.sessions();
    rounds(&mut sessions, &job.desired).await.unwrap_or_else(|error| panic!("{error}: {at}"));
    sessions.close().await;
    let catalog = place.converge(&job.desired).await;
    let after = numbers(job).await;
    for (name, number) in before.iter().filter(|(name, _)| after.contains_key(*name)) {
        assert_eq!(after[name], *number, "{name} was made twice: {at}");
    }
    for (role, password) in place.secrets.0.iter().filter(|(role, _)| job.desired.logins.contains_key(*role))
    {
        let state = exec::try_login(&place.server, role, password).await;
        assert_eq!(state, Ok(PasswordState::Matches), "{role}: {at}");
    }
    if let Some((rows, wanted)) = &job.data {
        assert_eq!(place.ask(*rows).await.as_ref(), Some(wanted), "{at}");
    }
    for role in job.desired.leaving.keys() {
        assert_eq!(catalog.role(role), None, "{at}");
    }
    if let Some((role, heirloom)) = &job.gone {
        assert!(!after.contains_key(role.as_str()), "{at}");
        let mut session = place.postgres.admin("postgres").await;
        let rows = format!(
            "SELECT n FROM public.{} WHERE EXISTS (SELECT FROM pg_largeobject_metadata m \
             JOIN pg_roles r ON r.oid = m.lomowner WHERE m.oid = {})",
            heirloom.table, heirloom.large_object
        );
        assert_eq!(fetch_text(&mut session, rows).await.unwrap().as_deref(), Some("6"), "{at}");
    }
    ended(place, at).await;
}

/// Nothing of the pass goes on: no session, and with it no transaction and no lock.
async fn ended(place: &Place, at: &str) {
    let mut session = place.postgres.admin("postgres").await;
    let query = format!(
        "SELECT string_agg(query, '; ') FROM pg_stat_activity WHERE usename = '{}'",
        place.server.user
    );
    eventually(at, Duration::from_secs(10), async || {
        match fetch_text(&mut session, query.as_str()).await.unwrap() {
            None => Ok(()),
            Some(query) => Err(query),
        }
    })
    .await;
}

/// The numbers of the database and of the roles, which change when they are made again.
async fn numbers(job: &Job) -> BTreeMap<String, String> {
    let roles = job.desired.logins.keys().chain(job.desired.leaving.keys());
    let names: Vec<_> =
        roles.chain([&job.place.database]).map(|name| format!("'{}'", name.as_str())).collect();
    let names = names.join(", ");
    let query = format!(
        "SELECT rolname, oid FROM pg_roles WHERE rolname IN ({names}) \
         UNION ALL SELECT datname, oid FROM pg_database WHERE datname IN ({names})"
    );
    let rows = fetch_rows(&mut job.place.postgres.admin("postgres").await, query).await.unwrap();
    rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
}
