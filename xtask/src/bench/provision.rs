//! From `apply` to logins that work, and what a single session needs for the same statements.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher;
use kube::{Api, Client};
use sqlx::PgConnection;
use testbed::postgres::{fetch_rows, run};
use testbed::{Postgres, kubernetes};
use tokio::sync::watch;

use super::operator::{Ground, Operator, manifests};
use super::{Figure, median, milliseconds};

const PATIENCE: Duration = Duration::from_mins(1);
/// Marks the end of the set-up in the server's log.
const MARK: &str = "SELECT 'everything is set up'";

/// Applies everything at once and waits for every login.
pub(super) async fn figures(
    ground: Ground<'_>,
    postgres: &Postgres,
    (databases, users): (usize, usize),
    aim: &'static str,
) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(ground, postgres, postgres.port(), 300).await?;
    // As quick as the operator's: what it waits for is measured, not what this does.
    let client = ::operator::client_from(ground.cluster.config())?;
    let namespace = &operator.namespace;
    // The first database of a process pays for caches and connections of others.
    Arrivals::watch(&client, postgres, namespace).await?.of(&[manifests(namespace, 999, 0)]).await?;
    run(&mut postgres.admin("postgres").await, MARK).await?;
    let arrivals = Arrivals::watch(&client, postgres, namespace).await?;
    let yaml: Vec<_> = (0..databases).map(|database| manifests(namespace, database, users)).collect();
    let start = Instant::now();
    let delays = arrivals.of(&yaml).await?;
    let took = start.elapsed();
    anyhow::ensure!(delays.len() == databases * (1 + users), "{} Secrets", delays.len());
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

/// Sees Secrets appear and logins begin to work, with one watch and one session: whoever polls for each of them
/// measures mostly itself.
struct Arrivals<'a> {
    client: &'a Client,
    postgres: &'a Postgres,
    secrets: BoxStream<'static, Secret>,
    admin: PgConnection,
}

impl<'a> Arrivals<'a> {
    async fn watch(client: &'a Client, postgres: &'a Postgres, namespace: &str) -> anyhow::Result<Self> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let events = watcher(api, watcher::Config::default());
        let mut events = Box::pin(events.filter_map(async |event| event.ok()));
        while !matches!(events.next().await.context("the watch ended")?, watcher::Event::InitDone) {}
        let applied = events.filter_map(async |event| match event {
            watcher::Event::Apply(secret) => Some(secret),
            _ => None,
        });
        Ok(Self { client, postgres, secrets: applied.boxed(), admin: postgres.admin("postgres").await })
    }

    /// Applies these documents and waits until every login works, and tells how far ahead each Secret was.
    async fn of(self, yaml: &[String]) -> anyhow::Result<Vec<Duration>> {
        let Self { client, postgres, secrets, mut admin } = self;
        let count = yaml.iter().map(|yaml| yaml.matches("secretName").count()).sum();
        let (sender, able) = watch::channel(BTreeSet::new());
        let poll = async {
            loop {
                sender.send_replace(able_to_login(&mut admin).await?);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let logins = secrets.take(count).map(|secret| login(postgres, secret, able.clone()));
        let logins = logins.buffer_unordered(count).try_collect();
        let applied = try_join_all(yaml.iter().map(|yaml| kubernetes::apply(client, yaml, "default")));
        tokio::select! {
            failed = poll => failed,
            done = async { tokio::join!(async { Ok(applied.await?) }, logins) } => {
                let (applied, delays): (anyhow::Result<_>, anyhow::Result<_>) = done;
                applied.and(delays)
            }
            () = tokio::time::sleep(PATIENCE) => anyhow::bail!("not every login works after {PATIENCE:?}"),
        }
    }
}

async fn able_to_login(admin: &mut PgConnection) -> anyhow::Result<BTreeSet<String>> {
    let able = "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NOT NULL";
    Ok(fetch_rows(admin, able).await?.into_iter().flatten().flatten().collect())
}

/// How long after the Secret's appearance the server accepts its password. It must do so at the first try.
async fn login(
    postgres: &Postgres,
    secret: Secret,
    mut able: watch::Receiver<BTreeSet<String>>,
) -> anyhow::Result<Duration> {
    let appeared = Instant::now();
    let data = secret.data.unwrap_or_default();
    let text = |key: &str| String::from_utf8(data[key].0.clone()).expect("our keys are text");
    able.wait_for(|able| able.contains(&text("username"))).await?;
    let delay = appeared.elapsed();
    let mut session = postgres.connect(&text("database"), &text("username"), &text("password")).await?;
    run(&mut session, "CREATE TEMPORARY TABLE t (n int)").await?;
    Ok(delay)
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
