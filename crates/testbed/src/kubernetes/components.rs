//! The processes of a control plane, each started and found ready.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{Config, api::ListParams, core::Request};

use super::{audit, programs::Programs};
use crate::{
    blocking,
    launch::{Failure, launch, tail},
    port,
    process::{Ending, Process, Program},
};

/// The controllers that tests see the work of. The others would only keep two processors busy.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// What all components share.
pub(super) struct Site {
    pub(super) programs: Programs,
    pub(super) directory: PathBuf,
}

impl Site {
    pub(super) fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.jsonl")
    }

    pub(super) fn etcd(&self) -> (Process, u16) {
        self.on_free_port("etcd", |port| {
            let client = format!("http://127.0.0.1:{port}");
            let peer = format!("http://127.0.0.1:{}", port::free());
            let arguments = [
                format!("--data-dir={}", self.directory.join("etcd").display()),
                format!("--listen-client-urls={client}"),
                format!("--advertise-client-urls={client}"),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            let program = self.program("etcd", &self.programs.etcd, arguments);
            launch(&program, || TcpStream::connect(("127.0.0.1", port)).is_ok())
        })
    }

    /// `config` tells how the administrator reaches it at a port.
    pub(super) fn api_server(&self, etcd: u16, config: impl Fn(u16) -> Config) -> (Process, u16) {
        let policy = self.directory.join("audit-policy.yaml");
        fs::write(policy, audit::POLICY).expect("our own directory is writable");
        self.on_free_port("kube-apiserver", |port| self.api_server_at(port, etcd, &config(port)))
    }

    pub(super) fn api_server_at(&self, port: u16, etcd: u16, config: &Config) -> Result<Process, Failure> {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
            format!("--audit-policy-file={}", file("audit-policy.yaml")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // One file: an entry is there when the response is, and none is rotated away.
            "--audit-log-mode=blocking".to_owned(),
            "--audit-log-maxsize=100000".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            // There is no address that an endpoint may have.
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        let program = self.program("kube-apiserver", &self.programs.api_server, arguments);
        launch(&program, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() && blocking::wait_for(says_ready(config.clone()))
        })
    }

    pub(super) fn controller_manager(&self, kubeconfig: &Path, is_ready: impl FnMut() -> bool) -> Process {
        let arguments = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={CONTROLLERS}"),
            format!("--root-ca-file={}", self.directory.join("ca.crt").display()),
            "--leader-elect=false".to_owned(),
            // It serves nothing that anybody asks for.
            "--secure-port=0".to_owned(),
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ];
        let name = "kube-controller-manager";
        let program = self.program(name, &self.programs.controller_manager, arguments);
        launch(&program, is_ready).unwrap_or_else(|failure| self.fail(name, &failure))
    }

    pub(super) fn fail(&self, name: &str, failure: &Failure) -> ! {
        panic!("{name} did not start: {failure}\n{}", tail(&self.log(name)))
    }

    fn on_free_port(&self, name: &str, start: impl Fn(u16) -> Result<Process, Failure>) -> (Process, u16) {
        for _ in 0..10 {
            let port = port::free();
            match start(port) {
                Ok(process) => return (process, port),
                Err(Failure::PortTaken) => (),
                Err(failure) => self.fail(name, &failure),
            }
        }
        self.fail(name, &Failure::PortTaken)
    }

    fn program<const N: usize>(&self, name: &str, path: &Path, arguments: [String; N]) -> Program {
        Program {
            path: path.to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            user: None,
            log: self.log(name),
            // All they know is in etcd, which nobody will read again.
            ending: Ending::Kill,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }
}

async fn says_ready(config: Config) -> bool {
    let client = super::client(config);
    // Nothing to list, but it makes the GET of a path that is wanted.
    let request = Request::new("/readyz").list(&ListParams::default()).expect("a path is a request");
    let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
    answer.is_ok_and(|text| text.is_ok())
}
