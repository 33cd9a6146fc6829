//! A killed process leaves nothing behind, although its servers are in statics.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use testbed::{Cluster, Postgres, eventually};

/// Where the process that will be killed reports what it has started.
const REPORT: &str = "TESTBED_REPORT_TO";

/// Long enough to build a cluster's programs.
const DEADLINE: Duration = Duration::from_mins(20);

/// Runs a second time as a process of its own, which is then killed.
#[tokio::test]
async fn a_killed_process_leaves_no_server_behind() {
    if let Some(report) = env::var_os(REPORT) {
        return hold_servers(Path::new(&report)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    // The servers' user passes through it.
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let report = directory.path().join("report");
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_leaves_no_server_behind"])
        .env(REPORT, &report)
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let text =
        eventually("the other process's servers", DEADLINE, async || fs::read_to_string(&report)).await;
    let processes: Vec<u32> = text.split_whitespace().map(|process| process.parse().unwrap()).collect();
    assert_eq!(processes.iter().filter(|process| is_running(**process)).count(), 4);

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("its servers and files to go", Duration::from_secs(30), async || {
        let left: Vec<_> = processes.iter().filter(|process| is_running(**process)).collect();
        let files: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        if left.is_empty() && files == ["report"] { Ok(()) } else { Err(format!("{left:?} {files:?}")) }
    })
    .await;
}

async fn hold_servers(report: &Path) {
    let mut processes = Cluster::shared().await.process_ids();
    processes.extend(Postgres::shared(15).await.process_id());
    let processes: Vec<String> = processes.iter().map(ToString::to_string).collect();
    let draft = report.with_extension("draft");
    fs::write(&draft, processes.join(" ")).expect("the test made the directory");
    fs::rename(draft, report).expect("the test made the directory");
    std::future::pending::<()>().await;
}

/// Whether the process is there and not merely waiting for init to notice its end.
fn is_running(process: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output();
    let state = output.expect("there is no `ps`: install procps").stdout;
    !state.trim_ascii().is_empty() && !state.starts_with(b"Z")
}
