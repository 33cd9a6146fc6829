//! Shows that the tricks of `tests/exec/canary` would work: without its protection, a session runs them.

use plan::{
    Ident, PasswordState,
    testing::{desired, ident},
};
use testbed::{
    Postgres,
    postgres::{SUPERUSER, run},
};

use crate::{
    Learned, Password, PasswordMode, Server, Sessions, Stored, Tls, Unlimited, Verify, session::Session,
};

const CANARY: &str = include_str!("../tests/exec/canary/canary.sql");
const SHADOWS: &str = include_str!("../tests/exec/canary/shadows.sql");
const EVENT_TRIGGER: &str = include_str!("../tests/exec/canary/event_trigger.sql");

struct Nobody;

impl Verify for Nobody {
    fn state(&self, _: &Ident, _: Stored<'_>) -> PasswordState {
        PasswordState::Unknown
    }
}

fn server(postgres: &Postgres) -> Server {
    Server {
        host: postgres.host().to_owned(),
        port: postgres.port(),
        user: SUPERUSER.to_owned(),
        password: Password::new(postgres.password()),
        maintenance: ident("postgres"),
        tls: Tls::default(),
        passwords: PasswordMode::Verifier,
        learned: Learned::default(),
    }
}

/// The database `app`, whose owner put its own things before PostgreSQL's.
async fn shadowed(postgres: &Postgres) {
    let mut session = postgres.admin("postgres").await;
    run(&mut session, "CREATE ROLE owner; CREATE ROLE former SUPERUSER").await.unwrap();
    run(&mut session, "CREATE DATABASE app OWNER owner").await.unwrap();
    let mut session = postgres.admin("app").await;
    run(&mut session, "GRANT ALL ON SCHEMA public TO owner").await.unwrap();
    run(&mut session, format!("SET ROLE owner; {CANARY}{SHADOWS}")).await.unwrap();
    run(&mut session, "ALTER DATABASE app SET search_path = public, pg_catalog").await.unwrap();
}

/// What ran with the rights of a superuser since the log had this length.
fn songs(postgres: &Postgres, since: usize) -> Vec<String> {
    let log = postgres.log().split_off(since);
    let song = |line: &str| Some(line.split_once("LOG:  canary: ")?.1.to_owned());
    log.lines().filter_map(song).filter(|song| song.starts_with("postgres / postgres")).collect()
}

/// What a reading of the database runs with these settings missing.
async fn heard_without(postgres: &Postgres, missing: &[&str]) -> Vec<String> {
    let (server, database) = (server(postgres), ident("app"));
    let since = postgres.log().len();
    let session = Session::unprotected(&server, &database, missing).await.unwrap();
    assert_eq!(songs(postgres, since), [""; 0], "the first statement needs no protection");
    let mut sessions = Sessions::new(&server, &Nobody);
    sessions.use_session(&database, session);
    // Whoever disturbs the canary gets an error for an answer.
    let _ = sessions.read(&desired(&["reader read"])).await;
    songs(postgres, since)
}

#[tokio::test]
async fn a_reading_without_search_path_protection_runs_what_a_tenant_put_there() {
    for major in testbed::postgres::MAJORS {
        let postgres = Postgres::start(major).await;
        shadowed(&postgres).await;
        let events = if major < 17 { &["event_triggers"][..] } else { &[] };
        assert_eq!(heard_without(&postgres, events).await, [""; 0], "with it, on {postgres}");
        let missing = [&["search_path"], events].concat();
        assert_ne!(heard_without(&postgres, &missing).await, [""; 0], "without it, on {postgres}");
    }
}

#[tokio::test]
async fn a_session_with_event_triggers_runs_what_a_tenant_put_into_them() {
    for major in testbed::postgres::MAJORS {
        let postgres = Postgres::start(major).await;
        shadowed(&postgres).await;
        let trap = EVENT_TRIGGER.replace(":owner", "owner").replace(":former", "former");
        run(&mut postgres.admin("app").await, trap).await.unwrap();
        let (server, database) = (server(&postgres), ident("app"));
        let grant = "GRANT USAGE ON SCHEMA public TO former";
        let since = postgres.log().len();
        let mut session = Session::unprotected(&server, &database, &["event_triggers"]).await.unwrap();
        assert_eq!(songs(&postgres, since).is_empty(), major < 17, "at login, on {postgres}");
        let since = postgres.log().len();
        session.execute(grant).await.unwrap();
        assert_ne!(songs(&postgres, since), [""; 0], "at GRANT, on {postgres}");
        // That is why a plan leaves it out there; from 17 on they are off.
        if major >= 17 {
            let since = postgres.log().len();
            let mut session = Session::open(&server, &database, Unlimited::SILENCE).await.unwrap();
            session.execute(grant).await.unwrap();
            assert_eq!(songs(&postgres, since), [""; 0], "without them, on {postgres}");
        }
    }
}
