//! Where one program is killed and another one goes on: names that nobody else has, and a line to each server that
//! sees what is done.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use operator::api::database::PostgresDatabase;
use operator::api::user::PostgresUser;
use serde_json::{Value, json};
use sqlx::PgConnection;
use testbed::kubernetes::{self, Identity};
use testbed::postgres::{SUPERUSER, fetch_rows, fetch_text, run};
use testbed::{Cluster, Postgres, eventually, helm, relay, unique};
use tokio::sync::OnceCell;

use crate::passwords::{Passwords, value};
use crate::sequence::Sequence;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Where the chart is installed.
const HOME: &str = "provisioner";
const API: &str = "apiVersion: pgprovisioner.drewsonne.github.io/v1";

/// One place with its relays. The database and its roles are called after it; resources and Secrets are `db` and the
/// names of the users.
pub(crate) struct Stage {
    pub(crate) postgres: &'static Postgres,
    pub(crate) namespace: String,
    /// The database, and how every role begins.
    pub(crate) app: String,
    pub(crate) sequence: Arc<Sequence>,
    pub(crate) passwords: Passwords,
    admin: Client,
    pub(crate) api: relay::kubernetes::Relay,
    sql: relay::postgres::Relay,
    directory: tempfile::TempDir,
}

impl Drop for Stage {
    /// Its relays live as long as the test, and with them whoever counts: the program would too.
    fn drop(&mut self) {
        self.sequence.end();
    }
}

impl Stage {
    /// An empty place on PostgreSQL 17.
    pub(crate) async fn new() -> Self {
        static IDENTITY: OnceCell<Identity> = OnceCell::const_new();
        let cluster = Cluster::shared().await;
        let identity = IDENTITY.get_or_init(async || identity(cluster).await).await;
        Self::of(cluster, identity).await
    }

    /// The same in a cluster of its own.
    pub(crate) async fn on(cluster: &Cluster) -> Self {
        Self::of(cluster, &identity(cluster).await).await
    }

    async fn of(cluster: &Cluster, identity: &Identity) -> Self {
        let postgres = Postgres::shared(17).await;
        let admin = cluster.client();
        let namespace = kubernetes::namespace(&admin, "crash").await;
        cluster.extend_identity(identity, &namespace).await;
        let app = unique("app");
        let sequence = Arc::<Sequence>::default();
        let (effects, database) = (sequence.clone(), app.clone());
        let done = Arc::new(move |text: &str| effects.statement(&text.replace(&database, "app")));
        let sql = relay::postgres::Relay::observed(postgres.port(), done).await;
        let (effects, place) = (sequence.clone(), namespace.clone());
        let done = Arc::new(move |asked: &relay::kubernetes::Asked, code| {
            // The marker's are not the scenario's.
            if !asked.path.contains("/marker") && !asked.body.contains("marker") {
                effects.note(format!("{} {} {code}", asked.method, shown(&asked.path, &place)));
            }
        });
        let api = relay::kubernetes::Relay::observed(&cluster.config(), done).await;
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = api.kubeconfig(&identity.kubeconfig);
        fs::write(directory.path().join("kubeconfig"), serde_json::to_string(&kubeconfig).unwrap()).unwrap();
        let passwords = Passwords::watch(&admin, &namespace);
        Self { postgres, namespace, app, sequence, passwords, admin, api, sql, directory }
    }

    /// Starts the program; one that runs is killed.
    pub(crate) fn start(&self) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_postgres-provisioner"));
        command
            .env_clear()
            .env("KUBECONFIG", self.directory.path().join("kubeconfig"))
            .env("PG_HOST", self.postgres.host())
            .env("PG_PORT", self.sql.port.to_string())
            .env("PG_USER", SUPERUSER)
            .env("PG_PASSWORD", self.postgres.password())
            // The relay reads along.
            .env("PG_SSLMODE", "disable")
            .env("POD_NAMESPACE", &self.namespace)
            .env("WATCH_NAMESPACES", &self.namespace)
            // What is not finished by itself stays unfinished.
            .env("RESYNC_SECONDS", "3600")
            .env("HTTP_PORT", "0")
            .stdin(Stdio::null())
            .stderr(log);
        self.sequence.run(command.spawn().unwrap());
    }

    /// What the programs logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }

    /// Applies a `PostgresDatabase` that is called `db`; `more` is the rest of its spec.
    pub(crate) async fn database(&self, more: &str) {
        let Self { namespace, app, .. } = self;
        self.apply(&format!(
            "{API}\nkind: PostgresDatabase\nmetadata: {{ name: db, namespace: {namespace} }}\n\
             spec: {{ dbName: {app}, owner: {app}_owner, secretName: db{more} }}\n"
        ))
        .await;
    }

    /// Applies a `PostgresUser` of this name.
    pub(crate) async fn user(&self, name: &str, more: &str) {
        let Self { namespace, app, .. } = self;
        self.apply(&format!(
            "{API}\nkind: PostgresUser\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ username: {app}_{name}, dbName: {app}, secretName: {name}{more} }}\n"
        ))
        .await;
    }

    async fn apply(&self, yaml: &str) {
        kubernetes::apply(&self.admin, yaml, &self.namespace).await.unwrap();
    }

    /// Merges a change into a resource.
    pub(crate) async fn patch(&self, name: &str, spec: Value) {
        let change = Patch::Merge(json!({ "spec": spec }));
        self.resources(name).patch(name, &PatchParams::default(), &change).await.unwrap();
    }

    /// The same, as often as it takes.
    pub(crate) async fn insist(&self, name: &str, spec: Value) {
        let change = Patch::Merge(json!({ "spec": spec }));
        eventually("a change to be taken", PATIENCE, async || {
            self.resources(name).patch(name, &PatchParams::default(), &change).await.map(|_| ())
        })
        .await;
    }

    /// Deletes a resource.
    pub(crate) async fn delete(&self, name: &str) {
        self.resources(name).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// A resource, if it is there.
    pub(crate) async fn get(&self, name: &str) -> Option<DynamicObject> {
        self.resources(name).get_opt(name).await.unwrap()
    }

    /// Whether the resource is Ready for its newest generation.
    pub(crate) async fn ready(&self, name: &str) -> Result<(), String> {
        let found = self.get(name).await.ok_or_else(|| format!("there is no {name}"))?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let wanted = json!(["Ready", "True", found.metadata.generation]);
        let is_ready = |one: &Value| json!([one["type"], one["status"], one["observedGeneration"]]) == wanted;
        match conditions.iter().any(is_ready) {
            true => Ok(()),
            false => Err(format!("{name}: {conditions:?}")),
        }
    }

    /// Waits until these are Ready.
    pub(crate) async fn wait_for(&self, names: &[&str]) {
        for name in names {
            eventually("a resource to be Ready", PATIENCE, async || {
                self.ready(name).await.map_err(|error| format!("{error}\n{}", self.log()))
            })
            .await;
        }
    }

    fn resources(&self, name: &str) -> Api<DynamicObject> {
        let kind = match name {
            "db" => ApiResource::erase::<PostgresDatabase>(&()),
            _ => ApiResource::erase::<PostgresUser>(&()),
        };
        Api::namespaced_with(self.admin.clone(), &self.namespace, &kind)
    }

    /// Waits until all events of what was done so far are written: they are written in order, and the last is that of a
    /// user whose database is missing.
    pub(crate) async fn settle(&self) {
        let marker = unique("marker");
        let namespace = &self.namespace;
        self.apply(&format!(
            "{API}\nkind: PostgresUser\nmetadata: {{ name: {marker}, namespace: {namespace} }}\n\
             spec: {{ username: {marker}, dbName: {marker}, secretName: {marker}, access: read }}\n"
        ))
        .await;
        let events: Api<Event> = Api::namespaced(self.admin.clone(), &self.namespace);
        let of_marker = ListParams::default().fields(&format!("regarding.name={marker}"));
        eventually("the marker's event", PATIENCE, async || {
            match events.list(&of_marker).await.map_err(|error| error.to_string())?.items.is_empty() {
                true => Err(self.log()),
                false => Ok(()),
            }
        })
        .await;
    }

    /// The Secrets of the namespace.
    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Every Secret that there is.
    pub(crate) async fn all_secrets(&self) -> Vec<Secret> {
        self.secrets().list(&ListParams::default()).await.unwrap().items
    }

    /// Logs in with what is in a Secret.
    pub(crate) async fn login(&self, secret: &Secret) -> Result<PgConnection, String> {
        let (role, password) = (value(secret, "username"), value(secret, "password"));
        let (role, password) = (role.unwrap_or_default(), password.unwrap_or_default());
        let session = self.postgres.connect(&self.app, &role, &password).await;
        session.map_err(|error| format!("{role}: {error}"))
    }

    /// Runs statements in the database as this role, or as the superuser.
    pub(crate) async fn sql(&self, role: Option<&str>, sql: &str) {
        let mut session = self.postgres.admin(&self.app).await;
        if let Some(role) = role {
            run(&mut session, format!("SET ROLE {}_{role}", self.app)).await.unwrap();
        }
        run(&mut session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first value of an answer in the database.
    pub(crate) async fn value(&self, sql: &str) -> Option<String> {
        fetch_text(&mut self.postgres.admin(&self.app).await, sql).await.unwrap()
    }

    /// The roles of this stage that can log in with a password.
    pub(crate) async fn logins(&self) -> Vec<String> {
        let sql = format!(
            "SELECT rolname FROM pg_authid \
             WHERE starts_with(rolname, '{}') AND rolcanlogin AND rolpassword IS NOT NULL",
            self.app
        );
        let rows = fetch_rows(&mut self.postgres.admin("postgres").await, sql).await.unwrap();
        rows.into_iter().flatten().flatten().collect()
    }

    /// The numbers of all databases and roles of this stage, by name without the stage's own.
    pub(crate) async fn numbers(&self) -> Vec<(String, String)> {
        let app = &self.app;
        let sql = format!(
            "SELECT rolname, oid FROM pg_roles WHERE starts_with(rolname, '{app}') \
             UNION ALL SELECT datname, oid FROM pg_database WHERE starts_with(datname, '{app}') ORDER BY 1"
        );
        let rows = fetch_rows(&mut self.postgres.admin("postgres").await, sql).await.unwrap();
        let text = |cell: &Option<String>| cell.clone().unwrap();
        rows.iter().map(|row| (text(&row[0]).replace(app, "app"), text(&row[1]))).collect()
    }
}

/// A path without what differs from stage to stage: the namespace, and the names of events.
fn shown(path: &str, namespace: &str) -> String {
    let path = path.replace(namespace, "ns");
    let path = path.split_once("/namespaces/ns").map_or(path.as_str(), |(_, rest)| rest);
    match path.split_once("/events/") {
        Some((before, _)) => format!("{before}/events/…"),
        None => path.to_owned(),
    }
}

/// Who has the chart's rights in the cluster; with it come the CRDs.
async fn identity(cluster: &Cluster) -> Identity {
    let crds = operator::crds_yaml().unwrap();
    kubernetes::apply(&cluster.client(), &crds, "default").await.unwrap();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/postgres-provisioner");
    let rendered = helm::template(&chart, "postgres-provisioner", HOME, "").unwrap();
    cluster.install_identity(&rendered, HOME).await
}
