//! The PostgreSQL servers answer, keep their promises and leave nothing behind.

use std::{process::Command, time::Duration};

use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use testbed::{
    Postgres,
    postgres::{MAJORS, SUPERUSER, fetch_rows, fetch_text, run},
    tls::{Authority, Certificate},
    unique,
};

#[tokio::test]
async fn every_major_starts_and_asks_for_scram_passwords() {
    for major in MAJORS {
        let postgres = Postgres::shared(major).await;
        let mut session = postgres.admin("postgres").await;
        let version = fetch_text(&mut session, "SHOW server_version_num").await.unwrap().unwrap();
        assert_eq!(version[..2], major.to_string());
        let stored = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = 'postgres'";
        assert!(fetch_text(&mut session, stored).await.unwrap().unwrap().starts_with("SCRAM-SHA-256$"));
        let refused = postgres.connect("postgres", SUPERUSER, "template").await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "28P01");
        let log = postgres.log();
        assert!(log.contains("statement: SHOW server_version_num"), "{log}");
        assert!(!log.contains(postgres.password()), "{log}");
    }
}

#[test]
fn two_runtimes_share_a_server() {
    let shared = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let postgres = Postgres::shared(17).await;
            run(&mut postgres.admin("postgres").await, "SELECT 1").await.unwrap();
            postgres.port()
        })
    };
    let other = std::thread::spawn(shared);
    assert_eq!(shared(), other.join().unwrap());
}

#[tokio::test]
async fn a_restart_keeps_port_and_data() {
    let postgres = Postgres::builder(16).set("work_mem", "5MB").start().await;
    let (port, database) = (postgres.port(), unique("kept_"));
    run(&mut postgres.admin("postgres").await, format!("CREATE DATABASE {database}")).await.unwrap();

    postgres.stop().await;
    assert_eq!(postgres.process_id(), None);
    assert!(postgres.connect("postgres", SUPERUSER, postgres.password()).await.is_err());

    postgres.restart().await;
    assert_eq!(postgres.port(), port);
    let mut session = postgres.admin(&database).await;
    assert_eq!(fetch_text(&mut session, "SHOW work_mem").await.unwrap().unwrap(), "5MB");
}

#[tokio::test]
async fn a_paused_server_answers_when_it_goes_on() {
    let postgres = Postgres::start(18).await;
    postgres.pause();
    let answer = tokio::time::timeout(Duration::from_millis(200), postgres.admin("postgres")).await;
    assert!(answer.is_err(), "a paused server let somebody in");
    postgres.resume();
    postgres.admin("postgres").await;
}

#[tokio::test]
async fn an_answer_is_rows_of_text() {
    let mut session = Postgres::shared(17).await.admin("postgres").await;
    let rows = fetch_rows(
        &mut session,
        "SELECT 1, true, NULL::int, ARRAY['a','b'] UNION ALL SELECT 2, false, 3, '{}'",
    );
    let text = |cells: [Option<&str>; 4]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
    assert_eq!(
        rows.await.unwrap(),
        [
            text([Some("1"), Some("t"), None, Some("{a,b}")]),
            text([Some("2"), Some("f"), Some("3"), Some("{}")]),
        ]
    );
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_data() {
    let postgres = Postgres::start(17).await;
    let (process, log) = (postgres.process_id().unwrap(), postgres.log_path());
    assert!(is_running(process) && log.exists());
    drop(postgres);
    assert!(!is_running(process));
    assert!(!log.parent().unwrap().exists());
}

#[tokio::test]
async fn a_server_with_a_certificate_proves_its_name() {
    let authority = Authority::new("test");
    let Certificate { certificate, key } = authority.issue("postgresql", &["127.0.0.1"]);
    let postgres = Postgres::builder(17)
        .set("ssl", "on")
        .file("server.crt", certificate)
        .file("server.key", key)
        .file("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256")
        .start()
        .await;
    let options = PgConnectOptions::new_without_pgpass()
        .host(postgres.host())
        .port(postgres.port())
        .username(SUPERUSER)
        .password(postgres.password())
        .ssl_mode(PgSslMode::VerifyFull);
    let trusting =
        |authority: &Authority| options.clone().ssl_root_cert_from_pem(authority.certificate().into_bytes());
    let mut session = PgConnection::connect_with(&trusting(&authority)).await.unwrap();
    let is_encrypted = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(fetch_text(&mut session, is_encrypted).await.unwrap().unwrap(), "t");
    PgConnection::connect_with(&trusting(&Authority::new("another"))).await.unwrap_err();
}

/// Whether the process is there and not merely waiting for init to notice its end.
fn is_running(process: u32) -> bool {
    let output =
        Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().expect("ps is there");
    let state = String::from_utf8(output.stdout).expect("ps prints text");
    !state.trim().is_empty() && !state.starts_with('Z')
}
