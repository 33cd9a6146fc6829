//! What is downloaded or built once per user, and how several processes share it.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The cache of this user. It may be removed at any time when no test runs.
///
/// Root's lies in `/var/cache`: the servers run as `nobody`, who cannot traverse root's home.
pub fn directory() -> PathBuf {
    let parent = if is_root() {
        PathBuf::from("/var/cache")
    } else if let Some(cache) = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        PathBuf::from(cache)
    } else {
        let home =
            env::var_os("HOME").expect("HOME is not set: set it, or XDG_CACHE_HOME, for the testbed's cache");
        PathBuf::from(home).join(".cache")
    };
    parent.join("postgres-provisioner")
}

/// The cache entry `name`, which `make` fills into an empty directory when it is not there yet.
///
/// An entry is whole or absent: it is made beside its place and renamed. Processes and threads
/// that ask for the same entry wait for each other.
pub fn entry(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let path = directory().join(name);
    if path.is_dir() {
        return path;
    }
    let _lock = lock(name);
    if path.is_dir() {
        return path;
    }
    let parent = directory();
    let prefix = format!(".draft-{name}-");
    remove_drafts(&parent, &prefix);
    let draft = tempfile::Builder::new()
        .prefix(&prefix)
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&parent)
        .unwrap_or_else(|error| panic!("cannot create a directory in {}: {error}", parent.display()));
    make(draft.path());
    let draft = draft.keep();
    fs::rename(&draft, &path)
        .unwrap_or_else(|error| panic!("cannot rename {} to {}: {error}", draft.display(), path.display()));
    path
}

/// Removes what killed processes left; whoever holds the entry's lock knows that nobody fills them.
fn remove_drafts(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            // The next one tries again.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Excludes other threads and processes of this user until it is dropped.
pub(crate) fn lock(name: &str) -> File {
    let directory = directory().join("locks");
    let open = || -> std::io::Result<File> {
        fs::create_dir_all(&directory)?;
        if is_root() {
            // Whatever root's umask is, the servers must get in.
            fs::set_permissions(self::directory(), fs::Permissions::from_mode(0o755))?;
        }
        let file = File::options().create(true).append(true).open(directory.join(name))?;
        file.lock()?;
        Ok(file)
    };
    open().unwrap_or_else(|error| panic!("cannot lock {name} in {}: {error}", directory.display()))
}

/// Whether this process is root, for whom PostgreSQL refuses to run.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user and group that servers run as when this process is root.
pub(crate) fn unprivileged() -> Option<(u32, u32)> {
    static NOBODY: OnceLock<(u32, u32)> = OnceLock::new();
    is_root().then(|| *NOBODY.get_or_init(|| (id("-u"), id("-g"))))
}

fn id(which: &str) -> u32 {
    let output = std::process::Command::new("id").args([which, "nobody"]).output();
    output
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .and_then(|text| text.trim().parse().ok())
        .expect("there is no user `nobody`: as root, PostgreSQL is run as that user; add it or do not run as root")
}

/// Whether `path` belongs to this user.
pub(crate) fn is_ours(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}
