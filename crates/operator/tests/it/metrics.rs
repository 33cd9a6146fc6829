//! What the operator counts, after it has really done something.

use operator::metrics::{Description, Format, Metrics};
use serde_json::json;
use testbed::{Postgres, eventually, promtool, unique};

use crate::app::App;
use crate::program::Program;
use crate::resources::{database, user};
use crate::world::{self, PATIENCE, World};

/// The value of one series, rounded down; `series` is its name without our prefix, with labels in their order.
fn value(metrics: &Metrics, series: &str) -> Option<u64> {
    let start = format!("postgres_provisioner_{series} ");
    let text = metrics.text(Format::Text);
    text.lines().find_map(|line| line.strip_prefix(&start)?.split('.').next()?.parse().ok())
}

/// Waits until the series has this value.
async fn becomes(world: &World, series: &str, wanted: u64) {
    let metrics = &world.settings.metrics;
    eventually(&format!("{series} to be {wanted}"), PATIENCE, async || match value(metrics, series) {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    let count =
        |series: &str| value(&world.settings.metrics, series).unwrap_or_else(|| panic!("no {series}"));
    becomes(&world, r#"resources{kind="PostgresDatabase",state="ready",reason="Provisioned"}"#, 1).await;
    becomes(&world, r#"resources{kind="PostgresUser",state="ready",reason="Provisioned"}"#, 1).await;
    becomes(&world, r#"sql_connections{server="configured"}"#, 0).await;
    becomes(&world, r#"passes_in_progress{state="working"}"#, 0).await;
    becomes(&world, r#"passes_in_progress{state="waiting"}"#, 0).await;
    let statement = |kind: &str| count(&format!(r#"statements_total{{kind="{kind}",result="done"}}"#));
    let done = ["create_database", "create_role", "set_password", "drop_role"].map(statement);
    assert_eq!(done, [1, 2, 2, 0]);
    assert_eq!(count(r#"secret_writes_total{operation="create"}"#), 2);
    assert_eq!(count(r#"drift_total{class="tampering",kind="create_role"}"#), 0);
    assert_eq!(count(r#"servers{server="configured",state="up"}"#), 1);
    assert_eq!(count("leader"), 1);
    assert_eq!(count("resync_interval_seconds"), 3600);
    assert_eq!(count(&format!(r#"build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"))), 1);
    let passes = count(r#"passes_total{server="configured",result="done"}"#);
    assert!(passes >= 2 && count(r#"pass_duration_seconds_count{server="configured"}"#) >= passes);
    for more in [
        r#"sql_connection_attempts_total{server="configured"}"#,
        r#"sql_requests_total{server="configured"}"#,
        r#"api_requests_total{verb="watch",code="2xx"}"#,
        r#"api_requests_total{verb="patch",code="2xx"}"#,
        "oldest_check_timestamp_seconds",
    ] {
        assert!(count(more) > 0, "{more}");
    }
    world.remove("pguser", &reader).await;
    assert_eq!(statement("drop_role"), 1);
    assert_eq!(count(r#"secret_writes_total{operation="delete"}"#), 1);
    becomes(&world, r#"resources{kind="PostgresUser",state="ready",reason="Provisioned"}"#, 0).await;
}

#[tokio::test]
async fn drift_is_counted_by_what_undoes_it_and_apart_from_growth() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    world.stop_operator().await;
    app.sql(&format!(
        "REVOKE SELECT ON public.orders FROM {reader}; GRANT TRUNCATE ON public.orders TO {reader}"
    ))
    .await;
    world.start_operator();
    world.condition("pguser", &reader, ("Drifted", "True", "DriftRepaired")).await;
    becomes(&world, r#"drift_total{class="tampering",kind="grant"}"#, 1).await;
    becomes(&world, r#"drift_total{class="tampering",kind="revoke"}"#, 1).await;
    becomes(&world, r#"drifted_resources{kind="PostgresUser",reason="DriftRepaired"}"#, 1).await;
    assert_eq!(value(&world.settings.metrics, r#"drift_total{class="growth",kind="grant"}"#), None);
    world.stop_operator().await;
    app.sql("CREATE SCHEMA imported; CREATE TABLE imported.rows (id int)").await;
    world.start_operator();
    world.event(&reader, "Extended", 1).await;
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    becomes(&world, r#"drifted_resources{kind="PostgresUser",reason="DriftRepaired"}"#, 0).await;
    becomes(&world, r#"drift_total{class="tampering",kind="grant"}"#, 1).await;
    assert!(value(&world.settings.metrics, r#"drift_total{class="growth",kind="grant"}"#) >= Some(1));
}

#[tokio::test]
async fn what_is_left_alone_or_merely_looked_at_is_not_taken_for_what_nobody_looks_at() {
    let world = World::told().await;
    let app = App::provision(&world).await;
    let (left, looked) = (unique("left"), unique("looked"));
    for (name, more) in [(&left, "suspend: true"), (&looked, "mode: Observe")] {
        world.apply(&user(&world.namespace, name, &app.name, &format!(", access: read, {more}"))).await;
    }
    world.condition("pguser", &left, ("Suspended", "True", "Suspended")).await;
    world.condition("pguser", &looked, ("Ready", "False", "ChangesPlanned")).await;
    let suspended = r#"resources{kind="PostgresUser",state="suspended",reason="Suspended"}"#;
    becomes(&world, suspended, 1).await;
    becomes(&world, r#"resources{kind="PostgresUser",state="planned",reason="ChangesPlanned"}"#, 1).await;
    let since = |state: &str| {
        let series = format!(r#"oldest_unready_timestamp_seconds{{kind="PostgresUser",state="{state}"}}"#);
        value(&world.settings.metrics, &series)
    };
    assert_eq!((since("unknown"), since("suspended")), (None, None));
    assert!(since("planned").is_some());
    // What was found before does not count any more.
    world.patch("pguser", &looked, json!({ "spec": { "suspend": true } })).await;
    becomes(&world, suspended, 2).await;
    assert_eq!(since("planned"), None);
}

#[tokio::test]
async fn what_is_changed_again_and_again_is_told_from_what_is_changed_once() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let (reader, other) = (app.user(", access: read").await, app.user(", access: read").await);
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let repeated = |kind: &str| format!(r#"repeatedly_drifted_resources{{kind="{kind}"}}"#);
    for (role, times) in [(&reader, 1), (&reader, 2), (&other, 1), (&reader, 3)] {
        becomes(&world, &repeated("PostgresUser"), 0).await;
        app.sql(&format!("REVOKE SELECT ON public.orders FROM {role}")).await;
        eventually("the drift to be told", PATIENCE, async || {
            let found = world.get("pguser", role).await.unwrap().data["status"]["lastDrift"]["count"].clone();
            if found == times { Ok(()) } else { Err(found.to_string()) }
        })
        .await;
    }
    becomes(&world, &repeated("PostgresUser"), 1).await;
    becomes(&world, &repeated("PostgresDatabase"), 0).await;
}

#[tokio::test]
async fn a_server_that_is_down_is_seen_and_what_waits_for_it() {
    let mut world = World::without_operator(17).await;
    let own = Postgres::start(17).await;
    world.settings.server = Some(world::server(&own));
    own.stop().await;
    world.start_operator();
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    let waits = r#"resources{kind="PostgresDatabase",state="waits",reason="ServerUnavailable"}"#;
    becomes(&world, waits, 1).await;
    becomes(&world, r#"servers{server="configured",state="down"}"#, 1).await;
    let count = |series: &str| value(&world.settings.metrics, series);
    let failures = count(r#"server_failures_total{server="configured",class="unavailable"}"#);
    assert!(failures >= Some(1), "{failures:?}");
    assert!(count(r#"sql_connection_failures_total{server="configured"}"#) >= Some(1));
    let unready = r#"oldest_unready_timestamp_seconds{kind="PostgresDatabase",state="waits"}"#;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(count(unready).is_some_and(|since| (now - 60..=now + 1).contains(&since)));
    own.restart().await;
    world.ready("pgdb", &app).await;
    becomes(&world, r#"servers{server="configured",state="up"}"#, 1).await;
    becomes(&world, r#"servers{server="configured",state="down"}"#, 0).await;
    assert_eq!((count(waits), count(unready)), (None, None));
}

#[tokio::test]
async fn what_is_withheld_and_servers_that_resources_name_are_counted() {
    let world = World::new().await;
    let other = Postgres::shared(18).await;
    let (app, reader, here) = (unique("app"), unique("reader"), &world.namespace);
    world.superuser_secret("other", other, other.password()).await;
    let server = format!(", host: 127.0.0.1, superuserSecret: {{ name: other, namespace: {here} }}");
    world.apply(&database(here, &app, &format!("{app}_owner"), &server)).await;
    world.ready("pgdb", &app).await;
    let more = format!("{server}, access: read, schemas: [later]");
    world.apply(&user(here, &reader, &app, &more)).await;
    world.condition("pguser", &reader, ("Withheld", "True", "SchemaPending")).await;
    becomes(&world, r#"withheld_resources{kind="PostgresUser",reason="SchemaPending"}"#, 1).await;
    becomes(&world, r#"servers{server="named",state="up"}"#, 1).await;
    let count = |series: &str| value(&world.settings.metrics, series);
    assert!(count(r#"sql_connection_attempts_total{server="named"}"#) >= Some(1));
    assert!(count(r#"passes_total{server="named",result="done"}"#) >= Some(1));
    // Its own server is looked at too, once: whether the other is the same by another name.
    assert!(count(r#"sql_connection_attempts_total{server="configured"}"#) <= Some(1));
}

#[tokio::test]
async fn prometheus_has_no_objection_to_what_a_pod_tells_after_work() {
    let world = World::without_operator(17).await;
    let program = Program::start_with(&world, world.postgres, &[]);
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    // There is something to tell of resources that wait.
    world.apply(&user(&world.namespace, "waiting", "missing", ", access: read")).await;
    world.condition("pguser", "waiting", ("Ready", "False", "DatabaseMissing")).await;
    eventually("the program to know", PATIENCE, async || {
        let answer = program.answer("/metrics", "").await.map_err(|error| error.to_string())?;
        if answer.contains(r#"reason="DatabaseMissing"} 1"#) { Ok(()) } else { Err(answer) }
    })
    .await;
    let answer = program.answer("/metrics", "").await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    promtool::check_metrics(text).unwrap();
    for Description { name, kind, labels, .. } in Metrics::default().descriptions() {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is not told");
        let is_sample = |line: &&str| line.starts_with(&format!("{name}{{"));
        for sample in text.lines().filter(is_sample) {
            let found = sample
                .split(['{', ','])
                .skip(1)
                .filter_map(|part| part.split_once('='))
                .map(|(label, _)| label);
            assert_eq!(found.collect::<Vec<_>>(), *labels, "{sample}");
        }
    }
    let accept = "accept: application/openmetrics-text; version=1.0.0\r\n";
    let answer = program.answer("/metrics", accept).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}
