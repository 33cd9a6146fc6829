//! What leaving roles, and readers that own something, have in the databases of a server.

use std::collections::BTreeMap;

use plan::{
    Access, Dependencies, Desired, Disposition, ExposedView, Ident, Marker, Oid, Origin, QualifiedName,
    Relation, RelationKind, Role, Routine,
};
use sqlx::types::Json;

use super::{
    Inside, Shared, roles,
    wire::{DependencyRow, OwnedReply, RoutineRow, ViewRow, event_triggers, ident},
};
use crate::{Error, session::Session};

const DEPENDENCIES: &str = include_str!("dependencies.sql");
const ROLE: &str = include_str!("role.sql");
const OWNED: &str = bounded!(
    "What a role has in a database",
    "$3",
    "WITH RECURSIVE ",
    include_str!("event_triggers.sql"),
    include_str!("owned.sql"),
);

/// What roles have, and the roles that this names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    pub(crate) dependencies: BTreeMap<Oid, BTreeMap<Ident, Dependencies>>,
    pub(crate) roles: BTreeMap<Oid, Role>,
}

/// A role whose dependencies matter.
#[derive(Clone, Debug)]
pub(crate) struct Concerned {
    pub(crate) name: Ident,
    /// Whether in all databases; else in the one at hand.
    pub(crate) everywhere: bool,
}

impl Others {
    /// Takes what another reading says of one database.
    pub(crate) fn replace(&mut self, database: &Ident, other: Self) {
        for found in self.dependencies.values_mut() {
            found.remove(database);
        }
        for (role, mut found) in other.dependencies {
            if let Some(found) = found.remove(database) {
                self.dependencies.entry(role).or_default().insert(database.clone(), found);
            }
        }
        self.dependencies.retain(|_, found| !found.is_empty());
        self.roles.extend(other.roles);
    }
}

/// Roles that leave the server, roles that leave this database, and readers that own something in it.
pub(crate) fn concerned(
    desired: &Desired,
    shared: &Shared,
    inside: Option<&Inside>,
) -> BTreeMap<Oid, Concerned> {
    let everywhere = |name: &Ident| match desired.leaving.get(name)?.disposition {
        Disposition::Drop | Disposition::DropIfCreated => Some(true),
        Disposition::Detach => Some(false),
        Disposition::Release => None,
    };
    // One that was adopted keeps what it has.
    let is_reader = |role: &Role| {
        let origin =
            role.comment.as_deref().and_then(Marker::of).map_or(Origin::Created, |found| found.origin);
        let grantee = desired.grantees.get(&role.name);
        grantee.is_some_and(|grantee| grantee.access == Access::Read && grantee.prune.is_exact(origin))
    };
    let owns = |oid: &Oid| inside.is_some_and(|inside| inside.contents.owners.contains(oid));
    let concern = |(oid, role): (&Oid, &Role)| {
        let reader = || (is_reader(role) && owns(oid)).then_some(false);
        let everywhere = everywhere(&role.name).or_else(reader)?;
        Some((*oid, Concerned { name: role.name.clone(), everywhere }))
    };
    shared.roles.iter().filter_map(concern).collect()
}

/// In which databases they have something, read in any; what exactly is left open. A role that has something on
/// shared objects only has it in the maintenance database, from where DROP OWNED reaches it.
pub(crate) async fn dependencies(
    session: &mut Session,
    concerned: &BTreeMap<Oid, Concerned>,
    (maintenance, here): (&Ident, &Ident),
) -> Result<BTreeMap<Oid, BTreeMap<Ident, Dependencies>>, Error> {
    let asked: Vec<_> = concerned.values().map(|role| role.name.as_str()).collect();
    let query = sqlx::query_scalar(DEPENDENCIES).bind(asked).bind(maintenance.as_str()).bind(here.as_str());
    let rows = session.scalars::<Json<DependencyRow>>(query).await?;
    Ok(decode(rows.into_iter().map(|Json(row)| row), concerned, here))
}

pub(super) fn decode(
    rows: impl Iterator<Item = DependencyRow>,
    concerned: &BTreeMap<Oid, Concerned>,
    here: &Ident,
) -> BTreeMap<Oid, BTreeMap<Ident, Dependencies>> {
    let mut found: BTreeMap<Oid, BTreeMap<_, _>> = BTreeMap::new();
    // Shared objects come last.
    for row in rows {
        let (role, is_shared, database, allow_connections, database_owner, owns, named) = row;
        let (role, Some(database)) = (Oid(role), ident(&database)) else { continue };
        let Some(concerned) = concerned.get(&role) else { continue };
        // What is shared goes with the first database that the role is dropped from, whichever that is.
        let is_covered = is_shared && found.contains_key(&role);
        let is_here = !is_shared && database == *here;
        if (concerned.everywhere && !is_covered) || is_here {
            let database_owner = database_owner.and_then(|(oid, name)| Some((Oid(oid), ident(&name)?)));
            let blank =
                Dependencies { allow_connections, database_owner, owns, named, ..Dependencies::default() };
            found.entry(role).or_default().insert(database, blank);
        }
    }
    found
}

/// Fills in what the role owns in the session's database, and what would run when that changes; names the roles that
/// this refers to.
pub(crate) async fn owned(
    session: &mut Session,
    (role, limit): (Oid, u32),
    found: &mut Dependencies,
) -> Result<BTreeMap<Oid, Role>, Error> {
    let role = i64::from(role.0);
    let query = sqlx::query_as(OWNED).bind(role).bind(role);
    let reply = session.document(limit, query).await?;
    Ok(fill(found, &reply))
}

/// The same of what the session's transaction has taken from one role and given to another.
pub(crate) async fn given(
    session: &mut Session,
    (role, to): (&Ident, &Ident),
    limit: u32,
) -> Result<Dependencies, Error> {
    let query = |name: &str| sqlx::query_scalar::<_, i64>(ROLE).bind(name.to_owned());
    let (from, to) = (session.scalar(query(role.as_str())).await?, session.scalar(query(to.as_str())).await?);
    let reply = session.document(limit, sqlx::query_as(OWNED).bind(to).bind(from)).await?;
    let mut found = Dependencies::default();
    fill(&mut found, &reply);
    Ok(found)
}

pub(super) fn fill(found: &mut Dependencies, reply: &OwnedReply) -> BTreeMap<Oid, Role> {
    let routines = reply.definer_routines.iter().flatten().map(routine);
    let views = reply.definer_views.iter().flatten().map(view);
    let armed = reply.armed_relations.iter().flatten().map(view);
    let lent = reply.lent_relations.iter().flatten().map(view);
    let temporary = reply.temporary_relations.iter().flatten().map(view);
    let overreaching = reply.overreaching_views.iter().flatten().map(view);
    let exposed = reply
        .exposed_views
        .iter()
        .flatten()
        .map(|(row, grantee)| Some(ExposedView { view: view(row)?, grantee: Oid(*grantee) }));
    found.unnameable = [
        take(routines, &mut found.definer_routines),
        take(views, &mut found.definer_views),
        take(armed, &mut found.armed_relations),
        take(lent, &mut found.lent_relations),
        take(temporary, &mut found.temporary_relations),
        take(overreaching, &mut found.overreaching_views),
        take(exposed, &mut found.exposed),
    ]
    .contains(&false);
    found.routine_schemas = reply.routine_schemas.iter().flatten().filter_map(|name| ident(name)).collect();
    found.definer_routines.sort_unstable();
    found.definer_views.sort_unstable();
    found.armed_relations.sort_unstable();
    found.lent_relations.sort_unstable();
    found.temporary_relations.sort_unstable();
    found.overreaching_views.sort_unstable();
    found.exposed.sort_unstable();
    found.subscriptions = reply.subscriptions.clone().unwrap_or_default();
    found.event_triggers = event_triggers(reply.event_triggers.as_ref());
    roles(reply.roles.as_ref())
}

/// Collects what has a name; false if something has none.
fn take<T>(rows: impl Iterator<Item = Option<T>>, into: &mut Vec<T>) -> bool {
    let (mut all, mut named) = (0, 0);
    into.extend(rows.inspect(|_| all += 1).flatten().inspect(|_| named += 1));
    all == named
}

fn routine((schema, name, arguments): &RoutineRow) -> Option<Routine> {
    let arguments = arguments.iter().flatten().map(|(schema, name)| qualified(schema, name));
    Some(Routine { name: qualified(schema, name)?, arguments: arguments.collect::<Option<_>>()? })
}

fn view((schema, name, kind): &ViewRow) -> Option<Relation> {
    Some(Relation { name: qualified(schema, name)?, kind: RelationKind::from_char(*kind)? })
}

fn qualified(schema: &str, name: &str) -> Option<QualifiedName> {
    Some(QualifiedName { schema: ident(schema)?, name: ident(name)? })
}
