//! The program as it runs in a pod: its start, its answers, its end.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use kube::Api;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use operator::api::user::PostgresUser;
use serde_json::json;
use testbed::postgres::{SUPERUSER, fetch_text, run};
use testbed::{Cluster, Postgres, eventually, kubernetes, unique};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::definitions;
use crate::resources::{database, user};
use crate::witness;
use crate::world::{self, PATIENCE, World};

/// A running operator; dropping it kills it.
pub(crate) struct Program {
    pub(crate) process: Child,
    port: u16,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Program {
    /// Starts it with the world's identity on this server.
    fn start(world: &World, postgres: &Postgres) -> Self {
        Self::start_with(world, postgres, &[])
    }

    /// The same, with more variables.
    pub(crate) fn start_with(world: &World, postgres: &Postgres, variables: &[(&str, &str)]) -> Self {
        Self::start_by(&world.identity.kubeconfig, (world, postgres), variables)
    }

    /// The same, with another way to the API server.
    pub(crate) fn start_by(
        way: &Kubeconfig,
        (world, postgres): (&World, &Postgres),
        variables: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (kubeconfig, log) = (directory.path().join("kubeconfig"), directory.path().join("log"));
        fs::write(&kubeconfig, serde_json::to_string(way).unwrap()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = command()
            .env("KUBECONFIG", kubeconfig)
            .env("PG_HOST", postgres.host())
            .env("PG_PORT", postgres.port().to_string())
            .env("PG_USER", SUPERUSER)
            .env("PG_PASSWORD", postgres.password())
            .env("POD_NAMESPACE", &world.namespace)
            .env("WATCH_NAMESPACES", format!("{},{}", world.namespace, world.tenant))
            .env("HTTP_PORT", port.to_string())
            .envs(variables.iter().copied())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, port, log, _directory: directory }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines that hold this text.
    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    pub(crate) async fn wait_for_line(&self, text: &str) {
        eventually(&format!("the line {text:?}"), PATIENCE, async || match self.lines(text).is_empty() {
            true => Err(self.log()),
            false => Ok(()),
        })
        .await;
    }

    /// The status of an HTTP answer, or why there is none.
    async fn get(&self, path: &str) -> Result<u16, std::io::Error> {
        let answer = self.answer(path, "").await?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| std::io::Error::other(answer))
    }

    /// The whole HTTP answer; `headers` end with their lines.
    pub(crate) async fn answer(&self, path: &str, headers: &str) -> Result<String, std::io::Error> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    pub(crate) async fn wait_for_status(&self, path: &str, status: u16) {
        eventually(&format!("{path} to be {status}"), PATIENCE, async || {
            let found = self.get(path).await.map_err(|error| error.to_string())?;
            if found == status { Ok(()) } else { Err(format!("{found}: {}", self.log())) }
        })
        .await;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        assert!(kill.args(["-s", signal, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// Asks it to end, as the kubelet does.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        eventually("the program to end", PATIENCE, async || self.process.try_wait().unwrap()).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.process.kill();
        _ = self.process.wait();
        if let Ok(log) = fs::read(&self.log) {
            witness::seen().log.extend(log);
        }
    }
}

/// The program without anything from the environment of whoever runs the tests.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postgres-provisioner"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_configuration_is_one_line_and_status_2() {
    for (variables, message) in [
        (&[("PG_HOST", "db")][..], "PG_USER"),
        (&[("PG_HOST", "db"), ("PG_USER", "postgres")], "PG_PASSWORD"),
        (&[("PG_PORT", "many")], "PG_PORT"),
        (&[("PG_SSLMODE", "always")], "PG_SSLMODE"),
        (&[("RESYNC_SECONDS", "0")], "RESYNC_SECONDS"),
        (&[("DELETION_TIMEOUT_SECONDS", "0")], "DELETION_TIMEOUT_SECONDS"),
        (&[("LEADER_ELECT", "perhaps")], "LEADER_ELECT"),
        (&[("LEASE_SECONDS", "1")], "LEASE_SECONDS"),
        (&[("LOG_FORMAT", "xml")], "LOG_FORMAT"),
        (&[("PG_SSLROOTCERT", "/there/is/none")], "PG_SSLROOTCERT"),
    ] {
        let output = output(command().envs(variables.iter().copied()));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{variables:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{variables:?}: {said}");
        assert!(said.contains(message), "{variables:?}: {said}");
    }
}

#[test]
fn help_names_every_flag_with_its_variable() {
    let output = output(command().arg("--help"));
    assert!(output.status.success());
    let help = text(&output.stdout);
    for variable in [
        "PG_HOST",
        "PG_PORT",
        "PG_USER",
        "PG_PASSWORD",
        "PG_DATABASE",
        "PG_TEMPLATE",
        "PG_SSLMODE",
        "PG_SSLROOTCERT",
        "RESYNC_SECONDS",
        "DELETION_TIMEOUT_SECONDS",
        "WATCH_NAMESPACES",
        "POD_NAMESPACE",
        "INSTALLATION_ID",
        "MANAGE_CRDS",
        "LEADER_ELECT",
        "LEASE_NAME",
        "LEASE_SECONDS",
        "POD_NAME",
        "HTTP_PORT",
        "LOG_LEVEL",
        "LOG_FORMAT",
    ] {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        assert!(help.contains(&flag) && help.contains(&format!("[env: {variable}")), "{variable}: {help}");
    }
    assert!(help.contains("KUBECONFIG"), "{help}");
}

#[test]
fn version_and_crds_are_printed() {
    let version = output(command().arg("version"));
    assert_eq!(text(&version.stdout).trim(), env!("CARGO_PKG_VERSION"));
    let printed = output(command().arg("crds"));
    assert_eq!(text(&printed.stdout), operator::crds_yaml().unwrap());
}

#[tokio::test]
async fn it_answers_health_checks_and_ends_when_it_is_told() {
    let world = World::without_operator(17).await;
    let mut program = Program::start(&world, world.postgres);
    program.wait_for_status("/healthz", 200).await;
    program.wait_for_status("/readyz", 200).await;
    assert_eq!(program.get("/nowhere").await.unwrap(), 404);
    assert!(program.terminate().await.success());
}

#[tokio::test]
async fn it_ends_in_the_middle_of_a_pass_and_leaves_no_lock() {
    let world = World::without_operator(17).await;
    let postgres = Postgres::start(17).await;
    let mut program = Program::start(&world, &postgres);
    program.wait_for_status("/readyz", 200).await;
    // It holds its own lock while it waits for this one.
    let mut blocker = postgres.admin("postgres").await;
    run(&mut blocker, "BEGIN; LOCK TABLE pg_catalog.pg_authid IN EXCLUSIVE MODE").await.unwrap();
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    let locks = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'";
    let locks = async || {
        let mut admin = postgres.admin("postgres").await;
        fetch_text(&mut admin, locks).await.unwrap().unwrap()
    };
    eventually("the operator to hold its lock", PATIENCE, async || match locks().await.as_str() {
        "0" => Err(program.log()),
        _ => Ok(()),
    })
    .await;
    assert!(program.terminate().await.success());
    eventually("its lock to go", PATIENCE, async || match locks().await.as_str() {
        "0" => Ok(()),
        found => Err(found.to_owned()),
    })
    .await;
    run(&mut blocker, "ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn it_does_not_wait_for_a_server_that_does_not_answer() {
    let world = World::without_operator(17).await;
    let postgres = Postgres::start(17).await;
    let mut program = Program::start(&world, &postgres);
    program.wait_for_status("/readyz", 200).await;
    postgres.pause();
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    eventually("the operator to connect", PATIENCE, async || {
        // Remote address and state: established, although nobody has accepted.
        let connected = format!(" 0100007F:{:04X} 01 ", postgres.port());
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.contains(&connected).then_some(()).ok_or(sockets)
    })
    .await;
    assert!(program.terminate().await.success());
    assert_eq!(program.lines("passes in progress are cut off").len(), 1, "{}", program.log());
    postgres.resume();
}

#[tokio::test]
async fn it_waits_for_definitions_that_are_missing_or_older_and_touches_nothing() {
    // A cluster of its own: definitions are everybody's. What started it ends it.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let world = World::without_definitions(17, cluster, world::new_identity(cluster).await).await;
    let postgres = Postgres::start(17).await;
    let mut program = Program::start(&world, &postgres);
    program.wait_for_line("postgresusers.pgprovisioner.drewsonne.github.io is not installed").await;
    program.wait_for_status("/healthz", 200).await;
    program.wait_for_status("/readyz", 503).await;

    kubernetes::apply(&world.admin, &definitions::older(), "default").await.unwrap();
    program.wait_for_line("it lacks spec.prune").await;
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    let pruned =
        serde_saphyr::from_str(&user(&world.namespace, &reader, &app, ", access: read, prune: false"));
    let users: Api<PostgresUser> = Api::namespaced(world.admin.clone(), &world.namespace);
    users.create(&PostParams::default(), &pruned.unwrap()).await.unwrap();
    assert_eq!(world.get("pguser", &reader).await.unwrap().data["spec"]["prune"], json!(null));
    program.wait_for_status("/readyz", 503).await;
    assert!(!postgres.log().contains("application_name=postgres-provisioner"));

    kubernetes::apply(&world.admin, &operator::crds_yaml().unwrap(), "default").await.unwrap();
    program.wait_for_status("/readyz", 200).await;
    world.ready("pguser", &reader).await;
    assert_eq!(program.lines("waiting for the CRDs").len(), 2, "{}", program.log());

    // Nor does it go on when they become so later.
    kubernetes::apply(&world.admin, &definitions::older(), "default").await.unwrap();
    program.wait_for_status("/readyz", 503).await;
    assert_eq!(program.lines("nothing more is done until the CRDs are right").len(), 1, "{}", program.log());
    kubernetes::apply(&world.admin, &operator::crds_yaml().unwrap(), "default").await.unwrap();
    program.wait_for_status("/readyz", 200).await;
    world.remove("pguser", &reader).await;
    assert!(program.terminate().await.success());
}
