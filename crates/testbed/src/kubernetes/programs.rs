//! Where etcd and the programs of the control plane come from.

use std::{env, fs, path::PathBuf};

use crate::{
    cache,
    golang::{self, Module},
    progress,
};

/// The programs that a cluster is made of.
pub(super) struct Programs {
    pub(super) etcd: PathBuf,
    pub(super) api_server: PathBuf,
    pub(super) controller_manager: PathBuf,
}

/// Each from `KUBEBUILDER_ASSETS` when set, else all from `PATH`, else from the build.
pub(super) fn programs() -> Programs {
    if env::var_os("KUBEBUILDER_ASSETS").is_some_and(|assets| !assets.is_empty()) {
        return all(program);
    }
    // A single one there may be of any age, and need not fit the others.
    let names = ["etcd", "kube-apiserver", "kube-controller-manager"];
    if names.iter().all(|name| golang::in_path(name).is_some()) {
        return all(|name| golang::in_path(name).expect("it was there a moment ago"));
    }
    let built = build();
    all(|name| built.join(name))
}

/// `kubectl` from `KUBEBUILDER_ASSETS` or from the build.
pub fn kubectl() -> PathBuf {
    program("kubectl")
}

/// The Kubernetes version that is built.
pub fn version() -> &'static str {
    module().version("k8s.io/kubernetes")
}

fn all(find: impl Fn(&str) -> PathBuf) -> Programs {
    Programs {
        etcd: find("etcd"),
        api_server: find("kube-apiserver"),
        controller_manager: find("kube-controller-manager"),
    }
}

fn program(name: &str) -> PathBuf {
    // The archives of envtest hold no controller manager: what is missing there is built.
    env::var_os("KUBEBUILDER_ASSETS")
        .map(|assets| PathBuf::from(assets).join(name))
        .filter(|program| program.is_file())
        .unwrap_or_else(|| build().join(name))
}

fn build() -> PathBuf {
    let mut module = module();
    let (version, etcd) = (version(), module.version("go.etcd.io/etcd/server/v3"));
    let [major, minor] = [0, 1].map(|index| version.split('.').nth(index).expect("a version has two parts"));
    // Without them the API server calls itself v0.0.0, which no chart supports.
    module.variables = vec![
        ("k8s.io/component-base/version.gitVersion", format!("v{version}")),
        ("k8s.io/component-base/version.gitMajor", major.to_owned()),
        ("k8s.io/component-base/version.gitMinor", minor.to_owned()),
        ("k8s.io/component-base/version.gitTreeState", "clean".to_owned()),
    ];
    cache::entry(&format!("kubernetes-{version}-etcd-{etcd}"), |draft| {
        let what = format!(
            "building Kubernetes {version} and etcd {etcd} with Go (once, 4 to 8 minutes on 2 cores)"
        );
        progress::during(&what, || module.build(draft));
        // The last element of its import path.
        fs::rename(draft.join("server"), draft.join("etcd")).expect("etcd was built");
    })
}

fn module() -> Module {
    Module {
        name: "Kubernetes",
        go_mod: include_str!("../../tools/kubernetes/go.mod"),
        go_sum: include_str!("../../tools/kubernetes/go.sum"),
        variables: Vec::new(),
    }
}
