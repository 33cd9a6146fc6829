//! Invariants that can be seen in the text of the files. Why they hold is said in ARCHITECTURE.md; here is only
//! how a breach is recognised.

use std::path::Path;

use anyhow::bail;
use xshell::{Shell, cmd};

/// A file of the repository.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    fn is_test(&self) -> bool {
        self.is_rust() && (self.path.contains("/tests/") || self.path.ends_with("tests.rs"))
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Code, which comments are not; with line numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// A rule looks at one file, and says in which lines it is broken and what to do instead.
type Rule = fn(&Source) -> Vec<String>;

const RULES: [Rule; 10] = [
    plan_depends_on_thiserror_only,
    plan_is_pure,
    tests_do_not_sleep,
    nothing_is_ignored_or_unfinished,
    lints_are_expected_not_allowed,
    serde_stays_at_the_border,
    files_are_short,
    no_path_of_one_machine,
    dependencies_come_from_the_public_registry,
    workflows_run_what_was_read,
];

/// Looks at every file that is or could be committed.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let sources = sources(shell)?;
    let mut complaints: Vec<String> = RULES.iter().flat_map(|rule| sources.iter().flat_map(rule)).collect();
    complaints.extend(built_sql_has_one_gate(&sources));
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

fn sources(shell: &Shell) -> anyhow::Result<Vec<Source>> {
    let listed = cmd!(shell, "git ls-files --cached --others --exclude-standard").quiet().read()?;
    // These files spell what they forbid.
    let paths = listed.lines().filter(|path| !path.starts_with("xtask/src/tidy"));
    // A file that is not text breaks none of the rules; one that was deleted is still listed.
    let texts = paths.filter_map(|path| Some((path, shell.read_file(path).ok()?)));
    Ok(texts.map(|(path, text)| Source { path: path.to_owned(), text }).collect())
}

fn plan_depends_on_thiserror_only(source: &Source) -> Vec<String> {
    if source.path != "crates/plan/Cargo.toml" {
        return Vec::new();
    }
    let mut section = "";
    let mut complaints = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if line.starts_with('[') {
            section = line.trim();
        } else if section.ends_with("dependencies]")
            && !section.ends_with("dev-dependencies]")
            && !["", "#", "thiserror"].contains(&name)
        {
            complaints.push(complaint(source, index + 1, "plan depends on thiserror, nothing else"));
        }
    }
    complaints
}

fn plan_is_pure(source: &Source) -> Vec<String> {
    if !source.is_in("crates/plan/src") || source.is_test() {
        return Vec::new();
    }
    let impure = [
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::time",
        "SystemTime",
        "Instant::now",
        "HashMap",
        "HashSet",
        "rand::",
        "println!",
        "async fn",
    ];
    forbid(
        source,
        &impure,
        "plan reads no clock, environment or randomness: take it as an argument, or return data",
    )
}

fn tests_do_not_sleep(source: &Source) -> Vec<String> {
    if !source.is_test() {
        return Vec::new();
    }
    forbid(source, &["thread::sleep", "time::sleep"], "a test waits for something, with testbed::wait")
}

fn nothing_is_ignored_or_unfinished(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    let unfinished = ["#[ignore", "should_panic", "todo!(", "unimplemented!("];
    forbid(source, &unfinished, "finish it, or remove it")
}

fn lints_are_expected_not_allowed(source: &Source) -> Vec<String> {
    if !source.is_rust() {
        return Vec::new();
    }
    forbid(source, &["#[allow(", "#![allow("], "write #[expect(…, reason = \"…\")]")
}

fn serde_stays_at_the_border(source: &Source) -> Vec<String> {
    if !source.is_rust() || !source.is_in("crates") || source.is_test() {
        return Vec::new();
    }
    if ["crates/operator", "crates/testbed"].iter().any(|folder| source.is_in(folder)) {
        return Vec::new();
    }
    let is_reply =
        source.path.starts_with("crates/exec/src/introspect") || source.path == "crates/exec/src/facts.rs";
    let derives: &[&str] =
        if is_reply { &["Serialize", "JsonSchema"] } else { &["Serialize", "Deserialize", "JsonSchema"] };
    let lines = source.code().filter(|(_, line)| line.contains("derive("));
    let broken = lines.filter(|(_, line)| derives.iter().any(|derive| line.contains(derive)));
    broken.map(|(number, _)| complaint(source, number, "serde and schemars belong in operator")).collect()
}

fn files_are_short(source: &Source) -> Vec<String> {
    let limit = if source.is_test() { 800 } else { 400 };
    let length = source.text.lines().count();
    if !source.is_rust() || length <= limit {
        return Vec::new();
    }
    vec![complaint(source, length, &format!("a file has at most {limit} lines: find the two things in it"))]
}

fn no_path_of_one_machine(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let broken = lines.filter(|(_, line)| {
        ["/root/", "/work/", "/Users/", "/home/"].iter().any(|path| {
            // Part of a longer path, or of an address, it is no path of a machine.
            line.match_indices(path)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "-_.})".contains(c)))
        })
    });
    broken.map(|(index, _)| complaint(source, index + 1, "a path of one machine")).collect()
}

fn dependencies_come_from_the_public_registry(source: &Source) -> Vec<String> {
    let is_lock = source.path.ends_with("Cargo.lock");
    let is_configuration = source.path.starts_with(".cargo/");
    let lines = source.text.lines().enumerate();
    let broken = lines.filter(|(_, line)| {
        let foreign = line.starts_with("source = ")
            && !line.contains("registry+https://github.com/rust-lang/crates.io-index");
        is_lock && foreign || is_configuration && ["[source", "[registr"].iter().any(|s| line.starts_with(s))
    });
    broken.map(|(index, _)| complaint(source, index + 1, "a registry that others do not have")).collect()
}

/// A tag can be moved to other code after somebody has read what it stood for.
fn workflows_run_what_was_read(source: &Source) -> Vec<String> {
    if !source.is_in(".github/workflows") {
        return Vec::new();
    }
    let is_commit = |text: &str| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lines = source.text.lines().enumerate();
    let actions = lines.filter_map(|(index, line)| Some((index, line.split_once("uses: ")?.1)));
    let broken = actions.filter(|(_, action)| {
        let commit = action.split_once('@').and_then(|(_, version)| version.split_whitespace().next());
        !action.starts_with("./") && !commit.is_some_and(is_commit)
    });
    broken.map(|(index, _)| complaint(source, index + 1, "name an action by its commit")).collect()
}

/// The one rule that needs all files: a second way for built SQL to reach a server would be one too many.
fn built_sql_has_one_gate(sources: &[Source]) -> Vec<String> {
    let ours = sources.iter().filter(|source| source.is_rust() && !source.is_in("crates/testbed"));
    let places = ours.flat_map(|source| {
        let lines = source.code().filter(|(_, line)| line.contains("AssertSqlSafe("));
        lines.map(|(number, _)| complaint(source, number, "AssertSqlSafe has one place, in exec"))
    });
    let places: Vec<String> = places.collect();
    if places.len() > 1 { places } else { Vec::new() }
}

fn forbid(source: &Source, words: &[&str], instead: &str) -> Vec<String> {
    let lines = source.code().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    lines.map(|(number, _)| complaint(source, number, instead)).collect()
}

fn complaint(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

#[cfg(test)]
mod tests;
