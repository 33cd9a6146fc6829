//! What tenants can cost others: attacks at full size, what became of the database that they came from, how long a change
//! of a neighbour took meanwhile, and how much memory the operator needed.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject};
use operator::api::user::PostgresUser;
use sqlx::PgConnection;
use testbed::postgres::{SUPERUSER, run};
use testbed::{Postgres, eventually, kubernetes};
use tokio::net::TcpListener;

use super::operator::{Ground, Operator, manifests, user, wait_until_ready};
use super::{Figure, milliseconds};

const PATIENCE: Duration = Duration::from_mins(12);

/// One attack.
struct Attack {
    what: &'static str,
    /// What the superuser runs in the tenant's database to prepare it; the database is called `benchN` there, its owner
    /// `benchN_owner`, its first user `benchN_u0`.
    prepared: &'static str,
    /// What sessions hold while others are measured: in which database, as whom, by which statements.
    held: &'static [(&'static str, &'static str, &'static str)],
    change: Change,
}

/// What is asked of the attacked database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// One more user.
    Come,
    /// One user less.
    Leave,
}

/// Somebody with a login and nothing else; it is the password too.
const STRANGER: &str = "stranger";

const CROWD: &str = "CREATE ROLE stranger LOGIN PASSWORD 'stranger'; \
                     DO $$ BEGIN FOR r IN 1..200 LOOP EXECUTE format('CREATE ROLE crowd%s', r); END LOOP; END $$";

const ATTACKS: [Attack; 10] = [
    Attack { what: "none", prepared: "SELECT", held: &[], change: Change::Come },
    Attack {
        what: "50,000 schemas with names of 63 bytes",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; FOR s IN 1..50000 LOOP \
                   EXECUTE format('CREATE SCHEMA %I', rpad('s' || s, 63, 'x')); \
                   IF s % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        held: &[],
        change: Change::Come,
    },
    Attack {
        what: "40,000 schemas with names of 63 bytes, that few may use",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; FOR s IN 1..40000 LOOP \
                   EXECUTE format('CREATE SCHEMA %I', rpad('s' || s, 63, 'x')); \
                   IF s % 500 = 0 THEN COMMIT; END IF; END LOOP; RESET ROLE; \
                   UPDATE pg_namespace SET nspacl = NULL WHERE nspname LIKE 's%xxx'; END $$",
        held: &[],
        change: Change::Come,
    },
    Attack {
        what: "8,000 distinct lists of 200 privileges",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; FOR t IN 1..8000 LOOP \
                   EXECUTE format('CREATE TABLE public.t%s (n int)', t); \
                   IF t % 500 = 0 THEN COMMIT; END IF; END LOOP; RESET ROLE; \
                   UPDATE pg_class c SET relacl = (SELECT array_agg(makeaclitem(r.oid, c.relowner, \
                     CASE WHEN (c.oid::int8 >> (r.n % 14)::int) & 1 = 1 THEN 'SELECT' ELSE 'INSERT' END, false)) \
                   FROM (SELECT oid, row_number() OVER (ORDER BY oid) AS n FROM pg_roles WHERE rolname ~ '^crowd') r) \
                   WHERE relname ~ '^t[0-9]+$'; END $$",
        held: &[],
        change: Change::Come,
    },
    Attack {
        what: "100,000 tables with names of 63 bytes",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; FOR t IN 1..100000 LOOP \
                   EXECUTE format('CREATE TABLE public.%I ()', rpad('t' || t, 63, 'x')); \
                   IF t % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        held: &[],
        change: Change::Come,
    },
    Attack {
        what: "a table locked for ever",
        prepared: "SET ROLE benchN_owner; CREATE TABLE public.locked ()",
        held: &[("benchN", SUPERUSER, "BEGIN; LOCK public.locked")],
        change: Change::Come,
    },
    Attack {
        what: "our lock held by strangers",
        prepared: "GRANT CONNECT ON DATABASE benchN TO stranger",
        held: &[
            ("benchN", STRANGER, "SELECT pg_advisory_lock(1346851414, 0)"),
            ("postgres", STRANGER, "SELECT pg_advisory_lock_shared(1346851414, 0)"),
        ],
        change: Change::Come,
    },
    Attack {
        what: "idle transactions on the row of the database and of the leaving user, sessions in template1",
        prepared: "SELECT",
        held: &[
            (
                "benchN",
                SUPERUSER,
                "BEGIN; GRANT CONNECT ON DATABASE benchN TO PUBLIC; ALTER ROLE benchN_u0 PASSWORD 'x'",
            ),
            ("template1", SUPERUSER, "BEGIN; SELECT 1"),
        ],
        change: Change::Leave,
    },
    Attack {
        what: "a comment of 200 MB on the database and on a schema",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; \
                   EXECUTE format('COMMENT ON DATABASE benchN IS %L', repeat('x', 200000000)); \
                   CREATE SCHEMA s; EXECUTE format('COMMENT ON SCHEMA s IS %L', repeat('x', 200000000)); END $$",
        held: &[],
        change: Change::Come,
    },
    Attack {
        what: "a leaving user with 20,000 tables, more than can be locked",
        prepared: "DO $$ BEGIN SET ROLE benchN_owner; CREATE SCHEMA own; RESET ROLE; \
                   GRANT ALL ON SCHEMA own TO benchN_u0; SET ROLE benchN_u0; FOR t IN 1..20000 LOOP \
                   EXECUTE format('CREATE TABLE own.t%s ()', t); IF t % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$",
        held: &[],
        change: Change::Leave,
    },
];

pub(super) async fn figures(ground: Ground<'_>, postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    let operator = Operator::start(ground, postgres, postgres.port(), 300).await?;
    run(&mut postgres.admin("postgres").await, CROWD).await?;
    let stage = Stage { ground, postgres, operator: &operator };
    stage.apply(&manifests(&operator.namespace, 0, 1)).await?;
    wait_until_ready(ground.cluster, &operator.namespace).await;
    let mut figures = Vec::new();
    for (number, attack) in ATTACKS.iter().enumerate() {
        println!("an attack: {}", attack.what);
        figures.extend(stage.attack(number + 1, attack).await?);
    }
    println!("an attack: 100 servers that never answer");
    figures.extend(stage.silent_servers(100).await?);
    Ok(figures)
}

struct Stage<'a> {
    ground: Ground<'a>,
    postgres: &'a Postgres,
    operator: &'a Operator,
}

impl Stage<'_> {
    async fn attack(&self, number: usize, attack: &Attack) -> anyhow::Result<Vec<Figure>> {
        let name = format!("bench{number}");
        let named = |text: &str| text.replace("benchN", &name);
        self.apply(&manifests(&self.operator.namespace, number, 1)).await?;
        self.ready(&format!("u{number}-0")).await;
        run(&mut self.postgres.admin(&name).await, named(attack.prepared)).await?;
        let mut held: Vec<PgConnection> = Vec::new();
        for (database, role, statements) in attack.held {
            let mut session = match *role {
                SUPERUSER => self.postgres.admin(&named(database)).await,
                role => self.postgres.connect(&named(database), role, role).await?,
            };
            run(&mut session, named(statements)).await?;
            held.push(session);
        }
        self.operator.forget_peak()?;
        let start = Instant::now();
        let (attacked, neighbour) = (format!("u{number}-1"), format!("u0-{number}"));
        match attack.change {
            Change::Come => self.apply(&user(&self.operator.namespace, number, 1)).await?,
            Change::Leave => {
                self.users().delete(&format!("u{number}-0"), &DeleteParams::default()).await?;
            }
        }
        self.apply(&user(&self.operator.namespace, 0, number)).await?;
        let neighbour = async {
            self.ready(&neighbour).await;
            start.elapsed()
        };
        let attacked = async {
            let end = match attack.change {
                Change::Come => self.reported(&attacked).await,
                Change::Leave => self.reported_or_gone(&format!("u{number}-0")).await,
            };
            (start.elapsed(), end)
        };
        let (delay, (time, end)) = tokio::join!(neighbour, attacked);
        let figure =
            |what: &str, value| Figure {
                what: format!("attack: {}: {what}", attack.what), value, aim: "–"
            };
        Ok(vec![
            figure("until it is reported", format!("{} ({end})", milliseconds(time))),
            figure("a new user of a neighbour", milliseconds(delay)),
            figure("peak memory of the operator", format!("{:.0} MiB", self.operator.peak()?)),
        ])
    }

    /// A neighbour beside many servers that accept connections and never answer.
    async fn silent_servers(&self, count: usize) -> anyhow::Result<Vec<Figure>> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let silence = tokio::spawn(async move {
            let mut clients = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.push(client);
            }
        });
        let here = &self.operator.namespace;
        self.operator.forget_peak()?;
        for number in 0..count {
            let hung = format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: hung{number}, namespace: {here}}}\n\
                 stringData: {{username: {SUPERUSER}, password: x, port: '{port}'}}\n---\n\
                 apiVersion: pgprovisioner.drewsonne.github.io/v1\nkind: PostgresDatabase\n\
                 metadata: {{name: hung{number}, namespace: {here}}}\n\
                 spec: {{dbName: hung{number}, owner: hung{number}_owner, secretName: hung{number}, \
                 host: 127.0.{}.{}, superuserSecret: {{name: hung{number}, namespace: {here}}}}}\n",
                number / 250,
                number % 250 + 1
            );
            self.apply(&hung).await?;
        }
        let start = Instant::now();
        self.apply(&user(here, 0, 1000)).await?;
        self.ready("u0-1000").await;
        let delay = start.elapsed();
        tokio::time::sleep(Duration::from_secs(15)).await;
        silence.abort();
        let figure = |what: &str, value| Figure {
            what: format!("attack: {count} servers that never answer: {what}"),
            value,
            aim: "–",
        };
        Ok(vec![
            figure("a new user of a neighbour", milliseconds(delay)),
            figure("peak memory of the operator", format!("{:.0} MiB", self.operator.peak()?)),
        ])
    }

    async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        kubernetes::apply(&self.ground.cluster.client(), yaml, &self.operator.namespace).await?;
        Ok(())
    }

    fn users(&self) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<PostgresUser>(&());
        Api::namespaced_with(self.ground.cluster.client(), &self.operator.namespace, &kind)
    }

    async fn ready(&self, name: &str) {
        eventually(&format!("{name} to be Ready"), PATIENCE, async || {
            let end = self.end(name).await?;
            if end == "Provisioned" { Ok(()) } else { Err(end) }
        })
        .await;
    }

    /// Waits until `Ready` says something of the resource.
    async fn reported(&self, name: &str) -> String {
        eventually(&format!("{name} to be reported"), PATIENCE, async || self.end(name).await).await
    }

    async fn reported_or_gone(&self, name: &str) -> String {
        eventually(&format!("{name} to go"), PATIENCE, async || match self.end(name).await {
            Err(error) if error == "gone" => Ok(error),
            Ok(reason) if reason == "Provisioned" => Err(reason),
            end => end,
        })
        .await
    }

    /// The reason of `Ready`.
    async fn end(&self, name: &str) -> Result<String, String> {
        let found = self.users().get_opt(name).await.map_err(|error| error.to_string())?;
        let found = found.ok_or("gone")?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|found| found["type"] == "Ready").ok_or("nothing is said")?;
        Ok(ready["reason"].as_str().unwrap_or_default().to_owned())
    }
}
