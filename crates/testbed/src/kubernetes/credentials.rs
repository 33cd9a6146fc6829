//! Keys, tokens and kubeconfigs of one cluster.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kube::config::Kubeconfig;
use serde_json::json;

use crate::{
    tls::{self, Authority},
    unique::random,
};

/// The tokens of those who may do everything.
pub(super) struct Credentials {
    pub(super) admin: String,
    pub(super) controller_manager: String,
    authority: String,
}

/// Makes new credentials and writes what the components read into `directory`.
pub(super) fn write(directory: &Path) -> Credentials {
    let authority = Authority::new("testbed");
    let server = authority.issue("kube-apiserver", &["127.0.0.1", "localhost", "kubernetes.default.svc"]);
    let credentials =
        Credentials { admin: random(32), controller_manager: random(32), authority: authority.certificate() };
    let tokens = format!(
        "{},kubernetes-admin,admin,system:masters\n{},system:kube-controller-manager,manager,system:masters\n",
        credentials.admin, credentials.controller_manager
    );
    let (private_key, public_key) = tls::key_pair();
    let files = [
        ("ca.crt", &credentials.authority),
        ("server.crt", &server.certificate),
        ("server.key", &server.key),
        ("service-accounts.key", &private_key),
        ("service-accounts.pub", &public_key),
        ("tokens.csv", &tokens),
    ];
    for (name, content) in files {
        fs::write(directory.join(name), content).expect("our own directory is writable");
    }
    credentials
}

impl Credentials {
    /// How somebody with `token` reaches the API server at `port`.
    pub(super) fn kubeconfig(&self, port: u16, token: &str) -> Kubeconfig {
        let value = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
            "clusters": [{"name": "testbed", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": BASE64_STANDARD.encode(&self.authority),
            }}],
            "users": [{"name": "testbed", "user": {"token": token}}],
        });
        serde_json::from_value(value).expect("it has the form of a kubeconfig")
    }
}

/// Writes a kubeconfig for programs that want a file.
pub(super) fn write_kubeconfig(path: &Path, kubeconfig: &Kubeconfig) {
    let text = serde_saphyr::to_string(kubeconfig).expect("a kubeconfig is YAML");
    fs::write(path, text).expect("our own directory is writable");
}
