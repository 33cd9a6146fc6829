use serde_json::{Value, json};

use super::*;
use crate::api::VERSION;

const TRUSTED: &str = "ops";

/// A resource with this spec; `at` is its namespace and name.
fn resource(kind: &str, at: &str, spec: &Value) -> Resource {
    let (namespace, name) = at.split_once('/').unwrap();
    let object = json!({
        "apiVersion": format!("{}/{VERSION}", crate::api::GROUP),
        "kind": kind,
        "metadata": { "namespace": namespace, "name": name, "uid": at },
        "spec": spec,
    });
    match kind {
        "PostgresDatabase" => Resource::Database(serde_json::from_value(object).unwrap()),
        _ => Resource::User(serde_json::from_value(object).unwrap()),
    }
}

fn database(at: &str, name: &str, owner: &str) -> Resource {
    resource(
        "PostgresDatabase",
        at,
        &json!({ "dbName": name, "owner": owner, "secretName": at.replace('/', "-") }),
    )
}

fn user(at: &str, role: &str, database: &str) -> Resource {
    let spec = json!({
        "username": role, "dbName": database, "access": "read", "secretName": at.replace('/', "-"),
    });
    resource("PostgresUser", at, &spec)
}

/// The resource with something else in its spec.
fn with(found: &Resource, field: &str, value: Value) -> Resource {
    let mut spec = match found {
        Resource::Database(object) => json!(object.spec),
        Resource::User(object) => json!(object.spec),
    };
    spec[field] = value;
    resource(found.kind(), found.uid(), &spec)
}

/// What becomes of resources that stand eldest first, in a world where `shared` takes Secrets from `shop`.
#[track_caller]
fn check(resources: &[&Resource], expected: &[Option<Reason>]) {
    let consent = |namespace: &str| Consent::of(if namespace == "shared" { "shop" } else { "" });
    let world = World { trusted: TRUSTED, secrets_from: &consent, superuser_secrets_from: &consent };
    let admission = admit(&world, resources.iter().copied().cloned().collect());
    let found: Vec<_> =
        resources.iter().map(|one| admission.refused.get(one.uid()).map(|finding| finding.reason)).collect();
    assert_eq!(found, expected, "{:#?}", admission.refused);
}

#[test]
fn a_schema_that_no_server_can_have_costs_its_user_and_nobody_else() {
    let (app, other) = (database("shop/app", "app", "owner"), user("shop/other", "other", "app"));
    for name in ["", "a\0b", &"x".repeat(64)] {
        let broken = with(&user("shop/reader", "reader", "app"), "schemas", json!(["public", name]));
        check(&[&app, &broken, &other], &[None, Some(Reason::Reserved), None]);
    }
}

#[test]
fn an_owner_may_have_several_databases_of_one_namespace() {
    check(&[&database("shop/a", "a", "owner"), &database("shop/b", "b", "owner")], &[None, None]);
}

#[test]
fn the_younger_claim_is_refused() {
    let elder = database("shop/a", "app", "owner");
    check(&[&elder, &database("shop/b", "app", "other")], &[None, Some(Reason::Conflict)]);
    check(&[&elder, &database("bank/b", "bank", "owner")], &[None, Some(Reason::Conflict)]);
    check(&[&elder, &user("shop/u", "owner", "app")], &[None, Some(Reason::Conflict)]);
    let (one, two) = (user("shop/u", "reader", "app"), user("shop/v", "reader", "app"));
    check(&[&elder, &one, &two], &[None, None, Some(Reason::Conflict)]);
}

#[test]
fn what_is_refused_does_not_stand_in_the_way() {
    let reserved = database("bank/a", "postgres", "owner");
    check(&[&reserved, &database("shop/a", "app", "owner")], &[Some(Reason::Reserved), None]);
}

#[test]
fn two_resources_do_not_share_a_secret() {
    let elder = database("shop/a", "a", "owner");
    let younger = with(&database("shop/b", "b", "other"), "secretName", json!("shop-a"));
    check(&[&elder, &younger], &[None, Some(Reason::Conflict)]);
}

#[test]
fn secrets_go_to_namespaces_that_consent() {
    let elsewhere =
        |at: &str, namespace: &str| with(&database(at, "app", "owner"), "secretNamespace", json!(namespace));
    check(&[&elsewhere("shop/a", "bank")], &[Some(Reason::NotAllowed)]);
    check(&[&elsewhere("shop/a", "shared")], &[None]);
    check(&[&elsewhere("bank/a", "shared")], &[Some(Reason::NotAllowed)]);
    check(&[&elsewhere("ops/a", "bank")], &[None]);
}

#[test]
fn a_user_needs_the_consent_of_its_database() {
    let closed = database("shop/a", "app", "owner");
    let reader = user("bank/u", "reader", "app");
    check(&[&closed, &reader], &[None, Some(Reason::NotAllowed)]);
    check(&[&closed, &user("ops/u", "reader", "app")], &[None, None]);
    for open in [json!(["bank"]), json!(["*"])] {
        check(&[&with(&closed, "allowUsersFrom", open), &reader], &[None, None]);
    }
}

#[test]
fn a_database_without_a_resource_is_for_the_trusted_and_for_those_who_have_the_server() {
    check(&[&user("shop/u", "reader", "app")], &[Some(Reason::DatabaseMissing)]);
    check(&[&user("ops/u", "reader", "app")], &[None]);
    let own = with(&user("shop/u", "reader", "app"), "host", json!("db"));
    let own = with(&own, "superuserSecret", json!({ "name": "admin", "namespace": "shop" }));
    check(&[&own], &[None]);
}

#[test]
fn a_database_by_other_credentials_consents_to_nothing() {
    let made_up = with(&database("shop/a", "app", "owner"), "host", json!("db"));
    let made_up = with(&made_up, "superuserSecret", json!({ "name": "mine", "namespace": "shop" }));
    check(&[&made_up, &user("shop/u", "reader", "app")], &[None, Some(Reason::DatabaseMissing)]);
}

#[test]
fn admin_credentials_of_other_namespaces_need_consent() {
    let of = |namespace: &str| {
        let resource = with(&database("shop/a", "app", "owner"), "host", json!("db"));
        with(&resource, "superuserSecret", json!({ "name": "admin", "namespace": namespace }))
    };
    check(&[&of("bank")], &[Some(Reason::NotAllowed)]);
    check(&[&of("shared")], &[None]);
}
