//! What the demo plays on: a PostgreSQL, a Kubernetes API and the operator, and ways to show what they answer.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use exec::{Learned, Password, PasswordMode, Server, Tls};
use operator::settings::Settings;
use sqlx::PgConnection;
use testbed::{Cluster, Postgres, kubernetes, postgres};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use xshell::Shell;

/// How often the operator checks: nobody wants to watch for five minutes.
const RESYNC: Duration = Duration::from_secs(2);
/// Where the operator lives.
const NAMESPACE: &str = "app-db";
const CHART: &str = "charts/postgres-provisioner";

/// The running parts.
pub(super) struct Stage {
    pub(super) postgres: Postgres,
    cluster: Cluster,
    root: std::path::PathBuf,
    operator: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
}

/// Says what comes next.
pub(super) fn say(text: &str) {
    println!("\n==> {text}");
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set(shell: &Shell) -> anyhow::Result<Self> {
        say("PostgreSQL 17 and a Kubernetes API are started (downloaded and built once, then cached)");
        let postgres = Postgres::start(17).await;
        println!("PostgreSQL listens on {}:{}", postgres.host(), postgres.port());
        let cluster = Cluster::start().await;
        println!("Kubernetes {} answers", kubernetes::version());
        let mut stage = Self { postgres, cluster, root: shell.current_dir(), operator: None };
        say("the CRDs are installed, and the operator runs as the chart's service account");
        stage.kubectl(&format!("apply -f {CHART}/crds"))?;
        kubernetes::wait_crds_established(&stage.cluster.client()).await;
        stage.kubectl("apply -f deploy/samples/namespaces.yaml")?;
        stage.start_operator().await?;
        Ok(stage)
    }

    async fn start_operator(&mut self) -> anyhow::Result<()> {
        let rendered = testbed::helm::template(&self.root.join(CHART), "postgres-provisioner", NAMESPACE, "")
            .map_err(anyhow::Error::msg)?;
        let identity = self.cluster.install_identity(&rendered, NAMESPACE).await;
        let settings = Settings {
            resync: RESYNC,
            namespace: Some(NAMESPACE.to_owned()),
            ..Settings::new(Some(self.server()))
        };
        println!("operator: {}, a check every {} s", identity.service_account, RESYNC.as_secs());
        let (stop, stopped) = oneshot::channel::<()>();
        let client = identity.client();
        let running = tokio::spawn(async move {
            let shutdown = async { _ = stopped.await };
            operator::run(settings, client, shutdown).await.context("the operator stopped")
        });
        self.operator = Some((stop, running));
        Ok(())
    }

    fn server(&self) -> Server {
        Server {
            host: self.postgres.host().to_owned(),
            port: self.postgres.port(),
            user: "postgres".to_owned(),
            password: Password::new(self.postgres.password()),
            maintenance: "postgres".parse().expect("a valid name"),
            tls: Tls::default(),
            passwords: PasswordMode::Verifier,
            learned: Learned::default(),
        }
    }

    /// Runs kubectl and shows command and answer.
    pub(super) fn kubectl(&self, arguments: &str) -> anyhow::Result<()> {
        println!("\n$ kubectl {arguments}");
        let (answer, remarks) = self.run(arguments)?;
        print!("{answer}{remarks}");
        Ok(())
    }

    /// Runs kubectl and gives back its answer.
    pub(super) fn quiet(&self, arguments: &str) -> anyhow::Result<String> {
        self.run(arguments).map(|(answer, _)| answer)
    }

    /// What kubectl answers, and what it says besides.
    fn run(&self, arguments: &str) -> anyhow::Result<(String, String)> {
        let output = Command::new(kubernetes::kubectl())
            .args(arguments.split(' '))
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .current_dir(&self.root)
            .output()
            .context("cannot run kubectl")?;
        let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!("kubectl {arguments}: {}", remarks.trim());
        }
        Ok((String::from_utf8(output.stdout)?, remarks))
    }

    /// Logs in with what is in a Secret of the application's namespace.
    pub(super) async fn login(&self, secret: &str) -> anyhow::Result<PgConnection> {
        let key = |key: &str| {
            let template =
                format!("get secret {secret} -n my-app -o go-template={{{{.data.{key}|base64decode}}}}");
            self.quiet(&template)
        };
        let session = self.postgres.connect(&key("database")?, &key("username")?, &key("password")?).await;
        session.with_context(|| format!("cannot log in with Secret {secret}"))
    }

    /// Runs a statement and shows it with its rows.
    pub(super) async fn psql(&self, session: &mut PgConnection, user: &str, sql: &str) -> anyhow::Result<()> {
        println!("\n{user}=> {sql};");
        for row in postgres::fetch_rows(session, sql).await? {
            let cells: Vec<_> = row.into_iter().map(Option::unwrap_or_default).collect();
            println!(" {}", cells.join(" | "));
        }
        Ok(())
    }

    /// Runs a statement that the server must refuse, and shows what it says.
    pub(super) async fn refused(
        &self,
        session: &mut PgConnection,
        user: &str,
        sql: &str,
    ) -> anyhow::Result<()> {
        println!("\n{user}=> {sql};");
        match postgres::run(session, sql).await {
            Ok(_) => bail!("{user} was allowed to: {sql}"),
            Err(sqlx::Error::Database(error)) => println!("ERROR:  {}", error.message()),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Leaves everything running until the caller is interrupted.
    pub(super) async fn keep(&self) {
        say("everything keeps running; Ctrl-C ends it");
        let (host, port, password) = (self.postgres.host(), self.postgres.port(), self.postgres.password());
        println!("export KUBECONFIG={}", self.cluster.kubeconfig().display());
        println!("export PATH={}:$PATH", kubernetes::kubectl().parent().unwrap_or(&self.root).display());
        println!("psql postgresql://postgres:{password}@{host}:{port}/my_app");
        std::future::pending::<()>().await;
    }

    /// Stops everything, the operator first.
    pub(super) async fn clear(self) {
        if let Some((stop, running)) = self.operator {
            _ = stop.send(());
            match running.await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => println!("{error:#}"),
                Err(error) => println!("the operator panicked: {error}"),
            }
        }
        self.cluster.stop().await;
        self.postgres.stop().await;
    }
}
