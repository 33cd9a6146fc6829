use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::{
    database::PostgresDatabase,
    shared::{Provision, ServerChoice, Status},
    user::{Access, PostgresUser},
    version_one::Results,
    *,
};

fn crd(kind: &str) -> CustomResourceDefinition {
    crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap()
}

fn schema(kind: &str, path: &[&str]) -> JSONSchemaProps {
    let version = crd(kind).spec.versions.remove(0);
    let mut schema = version.schema.unwrap().open_api_v3_schema.unwrap();
    for name in path {
        schema = schema.properties.unwrap().remove(*name).unwrap();
    }
    schema
}

fn object<K: Provision>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

fn old_database() -> Value {
    json!({
        "apiVersion": "pgprovisioner.drewsonne.github.io/v1",
        "kind": "PostgresDatabase",
        "metadata": { "name": "my-app-db", "namespace": "app-db" },
        "spec": { "dbName": "my_app", "owner": "my_app_owner", "secretName": "my-app-db-credentials" },
        "status": { "create_fn": { "ready": true }, "kopf": { "progress": {} } },
    })
}

#[test]
fn the_old_operators_objects_are_read() {
    let database: PostgresDatabase = object(&old_database());
    assert_eq!(database.database(), "my_app");
    assert_eq!(database.role(), "my_app_owner");
    assert_eq!(database.secret_namespace(), "app-db");
    assert_eq!(database.server_choice(), ServerChoice::Configured);
    let status = database.status.unwrap();
    assert_eq!(serde_json::to_value(&status).unwrap(), json!({}));
    assert_eq!(Status { version_one: Results::default(), ..status }, Status::default());
}

#[test]
fn a_user_is_read_and_written_as_it_was() {
    let value = json!({
        "apiVersion": "pgprovisioner.drewsonne.github.io/v1",
        "kind": "PostgresUser",
        "metadata": { "name": "my-app-reader", "namespace": "app-db" },
        "spec": {
            "username": "my_app_reader", "dbName": "my_app", "access": "readwrite", "schemas": ["public"],
            "secretName": "my-app-reader-credentials", "secretNamespace": "my-app",
        },
    });
    let user: PostgresUser = object(&value);
    assert_eq!(user.spec.access, Access::ReadWrite);
    assert_eq!(user.secret_namespace(), "my-app");
    assert_eq!(serde_json::to_value(&user).unwrap(), value);
}

#[test]
fn half_a_server_is_named_as_such() {
    let mut value = old_database();
    value["spec"]["host"] = json!("other.example");
    let database: PostgresDatabase = object(&value);
    let half = ServerChoice::HalfNamed { given: "host", missing: "superuserSecret" };
    assert_eq!(database.server_choice(), half);

    value["spec"]["superuserSecret"] = json!({ "name": "admin", "namespace": "app-db" });
    let database: PostgresDatabase = object(&value);
    assert!(matches!(database.server_choice(), ServerChoice::Named { host: "other.example", .. }));
}

#[test]
fn names_and_short_names_are_the_old_ones() {
    let [database, user] = ["PostgresDatabase", "PostgresUser"].map(crd);
    assert_eq!(database.metadata.name.unwrap(), format!("postgresdatabases.{GROUP}"));
    assert_eq!(user.metadata.name.unwrap(), format!("postgresusers.{GROUP}"));
    assert_eq!(database.spec.names.short_names.unwrap(), ["pgdb"]);
    assert_eq!(user.spec.names.short_names.unwrap(), ["pguser"]);
    for kind in ["PostgresDatabase", "PostgresUser"] {
        let spec = crd(kind).spec;
        assert_eq!((spec.group.as_str(), spec.scope.as_str()), (GROUP, "Namespaced"));
        assert_eq!(spec.versions[0].name, VERSION);
    }
}

#[test]
fn only_the_old_required_fields_are_required() {
    let required = |kind| schema(kind, &["spec"]).required.unwrap();
    assert_eq!(required("PostgresDatabase"), ["dbName", "owner", "secretName"]);
    assert_eq!(required("PostgresUser"), ["access", "dbName", "secretName", "username"]);
}

#[test]
fn the_status_keeps_fields_it_does_not_know() {
    for kind in ["PostgresDatabase", "PostgresUser"] {
        assert_eq!(schema(kind, &["status"]).x_kubernetes_preserve_unknown_fields, Some(true));
    }
}

#[test]
fn no_default_is_written_into_stored_objects() {
    for kind in ["PostgresDatabase", "PostgresUser"] {
        for (name, field) in schema(kind, &["spec"]).properties.unwrap() {
            assert_eq!(field.default, None, "{kind}.{name}");
        }
    }
}

#[test]
fn every_field_of_the_spec_is_described_in_one_line() {
    for kind in ["PostgresDatabase", "PostgresUser"] {
        for (name, field) in schema(kind, &["spec"]).properties.unwrap() {
            let description = field.description.unwrap_or_default();
            assert!(
                description.ends_with('.') && !description.contains('\n'),
                "{kind}.{name}: {description}"
            );
        }
    }
}

#[test]
fn names_that_cannot_change_say_what_to_do_instead() {
    for (kind, field) in
        [("PostgresDatabase", "dbName"), ("PostgresUser", "dbName"), ("PostgresUser", "username")]
    {
        let rules = schema(kind, &["spec", field]).x_kubernetes_validations.unwrap();
        let rule = rules.into_iter().find(|rule| rule.rule == "self == oldSelf").unwrap();
        assert_eq!(rule.message.unwrap(), format!("{field} cannot be changed: create a new {kind} instead"));
    }
}
