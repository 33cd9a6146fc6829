//! Sessions that cannot be misled, and what they cost.

use exec::{Class, SslMode, Tls};
use testbed::{postgres::run, relay::postgres::Relay};

use crate::support::{Admin, MAJORS, Place, place, read, sql};

#[tokio::test]
async fn settings_of_a_database_and_of_the_admin_role_do_not_reach_us() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let mut hostile = vec![
            format!("role = {}", place.owner),
            "search_path = public".to_owned(),
            "local_preload_libraries = 'no_such_library'".to_owned(),
            "default_transaction_read_only = on".to_owned(),
            "default_transaction_isolation = 'serializable'".to_owned(),
            "lock_timeout = 1".to_owned(),
            "statement_timeout = 1".to_owned(),
            "postgres_provisioner.nonce = 'theirs'".to_owned(),
        ];
        if major >= 14 {
            hostile.push("idle_session_timeout = 1000".to_owned());
        }
        let mut session = place.postgres.admin("postgres").await;
        for setting in hostile {
            run(&mut session, format!("ALTER DATABASE {} SET {setting}", place.database)).await.unwrap();
        }
        let catalog = read(&place, &desired).await.unwrap();
        assert_eq!(catalog.roles[&catalog.server.admin].name.as_str(), place.server.user, "on {major}");
        let revoke = format!("REVOKE CONNECT ON DATABASE {} FROM {}", place.database, place.reader);
        run(&mut session, revoke).await.unwrap();
        place.converge(&desired).await;
    }
}

#[tokio::test]
async fn a_steady_check_is_one_connection_and_three_statements() {
    for major in MAJORS {
        for admin in [Admin::Superuser, Admin::Limited] {
            let place = place(major, admin).await;
            let desired = place.desired();
            place.converge(&desired).await;
            let before = place.postgres.log().len();
            read(&place, &desired).await.unwrap();
            // The server has logged a statement before it answers.
            let log = place.postgres.log().split_off(before);
            let of = format!("{}@{}/", place.server.user, place.database.as_str());
            let lines: Vec<_> = log.lines().filter(|line| line.contains(&of)).collect();
            let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
            assert_eq!(count("connection authorized"), 1, "{log}");
            assert_eq!(count("statement:") + count("execute <unnamed>:"), 3, "{log}");
            if admin == Admin::Limited {
                // Nobody else is called like this one.
                let anywhere = format!("{}@", place.server.user);
                assert_eq!(log.matches(&anywhere).count(), log.matches(&of).count(), "{log}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_reader_keeps_of_its_past_costs_a_steady_check_nothing() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    let reader = &place.reader;
    let password = place.secrets.0[reader].expose();
    sql(place.postgres, "postgres", format!("CREATE ROLE {reader} LOGIN PASSWORD '{password}'")).await;
    place.converge(&desired).await;
    place.sql(format!("CREATE TABLE public.past (); ALTER TABLE public.past OWNER TO {reader}")).await;
    // The first pass that sees the table gives the others their access.
    place.converge(&desired).await;
    let before = place.postgres.log().len();
    read(&place, &desired).await.unwrap();
    let log = place.postgres.log().split_off(before);
    let of = format!("{}@{}/", place.server.user, place.database.as_str());
    let lines = log.lines().filter(|line| line.contains(&of));
    let statements = lines.filter(|line| line.contains("statement:") || line.contains("execute <unnamed>:"));
    assert_eq!(statements.count(), 3, "{log}");
}

#[tokio::test]
async fn a_pooler_that_drops_the_settings_of_a_session_is_recognised() {
    let place = place(17, Admin::Superuser).await;
    let pooler = Relay::forgetful(place.postgres.port()).await;
    let tls = Tls { mode: SslMode::Disable, ..Tls::default() };
    let server = exec::Server { port: pooler.port, tls, ..place.server.clone() };
    let place = Place { server, ..place };
    let error = read(&place, &place.desired()).await.unwrap_err();
    assert_eq!(error.class(), Class::Pooler, "{error}");
}

#[tokio::test]
async fn a_pass_can_move_between_threads() {
    let place = place(17, Admin::Superuser).await;
    let pass = tokio::spawn(async move {
        let desired = place.desired();
        place.converge(&desired).await;
        exec::try_login(&place.server, &place.reader, &place.secrets.0[&place.reader]).await
    });
    assert_eq!(pass.await.unwrap().unwrap(), plan::PasswordState::Matches);
}
