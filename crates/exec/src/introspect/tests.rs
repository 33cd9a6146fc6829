//! Answers of any form: a server is what a resource names, and may say anything.

use std::cell::Cell;

use plan::testing::{claim, ident};
use plan::{Ident, Leaving, plan};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wire::{ContentsReply, DependencyRow, OwnedReply, RolesReply};
use super::*;
use crate::facts::Facts;
use crate::{Password, Stored, Verify};

#[path = "../../../plan/tests/cases/mod.rs"]
mod cases;
#[path = "../../../plan/tests/hostile/mod.rs"]
mod hostile;

/// How many answers, unless the environment asks for others.
const CASES: u32 = 3_000;

/// The server's roles, by number.
const NAMES: [&str; 7] = ["postgres", "owner", "reader", "writer", "gone", "stranger", "app"];

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

/// Mostly the one, now and then something else.
fn spoiled(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![3_000 => value, 1 => anything()].boxed()
}

/// Roles, schemas and places of lists are few, so that they meet.
fn number() -> BoxedStrategy<Value> {
    spoiled(prop_oneof![
        30 => (0..7_u32).prop_map(Value::from),
        1 => prop::sample::select(vec![u64::from(u32::MAX), 7, 16_384]).prop_map(Value::from),
    ])
}

/// Where a list is, of six.
fn place() -> BoxedStrategy<Value> {
    spoiled(prop_oneof![200 => (1..7_u32).prop_map(Value::from), 1 => number()])
}

fn name() -> BoxedStrategy<Value> {
    let known = ["app", "owner", "reader", "writer", "gone", "postgres", "public", "shop", "orders", ""];
    spoiled(prop_oneof![
        8 => prop::sample::select(known.to_vec()).prop_map(Value::from),
        1 => hostile::text().prop_map(Value::from),
        1 => hostile::name().prop_map(|name| Value::from(name.as_str())),
    ])
}

fn flag() -> BoxedStrategy<Value> {
    spoiled(any::<bool>().prop_map(Value::from))
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    spoiled(prop::sample::select(words).prop_map(Value::from))
}

fn kind() -> BoxedStrategy<Value> {
    one_of(&["r", "p", "v", "m", "f", "S", "i", "n", "T", "?", "é"])
}

/// Mostly the comment that we leave on what this name stands for.
fn marked(name: &str) -> BoxedStrategy<Value> {
    let marker = |name: &str| Value::from(claim(name).marker.to_string());
    let others = prop_oneof![self::name(), Just(Value::Null), Just(marker("gone"))];
    spoiled(prop_oneof![6 => Just(marker(name)), 1 => others])
}

/// One that the role may own besides.
fn name_of_database() -> BoxedStrategy<Value> {
    prop_oneof![4 => Just(Value::from("app")), 1 => name()].boxed()
}

fn list(items: impl Strategy<Value = Value> + 'static, most: usize) -> BoxedStrategy<Value> {
    let items = prop::collection::vec(items, 0..most).prop_map(Value::from);
    spoiled(prop_oneof![10 => items, 1 => Just(Value::Null)])
}

fn row(columns: Vec<BoxedStrategy<Value>>) -> BoxedStrategy<Value> {
    spoiled(columns.prop_map(Value::from))
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields.into_iter().map(|(key, value)| (Just(key.to_owned()), value)).collect();
    spoiled(fields.prop_map(|fields| fields.into_iter().collect()))
}

fn item() -> BoxedStrategy<Value> {
    let words = [
        "SELECT",
        "SELECT*,INSERT",
        "USAGE,CREATE*",
        "CONNECT",
        "MAINTAIN",
        "UPDATE,DELETE",
        "?*",
        "",
        ",,*",
    ];
    row(vec![number(), number(), spoiled(prop::sample::select(words.to_vec()).prop_map(Value::from))])
}

fn acl() -> BoxedStrategy<Value> {
    list(item(), 5)
}

fn roles_of(least: usize) -> BoxedStrategy<Value> {
    let flags = ["inherit", "create_role", "create_db", "login", "replication", "bypass_rls", "expires"];
    // Most of those that a resource names are ordinary ones.
    let rare = || spoiled(prop::bool::weighted(0.1).prop_map(Value::from));
    let role = move |(oid, name): (usize, &'static str)| {
        let mut fields = vec![
            ("oid", spoiled(Just(Value::from(oid)))),
            ("name", prop_oneof![12 => Just(Value::from(name)), 1 => self::name()].boxed()),
            (
                "superuser",
                if oid == 0 { spoiled(prop::bool::weighted(0.7).prop_map(Value::from)) } else { rare() },
            ),
        ];
        fields
            .extend(flags.map(|flag| {
                (flag, if flag == "inherit" || flag == "login" { self::flag() } else { rare() })
            }));
        object(fields)
    };
    let all: Vec<_> = NAMES.into_iter().enumerate().map(role).collect();
    spoiled(
        (least..8_usize, all)
            .prop_map(|(count, roles)| Value::from(roles.into_iter().take(count).collect::<Vec<_>>())),
    )
}

fn memberships() -> BoxedStrategy<Value> {
    let optional = || prop_oneof![flag(), Just(Value::Null)].boxed();
    list(row(vec![number(), number(), number(), flag(), optional(), optional()]), 6)
}

fn roles_reply() -> BoxedStrategy<Value> {
    let stored = one_of(&[
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$1:x$y:z",
        "md5",
        "md5c20d5e1d5d5ff0d6b2f3a2c9ed1d2c6b",
        "é",
    ]);
    let stored = prop_oneof![stored, Just(Value::Null)].boxed();
    let asked = move |(oid, name): (usize, &str)| {
        object(vec![
            ("oid", prop_oneof![20 => Just(Value::from(oid)), 1 => number()].boxed()),
            ("comment", marked(name)),
            ("verifier", stored.clone()),
            ("sessions", number()),
            ("owned_databases", list(name_of_database(), 2)),
        ])
    };
    let asked: Vec<_> =
        NAMES[1..5].iter().enumerate().map(|(place, name)| asked((place + 1, name))).collect();
    let database = object(vec![
        ("oid", number()),
        ("owner", prop_oneof![3 => Just(Value::from(1)), 1 => number()].boxed()),
        ("allow_connections", flag()),
        ("invalid", spoiled(prop::bool::weighted(0.1).prop_map(Value::from))),
        ("comment", marked("app")),
        ("acl", acl()),
    ]);
    object(vec![
        ("admin", prop_oneof![20 => Just(Value::from(0)), 1 => number()].boxed()),
        ("system_identifier", name()),
        ("roles", roles_of(5)),
        ("asked", row(asked)),
        ("memberships", memberships()),
        ("database", prop_oneof![9 => database, 1 => Just(Value::Null)].boxed()),
    ])
}

fn contents_reply() -> BoxedStrategy<Value> {
    let relation = || row(vec![number(), kind(), number(), place(), list(name(), 4)]);
    object(vec![
        ("schemas", list(row(vec![number(), name(), number(), place()]), 6)),
        ("relations", list(relation(), 8)),
        ("extensions", list(relation(), 3)),
        ("acls", spoiled(prop::collection::vec(acl(), 6).prop_map(Value::from))),
        ("columns", list(row(vec![number(), name(), kind(), number(), name(), item()]), 4)),
        ("defaults", list(row(vec![number(), number(), kind(), acl()]), 5)),
        ("owners", list(number(), 5)),
        ("event_triggers", event_triggers()),
        ("roles", roles_of(0)),
        ("memberships", memberships()),
    ])
}

fn event_triggers() -> BoxedStrategy<Value> {
    let event = one_of(&["ddl_command_start", "ddl_command_end", "sql_drop", "table_rewrite", "login", "?"]);
    let tags =
        prop_oneof![list(one_of(&["GRANT", "REVOKE", "ALTER DEFAULT PRIVILEGES", ""]), 3), Just(Value::Null)];
    let trigger = row(vec![name(), number(), event, tags.boxed(), name(), number()]);
    prop_oneof![3 => Just(Value::Null), 1 => list(trigger, 3)].boxed()
}

fn dependency_rows() -> impl Strategy<Value = Vec<Value>> {
    let owner = prop_oneof![row(vec![number(), name()]), Just(Value::Null)].boxed();
    let columns = vec![number(), flag(), name(), flag(), owner, flag(), flag()];
    prop::collection::vec(row(columns), 0..8)
}

fn owned_reply() -> BoxedStrategy<Value> {
    let view = || row(vec![name(), name(), kind()]);
    let arguments = list(row(vec![name(), name()]), 3);
    object(vec![
        ("definer_routines", list(row(vec![name(), name(), arguments]), 3)),
        ("routine_schemas", list(name(), 3)),
        ("definer_views", list(view(), 3)),
        ("armed_relations", list(view(), 3)),
        ("temporary_relations", list(view(), 3)),
        ("overreaching_views", list(view(), 3)),
        ("exposed_views", list(row(vec![view(), number()]), 3)),
        ("event_triggers", event_triggers()),
        ("roles", roles_of(0)),
    ])
}

fn facts() -> BoxedStrategy<Value> {
    let version = prop_oneof![
        20 => (13..=18_i32).prop_map(|major| Value::from(major * 10_000)),
        1 => any::<i32>().prop_map(Value::from),
    ];
    let nothing = || Just(Value::Null).boxed();
    object(vec![
        ("version", spoiled(version)),
        ("session_user", name()),
        ("current_user", name()),
        ("search_path", prop_oneof![name(), Just(Value::from(""))].boxed()),
        ("nonce", prop_oneof![name(), nothing()].boxed()),
        ("in_recovery", flag()),
        ("read_only_by", prop_oneof![name(), nothing()].boxed()),
        ("superuser", flag()),
        ("encrypted", flag()),
        ("reads_verifiers", flag()),
        ("reads_control", flag()),
    ])
}

/// As the driver reads it.
fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_slice(value.to_string().as_bytes()).ok()
}

struct Secrets;

impl Verify for Secrets {
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState {
        stored.compare(role, &Password::new("secret"))
    }
}

/// A database with its owner, users of both kinds, and a role on its way out.
fn wanted() -> Desired {
    let mut desired = plan::testing::desired(&["reader read", "writer readwrite public,shop"]);
    let leaving = Leaving { claim: claim("gone"), recorded: None, disposition: plan::Disposition::Drop };
    desired.leaving.insert(ident("gone"), leaving);
    desired
}

/// Every answer that one reading takes.
type Answers = (Value, Value, Option<Value>, Vec<Value>, Value);

/// What becomes of them, as far as they are answers.
fn catalog(desired: &Desired, (facts, shared, inside, rows, owned): &Answers) -> Option<Catalog> {
    let facts: Facts = read(facts)?;
    let _ = (facts.check("1"), facts.later_settings());
    let set = BTreeSet::new();
    let passwords = Passwords { verify: &Secrets, set: &set };
    let shared =
        shared::decode(&facts, desired, asked(desired), (read::<RolesReply>(shared)?, passwords)).ok()?;
    let inside = match inside {
        Some(inside) => Some(contents::decode(read::<ContentsReply>(inside)?).ok()?),
        None => None,
    };
    let concerned = concerned(desired, &shared, inside.as_ref());
    let rows = rows.iter().filter_map(read::<DependencyRow>);
    let mut others = Others {
        dependencies: dependencies::decode(rows, &concerned, &desired.database),
        ..Others::default()
    };
    if let Some(owned) = read::<OwnedReply>(owned) {
        for found in others.dependencies.values_mut().flat_map(BTreeMap::values_mut) {
            others.roles.extend(dependencies::fill(found, &owned));
        }
    }
    Some(Parts { shared, inside, others }.catalog())
}

#[test]
fn whatever_a_server_answers_is_no_catalog_or_one_that_can_be_planned_for() {
    let mut runner = TestRunner::new(cases::config(CASES));
    let answers = (
        facts(),
        roles_reply(),
        prop::option::weighted(0.9, contents_reply()),
        dependency_rows(),
        owned_reply(),
    );
    let (desired, read, actions) = (wanted(), Cell::new(0_u32), Cell::new(0));
    let tried = runner.run(&answers, |answers| {
        if let Some(catalog) = catalog(&desired, &answers) {
            read.set(read.get() + 1);
            let plan = plan(&desired, &catalog);
            actions.set(actions.get() + plan.actions.len());
            let _ = plan.withheld.iter().map(ToString::to_string).collect::<Vec<_>>();
            let _ = plan.steps().flatten().map(plan::Action::statement).collect::<Vec<_>>();
        }
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
    let (cases, actions) = (cases::config(CASES).cases, actions.get());
    assert!(
        read.get() > cases / 5 && actions > 0,
        "{} catalogs and {actions} actions of {cases}",
        read.get()
    );
}

#[test]
fn an_answer_that_is_deeper_than_any_is_none() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [deep.clone(), format!("{{\"schemas\":{deep}}}"), format!("{{\"acls\":[{deep}]}}")] {
        assert!(serde_json::from_str::<ContentsReply>(&text).is_err());
    }
    // What nobody asked for is not even looked at.
    assert!(serde_json::from_str::<ContentsReply>(&format!("{{\"unknown\":{deep}}}")).is_ok());
}
