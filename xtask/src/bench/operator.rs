//! The operator as a process of its own, as it would run in a pod.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt as _};
use operator::api::{database::PostgresDatabase, user::PostgresUser};
use testbed::kubernetes::{self, Identity};
use testbed::{Cluster, Postgres, eventually, helm};
use xshell::Shell;

/// How long it may take until all is Ready.
const PATIENCE: Duration = Duration::from_mins(2);
const CHART: &str = "charts/postgres-provisioner";

/// A running operator; dropping it ends it.
pub(super) struct Operator {
    process: Child,
    program: PathBuf,
    environment: BTreeMap<&'static str, String>,
    kubeconfig: PathBuf,
    /// Who it is for the API server.
    pub(super) service_account: String,
    /// Its namespace, where it serves resources.
    pub(super) namespace: String,
    /// Another one whose resources it serves.
    pub(super) tenant: String,
}

/// What every operator needs.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) shell: &'a Shell,
    pub(super) cluster: &'a Cluster,
}

impl Operator {
    /// Starts the optimized program with the chart's rights; it reaches the server at this port.
    pub(super) async fn start(
        Ground { shell, cluster }: Ground<'_>,
        postgres: &Postgres,
        port: u16,
        resync_seconds: u32,
    ) -> anyhow::Result<Self> {
        let root = shell.current_dir();
        let namespace = kubernetes::namespace(&cluster.client(), "bench").await;
        let client = cluster.client();
        let tenant = kubernetes::namespace(&client, "tenant").await;
        for crd in ["postgresdatabases", "postgresusers"] {
            let crd = std::fs::read_to_string(root.join(CHART).join("crds").join(format!("{crd}.yaml")))?;
            kubernetes::apply(&client, &crd, "default").await?;
        }
        kubernetes::wait_crds_established(&client).await;
        let rendered = helm::template(&root.join(CHART), "postgres-provisioner", "provisioner", "");
        let rendered = rendered.map_err(anyhow::Error::msg)?;
        let identity = cluster.install_identity(&rendered, "provisioner").await;
        cluster.extend_identity(&identity, &namespace).await;
        let kubeconfig = write_kubeconfig(&identity, &namespace)?;
        let environment = BTreeMap::from([
            ("KUBECONFIG", kubeconfig.display().to_string()),
            ("PG_HOST", postgres.host().to_owned()),
            ("PG_PORT", port.to_string()),
            ("PG_USER", testbed::postgres::SUPERUSER.to_owned()),
            ("PG_PASSWORD", postgres.password().to_owned()),
            ("POD_NAMESPACE", namespace.clone()),
            ("WATCH_NAMESPACES", format!("{namespace},{tenant}")),
            ("RESYNC_SECONDS", resync_seconds.to_string()),
            ("HTTP_PORT", "0".to_owned()),
        ]);
        let program = root.join("target/release/postgres-provisioner");
        let process = spawn(&program, &environment)?;
        let service_account = identity.service_account.clone();
        Ok(Self { process, program, environment, kubeconfig, service_account, namespace, tenant })
    }

    /// Ends it as a crash would, and starts it again.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(&self.program, &self.environment)?;
        Ok(())
    }

    /// Resident memory in MiB.
    pub(super) fn resident(&self) -> anyhow::Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most that was resident since the start or the last [`Operator::forget_peak`], in MiB.
    pub(super) fn peak(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    /// Begins to look for a peak anew.
    pub(super) fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?)
    }

    fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes / 1024.0)
    }

    /// Processor time so far, in seconds.
    pub(super) fn processor(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<_> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
        // Fields 14 and 15 of the whole line, in clock ticks of 10 ms.
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / 100.0)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.process.kill();
        _ = self.process.wait();
        _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn spawn(program: &Path, environment: &BTreeMap<&'static str, String>) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.envs(environment).stderr(Stdio::null());
    command.spawn().context("cannot start the operator")
}

fn write_kubeconfig(identity: &Identity, namespace: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("kubeconfig-{namespace}"));
    std::fs::write(&path, serde_json::to_string(&identity.kubeconfig)?)?;
    Ok(path)
}

/// A database and its users, all in the operator's namespace.
pub(super) fn manifests(namespace: &str, database: usize, users: usize) -> String {
    let head = "apiVersion: pgprovisioner.drewsonne.github.io/v1";
    let mut yaml = format!(
        "{head}\nkind: PostgresDatabase\nmetadata: {{name: db{database}, namespace: {namespace}}}\n\
         spec: {{dbName: bench{database}, owner: bench{database}_owner, secretName: db{database}}}\n"
    );
    for number in 0..users {
        yaml.push_str("---\n");
        yaml.push_str(&user(namespace, database, number));
    }
    yaml
}

/// One user: the first reads, the others write.
pub(super) fn user(namespace: &str, database: usize, number: usize) -> String {
    let access = if number == 0 { "read" } else { "readwrite" };
    format!(
        "apiVersion: pgprovisioner.drewsonne.github.io/v1\nkind: PostgresUser\n\
         metadata: {{name: u{database}-{number}, namespace: {namespace}}}\n\
         spec: {{username: bench{database}_u{number}, dbName: bench{database}, access: {access}, \
         secretName: u{database}-{number}}}\n"
    )
}

/// Waits until every resource of the namespace is Ready.
pub(super) async fn wait_until_ready(cluster: &Cluster, namespace: &str) {
    let kinds = [ApiResource::erase::<PostgresDatabase>(&()), ApiResource::erase::<PostgresUser>(&())];
    for kind in kinds {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client(), namespace, &kind);
        eventually("every resource to be Ready", PATIENCE, async || {
            let all = api.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
            let is_ready = |one: &DynamicObject| {
                let conditions = one.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.iter().any(|found| found["type"] == "Ready" && found["status"] == "True")
            };
            match all.iter().find(|one| !is_ready(one)) {
                None => Ok(()),
                Some(one) => Err(one.name_any()),
            }
        })
        .await;
    }
}
