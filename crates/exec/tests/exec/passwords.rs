//! How passwords reach servers, and how what is stored is recognised.

use exec::{PasswordMode, Server, Tls, new_password, random_password, scram, try_login};
use plan::{Action, Desired, Ident, NewPassword, PasswordState, plan};
use testbed::{
    Postgres,
    postgres::{fetch_text, run},
};

use crate::support::{Admin, Place, by_hand, place, place_on, read, server, sql};

/// The wanted state, with passwords as a server of the place's mode is sent them.
fn desired(place: &Place) -> Desired {
    let mut desired = place.desired();
    for (role, login) in &mut desired.logins {
        login.password = Some(new_password(place.server.passwords, &place.secrets.0[role]).unwrap());
    }
    desired
}

async fn stored(postgres: &Postgres, role: &Ident) -> String {
    let asked = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", role.as_str());
    fetch_text(&mut postgres.admin("postgres").await, asked).await.unwrap().unwrap()
}

/// The role as an old operator left it on a server that makes md5 hashes.
async fn with_md5(place: &Place, role: &Ident, password: &str) {
    let set = format!("SET password_encryption = 'md5'; CREATE ROLE {role} LOGIN PASSWORD '{password}'");
    run(&mut place.postgres.admin("postgres").await, set).await.unwrap();
    assert!(stored(place.postgres, role).await.starts_with("md5"));
}

#[tokio::test]
async fn a_role_with_an_md5_hash_of_its_password_is_adopted_and_gets_a_verifier_of_the_same() {
    for major in [13, 18] {
        let mut place = place(major, Admin::Superuser).await;
        place.secrets.0.insert(place.reader.clone(), exec::Password::new("old-password"));
        let desired = desired(&place);
        with_md5(&place, &place.reader, "old-password").await;
        let catalog = read(&place, &desired).await.unwrap();
        assert_eq!(catalog.role(&place.reader).unwrap().password, PasswordState::Outdated);
        let catalog = place.converge(&desired).await;
        assert_eq!(catalog.role(&place.reader).unwrap().password, PasswordState::Matches);
        assert!(scram::matches(
            &stored(place.postgres, &place.reader).await,
            &place.secrets.0[&place.reader]
        ));
        place.sql_as(&place.reader, "SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn an_md5_hash_of_another_password_proves_nothing() {
    let place = place(17, Admin::Superuser).await;
    let desired = desired(&place);
    with_md5(&place, &place.reader, "somebody-elses").await;
    let before = stored(place.postgres, &place.reader).await;
    let catalog = read(&place, &desired).await.unwrap();
    assert_eq!(catalog.role(&place.reader).unwrap().password, PasswordState::Differs);
    let plan = plan(&desired, &catalog);
    assert!(plan.withheld.iter().any(|withheld| withheld.to_string().contains(place.reader.as_str())));
    assert!(!plan.actions.iter().any(|action| action.roles().contains(&&place.reader)));
    assert_eq!(stored(place.postgres, &place.reader).await, before);
}

#[tokio::test]
async fn a_login_proves_a_password_that_is_stored_as_md5_where_the_server_takes_that() {
    let rules = "host all all 127.0.0.1/32 md5\n";
    let postgres = Postgres::builder(18).file("pg_hba.conf", rules).start().await;
    let mut admin = postgres.admin("postgres").await;
    run(&mut admin, "SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'secret'")
        .await
        .unwrap();
    for (password, wanted) in [("secret", PasswordState::Matches), ("other", PasswordState::Differs)] {
        let found =
            try_login(&server(&postgres), &"old".parse().unwrap(), &exec::Password::new(password)).await;
        assert_eq!(found.unwrap(), wanted);
    }
}

/// A server of its own, whose log holds what these tests do and nothing else.
async fn on(postgres: Postgres, passwords: PasswordMode) -> Place {
    let place = place_on(Box::leak(Box::new(postgres)), Admin::Superuser).await;
    Place { server: Server { passwords, ..place.server.clone() }, ..place }
}

#[tokio::test]
async fn a_password_is_in_the_servers_log_only_in_the_mode_that_sends_it() {
    for major in [13, 18] {
        for mode in [PasswordMode::Verifier, PasswordMode::Plaintext] {
            let mut place = on(Postgres::start(major).await, mode).await;
            let secret = random_password();
            place.secrets.0.insert(place.reader.clone(), secret.clone());
            place.converge(&desired(&place)).await;
            place.sql_as(&place.reader, "SELECT 1").await.unwrap();
            let is_shown = place.postgres.log().contains(secret.expose());
            assert_eq!(is_shown, mode == PasswordMode::Plaintext, "{mode:?} on {major}");
        }
    }
}

#[tokio::test]
async fn a_server_that_makes_md5_hashes_of_passwords_in_clear_is_let_alone() {
    let rules = "host all postgres 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 md5\n";
    let builder = Postgres::builder(13).set("password_encryption", "md5").file("pg_hba.conf", rules);
    let place = on(builder.start().await, PasswordMode::Plaintext).await;
    let catalog = place.converge(&desired(&place)).await;
    assert_eq!(catalog.role(&place.reader).unwrap().password, PasswordState::Outdated);
    place.sql_as(&place.reader, "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_plan_with_a_password_in_clear_is_not_applied_to_a_server_that_takes_verifiers() {
    let place = place(17, Admin::Superuser).await;
    let (desired, role) = (place.desired(), place.reader.clone());
    place.converge(&desired).await;
    sql(place.postgres, "postgres", format!("ALTER ROLE {role} PASSWORD NULL")).await;
    let mut desired = desired;
    let password = NewPassword::Plain("in-clear-by-mistake".parse().unwrap());
    desired.logins.get_mut(&role).unwrap().password = Some(password.clone());
    let mut sessions = place.sessions();
    sessions.read(&desired).await.unwrap();
    let plan = by_hand([Action::SetPassword { role, password }]);
    let error = sessions.apply(&desired, &plan).await.unwrap_err();
    assert_eq!(error.class(), exec::Class::Bug, "{error}");
    assert!(!place.postgres.log().contains("in-clear-by-mistake"));
}

#[tokio::test]
async fn no_server_is_sent_passwords_in_clear_over_a_connection_that_may_be_in_clear() {
    let place = place(17, Admin::Superuser).await;
    let server = Server {
        host: "nobody.invalid".to_owned(),
        tls: Tls::default(),
        passwords: PasswordMode::Plaintext,
        ..place.server.clone()
    };
    let place = Place { server, ..place };
    let error = read(&place, &place.desired()).await.unwrap_err();
    assert_eq!(error.class(), exec::Class::InvalidCredentials, "{error}");
    assert!(error.to_string().contains("set sslmode"), "{error}");
}

/// The name of an admin role that no client can log in as is no matter of encryption.
#[tokio::test]
async fn what_saslprep_forbids_in_a_login_is_said() {
    let postgres = Postgres::shared(17).await;
    for (user, password) in [("a\tb", postgres.password()), ("postgres", "tab\there")] {
        let (user, password) = (user.to_owned(), exec::Password::new(password));
        let server = Server { user, password, ..server(postgres) };
        let place = Place { server, ..place(17, Admin::Superuser).await };
        let error = read(&place, &place.desired()).await.unwrap_err();
        assert_eq!(error.class(), exec::Class::InvalidCredentials, "{error}");
        assert!(error.to_string().contains("SASLprep") && !error.to_string().contains("\\t"), "{error}");
    }
    let found = try_login(&server(postgres), &"a\tb".parse().unwrap(), &random_password()).await;
    assert_eq!(found.unwrap(), PasswordState::Unknown);
}
