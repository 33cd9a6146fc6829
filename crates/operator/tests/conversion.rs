//! Resources of any form: what is no resource is refused, what is one becomes statements in which every name is quoted.

#[path = "../../plan/tests/cases/mod.rs"]
mod cases;
#[path = "../../plan/tests/hostile/mod.rs"]
mod hostile;
#[path = "../../plan/tests/tokens/mod.rs"]
mod tokens;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use operator::api::FINALIZER;
use operator::caches::Consent;
use operator::pass::admit::{World, admit};
use operator::pass::desired::{Cast, desired};
use operator::resource::Resource;
use operator::servers::Address;
use operator::settings::Boundaries;
use plan::Ident;
use plan::testing::{Builder, simulate, verifier};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use tokens::{Token, tokens};

/// How many sets of resources, unless the environment asks for others.
const CASES: u32 = 3_000;

/// Words of statements that are no key words, as far as they are letters.
const LOWER: [&str; 13] = [
    "pg",
    "_catalog",
    "_terminate",
    "_backend",
    "_stat",
    "_activity",
    "_pid",
    "pid",
    "usename",
    "security",
    "_invoker",
    "true",
    "false",
];

/// Names in statements that no resource names.
const FIXED: [&str; 4] = ["public", "postgres", "template0", "pg_database_owner"];

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        hostile::text().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![Just("name".to_owned()), any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

/// Something that may stand for a name: one of a few, so that resources meet, or a hostile one.
fn name() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => prop::sample::select(&["app", "shop", "owner", "reader", "Reader", "ops", "x"][..]).prop_map(Value::from),
        3 => hostile::name().prop_map(|name| Value::from(name.as_str())),
        1 => prop::sample::select(&["", "postgres", "pg_x", "a\0b"][..]).prop_map(Value::from),
        1 => hostile::text().prop_map(Value::from),
    ]
}

/// Fields of which some are missing and few are something else.
fn object(fields: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let field = |(key, percent, value): (&'static str, u32, BoxedStrategy<Value>)| {
        let value = prop_oneof![60 => value, 1 => anything()];
        (Just(key), prop::option::weighted(f64::from(percent) / 100.0, value))
    };
    let fields: Vec<_> = fields.into_iter().map(field).collect();
    fields.prop_map(|fields| {
        let present = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(present.collect::<Map<_, _>>())
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let access = prop::sample::select(&["read", "readwrite", "READ", ""][..]).prop_map(Value::from);
    let names = || prop::collection::vec(name(), 0..4).prop_map(Value::from);
    let secret = object(vec![("name", 98, name().boxed()), ("namespace", 98, name().boxed())]);
    object(vec![
        ("dbName", 98, name().boxed()),
        ("owner", 95, name().boxed()),
        ("username", 95, name().boxed()),
        ("access", 98, access.boxed()),
        ("schemas", 40, names().boxed()),
        ("secretName", 98, name().boxed()),
        ("secretNamespace", 10, name().boxed()),
        ("host", 10, name().boxed()),
        ("superuserSecret", 10, secret.boxed()),
        ("prune", 20, any::<bool>().prop_map(Value::from).boxed()),
        ("allowUsersFrom", 30, names().boxed()),
    ])
}

fn status() -> impl Strategy<Value = Value> {
    let number = || any::<u32>().prop_map(Value::from).boxed();
    let server =
        prop::sample::select(&["db:5432", "db", "", ":", "DB:5432", "db:99999"][..]).prop_map(Value::from);
    let former = object(vec![("name", 98, name().boxed()), ("oid", 50, number())]);
    let provisioned = object(vec![
        ("server", 98, server.boxed()),
        ("database", 80, name().boxed()),
        ("databaseOid", 80, number()),
        ("role", 80, name().boxed()),
        ("roleOid", 80, number()),
        ("formerRoles", 30, prop::collection::vec(former, 0..3).prop_map(Value::from).boxed()),
        ("adoptedGeneration", 20, any::<i64>().prop_map(Value::from).boxed()),
        ("secretName", 80, name().boxed()),
        ("secretNamespace", 80, name().boxed()),
    ]);
    object(vec![("provisioned", 80, provisioned.boxed()), ("conditions", 5, anything().boxed())])
}

fn resource() -> impl Strategy<Value = Value> {
    let leaving = Just(Value::from("2026-01-01T00:00:00Z")).boxed();
    let metadata = object(vec![
        ("name", 99, name().boxed()),
        ("namespace", 98, name().boxed()),
        ("uid", 98, name().boxed()),
        ("generation", 50, any::<i64>().prop_map(Value::from).boxed()),
        ("deletionTimestamp", 20, leaving),
        ("creationTimestamp", 5, anything().boxed()),
        ("finalizers", 80, Just(json!([FINALIZER])).boxed()),
        ("ownerReferences", 3, anything().boxed()),
    ]);
    let kind = prop::sample::select(&["PostgresDatabase", "PostgresUser"][..]);
    let whole = (kind, metadata, spec(), prop::option::of(status()));
    let whole = whole.prop_map(|(kind, metadata, spec, status)| {
        json!({ "kind": kind, "metadata": metadata, "spec": spec, "status": status.unwrap_or_default() })
    });
    prop_oneof![40 => whole, 1 => anything()]
}

/// What the API server's answer becomes.
fn convert(object: &Value) -> Option<Resource> {
    match object["kind"].as_str() {
        Some("PostgresDatabase") => serde_json::from_value(object.clone())
            .ok()
            .map(|one| Resource::Database(std::sync::Arc::new(one))),
        _ => serde_json::from_value(object.clone()).ok().map(|one| Resource::User(std::sync::Arc::new(one))),
    }
}

/// All that is asked of a resource before anything is decided.
fn look_at(resource: &Resource) {
    let _ =
        (resource.to_string(), resource.kind(), resource.uid(), resource.seniority(), resource.object_ref());
    let _ =
        (resource.database(), resource.role(), resource.secret(), resource.prune(), resource.server_choice());
    let _ = (resource.key().to_string(), resource.has_finalizer(), resource.generation());
    let _ = (resource.is_child_of(resource), resource.is_provisioned_at("db:5432", &resource.server_key()));
}

/// Every text in it.
fn texts<'v>(value: &'v Value, into: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// Whether all that comes from outside is quoted.
fn check(statement: &str, known: &[&str]) -> Result<(), TestCaseError> {
    for token in tokens(statement) {
        match token {
            Token::Plain(word) => {
                let is_ours =
                    LOWER.contains(&&*word) || !word.contains(|c: char| c.is_lowercase() || !c.is_ascii());
                prop_assert!(is_ours, "{word:?} in {statement}");
            }
            Token::Name(name) => prop_assert!(known.contains(&&*name), "{name:?} in {statement}"),
            Token::Text(_) => (),
        }
    }
    Ok(())
}

/// The statements that the resources of one database lead to, until there are none.
fn statements(cast: &Cast<'_>, major: u32) -> Result<Vec<String>, plan::IdentError> {
    let desired = desired(cast)?;
    let mut catalog = Builder::server(major).catalog;
    let mut statements = Vec::new();
    for _ in 0..3 {
        let plan = plan::plan(&desired, &catalog);
        let _ = plan.withheld.iter().map(ToString::to_string).collect::<Vec<_>>();
        for action in plan.actions {
            statements.push(action.statement());
            simulate(&mut catalog, &desired.database, &action);
        }
    }
    Ok(statements)
}

#[test]
fn resources_of_any_form_become_statements_in_which_every_name_is_quoted() {
    let mut runner = TestRunner::new(cases::config(CASES));
    let (converted, made) = (Cell::new(0), Cell::new(0));
    let resources = prop::collection::vec(resource(), 1..6);
    let tried = runner.run(&(resources, 13..=18_u32), |(objects, major)| {
        let resources: Vec<_> = objects.iter().filter_map(convert).collect();
        resources.iter().for_each(look_at);
        converted.set(converted.get() + resources.len());
        let consent = |namespace: &str| Consent::of(namespace);
        let world = World {
            trusted: "ops",
            boundaries: Boundaries::default(),
            secrets_from: &consent,
            superuser_secrets_from: &consent,
            recorded: &|resource| resource.provisioned(),
        };
        let accepted = admit(&world, &resources).accepted;
        let mut known: Vec<_> = FIXED.into();
        for object in &objects {
            texts(object, &mut known);
        }
        for key in accepted.iter().map(Resource::key) {
            let resources: Vec<_> = accepted.iter().filter(|one| one.key() == key).cloned().collect();
            let roles = resources.iter().filter_map(|one| one.role().parse::<Ident>().ok());
            let passwords: BTreeMap<_, _> = roles.map(|role| (role, verifier().into())).collect();
            let cast = Cast {
                key: &key,
                address: &Address { host: "db".to_owned(), port: 5432 },
                installation: "i",
                template: &"template0".parse().unwrap(),
                resources: &resources,
                neighbours: &accepted,
                entries: &[],
                elsewhere: &std::collections::BTreeSet::new(),
                passwords: &passwords,
                refused: &[],
                spared: &BTreeSet::new(),
            };
            let is_new = resources.iter().all(|one| one.provisioned().is_none());
            match statements(&cast, major) {
                Ok(statements) => {
                    made.set(made.get() + statements.len());
                    for statement in &statements {
                        check(statement, &known)?;
                    }
                }
                // A status may remember anything.
                Err(error) => prop_assert!(!is_new, "admitted, although {error}"),
            }
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    let cases = usize::try_from(cases::config(CASES).cases).unwrap();
    assert!(
        converted.get() > cases && made.get() > cases,
        "{} resources, {} statements",
        converted.get(),
        made.get()
    );
}
