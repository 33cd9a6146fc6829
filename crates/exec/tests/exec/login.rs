//! Passwords on real servers.

use exec::{Password, scram, try_login};
use plan::{PasswordState, testing::ident};
use testbed::{
    Postgres,
    postgres::{fetch_text, run},
    unique,
};

use crate::support::{MAJORS, server, sql};

const PASSWORDS: [&str; 8] = [
    "secret",
    "it's \"quoted\" \\",
    "pässwörd",
    "a\u{a0}b",
    "I\u{ad}X",
    "z\u{200b}z",
    "ªe\u{301}",
    "  spaces  ",
];

#[tokio::test]
async fn verifiers_made_here_and_by_the_server_mean_the_same_passwords() {
    for major in MAJORS {
        let postgres = Postgres::shared(major).await;
        let server = server(postgres);
        for text in PASSWORDS {
            let password = Password::new(text);
            let role = unique("role");
            let verifier = scram::verifier(&password).unwrap();
            sql(postgres, "postgres", format!("CREATE ROLE {role} LOGIN PASSWORD '{}'", verifier.expose()))
                .await;
            let found = try_login(&server, &ident(&role), &password).await.unwrap();
            assert_eq!(found, PasswordState::Matches, "{text} on {major}");

            let mut admin = postgres.admin("postgres").await;
            let literal = plan::Literal(text);
            let set =
                format!("SET password_encryption = 'scram-sha-256'; ALTER ROLE {role} PASSWORD {literal}");
            run(&mut admin, set).await.unwrap();
            let stored = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
            let stored = fetch_text(&mut admin, stored).await.unwrap().unwrap();
            assert!(scram::matches(&stored, &password), "{text} on {major}");
            assert!(!scram::matches(&stored, &Password::new("another")), "{text} on {major}");
        }
    }
}

/// Server-made verifiers of what `SASLprep` forbids are recognised, although no client can agree on them.
#[tokio::test]
async fn what_saslprep_forbids_is_compared_as_bytes() {
    let postgres = Postgres::shared(17).await;
    let mut admin = postgres.admin("postgres").await;
    for text in ["a\tb", "\u{2028}", "\u{627}1"] {
        let role = unique("role");
        let set = format!("CREATE ROLE {role} PASSWORD {}", plan::Literal(text));
        run(&mut admin, set).await.unwrap();
        let stored = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
        let stored = fetch_text(&mut admin, stored).await.unwrap().unwrap();
        assert!(scram::matches(&stored, &Password::new(text)), "{text:?}");
    }
}

#[tokio::test]
async fn a_login_tells_whether_a_password_is_right_even_where_it_is_refused() {
    for major in MAJORS {
        let postgres = Postgres::shared(major).await;
        let server = server(postgres);
        let password = Password::new("secret");
        let verifier = scram::verifier(&password).unwrap();
        for (attributes, wanted) in [
            ("LOGIN", PasswordState::Matches),
            ("NOLOGIN", PasswordState::Matches),
            ("LOGIN CONNECTION LIMIT 0", PasswordState::Matches),
            ("LOGIN VALID UNTIL '2001-01-01'", PasswordState::Differs),
        ] {
            let role = unique("role");
            let create = format!("CREATE ROLE {role} {attributes} PASSWORD '{}'", verifier.expose());
            sql(postgres, "postgres", create).await;
            let found = try_login(&server, &ident(&role), &password).await.unwrap();
            assert_eq!(found, wanted, "{attributes} on {major}");
            let found = try_login(&server, &ident(&role), &Password::new("wrong")).await.unwrap();
            assert_eq!(found, PasswordState::Differs, "{attributes} on {major}");
        }
        let found = try_login(&server, &ident("nobody"), &password).await.unwrap();
        assert_eq!(found, PasswordState::Differs);
    }
}

#[tokio::test]
async fn where_any_password_is_right_nothing_is_known() {
    let rules = "host all all 127.0.0.1/32 trust\n";
    let postgres = Postgres::builder(17).file("pg_hba.conf", rules).start().await;
    let found = try_login(&server(&postgres), &ident("postgres"), &Password::new("any")).await.unwrap();
    assert_eq!(found, PasswordState::Unknown);
}

#[tokio::test]
async fn where_a_role_may_not_even_try_nothing_is_known() {
    let rules = "host all rejected 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let postgres = Postgres::builder(17).file("pg_hba.conf", rules).start().await;
    sql(&postgres, "postgres", "CREATE ROLE rejected LOGIN PASSWORD 'secret'").await;
    let found = try_login(&server(&postgres), &ident("rejected"), &Password::new("secret")).await.unwrap();
    assert_eq!(found, PasswordState::Unknown);
}
