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

/// The resource with a status that says that all of this is there because of it.
fn provisioned(found: &Resource) -> Resource {
    let secret = found.secret();
    let provisioned = json!({
        "server": "db:5432", "database": found.database(), "role": found.role(),
        "secretName": secret.name, "secretNamespace": secret.namespace,
    });
    found.with_status(serde_json::from_value(json!({ "provisioned": provisioned })).unwrap())
}

/// The same with something else in its spec by now.
fn that_wants(found: &Resource, field: &str, value: Value) -> Resource {
    with(found, field, value).with_status(found.status().unwrap().clone())
}

/// The resource on its way out.
fn leaving(found: &Resource) -> Resource {
    let mut found = found.clone();
    let meta = match &mut found {
        Resource::Database(object) => &mut std::sync::Arc::make_mut(object).metadata,
        Resource::User(object) => &mut std::sync::Arc::make_mut(object).metadata,
    };
    meta.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    found
}

/// The resource with credentials of its own namespace for the same server.
fn with_own_credentials(found: &Resource) -> Resource {
    let secret = json!({ "name": "mine", "namespace": found.namespace() });
    with(&with(found, "host", json!("db")), "superuserSecret", secret)
}

/// What becomes of resources that stand eldest first, in a world where `shared` takes Secrets from `shop`.
#[track_caller]
fn check(resources: &[&Resource], expected: &[Option<Reason>]) {
    check_with(Boundaries::default(), resources, expected);
}

#[track_caller]
fn check_with(boundaries: Boundaries, resources: &[&Resource], expected: &[Option<Reason>]) {
    let consent = |namespace: &str| Consent::of(if namespace == "shared" { "shop" } else { "" });
    let world = World {
        trusted: TRUSTED,
        boundaries,
        secrets_from: &consent,
        superuser_secrets_from: &consent,
        recorded: &|resource| resource.provisioned(),
    };
    let all: Vec<_> = resources.iter().copied().cloned().collect();
    let admission = admit(&world, &all);
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

#[test]
fn what_somebody_has_no_elder_gets() {
    let (app, reader) =
        (provisioned(&database("shop/a", "app", "owner")), provisioned(&user("shop/u", "reader", "app")));
    let conflict = Some(Reason::Conflict);
    check(&[&database("bank/a", "app", "other"), &app], &[conflict, None]);
    check(&[&database("bank/b", "bank", "owner"), &app], &[conflict, None]);
    check(&[&user("bank/u", "reader", "bank"), &app, &reader], &[Some(Reason::DatabaseMissing), None, None]);
    let covets = |field, value: &str| {
        that_wants(&provisioned(&database("bank/b", "bank", "other")), field, json!(value))
    };
    check(&[&covets("owner", "owner"), &app], &[conflict, None]);
    let shared = |one: &Resource| with(one, "secretNamespace", json!("shared"));
    let (mine, elder) = (shared(&database("shop/a", "app", "owner")), database("ops/b", "bank", "other"));
    let covets = that_wants(&provisioned(&shared(&elder)), "secretName", json!("shop-a"));
    check(&[&covets, &provisioned(&mine)], &[conflict, None]);
}

#[test]
fn an_owner_that_is_replaced_costs_the_database_nothing_meanwhile() {
    let app = that_wants(&provisioned(&database("shop/a", "app", "owner")), "owner", json!("heir"));
    let squatter = with(&database("bank/a", "app", "squatter"), "allowUsersFrom", json!(["bank"]));
    let (insider, outsider) = (user("shop/u", "reader", "app"), user("bank/u", "thief", "app"));
    check(
        &[&squatter, &outsider, &app, &insider],
        &[Some(Reason::Conflict), Some(Reason::NotAllowed), None, None],
    );
}

#[test]
fn whoever_leaves_holds_what_it_has_and_not_what_it_asks_for_by_now() {
    let gone =
        leaving(&that_wants(&provisioned(&database("bank/b", "bank", "old")), "owner", json!("owner")));
    check(&[&gone, &database("shop/a", "app", "owner")], &[None, None]);
    check(&[&gone, &database("shop/a", "app", "old")], &[None, Some(Reason::Conflict)]);
    let place = |one: &Resource| that_wants(one, "secretNamespace", json!("shop"));
    let gone =
        leaving(&that_wants(&place(&provisioned(&user("bank/u", "u", "b"))), "secretName", json!("shop-a")));
    check(&[&gone, &database("shop/a", "app", "owner")], &[None, None]);
}

#[test]
fn other_credentials_for_the_server_do_not_get_around_the_consent_of_who_has_the_database() {
    let app = provisioned(&database("shop/a", "app", "owner"));
    check(
        &[&app, &with_own_credentials(&user("bank/u", "reader", "app"))],
        &[None, Some(Reason::NotAllowed)],
    );
    check(&[&app, &with_own_credentials(&user("shop/u", "reader", "app"))], &[None, None]);
}

#[test]
fn a_boundary_that_is_open_asks_nobody() {
    let open = Boundaries {
        secrets: Boundary::Any,
        superuser_secrets: Boundary::Any,
        databases: Boundary::Any,
        named_servers: NamedServers::Any,
    };
    let app = database("shop/a", "app", "owner");
    let foreign = with(&app, "host", json!("db"));
    let foreign = with(&foreign, "superuserSecret", json!({ "name": "admin", "namespace": "bank" }));
    check_with(open, &[&with(&app, "secretNamespace", json!("bank"))], &[None]);
    check_with(open, &[&foreign], &[None]);
    check_with(open, &[&app, &user("bank/u", "reader", "app")], &[None, None]);
    check_with(open, &[&user("bank/u", "reader", "app")], &[None]);
    check_with(open, &[&app, &database("bank/a", "app", "other")], &[None, Some(Reason::Conflict)]);
    check_with(open, &[&database("bank/a", "postgres", "other")], &[Some(Reason::Reserved)]);
}

#[test]
fn a_boundary_that_is_closed_hears_no_consent_but_the_operators_own_namespace() {
    let closed = Boundaries {
        secrets: Boundary::None,
        superuser_secrets: Boundary::None,
        databases: Boundary::None,
        named_servers: NamedServers::Any,
    };
    let refused = Some(Reason::NotAllowed);
    let shared = |at: &str| with(&database(at, "app", "owner"), "secretNamespace", json!("shared"));
    check_with(closed, &[&shared("shop/a")], &[refused]);
    check_with(closed, &[&shared("ops/a")], &[None]);
    let foreign = with(&database("shop/a", "app", "owner"), "host", json!("db"));
    let foreign = with(&foreign, "superuserSecret", json!({ "name": "admin", "namespace": "shared" }));
    check_with(closed, &[&foreign], &[refused]);
    let open = with(&database("shop/a", "app", "owner"), "allowUsersFrom", json!(["*"]));
    let (insider, outsider) = (user("shop/v", "insider", "app"), user("bank/u", "reader", "app"));
    check_with(closed, &[&open, &insider, &outsider], &[None, None, refused]);
}

#[test]
fn where_no_servers_are_named_only_the_operators_namespace_names_one() {
    let closed = Boundaries { named_servers: NamedServers::None, ..Boundaries::default() };
    check_with(
        closed,
        &[&with_own_credentials(&database("shop/a", "app", "owner"))],
        &[Some(Reason::NotAllowed)],
    );
    check_with(closed, &[&with_own_credentials(&database("ops/a", "app", "owner"))], &[None]);
    check_with(closed, &[&database("shop/a", "app", "owner")], &[None]);
}

#[test]
fn a_host_is_a_name_or_an_address() {
    for host in ["/var/run/postgresql", "a b", "a\nb", "db,evil", "db:5432?x"] {
        let odd = with(&with_own_credentials(&database("shop/a", "app", "owner")), "host", json!(host));
        check(&[&odd], &[Some(Reason::NotAllowed)]);
    }
    for host in ["db", "DB.example.", "10.0.0.1", "fd00::1", "fe80::1%eth0", "a_b"] {
        let plain = with(&with_own_credentials(&database("shop/a", "app", "owner")), "host", json!(host));
        check(&[&plain], &[None]);
    }
}

/// The resource as version 1 left it.
fn inherited(found: &Resource) -> Resource {
    let (handler, role) = match found {
        Resource::Database(_) => ("create_fn", "owner"),
        Resource::User(_) => ("user_create_fn", "username"),
    };
    let mut result = json!({ "database": found.database(), role: found.role(), "ready": true });
    if let Resource::User(user) = found {
        result["access"] = json!(user.spec.access);
    }
    found.with_status(serde_json::from_value(json!({ handler: result })).unwrap())
}

#[test]
fn what_version_1_provided_in_other_namespaces_stays() {
    let app = inherited(&with(&database("shop/app", "app", "owner"), "secretNamespace", json!("bank")));
    let reader = inherited(&user("desk/reader", "reader", "app"));
    let stray = inherited(&user("desk/stray", "stray", "old"));
    check(&[&app, &reader, &stray], &[None, None, None]);
    // Nothing new comes with it.
    let no = Some(Reason::NotAllowed);
    let more = that_wants(&reader, "access", json!("readwrite"));
    check(&[&app, &more], &[None, no]);
    check(&[&that_wants(&app, "owner", json!("other"))], &[no]);
    let found = provisioned(&app).provisioned().cloned().unwrap();
    let mut status = app.status().cloned().unwrap();
    status.provisioned = Some(found);
    let served = app.with_status(status);
    check(&[&served], &[None]);
    check(&[&that_wants(&served, "secretNamespace", json!("vault"))], &[no]);
    let mine =
        with_own_credentials(&with(&database("shop/app", "app", "owner"), "secretNamespace", json!("bank")));
    check(&[&mine.with_status(served.status().cloned().unwrap())], &[no]);
}

#[test]
fn what_version_1_provided_is_not_for_a_database_that_is_another_by_now() {
    let reader = inherited(&user("desk/reader", "reader", "app"));
    let new = database("shop/app", "app", "owner");
    check(&[&new, &reader], &[None, Some(Reason::NotAllowed)]);
    check(&[&inherited(&new), &reader], &[None, None]);
}

#[test]
fn a_boundary_that_is_closed_is_closed_for_what_version_1_provided_too() {
    let closed = Boundaries { secrets: Boundary::None, databases: Boundary::None, ..Boundaries::default() };
    let app = inherited(&with(&database("shop/app", "app", "owner"), "secretNamespace", json!("bank")));
    let stray = inherited(&user("desk/stray", "stray", "old"));
    check_with(closed, &[&app, &stray], &[Some(Reason::NotAllowed), Some(Reason::DatabaseMissing)]);
}
