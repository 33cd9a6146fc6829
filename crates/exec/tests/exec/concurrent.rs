//! Passes beside tenants at work.

use std::time::Duration;

use exec::{Class, End};
use plan::{Action, Desired, Refused};
use sqlx::PgConnection;
use testbed::postgres::run;
use tokio::{
    task::{JoinSet, LocalSet},
    time::Instant,
};

use crate::support::{Admin, MAJORS, Place, own_superuser, place};

/// How long a workload goes on.
const WORK: Duration = Duration::from_secs(10);

/// Tables that the workload builds again and again, and how many sessions share them.
const MODELS: usize = 20;
const SESSIONS: usize = 2;

/// What becomes of the privileges that new objects get by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defaults {
    Kept,
    /// The workload takes them away from what it makes, so that every new object lacks them.
    TakenAway,
}

/// What passes did meanwhile.
#[derive(Debug, Default)]
struct Passes {
    grants: u32,
    /// What should not have happened.
    failures: Vec<String>,
}

/// A session of the owner, none of whose statements may fail.
struct Tenant {
    session: PgConnection,
    failures: Vec<String>,
}

#[tokio::test]
async fn a_workload_whose_objects_lack_privileges_is_not_disturbed_by_their_repair() {
    on_every_major(Defaults::TakenAway).await;
}

#[tokio::test]
async fn a_workload_whose_objects_have_privileges_by_default_costs_no_statement() {
    on_every_major(Defaults::Kept).await;
}

async fn on_every_major(defaults: Defaults) {
    let legs = async {
        let mut legs = JoinSet::new();
        for major in MAJORS {
            legs.spawn_local(beside_passes(major, defaults));
        }
        let failures: Vec<_> = legs.join_all().await.into_iter().flatten().collect();
        assert!(failures.is_empty(), "{failures:#?}");
    };
    LocalSet::new().run_until(legs).await;
}

/// Some seconds of work beside passes; what went wrong.
async fn beside_passes(major: u16, defaults: Defaults) -> Vec<String> {
    let place = own_superuser(place(major, Admin::Superuser).await).await;
    let place: &'static Place = Box::leak(Box::new(place));
    let desired = place.desired();
    place.converge(&desired).await;
    prepare(place).await;
    place.converge(&desired).await;
    let before = place.postgres.log().len();
    let until = Instant::now() + WORK;
    let mut tenants = JoinSet::new();
    for session in 0..SESSIONS {
        tenants.spawn_local(rebuild_tables(place, defaults, until, session));
    }
    tenants.spawn_local(replace_views(place, defaults, until));
    tenants.spawn_local(refresh_what_is_kept(place, defaults, until));
    let passes = passes(place, &desired, until).await;
    let tenants = tenants.join_all().await;
    let log = place.postgres.log().split_off(before);
    let mut failures = passes.failures;
    failures.extend(tenants.into_iter().flat_map(|tenant| tenant.failures));
    // What is read goes by the extended protocol.
    let ours = format!("{}@", place.server.user);
    let written = log.lines().filter(|line| line.contains(&ours) && line.contains("statement: "));
    match defaults {
        Defaults::Kept => failures.extend(written.map(str::to_owned)),
        Defaults::TakenAway if passes.grants == 0 => failures.push("nothing was granted".to_owned()),
        Defaults::TakenAway => (),
    }
    place.converge(&desired).await;
    let read = "SELECT FROM shop.model0; SELECT FROM shop.view0; SELECT FROM shop.kept";
    failures.extend(place.sql_as(&place.reader, read).await.err());
    failures.into_iter().map(|failure| format!("{major}: {failure}")).collect()
}

async fn prepare(place: &Place) {
    let made = format!(
        "CREATE SCHEMA shop; CREATE TABLE shop.base AS SELECT g AS id FROM generate_series(1, 20) g; \
         CREATE VIEW shop.view0 AS TABLE shop.base; CREATE VIEW shop.view1 AS TABLE shop.base; \
         CREATE MATERIALIZED VIEW shop.kept AS TABLE shop.base; \
         DO 'BEGIN FOR n IN 0..{} LOOP EXECUTE format(''CREATE TABLE shop.model%s AS TABLE shop.base'', n); \
         END LOOP; END'",
        MODELS - 1
    );
    place.sql_as(&place.owner, made).await.unwrap();
}

impl Tenant {
    async fn of(place: &Place) -> Self {
        let password = place.secrets.0[&place.owner].expose();
        let session = place.postgres.connect(place.database.as_str(), place.owner.as_str(), password).await;
        Self { session: session.unwrap(), failures: Vec::new() }
    }

    /// One statement after another; one that fails costs its transaction.
    async fn run(&mut self, statements: impl IntoIterator<Item = String>) {
        for statement in statements.into_iter().filter(|statement| !statement.is_empty()) {
            if let Err(error) = run(&mut self.session, statement.as_str()).await {
                self.failures.push(format!("{statement}: {error}"));
                let _ = run(&mut self.session, "ROLLBACK").await;
                return;
            }
        }
    }
}

/// Takes away what the operator gave by default, before anybody else sees the object.
fn take_away(place: &Place, defaults: Defaults, object: &str) -> String {
    match defaults {
        Defaults::Kept => String::new(),
        Defaults::TakenAway => format!("REVOKE ALL ON {object} FROM {}, {}", place.reader, place.writer),
    }
}

/// Tables made anew beside the old ones and put in their place, as dbt does, and changed now and then.
async fn rebuild_tables(place: &Place, defaults: Defaults, until: Instant, session: usize) -> Tenant {
    let mut tenant = Tenant::of(place).await;
    for model in (0..MODELS).filter(|model| model % SESSIONS == session).cycle() {
        if Instant::now() >= until {
            break;
        }
        let table = format!("model{model}");
        // Of a few only: where everything is missing all the time, every plan is out of date at once.
        let defaults = if model % 5 == 0 { defaults } else { Defaults::Kept };
        let rebuild = [
            "BEGIN".to_owned(),
            format!("CREATE TABLE shop.{table}__tmp AS SELECT id, 'x' AS note FROM shop.base"),
            take_away(place, defaults, &format!("shop.{table}__tmp")),
            format!("ALTER TABLE shop.{table} RENAME TO {table}__old"),
            format!("ALTER TABLE shop.{table}__tmp RENAME TO {table}"),
            format!("DROP TABLE shop.{table}__old CASCADE"),
            "COMMIT".to_owned(),
        ];
        tenant.run(rebuild).await;
        let change = [
            format!("ALTER TABLE shop.{table} ADD COLUMN more int"),
            format!("INSERT INTO shop.{table} VALUES (21)"),
            format!("ALTER TABLE shop.{table} ADD PRIMARY KEY (id)"),
            format!("TRUNCATE shop.{table}"),
        ];
        tenant.run(change.into_iter().take(model % 5)).await;
    }
    tenant
}

/// A view that is dropped and made again, and one that is replaced.
async fn replace_views(place: &Place, defaults: Defaults, until: Instant) -> Tenant {
    let mut tenant = Tenant::of(place).await;
    while Instant::now() < until {
        for view in ["view0", "view1"] {
            let rebuild = [
                "BEGIN".to_owned(),
                format!("DROP VIEW shop.{view}"),
                format!("CREATE VIEW shop.{view} AS TABLE shop.base"),
                take_away(place, defaults, &format!("shop.{view}")),
                "COMMIT".to_owned(),
            ];
            tenant.run(rebuild).await;
            for id in 0..4 {
                let replace =
                    format!("CREATE OR REPLACE VIEW shop.{view} AS SELECT id FROM shop.base WHERE id > {id}");
                tenant.run([replace]).await;
            }
        }
    }
    tenant
}

/// A materialized view.
async fn refresh_what_is_kept(place: &Place, defaults: Defaults, until: Instant) -> Tenant {
    let mut tenant = Tenant::of(place).await;
    while Instant::now() < until {
        let rebuild = [
            "BEGIN".to_owned(),
            "DROP MATERIALIZED VIEW shop.kept".to_owned(),
            "CREATE MATERIALIZED VIEW shop.kept AS TABLE shop.base".to_owned(),
            take_away(place, defaults, "shop.kept"),
            "COMMIT".to_owned(),
        ];
        tenant.run(rebuild).await;
        for _ in 0..4 {
            tenant.run(["REFRESH MATERIALIZED VIEW shop.kept".to_owned()]).await;
        }
    }
    tenant
}

/// Passes of as many rounds as the operator's, one after the other.
async fn passes(place: &Place, desired: &Desired, until: Instant) -> Passes {
    let mut passes = Passes::default();
    while Instant::now() < until {
        if let Err(error) = pass(place, desired.clone(), &mut passes).await
            && error.class() != Class::Transient
        {
            passes.failures.push(format!("a pass: {error}"));
        }
    }
    passes
}

async fn pass(place: &Place, mut desired: Desired, passes: &mut Passes) -> Result<(), exec::Error> {
    let mut sessions = place.sessions();
    for number in 1..=8 {
        let catalog = sessions.read(&desired).await?;
        let plan = plan::plan(&desired, &catalog);
        if plan.is_empty() {
            break;
        }
        let applied = sessions.apply(&desired, &plan).await?;
        let grants = applied.done.iter().filter(|action| matches!(action, Action::Grant { .. })).count();
        for a in &applied.done {
            if a.to_string().contains("view0")
                || a.to_string().contains("view1")
                || a.to_string().contains("kept")
            {}
        }
        passes.grants += u32::try_from(grants).unwrap();
        match applied.end {
            End::Busy(busy) if number > 3 => desired.busy.extend(busy),
            End::Complete | End::Stale | End::Busy(_) => (),
            End::Refused(Refused { action, message }) => {
                passes.failures.push(format!("refused: {action}: {message}"));
                desired.refused.push(Refused { action, message });
            }
            End::NotConverged(left) => passes.failures.push(format!("not converged: {left:?}")),
        }
    }
    sessions.close().await;
    Ok(())
}
