use super::*;
use crate::settings::{Boundary, NamedServers};

fn settings(args: &[&str]) -> Result<Settings, String> {
    let args = std::iter::once("postgres-provisioner").chain(args.iter().copied());
    match Cli::read_from(args) {
        Ok(Command::Run(run)) => run.settings().map_err(|error| error.to_string()),
        Ok(Command::Crds | Command::Version) => panic!("not run"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn all_defaults_work() {
    let settings = settings(&[]).unwrap();
    assert_eq!((settings.server, settings.resync), (None, Duration::from_mins(5)));
}

#[test]
fn an_operator_that_is_told_to_observes() {
    assert_eq!(settings(&[]).unwrap().mode, Mode::Reconcile);
    assert_eq!(settings(&["--observe"]).unwrap().mode, Mode::Observe);
}

#[test]
fn half_a_server_is_refused() {
    let message = settings(&["--pg-host", "db"]).unwrap_err();
    assert!(message.starts_with("PG_HOST is set, but PG_USER is not"), "{message}");
    let message = settings(&["--pg-host", "db", "--pg-user", "postgres"]).unwrap_err();
    assert!(message.starts_with("PG_HOST is set, but PG_PASSWORD is not"), "{message}");
}

#[test]
fn what_is_wrong_is_one_line() {
    for (args, part) in [
        (["--resync-seconds", "0"], "0 is not in 1..=86400"),
        (["--pg-sslmode", "allow"], "PG_SSLMODE: unknown sslmode `allow`"),
        (["--pg-sslrootcert", "/nowhere/ca.crt"], "cannot read /nowhere/ca.crt"),
        (["--pg-port", "many"], "invalid value 'many'"),
        (["--installation-id", "a\"b"], "INSTALLATION_ID"),
        (["--server-connections", "5"], "5 is not in 6..=1000"),
        (["--server-connections", "70"], "TOTAL_CONNECTIONS: 72 must be at least 76"),
    ] {
        let message = settings(&args).unwrap_err();
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn what_does_not_fit_together_is_found_before_the_start() {
    let server = ["--pg-host", "db", "--pg-user", "postgres", "--pg-password", "secret"];
    for (args, part) in [
        (&["--pg-sslmode", "verify-full"][..], "PG_SSLMODE: verify-full needs a CA"),
        (&["--pg-sslrootcert", "Cargo.toml"], "PG_SSLROOTCERT: no certificate in PEM"),
        (&["--pg-password-mode", "clear"], "PG_PASSWORD_MODE: unknown password mode `clear`"),
        (&["--pg-password-mode", "plaintext"], "PG_PASSWORD_MODE: plaintext needs an encrypted connection"),
    ] {
        let message = settings(&[&server, args].concat()).unwrap_err();
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
    let encrypted = ["--pg-password-mode", "plaintext", "--pg-sslmode", "require"];
    let found = settings(&[&server[..], &encrypted].concat()).unwrap().server.unwrap();
    assert_eq!(found.passwords, PasswordMode::Plaintext);
    let empty = ["--pg-password-mode", "", "--pg-sslmode", " "];
    let found = settings(&[&server[..], &empty].concat()).unwrap().server.unwrap();
    assert_eq!(found.passwords, PasswordMode::Verifier);
}

#[test]
fn the_boundaries_are_closed_unless_somebody_consents_or_opens_them() {
    let boundaries = |args: &[&str]| settings(args).unwrap().boundaries;
    assert_eq!(boundaries(&[]), Boundaries::default());
    assert_eq!(Boundaries::default().secrets, Boundary::Consent);
    let given = boundaries(&[
        "--secrets-across-namespaces=none",
        "--superuser-secrets-across-namespaces=any",
        "--databases-across-namespaces=any",
        "--named-servers=none",
    ]);
    let expected = Boundaries {
        secrets: Boundary::None,
        superuser_secrets: Boundary::Any,
        databases: Boundary::Any,
        named_servers: NamedServers::None,
    };
    assert_eq!(given, expected);
    let message = settings(&["--named-servers", "consent"]).unwrap_err();
    assert!(message.contains("consent") && !message.contains('\n'), "{message}");
}

#[test]
fn a_password_is_not_shown() {
    let args = ["--pg-host", "db", "--pg-user", "postgres", "--pg-password", "hunter2"];
    assert!(!format!("{:?}", settings(&args).unwrap()).contains("hunter2"));
}
