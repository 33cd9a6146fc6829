//! A check of a database where nothing is to be done, in this process: reading, comparing, planning.

use std::time::Instant;

use exec::{Password, Server, Sessions, Stored, Tls, Verify};
use plan::testing::{claim, ident};
use plan::{Access, Desired, Grantee, Login, Managed, PasswordState, Prune, Schemas};
use testbed::Postgres;
use testbed::postgres::run;

use super::{Figure, median, milliseconds};

const CHECKS: usize = 21;

struct Right;

impl Verify for Right {
    fn state(&self, _: &plan::Ident, _: Stored<'_>) -> PasswordState {
        PasswordState::Matches
    }
}

/// 1,000 tables in 50 schemas, 20 users.
pub(super) async fn figures(postgres: &Postgres) -> anyhow::Result<Vec<Figure>> {
    let server = Server {
        host: postgres.host().to_owned(),
        port: postgres.port(),
        user: testbed::postgres::SUPERUSER.to_owned(),
        password: Password::new(postgres.password()),
        maintenance: ident("postgres"),
        tls: Tls::default(),
    };
    let desired = desired();
    converge(&server, &desired).await?;
    run(
        &mut postgres.admin("steady").await,
        "SET ROLE steady_owner; DO $$ BEGIN FOR s IN 1..50 LOOP EXECUTE format('CREATE SCHEMA s%s', s); \
         FOR t IN 1..20 LOOP EXECUTE format('CREATE TABLE s%s.t%s (n int)', s, t); END LOOP; END LOOP; END $$",
    )
    .await?;
    converge(&server, &desired).await?;
    let before = statements(postgres);
    let mut times = Vec::new();
    for _ in 0..CHECKS {
        let start = Instant::now();
        let mut sessions = Sessions::new(&server, &Right);
        let catalog = sessions.read(&desired).await?;
        anyhow::ensure!(plan::plan(&desired, &catalog).is_empty(), "the check is not steady");
        sessions.close().await;
        times.push(start.elapsed());
    }
    let count = statements(postgres) - before;
    Ok(vec![
        Figure {
            what: "steady check, 1,000 tables in 50 schemas, 20 users, median".to_owned(),
            value: milliseconds(median(times)),
            aim: "40 ms",
        },
        Figure {
            what: "its statements".to_owned(),
            value: format!("{count} in {CHECKS} checks"),
            aim: "3 each",
        },
    ])
}

async fn converge(server: &Server, desired: &Desired) -> anyhow::Result<()> {
    loop {
        let mut sessions = Sessions::new(server, &Right);
        let catalog = sessions.read(desired).await?;
        let next = plan::plan(desired, &catalog);
        if next.is_empty() {
            return Ok(());
        }
        sessions.apply(desired, &next).await?;
    }
}

fn desired() -> Desired {
    let login = |name: &str| Login { claim: claim(name), recorded: None, verifier: None };
    let users: Vec<_> = (0..20).map(|number| format!("steady_u{number}")).collect();
    let access = |at: usize| if at.is_multiple_of(2) { Access::Read } else { Access::ReadWrite };
    let grantee = |at| Grantee { access: access(at), schemas: Schemas::All, prune: Prune::IfCreated };
    let names = users.iter().map(String::as_str).chain(["steady_owner"]);
    Desired {
        database: ident("steady"),
        managed: Managed::Yes {
            owner: ident("steady_owner"),
            template: ident("template0"),
            claim: claim("steady"),
            recorded: None,
            prune: Prune::IfCreated,
        },
        logins: names.map(|name| (ident(name), login(name))).collect(),
        grantees: users.iter().enumerate().map(|(at, name)| (ident(name), grantee(at))).collect(),
        leaving: std::collections::BTreeMap::new(),
        refused: Vec::new(),
    }
}

fn statements(postgres: &Postgres) -> usize {
    let log = postgres.log();
    let ours = log.lines().filter(|line| line.contains("/postgres-provisioner LOG:"));
    ours.filter(|line| line.contains("statement:") || line.contains("execute ")).count()
}
