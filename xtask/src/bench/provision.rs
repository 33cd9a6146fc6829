//! From `apply` to logins that work, and what a single session needs for the same statements.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use testbed::postgres::run;
use testbed::{Cluster, Postgres, eventually, kubernetes};
use xshell::Shell;

use super::operator::{Operator, manifests, secrets};
use super::{Figure, median, milliseconds};

const PATIENCE: Duration = Duration::from_mins(1);
/// Marks the end of the set-up in the server's log.
const MARK: &str = "SELECT 'everything is set up'";

/// Applies everything at once and waits for every login.
pub(super) async fn figures(
    shell: &Shell,
    cluster: &Cluster,
    postgres: &Postgres,
    (databases, users): (usize, usize),
    aim: &'static str,
) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(shell, cluster, postgres, 300).await?;
    warm_up(cluster, postgres, &operator).await?;
    run(&mut postgres.admin("postgres").await, MARK).await?;
    let client = cluster.client();
    let yaml: Vec<_> =
        (0..databases).map(|database| manifests(&operator.namespace, database, users)).collect();
    let start = Instant::now();
    kubernetes::apply(&client, &yaml.join("---\n"), &operator.namespace).await?;
    let waits = (0..databases).flat_map(|database| secrets(database, users));
    let waits = waits.map(|secret| wait_for_login(cluster, postgres, &operator.namespace, secret));
    let delays = futures::future::join_all(waits).await;
    let took = start.elapsed();
    drop(operator);
    let alone = replay(postgres, databases, users).await?;
    let what = format!("{databases} × (1 database + {users} users), from apply to logins");
    Ok(vec![
        Figure { what, value: milliseconds(took), aim },
        Figure {
            what: format!(
                "{databases} × (1 + {users}): as a multiple of one session with the same statements"
            ),
            value: format!("{:.1} ({})", took.as_secs_f64() / alone.as_secs_f64(), milliseconds(alone)),
            aim: "1.5",
        },
        Figure {
            what: format!("{databases} × (1 + {users}): from Secret to login, median"),
            value: milliseconds(median(delays)),
            aim: "50 ms",
        },
    ])
}

/// The first database of a process pays for caches and connections of others.
async fn warm_up(cluster: &Cluster, postgres: &Postgres, operator: &Operator) -> anyhow::Result<()> {
    kubernetes::apply(&cluster.client(), &manifests(&operator.namespace, 999, 0), &operator.namespace)
        .await?;
    wait_for_login(cluster, postgres, &operator.namespace, "db999".to_owned()).await;
    Ok(())
}

/// How long after the Secret's appearance its login works and can read.
async fn wait_for_login(cluster: &Cluster, postgres: &Postgres, namespace: &str, secret: String) -> Duration {
    let api: Api<Secret> = Api::namespaced(cluster.client(), namespace);
    let data = eventually("the Secret", PATIENCE, async || {
        api.get_opt(&secret)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "no Secret yet".to_owned())
    })
    .await
    .data
    .unwrap_or_default();
    let appeared = Instant::now();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).expect("our keys are text");
    eventually("the login", PATIENCE, async || {
        let session = postgres.connect(&text("database"), &text("username"), &text("password")).await;
        let mut session = session.map_err(|error| error.to_string())?;
        run(&mut session, "CREATE TEMPORARY TABLE t (n int)").await.map_err(|error| error.to_string())
    })
    .await;
    appeared.elapsed()
}

/// Removes what was made and makes it again with the statements in the server's log, one after the other.
async fn replay(postgres: &Postgres, databases: usize, users: usize) -> anyhow::Result<Duration> {
    let log = postgres.log();
    let log = log.rsplit(MARK).next().unwrap_or_default();
    let statements: Vec<(String, String)> = log.lines().filter_map(statement).collect();
    let mut admin = postgres.admin("postgres").await;
    for database in 0..databases {
        run(&mut admin, format!("DROP DATABASE bench{database} WITH (FORCE)")).await?;
        for user in 0..users {
            run(&mut admin, format!("DROP ROLE bench{database}_u{user}")).await?;
        }
        run(&mut admin, format!("DROP ROLE bench{database}_owner")).await?;
    }
    let mut sessions = BTreeMap::new();
    let start = Instant::now();
    for (database, text) in statements {
        if !sessions.contains_key(&database) {
            sessions.insert(database.clone(), postgres.admin(&database).await);
        }
        let session = sessions.get_mut(&database).expect("just opened");
        run(session, text).await?;
    }
    Ok(start.elapsed())
}

/// Database and text of a logged statement of the operator that changes something.
fn statement(line: &str) -> Option<(String, String)> {
    let (head, text) = line.split_once("/postgres-provisioner LOG:  statement: ")?;
    let verbs = ["CREATE", "ALTER", "GRANT", "REVOKE", "COMMENT", "BEGIN", "COMMIT", "LOCK"];
    let database = head.rsplit('@').next()?;
    verbs.iter().any(|verb| text.starts_with(verb)).then(|| (database.to_owned(), text.to_owned()))
}
