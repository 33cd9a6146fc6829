//! What the program says, as whoever collects its lines sees it.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{Postgres, eventually, postgres::run, unique};

use crate::program::Program;
use crate::resources::{database, user};
use crate::world::{PATIENCE, World, resources};

/// All lines as JSON.
#[track_caller]
fn lines(program: &Program) -> Vec<Value> {
    let log = program.log();
    // The last may be half written.
    let whole = &log[..=log.rfind('\n').unwrap_or_default()];
    let json = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(json).collect()
}

fn with_message<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

/// Waits for so many more passes.
async fn passes(program: &Program, more: u64) {
    let count = async || {
        let answer = program.answer("/metrics", "").await.map_err(|error| error.to_string())?;
        let counts = answer.lines().filter(|line| line.starts_with("postgres_provisioner_passes_total{"));
        Ok::<u64, String>(counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum())
    };
    let target = count().await.unwrap() + more;
    eventually("passes", PATIENCE, async || match count().await? {
        found if found >= target => Ok(()),
        found => Err(format!("{found} of {target}")),
    })
    .await;
}

#[tokio::test]
async fn each_line_of_a_pass_says_which_pass_on_what_for_whom() {
    let world = World::without_operator(17).await;
    let own = Postgres::start(17).await;
    let variables = [("LOG_FORMAT", "json"), ("RESYNC_SECONDS", "1")];
    let mut program = Program::start_with(&world, &own, &variables);
    let (app, reader, here) = (unique("app"), unique("reader"), &world.namespace);
    world.apply(&database(here, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(here, &reader, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    program.wait_for_line(r#""message":"changed""#).await;

    // What is as it should be is not worth a line.
    passes(&program, 2).await;
    let before = lines(&program).len();
    passes(&program, 3).await;
    let after = lines(&program);
    assert_eq!(after.len(), before, "{:?}", &after[before..]);

    let mut admin = own.admin(&app).await;
    run(&mut admin, &format!("REVOKE CONNECT ON DATABASE {app} FROM {reader}")).await.unwrap();
    program.wait_for_line("drift was repaired").await;
    drop(admin);
    own.stop().await;
    program.wait_for_line("the server is of no use").await;
    world.condition("pguser", &reader, ("Ready", "False", "ServerUnavailable")).await;
    own.restart().await;
    world.ready("pguser", &reader).await;
    program.wait_for_line("the server answers again").await;
    assert!(program.terminate().await.success());

    let lines = lines(&program);
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        if line["target"].as_str().unwrap().starts_with("operator::pass") {
            assert!(line["pass"].as_u64() > Some(0), "{line}");
            assert_eq!(line["database"], app.as_str(), "{line}");
            let resource = line["resource"].as_str().unwrap_or_default();
            assert!(
                [&app, &reader].iter().any(|name| resource.ends_with(&format!("{here}/{name}"))),
                "{line}"
            );
        }
    }
    let changed = with_message(&lines, "changed");
    assert!(changed.iter().any(|line| line["kinds"].to_string().contains("create_role")), "{changed:?}");
    let drift = with_message(&lines, "drift was repaired");
    assert_eq!(drift.len(), 1, "{drift:?}");
    assert_eq!(drift[0]["resource"], format!("PostgresUser {here}/{reader}"));
    // Once, whatever depends on it.
    for message in ["the server is of no use", "the server answers again"] {
        assert_eq!(with_message(&lines, message).len(), 1, "{lines:?}");
    }
    assert_eq!(with_message(&lines, "not ready"), Vec::<&Value>::new());
    assert_eq!(with_message(&lines, "ready").len(), 2, "{lines:?}");
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_once_until_it_works_again() {
    let world = World::without_operator(17).await;
    let (app, here) = (unique("app"), &world.namespace);
    world.apply(&policy(here, true)).await;
    world.apply(&database(here, &app, &format!("{app}_owner"), "")).await;
    let resources = resources(world.admin.clone(), "pgdb", here);
    eventually("the policy to hold", PATIENCE, async || {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let change = Patch::Merge(json!({ "status": { "observedGeneration": 1 } }));
        resources.patch_status(&app, &dry, &change).await.err().ok_or("not yet")
    })
    .await;
    let variables = [("LOG_FORMAT", "json"), ("LOG_LEVEL", "info,operator::pass=debug")];
    let program = Program::start_with(&world, world.postgres, &variables);
    program.wait_for_line("pass failed").await;
    let failed = || with_message(&lines(&program), "pass failed").into_iter().cloned().collect::<Vec<_>>();
    eventually("some tries", PATIENCE, async || {
        let found = failed();
        if found.len() >= 4 { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    world.apply(&policy(here, false)).await;
    world.ready("pgdb", &app).await;
    program.wait_for_line("passes come to their end again").await;
    let failed = failed();
    let levels: Vec<_> = failed.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert!(failed[0]["error"].as_str().unwrap().contains("it is refused"), "{failed:?}");
    assert_eq!((levels[0], levels[1..].iter().all(|level| *level == "DEBUG")), ("WARN", true), "{failed:?}");
    let all = lines(&program);
    let again = with_message(&all, "passes come to their end again");
    assert_eq!((again.len(), again[0]["level"].as_str()), (1, Some("INFO")), "{again:?}");
    assert_eq!(again[0]["database"], app.as_str());
}

/// What refuses statuses in this namespace, or no longer does.
fn policy(namespace: &str, refuses: bool) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{ name: {namespace} }}
spec:
  matchConstraints:
    resourceRules:
    - {{ apiGroups: [pgprovisioner.drewsonne.github.io], apiVersions: [v1], resources: ['*/status'], operations: [UPDATE] }}
  validations: [{{ expression: '{}', message: it is refused, reason: Forbidden }}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{ name: {namespace} }}
spec:
  policyName: {namespace}
  validationActions: [Deny]
  matchResources: {{ namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {namespace} }} }} }}
",
        !refuses
    )
}

#[tokio::test]
async fn lines_for_people_say_the_same() {
    let world = World::without_operator(17).await;
    let program = Program::start_with(&world, world.postgres, &[]);
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.ready("pgdb", &app).await;
    program.wait_for_line("changed").await;
    let line = &program.lines("changed")[0];
    for part in
        ["pass{pass=", &format!("database=\"{app}\""), &format!("PostgresDatabase {}/{app}", world.namespace)]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
}
