//! What it costs when there is nothing to do.

use std::time::Duration;

use testbed::{Postgres, eventually, unique};

use crate::resources::{database, user};
use crate::server_log;
use crate::world::{PATIENCE, World, server};

/// A world with a PostgreSQL of its own, so that whatever its log holds is this operator's.
async fn alone(postgres: &Postgres, resync: Duration) -> World {
    let mut world = World::without_operator(17).await;
    world.settings.server = Some(server(postgres));
    world.settings.resync = resync;
    world.start_operator();
    world
}

/// What the operator did on a server in some checks of a database, from the start of one to the start of another.
struct Checks {
    connections: usize,
    statements: Vec<String>,
}

/// The checks after the first few, once they have run.
async fn checks(postgres: &Postgres, database: &str, skip: usize, checks: usize) -> Checks {
    let start = server_log::session(database);
    let log = eventually("checks", PATIENCE, async || {
        let log = postgres.log();
        let found = server_log::sessions(&log, database);
        if found > skip + checks { Ok(log) } else { Err(format!("{found} of {}", skip + checks + 1)) }
    })
    .await;
    let starts: Vec<_> = log.match_indices(&start).map(|(at, _)| at).collect();
    let part = &log[starts[skip]..starts[skip + checks]];
    Checks {
        connections: part.matches("connection authorized: ").count(),
        statements: server_log::statements(part).map(|(_, statement)| statement.to_owned()).collect(),
    }
}

fn sessions(postgres: &Postgres, database: &str) -> usize {
    server_log::sessions(&postgres.log(), database)
}

/// Writes and reads of Secrets in the cluster so far.
fn requests(world: &World) -> Vec<String> {
    world.requests(|entry| {
        !["get", "list", "watch"].contains(&entry.verb.as_str())
            || (entry.verb == "get" && entry.resource == "secrets")
    })
}

fn assert_quiet(found: &Checks, count: usize) {
    assert_eq!(found.connections, count, "connections in {count} checks");
    assert!(found.statements.len() <= 3 * count, "{:#?}", found.statements);
    let changes: Vec<_> =
        found.statements.iter().filter(|statement| server_log::is_change(statement)).collect();
    assert!(changes.is_empty(), "{changes:#?}");
}

#[tokio::test]
async fn a_check_is_one_connection_and_three_statements_also_after_a_restart() {
    let postgres = Postgres::start(17).await;
    let world = alone(&postgres, Duration::from_secs(1)).await;
    let (app, reader, writer) = (unique("app"), unique("reader"), unique("writer"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.apply(&user(&world.namespace, &writer, &app, ", access: readwrite, schemas: [public]")).await;
    for (kind, name) in [("pgdb", &app), ("pguser", &reader), ("pguser", &writer)] {
        world.ready(kind, name).await;
    }
    // What was under way when the last condition was seen may still write.
    let skip = sessions(&postgres, &app) + 1;
    checks(&postgres, &app, skip, 1).await;
    let (before, skip) = (requests(&world), sessions(&postgres, &app));
    assert_quiet(&checks(&postgres, &app, skip, 5).await, 5);
    assert_eq!(requests(&world), before);

    world.stop_operator().await;
    let (before, skip) = (world.writes(), sessions(&postgres, &app));
    world.start_operator();
    assert_quiet(&checks(&postgres, &app, skip, 3).await, 3);
    assert_eq!(world.writes(), before);
}

#[tokio::test]
async fn the_hundredth_check_costs_what_the_first_did() {
    let postgres = Postgres::start(17).await;
    let mut world = World::without_operator(17).await;
    world.settings.server = Some(server(&postgres));
    world.settings.resync = Duration::from_millis(50);
    world.start_operator();
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.ready("pgdb", &app).await;
    let skip = sessions(&postgres, &app) + 2;
    let first = checks(&postgres, &app, skip, 1).await;
    let hundredth = checks(&postgres, &app, skip + 99, 1).await;
    assert_eq!(first.statements, hundredth.statements);
    assert_eq!(first.connections, hundredth.connections);
}

#[tokio::test]
async fn twenty_databases_with_two_users_each_come_from_one_apply() {
    let postgres = Postgres::start(17).await;
    let world = alone(&postgres, Duration::from_hours(1)).await;
    let apps: Vec<_> = (0..20).map(|_| unique("app")).collect();
    let here = &world.namespace;
    // Users first: they wait.
    let documents = apps.iter().flat_map(|app| {
        [
            user(here, &format!("{app}r"), app, ", access: read"),
            user(here, &format!("{app}w"), app, ", access: readwrite"),
            database(here, app, &format!("{app}_owner"), ""),
        ]
    });
    world.apply(&documents.collect::<Vec<_>>().join("---\n")).await;
    for app in &apps {
        world.ready("pgdb", app).await;
        for user in [format!("{app}r"), format!("{app}w")] {
            world.ready("pguser", &user).await;
            let secret = world.secret(here, &user).await;
            postgres.connect(app, &secret["username"], &secret["password"]).await.unwrap();
        }
    }
}
