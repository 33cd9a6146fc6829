//! Programs that the Go toolchain builds from the committed modules in `tools/`.

use std::{ffi::OsString, fs, path::Path, process::Command};

/// A module whose `tool` lines name the programs.
pub(crate) struct Module {
    /// The name to show.
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Values for variables of the programs, mostly their version.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Module {
    /// The version of a module it requires, without the `v`.
    pub(crate) fn version(&self, required: &str) -> &'static str {
        let version = self.go_mod.lines().find_map(|line| {
            let words = line.trim_start().trim_start_matches("require ");
            words.strip_prefix(required)?.strip_prefix(" v")?.split_whitespace().next()
        });
        version.unwrap_or_else(|| panic!("go.mod of {} does not require {required}", self.name))
    }

    /// Builds all its tools into `directory`.
    pub(crate) fn build(&self, directory: &Path) {
        // Not where it is committed: that place may be read-only, or gone since the compilation.
        let source = directory.join("source");
        fs::create_dir(&source).expect("the cache is writable");
        fs::write(source.join("go.mod"), self.go_mod).expect("the cache is writable");
        fs::write(source.join("go.sum"), self.go_sum).expect("the cache is writable");

        let variables = self.variables.iter().map(|(name, value)| format!(" -X {name}={value}"));
        let flags = format!("-s -w{}", variables.collect::<String>());
        let mut target = OsString::from(directory);
        // With the separator it is a directory for any number of programs.
        target.push("/");
        let go = Command::new("go")
            .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(target)
            .arg("tool")
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .current_dir(&source)
            .output();
        let output = go.unwrap_or_else(|error| {
            panic!("cannot run `go` to build {} ({error}): install Go 1.26 or later from go.dev", self.name)
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "go could not build {} ({}):\n{said}", self.name, output.status);
        fs::remove_dir_all(&source).expect("the cache is writable");
    }
}

/// The file `name` in one of the directories of `PATH`.
pub(crate) fn in_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}
