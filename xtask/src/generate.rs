//! `cargo xtask crds`: the files that follow from the code.

mod crds;
mod docs;
mod install;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, bail};
use xshell::Shell;

/// One generated file, whole.
struct File {
    path: PathBuf,
    contents: String,
}

/// Writes those that are stale.
pub(crate) fn write(shell: &Shell) -> anyhow::Result<()> {
    for file in stale(shell)? {
        println!("write {}", file.path.display());
        shell.write_file(&file.path, &file.contents)?;
    }
    Ok(())
}

/// Writes nothing, and fails when one is stale.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    let stale: Vec<String> = stale(shell)?.iter().map(|file| file.path.display().to_string()).collect();
    if !stale.is_empty() {
        bail!("stale: {}; run `cargo xtask crds`", stale.join(", "));
    }
    Ok(())
}

fn stale(shell: &Shell) -> anyhow::Result<Vec<File>> {
    let mut files = crds::files()?;
    let definitions: Vec<&str> = files.iter().map(|file| file.contents.as_str()).collect();
    let install = install::file(shell, &definitions)?;
    files.push(install);
    files.extend(docs::files(shell)?);
    let root = shell.current_dir();
    files.retain(|file| fs::read_to_string(root.join(&file.path)).ok().as_ref() != Some(&file.contents));
    Ok(files)
}

/// Replaces what stands between `<!-- generated: NAME -->` and the next `<!-- end -->`.
fn replace_section(text: &str, name: &str, contents: &str) -> anyhow::Result<String> {
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no line `{}`", begin.trim()))?;
    let end = "<!-- end -->";
    let (_, after) = rest.split_once(end).with_context(|| format!("no line `{end}` after {name}"))?;
    Ok(format!("{before}{begin}\n{contents}\n\n{end}{after}"))
}

#[cfg(test)]
mod tests;
