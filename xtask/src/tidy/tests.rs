use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// The rule finds exactly these lines in a file with this text.
#[track_caller]
fn check(rule: Rule, path: &str, text: &str, lines: &[usize]) {
    let found = rule(&source(path, text));
    let wanted: Vec<String> = lines.iter().map(|line| format!("{path}:{line}:")).collect();
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(found.starts_with(wanted), "{found} is not at {wanted}");
    }
}

#[test]
fn a_dependency_of_plan_is_found() {
    let text =
        "[dependencies]\nthiserror.workspace = true\nserde = \"1\"\n\n[dev-dependencies]\nproptest = \"1\"\n";
    check(plan_depends_on_thiserror_only, "crates/plan/Cargo.toml", text, &[3]);
    check(plan_depends_on_thiserror_only, "crates/exec/Cargo.toml", text, &[]);
    let build = "[build-dependencies]\ncc = \"1\"\n";
    check(plan_depends_on_thiserror_only, "crates/plan/Cargo.toml", build, &[2]);
}

#[test]
fn a_clock_in_plan_is_found() {
    let text = "// std::env is not used here\nlet now = std::time::SystemTime::now();\n";
    check(plan_is_pure, "crates/plan/src/plan.rs", text, &[2]);
    check(plan_is_pure, "crates/plan/src/plan/tests.rs", text, &[]);
    check(plan_is_pure, "crates/exec/src/connect.rs", text, &[]);
}

#[test]
fn a_sleeping_test_is_found() {
    let text = "tokio::time::sleep(SECOND).await;\n";
    check(tests_do_not_sleep, "crates/operator/tests/drift.rs", text, &[1]);
    check(tests_do_not_sleep, "crates/plan/src/plan/tests.rs", text, &[1]);
    check(tests_do_not_sleep, "crates/operator/src/backoff.rs", text, &[]);
}

#[test]
fn an_ignored_test_and_an_unwritten_function_are_found() {
    check(
        nothing_is_ignored_or_unfinished,
        "xtask/src/main.rs",
        "#[ignore = \"later\"]\n\n    todo!()\n",
        &[1, 3],
    );
}

#[test]
fn an_allowed_lint_is_found_and_an_expected_one_is_fine() {
    let text = "#![allow(dead_code)]\n#[expect(dead_code, reason = \"…\")]\n#[allow(unused)]\n";
    check(lints_are_expected_not_allowed, "xtask/src/main.rs", text, &[1, 3]);
}

#[test]
fn serde_in_plan_is_found_and_exec_may_decode_replies() {
    let text = "#[derive(Clone, Deserialize)]\n";
    check(serde_stays_at_the_border, "crates/plan/src/catalog.rs", text, &[1]);
    check(serde_stays_at_the_border, "crates/exec/src/connect.rs", text, &[1]);
    check(serde_stays_at_the_border, "crates/exec/src/introspect/contents.rs", text, &[]);
    check(serde_stays_at_the_border, "crates/operator/src/api/user.rs", text, &[]);
    let written = "#[derive(Serialize)]\n";
    check(serde_stays_at_the_border, "crates/exec/src/introspect/contents.rs", written, &[1]);
}

#[test]
fn a_long_file_is_found() {
    check(files_are_short, "crates/plan/src/plan.rs", &"\n".repeat(400), &[]);
    check(files_are_short, "crates/plan/src/plan.rs", &"\n".repeat(401), &[401]);
    check(files_are_short, "crates/plan/src/plan/tests.rs", &"\n".repeat(401), &[]);
    check(files_are_short, "crates/plan/src/plan/tests.rs", &"\n".repeat(801), &[801]);
    check(files_are_short, "crates/exec/src/contents.sql", &"\n".repeat(801), &[]);
}

#[test]
fn a_path_of_one_machine_is_found() {
    check(no_path_of_one_machine, "README.md", "see /home/me/notes\n/root/.cache\n", &[1, 2]);
    check(no_path_of_one_machine, "README.md", "https://example.org/work/here and crates/root/x\n", &[]);
}

#[test]
fn a_registry_of_ones_own_is_found() {
    let lock =
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"\nsource = \"git+https://a\"\n";
    check(dependencies_come_from_the_public_registry, "Cargo.lock", lock, &[2]);
    let configuration = "[alias]\n[source.crates-io]\n";
    check(dependencies_come_from_the_public_registry, ".cargo/config.toml", configuration, &[2]);
}

#[test]
fn an_action_that_can_change_is_found() {
    let commit = "11bd71901bbe5b1630ceea73d27597364c9af683";
    let workflow = format!(
        "- uses: actions/checkout@{commit} # v4.2.2\n- uses: actions/checkout@v4\n- uses: ./ci.yml\n- uses: x/y\n"
    );
    check(workflows_run_what_was_read, ".github/workflows/ci.yml", &workflow, &[2, 4]);
    check(workflows_run_what_was_read, "docs/ci.yml", &workflow, &[]);
}

#[test]
fn a_second_gate_for_built_sql_is_found() {
    let gate = || source("crates/exec/src/statement.rs", "sqlx::query(AssertSqlSafe(text))\n");
    let testbed = source("crates/testbed/src/psql.rs", "AssertSqlSafe(text)\n");
    let mention = source("crates/exec/src/lib.rs", "// AssertSqlSafe( is in statement.rs\n");
    assert_eq!(built_sql_has_one_gate(&[gate(), testbed, mention]).len(), 0);
    assert_eq!(
        built_sql_has_one_gate(&[gate(), source("crates/operator/src/x.rs", "AssertSqlSafe(y)")]).len(),
        2
    );
}
