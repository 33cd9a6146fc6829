//! What a server does to its catalog.

use std::collections::BTreeSet;

use super::lists::{forget, give, hand_over, item, owned, take, take_from};
use crate::{
    Acl, AclId, Action, Catalog, Contents, Database, DefaultAcl, DefaultChange, DefaultObject, Ident,
    Membership, Oid, PasswordState, Privilege, Privileges, Recipient, Relation, RelationGroup, RelationKind,
    Role, Schema, Taken, Target,
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
        Action::SetVerifier { role, .. } => role_mut(catalog, role).password = PasswordState::Matches,
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
            let change = |acl: &mut Acl, owner: Oid, grantee| {
                take(acl, owner, (grantor.unwrap_or(owner), grantee), (*privileges, *taken));
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
                        alter_default(
                            contents_mut(catalog),
                            (creator, *schema, *object),
                            *change,
                            grantee,
                            *privileges,
                        );
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
        Action::CloseView { database, role, view, from } => {
            let grantee = recipient(catalog, from);
            let found = dependencies_mut(catalog, role, database);
            found.exposed.retain(|exposed| exposed.view != *view || exposed.grantee != grantee);
        }
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
        let (role, member, grantor) = (oid, admin, BOOTSTRAP);
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
    let owner = if is_old { catalog.server.admin } else { pg_database_owner(catalog) };
    let usage = Privileges::of(&[Privilege::Usage]);
    let create = usage.union(Privileges::of(&[Privilege::Create]));
    let public = if is_old { create } else { usage };
    let acl = Acl(vec![item(Oid::PUBLIC, owner, public), item(owner, owner, create)]);
    let schema = Schema { name: "public".parse().expect("a short name"), owner, acl: AclId(0) };
    let schemas = [(Oid(2200), schema)].into();
    catalog.contents = Some(Contents { schemas, acls: vec![acl], ..Contents::default() });
}

fn pg_database_owner(catalog: &mut Catalog) -> Oid {
    let name: Ident = "pg_database_owner".parse().expect("a short name");
    if catalog.role_oid(&name).is_none() {
        create_role(catalog, &name);
    }
    oid(catalog, &name)
}

/// Calls `change` for every list of the target and every recipient, with the owner.
fn each_acl(
    catalog: &mut Catalog,
    target: &Target,
    change: &dyn Fn(&mut Acl, Oid, Oid),
    recipients: &[Recipient],
) {
    let grantees: Vec<_> = recipients.iter().map(|to| recipient(catalog, to)).collect();
    let apply = |acl: &mut Acl, owner: Oid| {
        for grantee in &grantees {
            change(acl, owner, *grantee);
        }
        acl.0.sort_unstable();
    };
    match target {
        Target::Database => {
            let database = database_mut(catalog);
            apply(&mut database.acl, database.owner);
        }
        Target::Schemas(names) => {
            for oid in schema_oids(catalog, names).into_iter().flatten() {
                let contents = contents_mut(catalog);
                let schema = contents.schemas[&oid].clone();
                let mut acl = contents.acl(schema.acl).clone();
                apply(&mut acl, schema.owner);
                let id = intern(contents, acl);
                contents.schemas.get_mut(&oid).expect("just read").acl = id;
            }
        }
        Target::Tables(relations) | Target::Sequences(relations) => {
            for relation in relations {
                let (group, contents, is_extensions) = take_out(catalog, relation);
                let mut acl = contents.acl(group.acl).clone();
                apply(&mut acl, group.owner);
                let acl = intern(contents, acl);
                let groups = if is_extensions { &mut contents.extensions } else { &mut contents.relations };
                put_in(groups, RelationGroup { acl, ..group });
            }
        }
        Target::Columns(..) => (),
    }
}

/// What REVOKE takes of columns: of those it names, and of all columns of the tables it names.
fn take_columns(
    contents: Option<&mut Contents>,
    target: &Target,
    (grantor, grantees): (Option<Oid>, &[Oid]),
    (privileges, taken): (Privileges, Taken),
) {
    let Some(contents) = contents else { return };
    for found in &mut contents.columns {
        let is_meant = match target {
            Target::Tables(relations) => relations.iter().any(|one| one.name == found.relation.name),
            Target::Columns(relation, columns) => {
                relation.name == found.relation.name && columns.contains(&found.column)
            }
            Target::Database | Target::Schemas(_) | Target::Sequences(_) => false,
        };
        if is_meant
            && grantees.contains(&found.item.grantee)
            && found.item.grantor == grantor.unwrap_or(found.owner)
        {
            take_from(&mut found.item, privileges, taken);
        }
    }
    contents.columns.retain(|found| !found.item.privileges.is_empty());
}

/// The relation alone, and whether it is an extension's.
fn take_out<'a>(catalog: &'a mut Catalog, relation: &Relation) -> (RelationGroup, &'a mut Contents, bool) {
    let schema = schema_oids(catalog, std::slice::from_ref(&relation.name.schema))[0];
    let contents = contents_mut(catalog);
    let is_sequence = relation.kind == RelationKind::Sequence;
    let is_it = |group: &RelationGroup| {
        Some(group.schema) == schema
            && (group.kind == RelationKind::Sequence) == is_sequence
            && group.names.contains(&relation.name.name)
    };
    let is_extensions = contents.extensions.iter().any(is_it);
    let groups = if is_extensions { &mut contents.extensions } else { &mut contents.relations };
    let group = groups
        .iter_mut()
        .find(|group| is_it(group))
        .unwrap_or_else(|| panic!("relation {relation} does not exist"));
    group.names.retain(|name| *name != relation.name.name);
    let taken = RelationGroup { names: vec![relation.name.name.clone()], ..group.clone() };
    groups.retain(|group| !group.names.is_empty());
    (taken, contents, is_extensions)
}

fn put_in(groups: &mut Vec<RelationGroup>, group: RelationGroup) {
    let alike = |present: &&mut RelationGroup| {
        (present.schema, present.kind, present.owner, present.acl)
            == (group.schema, group.kind, group.owner, group.acl)
    };
    match groups.iter_mut().find(alike) {
        Some(present) => present.names.extend(group.names),
        None => groups.push(group),
    }
}

fn intern(contents: &mut Contents, acl: Acl) -> AclId {
    let present = contents.acls.iter().position(|present| *present == acl);
    AclId(present.unwrap_or_else(|| {
        contents.acls.push(acl);
        contents.acls.len() - 1
    }))
}

fn alter_default(
    contents: &mut Contents,
    (creator, schema, object): (Oid, Option<Oid>, DefaultObject),
    change: DefaultChange,
    grantee: Oid,
    privileges: Privileges,
) {
    let is_row = |row: &DefaultAcl| (row.creator, row.schema, row.object) == (creator, schema, object);
    if !contents.defaults.iter().any(is_row) {
        // A global entry replaces the built-in default, and begins as that.
        let own = item(creator, creator, owned(object));
        let acl = Acl(schema.is_none().then_some(own).into_iter().collect());
        contents.defaults.push(DefaultAcl { creator, schema, object, acl });
    }
    let row = contents.defaults.iter_mut().find(|row| is_row(row)).expect("just made");
    match change {
        DefaultChange::Grant => give(&mut row.acl, creator, grantee, privileges),
        DefaultChange::Revoke => {
            take(&mut row.acl, creator, (creator, grantee), (privileges, Taken::WithDependents));
        }
        DefaultChange::RevokeGrantOption => {
            take(&mut row.acl, creator, (creator, grantee), (privileges, Taken::GrantOption));
        }
    }
    contents.defaults.retain(|row| row.acl.0.iter().any(|item| item.grantee != row.creator));
}

fn reassign(catalog: &mut Catalog, is_here: bool, place: &Ident, role: &Ident, to: &Ident) {
    let (before, after) = (oid(catalog, role), oid(catalog, to));
    if let Some(found) = catalog.dependencies.get_mut(&before).and_then(|databases| databases.get_mut(place))
    {
        found.owns = false;
        found.definer_routines.clear();
        found.definer_views.clear();
        found.exposed.clear();
    }
    let Some(contents) = catalog.contents.as_mut().filter(|_| is_here) else { return };
    for schema in contents.schemas.values_mut().filter(|schema| schema.owner == before) {
        schema.owner = after;
        schema.acl = handed_over(&mut contents.acls, schema.acl, before, after);
    }
    for group in contents.relations.iter_mut().filter(|group| group.owner == before) {
        group.owner = after;
        group.acl = handed_over(&mut contents.acls, group.acl, before, after);
    }
    contents.owners.remove(&before);
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

fn recipient(catalog: &Catalog, to: &Recipient) -> Oid {
    to.role().map_or(Oid::PUBLIC, |role| oid(catalog, role))
}

fn oid(catalog: &Catalog, role: &Ident) -> Oid {
    catalog.role_oid(role).unwrap_or_else(|| panic!("role {role} does not exist"))
}

fn role_mut<'a>(catalog: &'a mut Catalog, role: &Ident) -> &'a mut Role {
    let oid = oid(catalog, role);
    catalog.roles.get_mut(&oid).expect("just found")
}

fn database_mut(catalog: &mut Catalog) -> &mut Database {
    catalog.database.as_mut().expect("the database exists")
}

fn contents_if_any(catalog: &mut Catalog) -> Option<&mut Contents> {
    catalog.contents.as_mut()
}

fn contents_mut(catalog: &mut Catalog) -> &mut Contents {
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
fn schema_oids(catalog: &Catalog, names: &[Ident]) -> Vec<Option<Oid>> {
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
