//! Locks on relations before their privileges change, so that nobody's DDL fails for it.

use std::{collections::BTreeSet, time::Duration};

use plan::{Action, Ident, QualifiedName, Relation, Site};
use sqlx::types::Json;

use crate::{Error, Sessions, apply::End, error::LOCK_NOT_AVAILABLE, session::Session};

/// How long to wait for a lock while holding others: `deadlock_timeout`, after which a tenant that waits for one of
/// ours looks for a deadlock and may be the one to lose, is a second.
const PATIENCE: Duration = Duration::from_millis(10);

/// The same for changes of ownership, which have to wait for readers.
const REASSIGN_PATIENCE: Duration = Duration::from_millis(100);

/// The name of the statement that is never run.
const LOCKS: &str = "postgres_provisioner_locks";

/// All relations of the step, before any of them is changed; an end if that cannot be. Whoever waits for one lock while
/// holding another can stop a tenant's transaction with a deadlock: tables are locked at once or not at all, and for
/// what cannot be locked so we wait less than anyone waits before looking for a deadlock.
pub(crate) async fn lock_relations(
    sessions: &mut Sessions<'_>,
    database: &Ident,
    step: &[Action],
) -> Result<Option<End>, Error> {
    if step[0].site() == Site::Maintenance {
        return Ok(None);
    }
    let relations: BTreeSet<_> = step.iter().flat_map(Action::relations).collect();
    let (tables, mut others): (Vec<_>, Vec<_>) =
        relations.into_iter().partition(|relation| relation.kind.is_lockable());
    let session = sessions.session(database).await?;
    let patience = if step.iter().any(takes_exclusive_locks) { REASSIGN_PATIENCE } else { PATIENCE };
    session.execute(format!("SET LOCAL lock_timeout = '{}ms'", patience.as_millis())).await?;
    if !tables.is_empty() {
        match locked(session, Lock::ByName, &tables).await? {
            Locked::Yes => (),
            Locked::No(end) => return Ok(Some(end)),
            // Of a table that its owner may not read, for one, where the admin role is not superuser.
            Locked::Refused => others.extend(tables),
        }
    }
    if !others.is_empty()
        && let Locked::No(end) = locked(session, Lock::ByParsing, &others).await?
    {
        return Ok(Some(end));
    }
    Ok(None)
}

/// How relations are locked.
#[derive(Clone, Copy)]
enum Lock {
    /// By LOCK TABLE, which knows tables only and asks for a right to read them.
    ByName,
    /// By a statement that is parsed: that locks what it names until the end of the transaction, whatever it is. EXPLAIN
    /// is not even rewritten before it runs, and it does not run: no view is followed to what it reads, nothing is
    /// evaluated and no foreign server is asked.
    ByParsing,
}

/// What became of locking.
enum Locked {
    Yes,
    /// Somebody has one of them, or it is gone.
    No(End),
    /// The server does not do it. Nothing depends on it but the statements of whoever changes one of these right now.
    Refused,
}

async fn locked(session: &mut Session, lock: Lock, relations: &[&Relation]) -> Result<Locked, Error> {
    let list = |prefix: &str| {
        relations.iter().map(|relation| format!("{prefix}{relation}")).collect::<Vec<_>>().join(", ")
    };
    session.execute(format!("SAVEPOINT {LOCKS}")).await?;
    let answer = match lock {
        Lock::ByName => {
            session.execute(format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", list("ONLY "))).await
        }
        Lock::ByParsing => session.parse(format!("EXPLAIN SELECT FROM {}", list(""))).await,
    };
    match answer {
        Ok(()) => Ok(Locked::Yes),
        Err(Error::Statement { code, message, .. }) => match code.as_str() {
            LOCK_NOT_AVAILABLE => Ok(Locked::No(End::Busy(BTreeSet::new()))),
            "42P01" | "3F000" => Ok(Locked::No(End::Stale)),
            _ => {
                tracing::debug!(code, message, "not locked");
                session.execute(format!("ROLLBACK TO {LOCKS}")).await?;
                Ok(Locked::Refused)
            }
        },
        Err(error) => Err(error),
    }
}

/// Whether the action needs relations for itself, and has to wait until those who read them are done.
fn takes_exclusive_locks(action: &Action) -> bool {
    matches!(action, Action::ReassignOwned { .. } | Action::SetViewInvoker { .. } | Action::DropOwned { .. })
}

/// Which of the step's relations somebody has for itself; all may be free by now.
pub(crate) async fn who_is_busy(
    sessions: &mut Sessions<'_>,
    database: &Ident,
    step: &[Action],
) -> Result<End, Error> {
    let relations = step.iter().flat_map(Action::relations).map(|relation| &relation.name);
    let (schemas, names): (Vec<_>, Vec<_>) =
        relations.clone().map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
    let query = sqlx::query_scalar(include_str!("introspect/busy.sql")).bind(schemas).bind(names);
    let found = sessions.session(database).await?.scalars::<Json<(String, String)>>(query).await?;
    let found: BTreeSet<_> = found.into_iter().map(|Json(name)| name).collect();
    let is_busy = |name: &&QualifiedName| {
        found.contains(&(name.schema.as_str().to_owned(), name.name.as_str().to_owned()))
    };
    let busy: BTreeSet<_> = relations.filter(is_busy).cloned().collect();
    Ok(if busy.is_empty() { End::Stale } else { End::Busy(busy) })
}
