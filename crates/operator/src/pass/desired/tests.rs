use serde_json::json;

use super::*;
use crate::api::{FINALIZER, GROUP, VERSION};
use crate::resource::{ObjectName, ServerKey};

/// A resource of namespace `shop`; `more` is merged into its metadata.
fn resource(kind: &str, name: &str, spec: &serde_json::Value, more: &serde_json::Value) -> Resource {
    let mut object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": kind,
        "metadata": { "namespace": "shop", "name": name, "uid": name, "finalizers": [FINALIZER] },
        "spec": spec,
    });
    for (key, value) in more.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    match kind {
        "PostgresDatabase" => Resource::Database(serde_json::from_value(object).unwrap()),
        _ => Resource::User(serde_json::from_value(object).unwrap()),
    }
}

fn database(name: &str, owner: &str, more: &serde_json::Value) -> Resource {
    let spec = json!({ "dbName": name, "owner": owner, "secretName": name });
    resource("PostgresDatabase", name, &spec, more)
}

fn user(name: &str, database: &str, more: &serde_json::Value) -> Resource {
    let spec = json!({ "username": name, "dbName": database, "access": "read", "secretName": name });
    resource("PostgresUser", name, &spec, more)
}

fn leaving() -> serde_json::Value {
    json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" })
}

/// What is wanted of database `app`, where `neighbours` are all resources of the server.
fn wanted(neighbours: &[Resource]) -> Desired {
    wanted_with(neighbours, &[], &[])
}

/// The same, where these roles are others'.
fn wanted_sparing(neighbours: &[Resource], spared: &[&str]) -> Desired {
    wanted_with(neighbours, spared, &[])
}

/// The same with what is left to do.
fn wanted_after(neighbours: &[Resource], entries: &[Arc<Entry>]) -> Desired {
    wanted_with(neighbours, &[], entries)
}

fn wanted_with(neighbours: &[Resource], spared: &[&str], entries: &[Arc<Entry>]) -> Desired {
    let resources: Vec<_> = neighbours.iter().filter(|one| one.database() == "app").cloned().collect();
    let key = DatabaseKey {
        server: ServerKey::Named {
            host: "db".into(),
            secret: ObjectName { namespace: "shop".into(), name: "admin".into() },
        },
        database: "app".into(),
    };
    let cast = Cast {
        key: &key,
        address: &Address { host: "db".into(), port: 5432 },
        installation: "i",
        template: &"template0".parse().unwrap(),
        resources: &resources,
        neighbours,
        entries,
        elsewhere: &BTreeSet::new(),
        passwords: &BTreeMap::new(),
        refused: &[],
        spared: &spared.iter().map(|role| role.parse().unwrap()).collect(),
    };
    desired(&cast).unwrap()
}

fn dispositions(desired: &Desired) -> Vec<(&str, Disposition)> {
    desired.leaving.iter().map(|(role, leaving)| (role.as_str(), leaving.disposition)).collect()
}

#[test]
fn a_database_and_its_user_are_wanted() {
    let wanted = wanted(&[database("app", "owner", &json!({})), user("reader", "app", &json!({}))]);
    assert!(matches!(wanted.managed, Managed::Yes { .. }));
    let logins: Vec<_> = wanted.logins.keys().map(Ident::as_str).collect();
    assert_eq!(logins, ["owner", "reader"]);
    let grantees: Vec<_> = wanted.grantees.keys().map(Ident::as_str).collect();
    assert_eq!(grantees, ["reader"]);
}

#[test]
fn a_role_is_spared_unless_somebody_wants_it_who_takes_part() {
    let neighbours = [database("app", "owner", &json!({})), user("reader", "app", &json!({}))];
    let wanted = wanted_sparing(&neighbours, &["reader", "other"]);
    assert_eq!(wanted.spared.iter().map(Ident::as_str).collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_deleted_user_is_dropped_unless_another_resource_names_its_role() {
    let (owner, gone) = (database("app", "owner", &json!({})), user("reader", "app", &leaving()));
    assert_eq!(dispositions(&wanted(&[owner.clone(), gone.clone()])), [("reader", Disposition::Drop)]);
    let sharer = database("shop", "reader", &json!({}));
    assert_eq!(dispositions(&wanted(&[owner, gone, sharer])), [("reader", Disposition::Detach)]);
}

#[test]
fn a_deleted_database_is_released_once_its_users_are_gone() {
    let gone = database("app", "owner", &leaving());
    let child = json!({ "ownerReferences": [{
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "PostgresDatabase", "name": "app", "uid": "app",
    }] });
    let waits = wanted(&[gone.clone(), user("reader", "app", &child)]);
    assert_eq!((waits.managed, waits.leaving.len()), (Managed::No, 0));
    let released = wanted(&[gone]);
    assert!(matches!(released.managed, Managed::Released { .. }));
    assert_eq!(dispositions(&released), [("owner", Disposition::Release)]);
}

#[test]
fn a_shared_role_is_recognised_by_all_who_share_it_and_marked_for_the_eldest() {
    let wanted = wanted(&[database("shop", "owner", &json!({})), database("app", "owner", &json!({}))]);
    let claim = wanted.logins.into_values().next().unwrap().claim;
    assert_eq!(claim.marker.uid, "shop");
    assert_eq!(claim.uids.iter().collect::<Vec<_>>(), ["app", "shop"]);
}

mod departures;
