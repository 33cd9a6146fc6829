//! Prometheus' own judgement of metrics and rules.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use crate::{
    cache,
    golang::{self, Module},
    progress, scratch,
};

/// What is wrong with metrics in the text format: names, help, types. An error is what `promtool check metrics` says.
pub fn check_metrics(metrics: &str) -> Result<(), String> {
    let mut promtool = Command::new(program());
    promtool.args(["check", "metrics"]);
    run(promtool, metrics)
}

/// What is wrong with a file of rules, and whether they do what a file of tests says. The tests call it `rules.yaml`.
pub fn test_rules(rules: &str, tests: &str) -> Result<(), String> {
    let directory = scratch::directory("promtool");
    for (name, text) in [("rules.yaml", rules), ("tests.yaml", tests)] {
        std::fs::write(directory.join(name), text).expect("a new directory is writable");
    }
    for arguments in [
        &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"][..],
        &["test", "rules", "tests.yaml"],
    ] {
        let mut promtool = Command::new(program());
        promtool.args(arguments).current_dir(&directory);
        run(promtool, "")?;
    }
    Ok(())
}

/// promtool from `PATH`, else built once.
fn program() -> PathBuf {
    if let Some(program) = golang::in_path("promtool") {
        return program;
    }
    let module = Module {
        name: "promtool",
        go_mod: include_str!("../tools/promtool/go.mod"),
        go_sum: include_str!("../tools/promtool/go.sum"),
        variables: Vec::new(),
    };
    let version = module.version("github.com/prometheus/prometheus");
    let built = cache::entry(&format!("promtool-{version}"), |draft| {
        progress::during(&format!("building promtool {version} (once, 2 to 5 minutes)"), || {
            module.build(draft);
        });
    });
    built.join("promtool")
}

fn run(mut promtool: Command, input: &str) -> Result<(), String> {
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap_or_else(|error| panic!("cannot run promtool: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let output = thread::scope(|scope| {
        // One that fails early does not read it, and says why it failed.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("a child can be waited for")
    });
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(()) } else { Err(format!("{stderr}{stdout}")) }
}
