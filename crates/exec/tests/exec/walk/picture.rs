//! A catalog in words: names instead of numbers, and no order where the server has none.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Acl, AclItem, Catalog, Desired, Ident, Managed, Oid, PasswordState, Privileges, Role};

/// Every fact by what it is about.
type Picture = BTreeMap<String, String>;

/// Where what was to be expected and what is there differ; empty when they agree.
pub(super) fn differences(desired: &Desired, expected: &Catalog, found: &Catalog) -> Vec<String> {
    let (expected, found) = (picture(desired, expected), picture(desired, found));
    let about: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    about
        .into_iter()
        .filter(|about| expected.get(*about) != found.get(*about))
        .map(|about| {
            let shown = |side: &Picture| side.get(about).map_or("-".to_owned(), String::clone);
            format!("{about}:\n    simulated {}\n    found     {}", shown(&expected), shown(&found))
        })
        .collect()
}

/// What the catalogs must agree in. Left out is what is read for the sake of leaving roles (dependencies, who owns
/// anything) and roles that no resource names, which are in a catalog only as long as something refers to them.
fn picture(desired: &Desired, catalog: &Catalog) -> Picture {
    let mut picture = Picture::new();
    draw_roles(desired, catalog, &mut picture);
    if let Some(database) = &catalog.database {
        let facts = (database.allow_connections, database.invalid, &database.comment);
        let text = format!("{} {facts:?} {}", name(catalog, database.owner), list(catalog, &database.acl));
        picture.insert("database".to_owned(), text);
    }
    let Some(contents) = &catalog.contents else { return picture };
    for schema in contents.schemas.values() {
        let text = format!("{} {}", name(catalog, schema.owner), list(catalog, contents.acl(schema.acl)));
        picture.insert(format!("schema {}", schema.name), text);
    }
    let schema =
        |oid: Oid| contents.schemas.get(&oid).map_or(format!("#{}", oid.0), |found| found.name.to_string());
    for group in &contents.relations {
        let text = format!("{} {}", name(catalog, group.owner), list(catalog, contents.acl(group.acl)));
        for relation in &group.names {
            let about = format!("{:?} {}.{relation}", group.kind, schema(group.schema));
            picture.insert(about, text.clone());
        }
    }
    let mut columns: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for found in &contents.columns {
        let about = format!("column {} of {} ({})", found.column, found.relation, name(catalog, found.owner));
        columns.entry(about).or_default().push(found.item);
    }
    picture.extend(columns.into_iter().map(|(about, items)| (about, list(catalog, &Acl(items)))));
    for row in &contents.defaults {
        let place = row.schema.map_or("anywhere".to_owned(), schema);
        let about = format!("{} that {} makes in {place}", row.object, name(catalog, row.creator));
        picture.insert(about, list(catalog, &row.acl));
    }
    picture
}

fn draw_roles(desired: &Desired, catalog: &Catalog, picture: &mut Picture) {
    let owner = match &desired.managed {
        Managed::Yes { owner, .. } => Some(owner),
        Managed::Released { .. } | Managed::No => None,
    };
    let asked = desired.logins.keys().chain(desired.leaving.keys()).chain(owner);
    for (oid, role) in asked.filter_map(|name| Some((catalog.role_oid(name)?, catalog.role(name)?))) {
        // Who may not read verifiers cannot tell none from another one.
        let password = match role.password {
            PasswordState::Absent => PasswordState::Differs,
            known => known,
        };
        let role = Role { password, ..role.clone() };
        picture.insert(format!("role {}", role.name), format!("{role:?}"));
        for found in catalog.memberships.iter().filter(|found| found.role == oid) {
            let [member, grantor] = [found.member, found.grantor].map(|oid| name(catalog, oid));
            let about = format!("{member} is a member of {} through {grantor}", role.name);
            picture.insert(about, format!("{:?}", (found.admin, found.inherit, found.set)));
        }
    }
}

/// The items that say anything, one for each pair of grantee and grantor.
fn list(catalog: &Catalog, acl: &Acl) -> String {
    let mut pairs: BTreeMap<_, (Privileges, Privileges)> = BTreeMap::new();
    for AclItem { grantee, grantor, privileges, grantable } in &acl.0 {
        let (all, passed_on) = pairs.entry((name(catalog, *grantee), name(catalog, *grantor))).or_default();
        *all = all.union(*privileges);
        *passed_on = passed_on.union(*grantable);
    }
    let items = pairs.into_iter().map(|((grantee, grantor), (all, passed_on))| {
        let star = if passed_on.is_empty() { String::new() } else { format!(" grantable {passed_on}") };
        format!("{grantee}={all}{star}/{grantor}")
    });
    items.collect::<Vec<_>>().join(" ")
}

fn name(catalog: &Catalog, oid: Oid) -> String {
    let known = || catalog.roles.get(&oid).map(|role| &role.name);
    if oid == Oid::PUBLIC {
        "PUBLIC".to_owned()
    } else {
        known().map_or(format!("#{}", oid.0), Ident::to_string)
    }
}
