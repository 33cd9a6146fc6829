//! The whole thing for one test: a PostgreSQL, a Kubernetes API, and an operator of its own with the chart's rights.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use exec::{Learned, Password, PasswordMode, Server, Tls};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use operator::api::database::PostgresDatabase;
use operator::api::user::PostgresUser;
use operator::crd_apply::Absent;
use operator::crd_check;
use operator::election::{Election, Timing};
use operator::metrics::Format;
use operator::settings::{Definitions, Settings};
use serde_json::{Value, json};
use sqlx::PgConnection;
use testbed::kubernetes::{self, AuditEntry, Identity};
use testbed::{Cluster, Postgres, eventually, helm};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::definitions;
use crate::server_log;
use crate::witness;

/// How long anything may take that has no limit of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often the operator checks.
const RESYNC: Duration = Duration::from_secs(1);
/// The condition of what is provisioned.
const READY: (&str, &str, &str) = ("Ready", "True", "Provisioned");
/// Where the chart is installed.
const HOME: &str = "provisioner";

/// What one test plays in. Tests share the server: names of databases and roles come from [`testbed::unique`].
pub(crate) struct World {
    /// The server of resources that name no other.
    pub(crate) postgres: &'static Postgres,
    /// The cluster.
    pub(crate) cluster: &'static Cluster,
    /// The cluster's administrator.
    pub(crate) admin: Client,
    /// The operator's identity.
    pub(crate) identity: Identity,
    /// The operator's own namespace, which is trusted, and where documents without a namespace go.
    pub(crate) namespace: String,
    /// A namespace of an application.
    pub(crate) tenant: String,
    /// What the operator is told when it starts.
    pub(crate) settings: Settings,
    running: Mutex<Option<Running>>,
    witnesses: Vec<JoinSet<()>>,
}

/// An operator, and how to stop it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), operator::Error>>,
}

static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// How many worlds there are.
pub(crate) fn alive() -> usize {
    ALIVE.load(Ordering::SeqCst)
}

impl Drop for World {
    fn drop(&mut self) {
        witness::seen().metrics.push(self.settings.metrics.text(Format::OpenMetrics));
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

impl World {
    /// A world with PostgreSQL 17.
    pub(crate) async fn new() -> Self {
        Self::on(17).await
    }

    /// A world with this PostgreSQL.
    pub(crate) async fn on(major: u16) -> Self {
        let world = Self::without_operator(major).await;
        world.start_operator();
        world
    }

    /// A world whose operator is told of changes and never looks by itself.
    pub(crate) async fn told() -> Self {
        let mut world = Self::without_operator(17).await;
        world.settings.resync = Duration::from_hours(1);
        world.start_operator();
        world
    }

    /// A world whose operator is still to be started.
    pub(crate) async fn without_operator(major: u16) -> Self {
        let cluster = Cluster::shared().await;
        let mut world = Self::without_definitions(major, cluster, identity(cluster).await).await;
        let namespaces = [world.namespace.clone(), world.tenant.clone()];
        for namespace in &namespaces {
            world.witnesses.push(witness::watch(&world.admin, namespace).await);
        }
        world
    }

    /// A world in a cluster that may lack the CRDs, without an operator. What happens in it is not witnessed.
    pub(crate) async fn without_definitions(
        major: u16,
        cluster: &'static Cluster,
        identity: Identity,
    ) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        witness::keep_log();
        let postgres = Postgres::shared(major).await;
        witness::seen().majors.insert(major);
        let admin = cluster.client();
        let namespace = kubernetes::namespace(&admin, "ops").await;
        let tenant = kubernetes::namespace(&admin, "tenant").await;
        cluster.extend_identity(&identity, &namespace).await;
        let settings = settings(postgres, &namespace, &tenant);
        let running = Mutex::default();
        Self {
            postgres,
            cluster,
            admin,
            identity,
            namespace,
            tenant,
            settings,
            running,
            witnesses: Vec::new(),
        }
    }

    /// One more namespace that the operator will watch.
    pub(crate) async fn another_namespace(&mut self, prefix: &str) -> String {
        let name = kubernetes::namespace(&self.admin, prefix).await;
        self.witnesses.push(witness::watch(&self.admin, &name).await);
        self.settings.watch.insert(name.clone());
        name
    }

    /// Plays in namespaces of these names instead.
    pub(crate) async fn rename(&mut self, namespace: &str, tenant: &str) {
        for name in [namespace, tenant] {
            let document = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n");
            self.apply(&document).await;
            self.witnesses.push(witness::watch(&self.admin, name).await);
        }
        self.cluster.extend_identity(&self.identity, namespace).await;
        (self.namespace, self.tenant) = (namespace.to_owned(), tenant.to_owned());
        self.settings = settings(self.postgres, namespace, tenant);
    }

    /// Has the operator work only while it holds this Lease, as the chart does.
    pub(crate) fn elect(&mut self, lease: &str) {
        self.settings.election = Some(Election {
            namespace: Some(HOME.to_owned()),
            lease: lease.to_owned(),
            identity: testbed::unique("operator"),
            timing: Timing::default(),
        });
    }

    /// Starts the operator.
    pub(crate) fn start_operator(&self) {
        let (stop, stopped) = oneshot::channel();
        let (settings, client) = (self.settings.clone(), self.identity.client());
        let shutdown = async { _ = stopped.await };
        let task = tokio::spawn(operator::run(settings, client, shutdown));
        let before = self.running().replace(Running { stop, task });
        assert!(before.is_none(), "the operator runs already");
    }

    /// Stops the operator and waits for its end.
    pub(crate) async fn stop_operator(&self) {
        let running = self.running().take();
        let Running { stop, task } = running.expect("the operator runs");
        _ = stop.send(());
        task.await.expect("the operator does not panic").expect("the operator ends well");
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().expect("nobody panics while holding it")
    }

    /// Applies documents; panics when the API server refuses one.
    pub(crate) async fn apply(&self, yaml: &str) {
        self.try_apply(yaml).await.unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }

    /// Applies documents.
    pub(crate) async fn try_apply(&self, yaml: &str) -> Result<(), kube::Error> {
        kubernetes::apply(&self.admin, yaml, &self.namespace).await.map(|_| ())
    }

    /// Creates the Secret with the admin credentials of a server.
    pub(crate) async fn superuser_secret(&self, name: &str, postgres: &Postgres, password: &str) {
        let (namespace, port) = (&self.namespace, postgres.port());
        self.apply(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{ name: {name}, namespace: {namespace} }}
stringData: {{ username: postgres, password: {password:?}, port: '{port}' }}
"
        ))
        .await;
    }

    /// Sets an annotation of a namespace.
    pub(crate) async fn annotate(&self, namespace: &str, annotation: &str, value: &str) {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.admin.clone());
        let change = json!({ "metadata": { "annotations": { annotation: value } } });
        let patched = namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.unwrap_or_else(|error| panic!("cannot annotate namespace {namespace}: {error}"));
    }

    /// Merges a change into the resource.
    pub(crate) async fn patch(&self, kind: &str, name: &str, change: Value) {
        let (api, name) = self.api(kind, name);
        let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.unwrap_or_else(|error| panic!("cannot patch {kind} {name}: {error}"));
    }

    /// The resource as it is now; `kind` is `pgdb` or `pguser`, `name` may be `NAMESPACE/NAME`.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Result<DynamicObject, kube::Error> {
        let (api, name) = self.api(kind, name);
        api.get(name).await
    }

    /// Waits until the resource is Ready for its newest generation, and returns it.
    pub(crate) async fn ready(&self, kind: &str, name: &str) -> DynamicObject {
        self.condition(kind, name, READY).await
    }

    /// The same, with patience of one's own.
    pub(crate) async fn ready_in(&self, patience: Duration, kind: &str, name: &str) -> DynamicObject {
        self.condition_in(patience, kind, name, READY).await
    }

    /// Waits until the resource has this condition, status and reason for its newest generation.
    pub(crate) async fn condition(
        &self,
        kind: &str,
        name: &str,
        wanted: (&str, &str, &str),
    ) -> DynamicObject {
        self.condition_in(PATIENCE, kind, name, wanted).await
    }

    /// The same, with patience of one's own.
    pub(crate) async fn condition_in(
        &self,
        patience: Duration,
        kind: &str,
        name: &str,
        (condition, status, reason): (&str, &str, &str),
    ) -> DynamicObject {
        let what = format!("{kind} {name} to be {condition}={status}, {reason}");
        eventually(&what, patience, async || {
            let found = self.get(kind, name).await.map_err(|error| error.to_string())?;
            match has(&found, (condition, status, reason)) {
                true => Ok(found),
                false => Err(found.data["status"]["conditions"].to_string()),
            }
        })
        .await
    }

    /// Waits until everything in the operator's namespace is Ready for its newest generation.
    pub(crate) async fn all_ready_in(&self, patience: Duration) {
        eventually("all to be Ready", patience, async || {
            let mut left = Vec::new();
            for kind in ["pgdb", "pguser"] {
                let (all, _) = self.api(kind, "");
                let found = all.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
                let unready = found.items.into_iter().filter(|one| !has(one, READY));
                left.extend(unready.map(|one| format!("{}: {}", one.name_any(), one.data["status"])));
            }
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        })
        .await;
    }

    /// Deletes the resource without waiting.
    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.delete_with(kind, name, &DeleteParams::default()).await;
    }

    /// Deletes the resource in a way of one's own.
    pub(crate) async fn delete_with(&self, kind: &str, name: &str, params: &DeleteParams) {
        let (api, name) = self.api(kind, name);
        let deleted = api.delete(name, params).await;
        deleted.unwrap_or_else(|error| panic!("cannot delete {kind} {name}: {error}"));
    }

    /// Deletes the resource and waits until it is gone.
    pub(crate) async fn remove(&self, kind: &str, name: &str) {
        self.delete(kind, name).await;
        self.gone(kind, name).await;
    }

    /// Waits until the resource is gone.
    pub(crate) async fn gone(&self, kind: &str, name: &str) {
        self.gone_in(PATIENCE, kind, name).await;
    }

    /// The same, with patience of one's own.
    pub(crate) async fn gone_in(&self, patience: Duration, kind: &str, name: &str) {
        eventually(&format!("{kind} {name} to be gone"), patience, async || {
            match self.get(kind, name).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                Err(error) => Err(error.to_string()),
                Ok(found) => Err(found.data["status"]["conditions"].to_string()),
            }
        })
        .await;
    }

    /// What is in a Secret as text; `None` when there is none.
    pub(crate) async fn find_secret(&self, namespace: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let data =
            self.secrets(namespace).get_opt(name).await.expect("the administrator reads Secrets")?.data?;
        let text = |value: Vec<u8>| String::from_utf8(value).expect("our keys are text");
        Some(data.into_iter().map(|(key, value)| (key, text(value.0))).collect())
    }

    /// Waits until there is no such Secret. One that a resource has left goes once the status tells of the next.
    pub(crate) async fn secret_gone(&self, namespace: &str, name: &str) {
        eventually(&format!("Secret {name} to be gone"), PATIENCE, async || {
            match self.find_secret(namespace, name).await {
                None => Ok(()),
                Some(_) => Err("it is there"),
            }
        })
        .await;
    }

    /// Waits for a Secret, and returns what is in it.
    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> BTreeMap<String, String> {
        let what = format!("Secret {namespace}/{name}");
        eventually(&what, PATIENCE, async || self.find_secret(namespace, name).await).await
    }

    /// The Secrets of a namespace.
    pub(crate) fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Logs in with what is in a Secret, to the database that it names.
    pub(crate) async fn try_login(
        &self,
        secret: &BTreeMap<String, String>,
    ) -> Result<PgConnection, sqlx::Error> {
        assert_eq!(secret["port"], self.postgres.port().to_string());
        self.postgres.connect(&secret["database"], &secret["username"], &secret["password"]).await
    }

    /// Logs in with what is in a Secret; panics when that fails.
    pub(crate) async fn login(&self, secret: &BTreeMap<String, String>) -> PgConnection {
        let session = self.try_login(secret).await;
        session.unwrap_or_else(|error| panic!("{} cannot log in: {error}", secret["username"]))
    }

    /// Runs statements as the server's superuser.
    pub(crate) async fn sql(&self, database: &str, sql: &str) {
        let mut session = self.postgres.admin(database).await;
        let ran = testbed::postgres::run(&mut session, sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first value of an answer to the server's superuser.
    pub(crate) async fn value(&self, database: &str, sql: &str) -> Option<String> {
        let mut session = self.postgres.admin(database).await;
        let found = testbed::postgres::fetch_text(&mut session, sql).await;
        found.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Waits for a Warning event of this reason on an object of this name, which may be `NAMESPACE/NAME`, and returns
    /// its note.
    pub(crate) async fn warning(&self, name: &str, reason: &str) -> String {
        self.event_that(name, reason, |event| event.type_.as_deref() == Some("Warning")).await
    }

    /// Waits for an event of this reason on an object of this name that has been said so many times.
    pub(crate) async fn event(&self, name: &str, reason: &str, times: i32) -> String {
        let said = |event: &Event| event.series.as_ref().map_or(1, |series| series.count);
        self.event_that(name, reason, |event| said(event) >= times).await
    }

    async fn event_that(&self, name: &str, reason: &str, is_right: impl Fn(&Event) -> bool) -> String {
        let what = format!("event {reason} on {name}");
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        eventually(&what, PATIENCE, async || {
            let events: Api<Event> = Api::namespaced(self.admin.clone(), namespace);
            let events = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let is_wanted = |event: &Event| {
                let regarding = event.regarding.as_ref().and_then(|one| one.name.as_deref());
                regarding == Some(name) && event.reason.as_deref() == Some(reason) && is_right(event)
            };
            let found = events.into_iter().find(is_wanted);
            found.and_then(|event| event.note).ok_or_else(|| "no such event".to_owned())
        })
        .await
    }

    /// Whether the server has a role of this name.
    pub(crate) async fn has_role(&self, role: &str) -> bool {
        let sql = format!("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = '{role}'");
        self.value("postgres", &sql).await.is_some()
    }

    /// What the operator asked the API server for so far in this world's namespaces, as verb, object and answer.
    pub(crate) fn requests(&self, is_wanted: impl Fn(&AuditEntry) -> bool) -> Vec<String> {
        let namespaces = [self.namespace.as_str(), self.tenant.as_str()];
        let requests = self.cluster.audit().into_iter();
        requests
            .filter(|entry| entry.user == self.identity.service_account)
            .filter(|entry| namespaces.contains(&entry.namespace.as_str()) && is_wanted(entry))
            .map(|AuditEntry { verb, resource, subresource, name, code, .. }| {
                format!("{verb} {resource}/{subresource} {name} {code}")
            })
            .collect()
    }

    /// What of it changed something.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.requests(|entry| !["get", "list", "watch"].contains(&entry.verb.as_str()))
    }

    /// Waits until so many more checks of this database have begun.
    pub(crate) async fn checks(&self, database: &str, count: usize) {
        let begun = || server_log::sessions(&self.postgres.log(), database);
        let target = begun() + count;
        eventually("checks", PATIENCE, async || {
            if begun() >= target { Ok(()) } else { Err(format!("{} of {target}", begun())) }
        })
        .await;
    }

    fn api<'n>(&self, kind: &str, name: &'n str) -> (Api<DynamicObject>, &'n str) {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        (resources(self.admin.clone(), kind, namespace), name)
    }
}

/// Whether the resource has this condition, status and reason for its newest generation.
fn has(resource: &DynamicObject, (condition, status, reason): (&str, &str, &str)) -> bool {
    let wanted = json!([condition, status, reason, resource.metadata.generation]);
    let conditions = resource.data["status"]["conditions"].as_array();
    let is_wanted =
        |one: &Value| json!([one["type"], one["status"], one["reason"], one["observedGeneration"]]) == wanted;
    conditions.is_some_and(|conditions| conditions.iter().any(is_wanted))
}

/// The resources of a kind as a user of the cluster reaches them.
pub(crate) fn resources(user: Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let resource = match kind {
        "pgdb" => ApiResource::erase::<PostgresDatabase>(&()),
        "pguser" => ApiResource::erase::<PostgresUser>(&()),
        _ => panic!("{kind} is neither pgdb nor pguser"),
    };
    Api::namespaced_with(user, namespace, &resource)
}

fn settings(postgres: &Postgres, namespace: &str, tenant: &str) -> Settings {
    Settings {
        resync: RESYNC,
        namespace: Some(namespace.to_owned()),
        watch: [namespace.to_owned(), tenant.to_owned()].into(),
        ..Settings::new(Some(server(postgres)))
    }
}

/// The operator's own server.
pub(crate) fn server(postgres: &Postgres) -> Server {
    Server {
        host: postgres.host().to_owned(),
        port: postgres.port(),
        user: testbed::postgres::SUPERUSER.to_owned(),
        password: Password::new(postgres.password()),
        maintenance: "postgres".parse().expect("a valid name"),
        tls: Tls::default(),
        passwords: PasswordMode::Verifier,
        learned: Learned::default(),
    }
}

/// Who has the chart's rights in the cluster that all share; with these it brings the CRDs: one that is missing, and one
/// that is older.
async fn identity(cluster: &Cluster) -> Identity {
    static IDENTITY: OnceCell<Identity> = OnceCell::const_new();
    let install = async || {
        let older = definitions::older_of("PostgresUser");
        kubernetes::apply(&cluster.client(), &older, "default").await.expect("the CRD is valid");
        let identity = new_identity(cluster).await;
        crd_check::wait(&identity.client(), Definitions::Apply, Absent::Create).await;
        kubernetes::wait_crds_established(&cluster.client()).await;
        identity
    };
    IDENTITY.get_or_init(install).await.clone()
}

/// Somebody with the chart's rights.
pub(crate) async fn new_identity(cluster: &Cluster) -> Identity {
    new_identity_with(cluster, "").await
}

/// Somebody with the rights that the chart gives for these values.
pub(crate) async fn new_identity_with(cluster: &Cluster, values: &str) -> Identity {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/postgres-provisioner");
    let rendered = helm::template(&chart, "postgres-provisioner", HOME, values).expect("the chart renders");
    cluster.install_identity(&rendered, HOME).await
}
