//! What a server does to its catalog.

use std::collections::BTreeSet;

use super::lists::{forget, give, hand_over, item, moved, take};
use super::privileges::{alter_default, close_view, each_acl, take_columns};
use crate::{
    Acl, AclId, Action, Catalog, Contents, Database, Ident, Membership, Oid, PasswordState, Privilege,
    Privileges, Recipient, Role, Schema, Target,
};

/// The superuser that `initdb` made.
const BOOTSTRAP: Oid = Oid(10);

/// Does to `catalog`, which shows `database`, what a server does when a superuser runs the action.
///
/// # Panics
///
/// If the action names a role, schema or relation that the catalog lacks: a server would refuse it.
pub fn simulate(catalog: &mut Catalog, database: &Ident, action: &Action) {
    match action {
        Action::CreateRole { role } => create_role(catalog, role),
        Action::RevokeLogin { role } => role_mut(catalog, role).login = false,
        Action::GrantLogin { role } => role_mut(catalog, role).login = true,
        Action::TerminateSessions { role } => role_mut(catalog, role).sessions = 0,
        Action::CommentOnRole { role, comment } => role_mut(catalog, role).comment = Some(comment.clone()),
        Action::RevokeCreateDb { role } => role_mut(catalog, role).create_db = false,
        Action::ClearExpiry { role } => role_mut(catalog, role).expires = false,
        Action::SetPassword { role, .. } => role_mut(catalog, role).password = PasswordState::Matches,
        Action::GrantMembership { role, member, .. } => grant_membership(catalog, role, member),
        Action::DropRole { role } => drop_role(catalog, role),
        Action::CreateDatabase { database, owner, .. } => create_database(catalog, database, owner),
        Action::DropInvalidDatabase { .. } => drop_database(catalog),
        Action::AlterDatabaseOwner { database, owner } => alter_owner(catalog, database, owner),
        Action::CommentOnDatabase { comment, .. } => database_mut(catalog).comment = Some(comment.clone()),
        Action::AllowConnections { .. } => allow_connections(catalog),
        Action::Grant { target, privileges, to, .. } => {
            let change = |acl: &mut Acl, owner, grantee| give(acl, owner, grantee, *privileges);
            each_acl(catalog, target, &change, to);
        }
        Action::Revoke { target, privileges, taken, from, grantor, .. } => {
            let grantor = grantor.as_ref().map(|grantor| oid(catalog, grantor));
            let database_owner = catalog.database.as_ref().map(|found| found.owner);
            let stand_in = catalog.role_oid(&"pg_database_owner".parse().expect("a short name"));
            let change = |acl: &mut Acl, owner: Oid, grantee| {
                let is_behind = stand_in == Some(owner) && grantor == database_owner;
                let grantor = grantor.filter(|_| !is_behind).unwrap_or(owner);
                take(acl, owner, (grantor, grantee), (*privileges, *taken));
            };
            each_acl(catalog, target, &change, from);
            let grantees: Vec<_> = from.iter().map(|from| recipient(catalog, from)).collect();
            take_columns(contents_if_any(catalog), target, (grantor, &grantees), (*privileges, *taken));
        }
        Action::AlterDefaultPrivileges {
            creators, schemas, object, change, privileges, recipients, ..
        } => {
            let schemas = schema_oids(catalog, schemas);
            for creator in creators.iter().map(|creator| oid(catalog, creator)).collect::<Vec<_>>() {
                for schema in &schemas {
                    for grantee in recipients.iter().map(|to| recipient(catalog, to)).collect::<Vec<_>>() {
                        alter_default(catalog, (creator, *schema, *object), *change, grantee, *privileges);
                    }
                }
            }
        }
        Action::SetRoutineInvoker { database, role, routine } => {
            let found = dependencies_mut(catalog, role, database);
            found.definer_routines.retain(|present| present != routine);
        }
        Action::SetViewInvoker { database, role, view } => {
            dependencies_mut(catalog, role, database).definer_views.retain(|present| present != view);
        }
        Action::CloseView { database: place, role, view, from } => {
            let grantee = recipient(catalog, from);
            let found = dependencies_mut(catalog, role, place);
            found.exposed.retain(|exposed| exposed.view != *view || exposed.grantee != grantee);
            if place == database {
                close_view(catalog, view, grantee);
            }
        }
        Action::AdmitHeir { database: place, schema, heir, .. } if place == database => {
            let create = Privileges::of(&[Privilege::Create]);
            let change = |acl: &mut Acl, owner, grantee| give(acl, owner, grantee, create);
            let target = Target::Schemas(vec![schema.clone()]);
            each_acl(catalog, &target, &change, &[Recipient::Role(heir.clone())]);
        }
        Action::AdmitHeir { .. } => (),
        Action::ReassignOwned { database: place, role, to } => {
            reassign(catalog, place == database, place, role, to);
        }
        Action::DropOwned { database: place, role } => drop_owned(catalog, place == database, place, role),
    }
}

fn create_role(catalog: &mut Catalog, name: &Ident) {
    assert!(catalog.role_oid(name).is_none(), "role {name} already exists");
    let oid = next_oid(catalog);
    let role = Role {
        name: name.clone(),
        superuser: false,
        inherit: true,
        create_role: false,
        create_db: false,
        login: false,
        replication: false,
        bypass_rls: false,
        expires: false,
        comment: None,
        password: PasswordState::Absent,
        sessions: 0,
        owned_databases: BTreeSet::new(),
    };
    catalog.roles.insert(oid, role);
    let admin = catalog.server.admin;
    if catalog.server.version.major() >= 16 && !catalog.roles[&admin].superuser {
        // Whoever makes a role without being superuser may administer it, and no more.
        let (role, member, grantor) = (oid, admin, bootstrap(catalog));
        catalog.memberships.push(Membership {
            role,
            member,
            grantor,
            admin: true,
            inherit: false,
            set: false,
        });
    }
}

fn next_oid(catalog: &Catalog) -> Oid {
    let database = catalog.database.as_ref().map(|database| database.oid);
    let schemas = catalog.contents.iter().flat_map(|contents| contents.schemas.keys().copied());
    let highest = catalog.roles.keys().copied().chain(database).chain(schemas).max().unwrap_or_default();
    Oid(highest.0.max(16_383) + 1)
}

fn grant_membership(catalog: &mut Catalog, role: &Ident, member: &Ident) {
    let (role, member) = (oid(catalog, role), oid(catalog, member));
    let grantor = catalog.server.admin;
    let is_row =
        |found: &&mut Membership| (found.role, found.member, found.grantor) == (role, member, grantor);
    match catalog.memberships.iter_mut().find(is_row) {
        Some(present) => (present.inherit, present.set) = (true, true),
        None => {
            catalog.memberships.push(Membership {
                role,
                member,
                grantor,
                admin: false,
                inherit: true,
                set: true,
            });
        }
    }
}

fn drop_role(catalog: &mut Catalog, role: &Ident) {
    let oid = oid(catalog, role);
    let rest = catalog.dependencies.remove(&oid).unwrap_or_default();
    assert!(
        rest.values().all(|found| !found.owns && !found.named),
        "role {role} cannot be dropped: {rest:?}"
    );
    catalog.memberships.retain(|found| found.role != oid && found.member != oid);
    catalog.roles.remove(&oid);
}

fn create_database(catalog: &mut Catalog, name: &Ident, owner: &Ident) {
    assert!(catalog.database.is_none(), "database already exists");
    role_mut(catalog, owner).owned_databases.insert(name.clone());
    let owner = oid(catalog, owner);
    let enter = Privileges::of(&[Privilege::Connect, Privilege::Temporary]);
    let all = enter.union(Privileges::of(&[Privilege::Create]));
    let acl = Acl(vec![item(Oid::PUBLIC, owner, enter), item(owner, owner, all)]);
    let oid = next_oid(catalog);
    catalog.database =
        Some(Database { oid, owner, acl, allow_connections: false, invalid: false, comment: None });
    catalog.contents = None;
}

fn drop_database(catalog: &mut Catalog) {
    catalog.database = None;
    catalog.contents = None;
}

fn alter_owner(catalog: &mut Catalog, name: &Ident, owner: &Ident) {
    let before = database_mut(catalog).owner;
    catalog.roles.get_mut(&before).map(|role| role.owned_databases.remove(name));
    role_mut(catalog, owner).owned_databases.insert(name.clone());
    let after = oid(catalog, owner);
    let database = database_mut(catalog);
    database.owner = after;
    hand_over(&mut database.acl, before, after);
}

/// A new database has the schema `public`, which belongs to whoever owns the database, or to a superuser.
fn allow_connections(catalog: &mut Catalog) {
    database_mut(catalog).allow_connections = true;
    if catalog.contents.is_some() {
        return;
    }
    let is_old = catalog.server.version.major() <= 14;
    let owner = if is_old { bootstrap(catalog) } else { pg_database_owner(catalog) };
    let usage = Privileges::of(&[Privilege::Usage]);
    let create = usage.union(Privileges::of(&[Privilege::Create]));
    let public = if is_old { create } else { usage };
    let acl = Acl(vec![item(Oid::PUBLIC, owner, public), item(owner, owner, create)]);
    let schema = Schema { name: "public".parse().expect("a short name"), owner, acl: AclId(0) };
    let schemas = [(Oid(2200), schema)].into();
    catalog.contents = Some(Contents { schemas, acls: vec![acl], ..Contents::default() });
}

/// Who it is, a catalog need not know.
fn bootstrap(catalog: &mut Catalog) -> Oid {
    let known = catalog.roles.values().next().expect("the admin role is known").clone();
    let name = "postgres".parse().expect("a short name");
    catalog.roles.entry(BOOTSTRAP).or_insert_with(|| Role { name, superuser: true, ..known });
    BOOTSTRAP
}

fn pg_database_owner(catalog: &mut Catalog) -> Oid {
    let name: Ident = "pg_database_owner".parse().expect("a short name");
    if catalog.role_oid(&name).is_none() {
        create_role(catalog, &name);
    }
    oid(catalog, &name)
}

fn reassign(catalog: &mut Catalog, is_here: bool, place: &Ident, role: &Ident, to: &Ident) {
    let (before, after) = (oid(catalog, role), oid(catalog, to));
    if let Some(found) = catalog.dependencies.get_mut(&before).and_then(|databases| databases.get_mut(place))
    {
        found.owns = false;
        found.definer_routines.clear();
        found.definer_views.clear();
        found.armed_relations.clear();
        found.lent_relations.clear();
        found.subscriptions.clear();
        found.temporary_relations.clear();
        found.overreaching_views.clear();
        found.exposed.clear();
    }
    let Some(contents) = catalog.contents.as_mut().filter(|_| is_here) else { return };
    for schema in contents.schemas.values_mut().filter(|schema| schema.owner == before) {
        schema.owner = after;
        schema.acl = handed_over(&mut contents.acls, schema.acl, before, after);
    }
    for group in
        contents.relations.iter_mut().chain(&mut contents.extensions).filter(|group| group.owner == before)
    {
        group.owner = after;
        group.acl = handed_over(&mut contents.acls, group.acl, before, after);
    }
    for found in contents.columns.iter_mut().filter(|found| found.owner == before) {
        found.owner = after;
        found.item.grantor = moved(found.item.grantor, before, after);
        found.item.grantee = moved(found.item.grantee, before, after);
    }
    contents.owners.remove(&before);
    for trigger in &mut contents.event_triggers {
        trigger.owner = moved(trigger.owner, before, after);
        trigger.function_owner = moved(trigger.function_owner, before, after);
    }
}

fn drop_owned(catalog: &mut Catalog, is_here: bool, place: &Ident, role: &Ident) {
    let gone = oid(catalog, role);
    if let Some(databases) = catalog.dependencies.get_mut(&gone) {
        assert!(
            databases.get(place).is_none_or(|found| !found.owns),
            "DROP OWNED would drop what {role} owns"
        );
        databases.remove(place);
    }
    if let Some(database) = &mut catalog.database {
        forget(&mut database.acl, database.owner, gone);
    }
    let Some(contents) = catalog.contents.as_mut().filter(|_| is_here) else { return };
    let without = |acls: &mut Vec<Acl>, id: AclId, owner: Oid| {
        let mut acl = acls[id.0].clone();
        forget(&mut acl, owner, gone);
        acls.push(acl);
        AclId(acls.len() - 1)
    };
    for schema in contents.schemas.values_mut() {
        schema.acl = without(&mut contents.acls, schema.acl, schema.owner);
    }
    for group in contents.relations.iter_mut().chain(&mut contents.extensions) {
        group.acl = without(&mut contents.acls, group.acl, group.owner);
    }
    contents.columns.retain(|found| found.item.grantee != gone && found.item.grantor != gone);
    contents.defaults.iter_mut().for_each(|row| forget(&mut row.acl, row.creator, gone));
    contents
        .defaults
        .retain(|row| row.creator != gone && row.acl.0.iter().any(|item| item.grantee != row.creator));
}

fn handed_over(acls: &mut Vec<Acl>, id: AclId, before: Oid, after: Oid) -> AclId {
    let mut acl = acls[id.0].clone();
    hand_over(&mut acl, before, after);
    acls.push(acl);
    AclId(acls.len() - 1)
}

pub(super) fn recipient(catalog: &Catalog, to: &Recipient) -> Oid {
    to.role().map_or(Oid::PUBLIC, |role| oid(catalog, role))
}

fn oid(catalog: &Catalog, role: &Ident) -> Oid {
    catalog.role_oid(role).unwrap_or_else(|| panic!("role {role} does not exist"))
}

fn role_mut<'a>(catalog: &'a mut Catalog, role: &Ident) -> &'a mut Role {
    let oid = oid(catalog, role);
    catalog.roles.get_mut(&oid).expect("just found")
}

pub(super) fn database_mut(catalog: &mut Catalog) -> &mut Database {
    catalog.database.as_mut().expect("the database exists")
}

fn contents_if_any(catalog: &mut Catalog) -> Option<&mut Contents> {
    catalog.contents.as_mut()
}

pub(super) fn contents_mut(catalog: &mut Catalog) -> &mut Contents {
    catalog.contents.as_mut().expect("the database can be entered")
}

fn dependencies_mut<'a>(
    catalog: &'a mut Catalog,
    role: &Ident,
    place: &Ident,
) -> &'a mut crate::Dependencies {
    let oid = oid(catalog, role);
    catalog.dependencies.entry(oid).or_default().entry(place.clone()).or_default()
}

/// The numbers of these schemas; one `None` for no schema, which means all.
pub(super) fn schema_oids(catalog: &Catalog, names: &[Ident]) -> Vec<Option<Oid>> {
    if names.is_empty() {
        return vec![None];
    }
    let contents = catalog.contents.as_ref().expect("the database can be entered");
    let oid = |name: &Ident| {
        let found = contents.schemas.iter().find(|(_, schema)| schema.name == *name);
        Some(*found.unwrap_or_else(|| panic!("schema {name} does not exist")).0)
    };
    names.iter().map(oid).collect()
}
