//! The directory that this process works in, and the guard that removes it.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{cache, unique::random};

const PREFIX: &str = "postgres-provisioner-testbed-";

/// A new empty directory that is gone when this process is, however it ends.
pub(crate) fn directory(prefix: &str) -> PathBuf {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(&scratch().root);
    directory.expect("our own directory is writable").keep()
}

/// Hands a line to the guard of this process; `guard.sh` says which lines it knows.
pub(crate) fn tell_guard(line: &str) -> std::io::Result<()> {
    let mut guard = scratch().guard.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(guard, "{line}")
}

struct Scratch {
    root: PathBuf,
    guard: Mutex<ChildStdin>,
    // Tells other processes that this one lives: the system unlocks it when the process ends.
    _alive: File,
}

fn scratch() -> &'static Scratch {
    static SCRATCH: OnceLock<Scratch> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        // Between its creation and the locking of its file a directory looks abandoned.
        let _lock = cache::lock("scratch");
        let parent = std::env::temp_dir();
        sweep(&parent);
        create(&parent).unwrap_or_else(|error| panic!("cannot work in {}: {error}", parent.display()))
    })
}

fn create(parent: &Path) -> std::io::Result<Scratch> {
    let root = parent.join(format!("{PREFIX}{}", random(8)));
    fs::create_dir(&root)?;
    // Servers that run as somebody else pass through it, but cannot look around.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711))?;
    let alive = File::create(root.join("alive"))?;
    alive.lock()?;
    Ok(Scratch { guard: Mutex::new(start_guard(&root)?), root, _alive: alive })
}

fn start_guard(root: &Path) -> std::io::Result<ChildStdin> {
    let mut guard = Command::new("/bin/sh")
        .args(["-c", include_str!("guard.sh"), "testbed-guard"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()?;
    Ok(guard.stdin.take().expect("standard input is a pipe"))
}

/// Removes what processes left whose guard was killed too.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let is_testbed = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if is_testbed && cache::is_ours(&path) && is_abandoned(&path) {
            // What cannot be removed now is tried again by the next process.
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    File::open(path.join("alive")).is_ok_and(|alive| alive.try_lock().is_ok())
}
