//! Executes plans: every step under a lock, read again before and after.

use std::{collections::BTreeSet, time::Duration};

use plan::{Action, Catalog, Desired, Ident, NewPassword, Plan, QualifiedName, Refused, Site};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error, PasswordMode, Sessions,
    error::{LOCK_NOT_AVAILABLE, Verdict},
    introspect::{self, Parts},
    lock::{lock_relations, who_is_busy},
};

/// The class of our advisory locks, `PGRV`; its object is 0. All operators use the same.
const LOCK: i32 = 1_346_851_414;

/// How the lock of a transaction is tried, and how it is waited for.
const TRANSACTION: [&str; 2] =
    ["SELECT pg_catalog.pg_try_advisory_xact_lock($1, 0)", "SELECT pg_catalog.pg_advisory_xact_lock($1, 0)"];

/// The same for the lock of a session.
const SESSION: [&str; 2] =
    ["SELECT pg_catalog.pg_try_advisory_lock($1, 0)", "SELECT pg_catalog.pg_advisory_lock($1, 0)"];

/// How often the lock is tried that nobody has when it is looked who has it.
const ATTEMPTS: u32 = 3;

/// Gives back whatever the session still holds.
const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";

/// For a transaction that changes what all databases share. Each of its statements may wait two seconds for somebody who
/// has the same row, and meanwhile nobody else can change roles or databases.
const SHARED: Duration = Duration::from_secs(30);

/// How long ended sessions may take to be gone.
const GOODBYE: Duration = Duration::from_secs(5);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(20);

/// What came of applying a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The actions that took effect, in order.
    pub done: Vec<Action>,
    /// How it ended.
    pub end: End,
}

/// How applying a plan ended. What was done before stays done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was done.
    Complete,
    /// What is there changed since it was read: plan again.
    Stale,
    /// Somebody else has these relations for itself: plan again, with them in
    /// [`Desired::busy`](plan::Desired::busy) if that goes on.
    Busy(BTreeSet<QualifiedName>),
    /// The server refused one statement for good; its transaction was rolled back. Plan again with it in
    /// [`Desired::refused`](plan::Desired::refused).
    Refused(Refused),
    /// These were still needed after they had succeeded; their transaction was rolled back.
    NotConverged(Vec<Action>),
}

/// Walks the steps until one does not come to its end.
pub(crate) async fn apply(
    sessions: &mut Sessions<'_>,
    desired: &Desired,
    plan: &Plan,
) -> Result<Applied, Error> {
    let mut done = Vec::new();
    let mut before = None;
    for step in plan.steps() {
        let site = step[0].site();
        let end = match step {
            [action] if !action.is_transactional() => alone(sessions, desired, action).await?,
            step => {
                // Where a long run in a database was cut, the last look at it has just been taken.
                let is_fresh = site != Site::Maintenance && before == Some(site);
                match site {
                    Site::Maintenance => shared(sessions, desired, step).await?,
                    Site::Database(_) => transaction(sessions, desired, (step, is_fresh)).await?,
                }
            }
        };
        match end {
            End::Complete => done.extend_from_slice(step),
            end => return Ok(Applied { done, end }),
        }
        before = Some(site);
    }
    Ok(Applied { done, end: End::Complete })
}

/// One step on what all databases share, in time or not at all: what was begun is undone with its connection.
async fn shared(sessions: &mut Sessions<'_>, desired: &Desired, step: &[Action]) -> Result<End, Error> {
    let work = timeout(SHARED, transaction(sessions, desired, (step, false))).await;
    work.unwrap_or(Err(Error::Held { seconds: SHARED.as_secs() }))
}

/// One step on the database that its site stands for, all or nothing.
async fn transaction(
    sessions: &mut Sessions<'_>,
    desired: &Desired,
    (step, is_fresh): (&[Action], bool),
) -> Result<End, Error> {
    let database = database(sessions, step[0].site());
    let set = sessions.set.clone();
    begin(sessions, &database).await?;
    let parts = match &sessions.parts {
        Some(parts) if is_fresh => parts.clone(),
        _ => read_again(sessions, desired, step[0].site()).await?,
    };
    let end = work(sessions, desired, (step, &database), &parts).await?;
    if end == End::Complete {
        // The transaction goes with its connection.
        sessions.check_licence()?;
    }
    let session = sessions.session(&database).await?;
    if end == End::Complete {
        return match session.execute("COMMIT").await {
            Ok(()) => Ok(end),
            Err(error) => {
                sessions.set = set;
                judge(sessions, last(step), error)
            }
        };
    }
    session.execute("ROLLBACK").await?;
    sessions.set = set;
    match end {
        End::Busy(_) => who_is_busy(sessions, &database, step).await,
        end => Ok(end),
    }
}

async fn work(
    sessions: &mut Sessions<'_>,
    desired: &Desired,
    (step, database): (&[Action], &Ident),
    parts: &Parts,
) -> Result<End, Error> {
    let site = step[0].site();
    let catalog = parts.catalog();
    let fresh = plan::plan(desired, &catalog);
    if !fresh.steps().find(|fresh| fresh[0].site() == site).is_some_and(|fresh| is_same(fresh, step)) {
        return Ok(End::Stale);
    }
    if let Some(end) = lock_relations(sessions, database, step).await? {
        return Ok(end);
    }
    for action in step {
        match perform(sessions, database, action).await {
            Ok(()) => (),
            Err(error) => return judge(sessions, action, error),
        }
        if is_laundered(sessions, desired, &catalog, (database, action)).await? {
            return Ok(End::Stale);
        }
    }
    let parts = read_again(sessions, desired, site).await?;
    let next = plan::plan(desired, &parts.catalog());
    // What was done to something that became somebody else's, or a superuser, in the moment between is undone.
    if next.refuses_more_than(&fresh) {
        return Ok(End::Stale);
    }
    let left: Vec<_> = next
        .actions
        .into_iter()
        // What came up meanwhile is for the next round.
        .filter(|left| left.site() == site && step.iter().any(|action| action.overlaps(left)))
        .collect();
    if !left.is_empty() {
        return Ok(End::NotConverged(left));
    }
    sessions.parts = Some(parts);
    Ok(End::Complete)
}

/// Begins a transaction and takes the lock.
async fn begin(sessions: &mut Sessions<'_>, database: &Ident) -> Result<(), Error> {
    let session = sessions.session(database).await?;
    session.settle().await?;
    session.execute("BEGIN").await?;
    take_lock(sessions, database, TRANSACTION).await?;
    // It may have been waited for.
    sessions.check_licence()
}

/// Takes the lock that keeps operators from doing the same at the same time. It is a courtesy among operators: any role
/// can hold it, so that a stranger who does is not waited for.
async fn take_lock(
    sessions: &mut Sessions<'_>,
    database: &Ident,
    [attempt, wait]: [&'static str; 2],
) -> Result<(), Error> {
    let admin = sessions.server.user.clone();
    let session = sessions.session(database).await?;
    for _ in 0..ATTEMPTS {
        if session.scalar(sqlx::query_scalar(attempt).bind(LOCK)).await? {
            return Ok(());
        }
        let query =
            sqlx::query_scalar::<_, String>(include_str!("introspect/holder.sql")).bind(i64::from(LOCK));
        let holders = session.scalars(query).await?;
        if holders.contains(&admin) {
            let lock = session.scalars::<()>(sqlx::query_scalar(wait).bind(LOCK)).await;
            return match lock {
                Err(error) if error.code() == Some(LOCK_NOT_AVAILABLE) => {
                    Err(Error::Locked { holder: admin })
                }
                lock => lock.map(|_| ()),
            };
        }
        if !holders.is_empty() {
            tracing::warn!(?holders, %database, "the lock of postgres-provisioner is held by a stranger: going on");
            return Ok(());
        }
    }
    tracing::warn!(%database, "the lock of postgres-provisioner is never free: going on");
    Ok(())
}

/// The part of the catalog that a transaction at this site can change and see.
async fn read_again(sessions: &mut Sessions<'_>, desired: &Desired, site: Site<'_>) -> Result<Parts, Error> {
    if sessions.parts.is_none() {
        sessions.read(desired).await?;
    }
    let mut parts = sessions.parts.clone().expect("it was read above");
    match site {
        Site::Maintenance => {
            let maintenance = sessions.server.maintenance.clone();
            parts.shared = sessions.shared(desired, &maintenance).await?;
        }
        Site::Database(database) => {
            if *database == desired.database {
                parts.shared = sessions.shared(desired, database).await?;
                parts.inside = Some(sessions.inside(desired).await?);
            }
            let concerned = introspect::concerned(desired, &parts.shared, parts.inside.as_ref());
            let others = sessions.others_in(&concerned, desired, database).await?;
            parts.others.replace(database, others);
        }
    }
    Ok(parts)
}

fn is_same(fresh: &[Action], step: &[Action]) -> bool {
    fresh.len() == step.len() && fresh.iter().zip(step).all(|(fresh, action)| fresh.is_same_statement(action))
}

async fn perform(sessions: &mut Sessions<'_>, database: &Ident, action: &Action) -> Result<(), Error> {
    check_form(sessions.server.passwords, action)?;
    let session = sessions.session(database).await?;
    if let Some(role) = action.as_role() {
        session.execute(format!("SET LOCAL ROLE {role}")).await?;
    }
    session.execute(action.statement()).await?;
    if action.as_role().is_some() {
        session.execute("RESET ROLE").await?;
    }
    if let Action::SetPassword { role, .. } = action {
        sessions.set.insert(role.clone());
    }
    Ok(())
}

/// Whether a role has slipped something in among what it was just made to give away.
async fn is_laundered(
    sessions: &mut Sessions<'_>,
    desired: &Desired,
    catalog: &Catalog,
    (database, action): (&Ident, &Action),
) -> Result<bool, Error> {
    let Action::ReassignOwned { role, to, .. } = action else { return Ok(false) };
    let limit = sessions.limit;
    let found = introspect::given(sessions.session(database).await?, (role, to), limit).await?;
    Ok(plan::is_laundered(desired, catalog, (role, to), (database, &found)))
}

/// A password goes out in clear only to a server that was said to need that.
fn check_form(mode: PasswordMode, action: &Action) -> Result<(), Error> {
    match (mode, action) {
        (PasswordMode::Verifier, Action::SetPassword { password: NewPassword::Plain(_), .. }) => {
            Err(Error::Bug("a plan has a password in clear for a server that takes verifiers".to_owned()))
        }
        _ => Ok(()),
    }
}

/// A statement that stands in no transaction with others, under a lock of the session.
async fn alone(sessions: &mut Sessions<'_>, desired: &Desired, action: &Action) -> Result<End, Error> {
    let maintenance = database(sessions, action.site());
    let session = sessions.session(&maintenance).await?;
    session.settle().await?;
    take_lock(sessions, &maintenance, SESSION).await?;
    // It cannot be undone: what it is about must still be what it was planned for.
    let parts = read_again(sessions, desired, action.site()).await?;
    if !plan::plan(desired, &parts.catalog()).actions.contains(action) {
        sessions.session(&maintenance).await?.execute(UNLOCK).await?;
        return Ok(End::Stale);
    }
    let silence = sessions.licence.silence();
    sessions.session(&maintenance).await?.prepare_slowly(silence).await?;
    sessions.check_licence()?;
    let session = sessions.session(&maintenance).await?;
    let result = session.execute_slowly(action.statement()).await;
    if let Ok(()) | Err(Error::Statement { .. }) = result {
        session.execute(UNLOCK).await?;
    }
    if let Err(error) = result {
        // Where the connection broke, the lock went with it.
        return judge(sessions, action, error);
    }
    match action {
        Action::TerminateSessions { role } if !are_gone(sessions, &maintenance, role).await? => {
            let message = "its sessions do not end".to_owned();
            Ok(End::Refused(Refused { action: action.clone(), message }))
        }
        _ => Ok(End::Complete),
    }
}

/// Ended sessions roll back first; false if that takes too long.
async fn are_gone(sessions: &mut Sessions<'_>, maintenance: &Ident, role: &Ident) -> Result<bool, Error> {
    let session = sessions.session(maintenance).await?;
    let start = Instant::now();
    loop {
        let query = sqlx::query_scalar::<_, i64>(include_str!("introspect/sessions.sql")).bind(role.as_str());
        if session.scalar(query).await? == 0 {
            return Ok(true);
        }
        if start.elapsed() > GOODBYE {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
}

/// What it means for the plan that this action failed.
fn judge(sessions: &mut Sessions<'_>, action: &Action, error: Error) -> Result<End, Error> {
    match error.verdict() {
        Verdict::Later => Err(error),
        Verdict::Moved => Ok(moved(sessions, action, &error)),
        Verdict::Never => Ok(refused(action, &error)),
    }
}

/// The first time it is a coincidence.
fn moved(sessions: &mut Sessions<'_>, action: &Action, error: &Error) -> End {
    if sessions.moved.contains(action) {
        return refused(action, error);
    }
    tracing::debug!(%action, %error, "something changed in between");
    sessions.moved.push(action.clone());
    End::Stale
}

fn refused(action: &Action, error: &Error) -> End {
    End::Refused(Refused { action: action.clone(), message: error.to_string() })
}

fn database(sessions: &Sessions<'_>, site: Site<'_>) -> Ident {
    match site {
        Site::Maintenance => sessions.server.maintenance.clone(),
        Site::Database(database) => database.clone(),
    }
}

fn last(step: &[Action]) -> &Action {
    step.last().expect("a step is not empty")
}
