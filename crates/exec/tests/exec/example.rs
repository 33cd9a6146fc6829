//! The example does what it says, on real servers.

use testbed::{
    Postgres,
    postgres::{SUPERUSER, fetch_text, run},
    unique,
};

#[path = "../../examples/provision.rs"]
#[expect(dead_code, reason = "`main` is for the example")]
mod provision;

/// What the example says of this database when called with these arguments.
async fn provision(
    postgres: &Postgres,
    database: &str,
    arguments: &[&str],
) -> Result<String, Box<dyn std::error::Error>> {
    let environment = |name: &str| match name {
        "PGHOST" => Some(postgres.host().to_owned()),
        "PGPORT" => Some(postgres.port().to_string()),
        "PGUSER" => Some(SUPERUSER.to_owned()),
        "PGPASSWORD" => Some(postgres.password().to_owned()),
        "READER_PASSWORD" => Some("the reader's".to_owned()),
        "WRITER_PASSWORD" => Some("the writer's".to_owned()),
        _ => None,
    };
    let arguments: Vec<_> =
        ["--database", database].iter().chain(arguments).map(ToString::to_string).collect();
    let mut out = Vec::new();
    provision::run(&arguments, &environment, &mut out).await?;
    Ok(String::from_utf8(out)?)
}

#[tokio::test]
async fn the_example_shows_a_plan_and_applies_it_when_asked() {
    for major in [13, 18] {
        let postgres = Postgres::shared(major).await;
        let database = unique("example");
        for _ in 0..2 {
            let shown = provision(postgres, &database, &[]).await.unwrap();
            assert!(shown.contains(&format!("CREATE DATABASE \"{database}\"")), "{shown}");
            assert!(shown.contains("nothing was changed"), "{shown}");
        }
        let done = provision(postgres, &database, &["--apply"]).await.unwrap();
        assert!(done.ends_with("-- nothing is left to do\n"), "{done}");
        assert!(!done.contains("SCRAM-SHA-256"), "{done}");
        assert_eq!(
            provision(postgres, &database, &["--apply"]).await.unwrap(),
            "-- nothing is left to do\n",
            "on {postgres}"
        );
        let (reader, writer) = (format!("{database}_reader"), format!("{database}_writer"));
        let mut writer = postgres.connect(&database, &writer, "the writer's").await.unwrap();
        run(&mut writer, "CREATE TABLE public.notes ()").await.unwrap();
        let mut reader = postgres.connect(&database, &reader, "the reader's").await.unwrap();
        run(&mut reader, "SELECT FROM public.notes").await.unwrap();
        run(&mut reader, "INSERT INTO public.notes DEFAULT VALUES").await.unwrap_err();
        let able = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{database}_owner'");
        assert_eq!(fetch_text(&mut reader, able).await.unwrap().as_deref(), Some("f"));
    }
}

#[tokio::test]
async fn the_example_says_what_it_was_given_wrongly() {
    let postgres = Postgres::shared(18).await;
    let error = async |arguments: &[&str]| provision(postgres, "x", arguments).await.unwrap_err().to_string();
    assert_eq!(error(&["--port", "http"]).await, "`http` is no port");
    assert_eq!(error(&["--frobnicate"]).await, "`--frobnicate` is no option; --help lists them");
    assert_eq!(error(&["--host"]).await, "--host needs a value");
    let unreachable = error(&["--port", "1"]).await;
    assert!(unreachable.starts_with("cannot reach 127.0.0.1:1"), "{unreachable}");
    assert!(provision(postgres, "x", &["--help"]).await.unwrap().contains("usage: provision"));
}
