use serde_json::{Value, json};

use super::*;
use crate::caches::Version;

const TRUSTED: &str = "ops";

/// A database in namespace `shop`, asked for at this time, that version 1 provided, and its Secret in `bank`.
fn inherited(asked: &str) -> Value {
    json!({
        "apiVersion": "pgprovisioner.drewsonne.github.io/v1",
        "kind": "PostgresDatabase",
        "metadata": { "namespace": "shop", "name": "app", "uid": "app", "creationTimestamp": asked },
        "spec": { "dbName": "app", "owner": "app_owner", "secretName": "app", "secretNamespace": "bank" },
        "status": { "create_fn": { "database": "app", "owner": "app_owner", "ready": true } },
    })
}

/// A Secret as version 1 wrote it, at this time.
fn written(created: &str) -> Contents {
    let values = ["app_owner", "a password", "app", "db", "5432"];
    Contents {
        version: Version { uid: "secret".into(), resource_version: "1".into() },
        created: Some(created.parse().unwrap()),
        owners: Vec::new(),
        label: None,
        annotation: None,
        is_plain: true,
        has_others: false,
        data: KEYS.into_iter().zip(values.map(Password::new)).collect(),
    }
}

const NOON: &str = "2026-03-01T12:00:00Z";
const LATER: &str = "2026-03-01T12:00:01Z";

#[track_caller]
fn check(resource: Value, contents: &Contents, expected: Relation) {
    let resource = Resource::Database(serde_json::from_value(resource).unwrap());
    assert_eq!(relation(TRUSTED, &resource.secret(), contents, &resource), expected);
}

/// The resource with a change, which leaves it nothing.
#[track_caller]
fn check_changed(path: &str, value: Value) {
    let mut resource = inherited(NOON);
    *resource.pointer_mut(path).unwrap() = value;
    check(resource, &written(NOON), Relation::Foreign);
}

#[test]
fn what_version_1_wrote_for_a_resource_is_its_own() {
    check(inherited(NOON), &written(NOON), Relation::Preset);
    check(inherited(NOON), &written(LATER), Relation::Preset);
}

#[test]
fn what_was_there_before_the_resource_is_not() {
    check(inherited(LATER), &written(NOON), Relation::Foreign);
}

#[test]
fn what_came_after_the_first_word_on_the_resource_is_not() {
    let mut resource = inherited(NOON);
    let ready = |time: &str| json!([{ "type": "Ready", "status": "False", "reason": "NotAllowed", "message": "", "lastTransitionTime": time }]);
    resource["status"]["conditions"] = ready(NOON);
    check(resource.clone(), &written(NOON), Relation::Preset);
    check(resource.clone(), &written(LATER), Relation::Foreign);
    resource["status"]["conditions"] = ready(LATER);
    check(resource, &written(LATER), Relation::Preset);
}

#[test]
fn a_resource_that_asks_for_something_else_by_now_has_none() {
    check_changed("/spec/owner", json!("victim"));
    check_changed("/spec/dbName", json!("victim"));
    check_changed("/status/create_fn", json!(null));
    check_changed("/status/create_fn/ready", json!(false));
    let mut resource = inherited(NOON);
    let secret = json!({ "name": "mine", "namespace": "shop" });
    resource["spec"]
        .as_object_mut()
        .unwrap()
        .extend([("host".into(), json!("evil")), ("superuserSecret".into(), secret)]);
    check(resource.clone(), &written(NOON), Relation::Foreign);
    resource["spec"]["host"] = json!("DB");
    check(resource, &written(NOON), Relation::Preset);
}

#[test]
fn a_secret_that_holds_anything_else_is_somebody_elses() {
    for change in [
        |found: &mut Contents| _ = found.data.insert("username", Password::new("victim")),
        |found: &mut Contents| _ = found.data.insert("database", Password::new("victim")),
        |found: &mut Contents| _ = found.data.remove("port"),
        |found: &mut Contents| found.has_others = true,
        |found: &mut Contents| found.is_plain = false,
        |found: &mut Contents| found.label = Some("another".into()),
        |found: &mut Contents| found.owners = vec!["another".into()],
        |found: &mut Contents| found.created = None,
    ] {
        let mut contents = written(NOON);
        change(&mut contents);
        check(inherited(NOON), &contents, Relation::Foreign);
    }
}
