//! Charts, rendered, checked and installed by the real Helm.

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
    run(with_values(helm), values)
}

/// What `helm lint` says; a warning is an error.
pub fn lint(chart: &Path, values: &str) -> Result<String, String> {
    let mut helm = Command::new(program());
    helm.args(["lint", "--strict"]).arg(chart);
    run(with_values(helm), values)
}

fn with_values(mut helm: Command) -> Command {
    helm.args(["--values", "-", "--kube-version", kubernetes::version()]);
    helm
}

/// Installs a release into the cluster of this kubeconfig, the chart's `crds` directory first, and returns what Helm says;
/// what is made is not waited for.
pub fn install(kubeconfig: &Path, chart: &Path, release: &str, values: &str) -> Result<String, String> {
    release_command(kubeconfig, &["install", release], Some(chart), Some(values))
}

/// Upgrades a release to this chart; without `values` it keeps those that it was given before.
pub fn upgrade(
    kubeconfig: &Path,
    chart: &Path,
    release: &str,
    values: Option<&str>,
) -> Result<String, String> {
    release_command(kubeconfig, &["upgrade", release], Some(chart), values)
}

/// Takes a release back to what it was at this revision.
pub fn rollback(kubeconfig: &Path, release: &str, revision: u32) -> Result<String, String> {
    release_command(kubeconfig, &["rollback", release, &revision.to_string()], None, None)
}

/// What a release consists of as it is now.
pub fn manifest(kubeconfig: &Path, release: &str) -> Result<String, String> {
    release_command(kubeconfig, &["get", "manifest", release], None, None)
}

fn release_command(
    kubeconfig: &Path,
    words: &[&str],
    chart: Option<&Path>,
    values: Option<&str>,
) -> Result<String, String> {
    let mut helm = Command::new(program());
    helm.args(words).args(chart).arg("--kubeconfig").arg(kubeconfig);
    if values.is_some() {
        helm.args(["--values", "-"]);
    }
    run(helm, values.unwrap_or_default())
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
