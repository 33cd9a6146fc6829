//! What is said of a server that cannot be used.

use std::time::{Duration, Instant};

use exec::{Class, Error, Password, Server, SslMode, Tls};
use plan::testing::ident;
use testbed::Postgres;
use tokio::net::TcpListener;

use crate::support::{Admin, Place, place, read, server, sql};

async fn class(place: Place, change: impl FnOnce(&mut Server)) -> (Class, Error) {
    let mut place = place;
    change(&mut place.server);
    let error = read(&place, &place.desired()).await.unwrap_err();
    assert!(!error.to_string().contains(place.server.password.expose()), "{error}");
    (error.class(), error)
}

#[tokio::test]
async fn every_trouble_with_a_connection_has_its_class() {
    let at = || place(17, Admin::Superuser);
    let (found, error) = class(at().await, |server| server.password = Password::new("wrong one")).await;
    assert_eq!(found, Class::InvalidCredentials, "{error}");
    let (found, error) = class(at().await, |server| server.user = "nobody".to_owned()).await;
    assert_eq!(found, Class::InvalidCredentials, "{error}");
    let (found, error) = class(at().await, |server| server.port = 1).await;
    assert_eq!(found, Class::Unavailable, "{error}");
    let (found, error) = class(at().await, |server| server.host = "no-such-host.invalid".to_owned()).await;
    assert_eq!(found, Class::Unavailable, "{error}");
    let (found, error) = class(at().await, |server| server.maintenance = ident("no_such_database")).await;
    assert_eq!((found, error.code()), (Class::Refused, Some("3D000")));
    let tls = Tls { mode: SslMode::Require, ..Tls::default() };
    let (found, error) = class(at().await, |server| server.tls = tls).await;
    assert_eq!(found, Class::Tls, "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_costs_five_seconds() {
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = black_hole.local_addr().unwrap().port();
    let start = Instant::now();
    let (found, error) = class(place(17, Admin::Superuser).await, |server| server.port = port).await;
    assert_eq!(found, Class::Unavailable);
    assert!(matches!(error, Error::Timeout { seconds: 5, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(7));
}

#[tokio::test]
async fn a_server_that_its_administrator_made_read_only_is_left_alone() {
    let postgres = Postgres::start(17).await;
    sql(&postgres, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on").await;
    postgres.restart().await;
    let place = Place { server: server(&postgres), ..place(17, Admin::Superuser).await };
    let error = read(&place, &place.desired()).await.unwrap_err();
    assert_eq!(error.class(), Class::ReadOnly, "{error}");
}

#[tokio::test]
async fn debug_output_of_a_server_shows_no_secret() {
    let tls = Tls { client_key: Some(b"PRIVATE".to_vec().into()), ..Tls::default() };
    let place = place(17, Admin::Superuser).await;
    let shown = format!("{:?}", Server { tls, ..place.server.clone() });
    assert!(!shown.contains(place.server.password.expose()) && !shown.contains("PRIVATE"), "{shown}");
    assert!(!shown.contains("80, 82, 73"), "{shown}");
}
