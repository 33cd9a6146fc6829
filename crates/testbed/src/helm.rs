//! Charts, rendered and checked by the real Helm.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use crate::{
    cache,
    golang::{self, Module},
    kubernetes, progress,
};

/// The manifests of a release, without the chart's `crds` directory. An error is what Helm says.
///
/// `values` is the text of a values file.
pub fn template(chart: &Path, release: &str, namespace: &str, values: &str) -> Result<String, String> {
    let mut helm = Command::new(program());
    helm.args(["template", release]).arg(chart).args(["--namespace", namespace]);
    run(helm, values)
}

/// What `helm lint` says; a warning is an error.
pub fn lint(chart: &Path, values: &str) -> Result<String, String> {
    let mut helm = Command::new(program());
    helm.args(["lint", "--strict"]).arg(chart);
    run(helm, values)
}

/// Helm from `PATH`, else built once.
pub fn program() -> PathBuf {
    if let Some(program) = golang::in_path("helm") {
        return program;
    }
    let mut module = Module {
        name: "helm",
        go_mod: include_str!("../tools/helm/go.mod"),
        go_sum: include_str!("../tools/helm/go.sum"),
        variables: Vec::new(),
    };
    let version = module.version("helm.sh/helm/v3");
    module.variables.push(("helm.sh/helm/v3/internal/version.version", format!("v{version}")));
    let built = cache::entry(&format!("helm-{version}"), |draft| {
        progress::during(&format!("building helm {version} (once, 1 to 3 minutes)"), || module.build(draft));
    });
    built.join("helm")
}

fn run(mut helm: Command, values: &str) -> Result<String, String> {
    helm.args(["--values", "-", "--kube-version", kubernetes::version()]);
    helm.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = helm.spawn().unwrap_or_else(|error| panic!("cannot run helm: {error}"));
    let mut input = child.stdin.take().expect("standard input is a pipe");
    let output = thread::scope(|scope| {
        // Helm that fails early does not read them, and says why it failed.
        scope.spawn(move || input.write_all(values.as_bytes()));
        child.wait_with_output().expect("a child can be waited for")
    });
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(stdout) } else { Err(format!("{stderr}{stdout}")) }
}
