//! A Kubernetes API: etcd, API server and the controllers that clean up. No nodes, so no pods run.

mod apply;
mod audit;
mod components;
mod credentials;
mod identity;
mod permissions;
mod programs;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::Signal;

use crate::{blocking, launch, process::Process, scratch, tls};
use components::Site;
use credentials::Credentials;

pub use apply::{apply, namespace, wait_crds_established};
pub use audit::AuditEntry;
pub use identity::Identity;
pub use permissions::{AuditReport, Permission};
pub use programs::{kubectl, version};

/// A running cluster on 127.0.0.1. Dropping it ends its processes and removes its data.
///
/// Everybody needs rights as in a real one (RBAC); the administrator has all.
pub struct Cluster {
    site: Arc<Site>,
    credentials: Credentials,
    etcd_port: u16,
    port: u16,
    admin: Config,
    // `None` only once it is dropped.
    processes: Mutex<Option<Processes>>,
}

/// In the order in which they end: nobody should miss the one it talks to.
struct Processes {
    controller_manager: Process,
    // `None` during an outage.
    api_server: Option<Process>,
    etcd: Process,
}

impl Cluster {
    /// A cluster of one's own.
    pub async fn start() -> Cluster {
        blocking::on_thread(launch).await
    }

    /// The one cluster that the tests of this process share, started by the first to ask.
    ///
    /// It belongs to no runtime, and ends with the process.
    pub async fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        if let Some(cluster) = SHARED.get() {
            return cluster;
        }
        blocking::on_thread(|| SHARED.get_or_init(launch)).await
    }

    /// A client of the administrator. It belongs to the runtime it is made in.
    pub fn client(&self) -> Client {
        client(self.config())
    }

    /// What [`Cluster::client`] is made from.
    pub fn config(&self) -> Config {
        self.admin.clone()
    }

    /// A kubeconfig file of the administrator, for programs; it goes with the cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.directory.join("kubeconfig")
    }

    /// How somebody with this token reaches the cluster.
    pub fn kubeconfig_for(&self, token: &str) -> Kubeconfig {
        self.credentials.kubeconfig(self.port, token)
    }

    /// The requests so far, in the order in which they were answered.
    pub fn audit(&self) -> Vec<AuditEntry> {
        audit::read(&self.site.audit_log())
    }

    /// The whole audit log as it stands in the file.
    pub fn audit_text(&self) -> String {
        launch::read(&self.site.audit_log())
    }

    /// What these identities did with their rights. They count as one: pass those of one chart.
    pub fn audit_against(&self, identities: &[&Identity]) -> AuditReport {
        permissions::report(&self.audit(), identities)
    }

    /// The process ids of all components; without the API server during an outage.
    pub fn process_ids(&self) -> Vec<u32> {
        self.with_processes(|processes| {
            let api_server = processes.api_server.iter().map(Process::id);
            api_server.chain([processes.etcd.id(), processes.controller_manager.id()]).collect()
        })
    }

    /// Begins an outage: the API server is killed.
    pub async fn stop_api_server(&self) {
        let process = self.with_processes(|processes| processes.api_server.take());
        if let Some(mut process) = process {
            blocking::on_thread(move || process.stop(Signal::KILL)).await;
        }
    }

    /// Ends an outage: the API server is back on its port.
    pub async fn start_api_server(&self) {
        let (site, admin, port, etcd_port) = (self.site.clone(), self.config(), self.port, self.etcd_port);
        let process = blocking::on_thread(move || {
            let started = site.api_server_at(port, etcd_port, &admin);
            started.unwrap_or_else(|failure| site.fail("kube-apiserver", &failure))
        });
        let process = process.await;
        self.with_processes(|processes| processes.api_server = Some(process));
    }

    /// A short outage.
    pub async fn restart_api_server(&self) {
        self.stop_api_server().await;
        self.start_api_server().await;
    }

    /// Ends every process of the cluster and removes its data.
    pub async fn stop(self) {
        blocking::on_thread(move || drop(self)).await;
    }

    fn with_processes<T>(&self, change: impl FnOnce(&mut Processes) -> T) -> T {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        change(processes.as_mut().expect("the cluster is not dropped yet"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        *self.processes.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        // The guard tries again when this process ends.
        let _ = fs::remove_dir_all(&self.site.directory);
    }
}

impl std::fmt::Debug for Cluster {
    // Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster(https://127.0.0.1:{})", self.port)
    }
}

fn launch() -> Cluster {
    let site =
        Arc::new(Site { programs: programs::programs(), directory: scratch::directory("kubernetes-") });
    let credentials = credentials::write(&site.directory);
    let kubeconfig = |port, token: &str| credentials.kubeconfig(port, token);

    let (etcd, etcd_port) = site.etcd();
    let admin_at = |port| blocking::wait_for(config(kubeconfig(port, &credentials.admin)));
    let (api_server, port) = site.api_server(etcd_port, admin_at);
    let admin = admin_at(port);
    credentials::write_kubeconfig(&site.directory.join("kubeconfig"), &kubeconfig(port, &credentials.admin));
    let manager = site.directory.join("controller-manager.kubeconfig");
    credentials::write_kubeconfig(&manager, &kubeconfig(port, &credentials.controller_manager));
    let controller_manager =
        site.controller_manager(&manager, || blocking::wait_for(has_controllers(admin.clone())));

    let processes = Processes { controller_manager, api_server: Some(api_server), etcd };
    Cluster { site, credentials, etcd_port, port, admin, processes: Mutex::new(Some(processes)) }
}

async fn config(kubeconfig: Kubeconfig) -> Config {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.expect("the kubeconfig is our own")
}

fn client(config: Config) -> Client {
    tls::install_provider();
    Client::try_from(config).expect("the credentials are the cluster's own")
}

/// The first thing that they make.
async fn has_controllers(admin: Config) -> bool {
    let accounts = Api::<ServiceAccount>::namespaced(client(admin), "default");
    accounts.get_opt("default").await.is_ok_and(|account| account.is_some())
}
