//! Deletions that cannot be finished end in time, and what is left to do is done once it can be.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use operator::api::{ANNOTATION_RESOURCE, LABEL_LEDGER, crds};
use serde_json::{Value, json};
use testbed::kubernetes;
use testbed::postgres::{fetch_text, run};
use testbed::{Cluster, Postgres, eventually, unique};

use crate::resources::{database, user};
use crate::server_log;
use crate::world::{self, PATIENCE, World};

/// How long these deletions wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// A world whose own server this is, and whose deletions wait for a moment only.
async fn on(own: &Postgres) -> World {
    let mut world = World::without_operator(17).await;
    world.settings.server = Some(world::server(own));
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    world
}

/// A database and a user of it that are Ready; `more` is the rest of their specs.
async fn provision(world: &World, more: &str) -> (String, String) {
    let (app, reader, here) = (unique("app"), unique("reader"), &world.namespace);
    world.apply(&database(here, &app, &format!("{app}_owner"), more)).await;
    world.apply(&user(here, &reader, &app, &format!(", access: read{more}"))).await;
    world.ready("pgdb", &app).await;
    world.ready("pguser", &reader).await;
    (app, reader)
}

/// What names a server whose credentials are in a Secret of the operator's namespace.
fn named(world: &World, secret: &str) -> String {
    format!(", host: 127.0.0.1, superuserSecret: {{ name: {secret}, namespace: {} }}", world.namespace)
}

fn maps(world: &World) -> Api<ConfigMap> {
    Api::namespaced(world.admin.clone(), &world.namespace)
}

/// The entries of the ledger by the resource that each is about.
async fn entries(world: &World) -> Vec<(String, ConfigMap)> {
    let listed = maps(world).list(&ListParams::default().labels(LABEL_LEDGER)).await.unwrap();
    let of = |map: ConfigMap| (map.annotations()[ANNOTATION_RESOURCE].clone(), map);
    let mut entries: Vec<_> = listed.into_iter().map(of).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Waits until the ledger has entries for exactly these users and databases.
async fn wait_for_entries(world: &World, databases: &[&str], users: &[&str]) -> Vec<(String, ConfigMap)> {
    let here = &world.namespace;
    let mut wanted: Vec<_> = databases.iter().map(|name| format!("PostgresDatabase/{here}/{name}")).collect();
    wanted.extend(users.iter().map(|name| format!("PostgresUser/{here}/{name}")));
    wanted.sort();
    eventually("the entries of the ledger", PATIENCE, async || {
        let found = entries(world).await;
        let names: Vec<_> = found.iter().map(|(name, _)| name.clone()).collect();
        if names == wanted { Ok(found) } else { Err(format!("{names:?} instead of {wanted:?}")) }
    })
    .await
}

/// The first value of an answer of this server.
async fn value(postgres: &Postgres, sql: &str) -> Option<String> {
    fetch_text(&mut postgres.admin("postgres").await, sql).await.unwrap()
}

async fn has_role(postgres: &Postgres, role: &str) -> bool {
    value(postgres, &format!("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = '{role}'"))
        .await
        .is_some()
}

/// The comment on a role or a database.
async fn comment(postgres: &Postgres, catalog: &str, name: &str) -> String {
    let column = if catalog == "pg_authid" { "rolname" } else { "datname" };
    let sql = format!("SELECT shobj_description(oid, '{catalog}') FROM {catalog} WHERE {column} = '{name}'");
    value(postgres, &sql).await.unwrap_or_default()
}

/// What the `Ready` condition says while the resource is being deleted.
async fn said_while_deleting(world: &World, kind: &str, name: &str, part: &str) {
    let what = format!("{kind} {name} to say {part:?}");
    eventually(&what, PATIENCE, async || {
        match crate::witness::condition(&world.namespace, name, ("Ready", "False", "Deleting")) {
            Some(said) if said.contains(part) => Ok(()),
            said => Err(said.unwrap_or_default()),
        }
    })
    .await;
}

/// Waits until `kubectl get -o wide` says why the resource is still there and until when, and `kubectl get` a word of it.
async fn shown_while_deleting(world: &World, name: &str) {
    eventually(&format!("the row of {name}"), PATIENCE, async || {
        let table = crate::drift::table(world).await;
        let columns = table["columnDefinitions"].as_array().unwrap();
        let rows = table["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["cells"][0] == name).ok_or("it is gone")?;
        let cell = |column: &str, priority: u32| {
            let at =
                columns.iter().position(|one| one["name"] == column && one["priority"] == priority).unwrap();
            row["cells"][at].as_str().unwrap_or_default()
        };
        let (reason, message) = (cell("Reason", 0), cell("Message", 1));
        let is_said = reason == "Deleting"
            && ["ServerUnavailable", "gives up at 20"].iter().all(|part| message.contains(part));
        if is_said { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
}

/// Has the deletion of a user of this database be put off and finished.
pub(crate) async fn put_off(world: &World, app: &str) {
    let (reader, here) = (unique("reader"), &world.namespace);
    world.superuser_secret("moving", world.postgres, world.postgres.password()).await;
    let more = format!(", access: read{}", named(world, "moving"));
    world.apply(&user(here, &reader, app, &more)).await;
    world.ready("pguser", &reader).await;
    let nowhere = json!({ "stringData": { "port": "1" } });
    world.secrets(here).patch("moving", &PatchParams::default(), &Patch::Merge(nowhere)).await.unwrap();
    world.condition("pguser", &reader, ("Ready", "False", "ServerUnavailable")).await;
    world.remove("pguser", &reader).await;
    wait_for_entries(world, &[], &[&reader]).await;
    world.superuser_secret("moving", world.postgres, world.postgres.password()).await;
    wait_for_entries(world, &[], &[]).await;
    assert!(!world.has_role(&reader).await);
}

#[tokio::test]
async fn a_deletion_does_not_wait_for_a_server_that_is_down_and_is_finished_once_it_is_back() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (app, reader) = provision(&world, "").await;
    let secrets = [world.secret(&world.namespace, &app).await, world.secret(&world.namespace, &reader).await];
    own.stop().await;
    world.delete("pgdb", &app).await;
    said_while_deleting(&world, "pguser", &reader, "gives up at").await;
    world.gone("pguser", &reader).await;
    world.gone("pgdb", &app).await;
    assert!(world.warning(&reader, "DeletionDeferred").await.contains(&format!("role {reader} stays on")));
    assert!(world.warning(&app, "DeletionDeferred").await.contains("deferred-deletion-"));
    let entries = wait_for_entries(&world, &[&app], &[&reader]).await;
    for secret in &secrets {
        for (_, map) in &entries {
            let text = serde_json::to_string(map).unwrap();
            assert!(!text.contains(&secret["password"]) && !text.contains(own.password()), "{text}");
            assert!(text.contains(&own.port().to_string()), "{text}");
        }
    }
    for name in [&app, &reader] {
        assert_eq!(world.find_secret(&world.namespace, name).await, None);
    }

    own.restart().await;
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&own, &reader).await && has_role(&own, &format!("{app}_owner")).await);
    for comment in
        [comment(&own, "pg_database", &app).await, comment(&own, "pg_authid", &format!("{app}_owner")).await]
    {
        assert!(comment.contains(r#""released":"true""#), "{comment}");
    }
    let (_, map) = &entries[1];
    let done = world.event(&map.name_any(), "DeletionCompleted", 1).await;
    assert!(done.contains(&format!("role {reader} is gone")), "{done}");
}

#[tokio::test]
async fn the_table_says_why_a_resource_is_still_there_and_until_when() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (_, reader) = provision(&world, "").await;
    own.stop().await;
    world.delete("pguser", &reader).await;
    shown_while_deleting(&world, &reader).await;
    world.gone("pguser", &reader).await;
    own.restart().await;
    wait_for_entries(&world, &[], &[]).await;
}

#[tokio::test]
async fn an_operator_that_was_restarted_finishes_what_is_left() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (_, reader) = provision(&world, "").await;
    own.stop().await;
    world.remove("pguser", &reader).await;
    wait_for_entries(&world, &[], &[&reader]).await;
    world.stop_operator().await;
    own.restart().await;
    assert!(has_role(&own, &reader).await);
    world.start_operator();
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&own, &reader).await);
}

#[tokio::test]
async fn a_server_in_trouble_for_ever_holds_up_no_deletion() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (_, reader) = provision(&world, "").await;
    own.demote().await;
    world.delete("pguser", &reader).await;
    said_while_deleting(&world, "pguser", &reader, "ServerIsStandby").await;
    world.gone("pguser", &reader).await;
    wait_for_entries(&world, &[], &[&reader]).await;
    run(&mut own.admin("postgres").await, "SELECT pg_catalog.pg_promote()").await.unwrap();
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&own, &reader).await);
}

#[tokio::test]
async fn a_deletion_does_not_wait_for_admin_credentials_that_are_gone() {
    let mut world = World::without_operator(17).await;
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    let other = Postgres::shared(18).await;
    world.superuser_secret("other", other, other.password()).await;
    let (_, reader) = provision(&world, &named(&world, "other")).await;
    // What it remembers of them would do.
    world.stop_operator().await;
    world.secrets(&world.namespace).delete("other", &DeleteParams::default()).await.unwrap();
    world.start_operator();
    world.delete("pguser", &reader).await;
    said_while_deleting(&world, "pguser", &reader, "superuser Secret").await;
    world.gone("pguser", &reader).await;
    let entries = wait_for_entries(&world, &[], &[&reader]).await;
    let summary = &entries[0].1.data.as_ref().unwrap()["summary"];
    assert!(summary.contains(&format!("Secret {}/other", world.namespace)), "{summary}");
    assert!(has_role(other, &reader).await);

    world.superuser_secret("other", other, other.password()).await;
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(other, &reader).await);
}

/// Deletes a namespace and waits until it is gone.
async fn end(world: &World, namespace: &str, deleted: impl AsyncFnOnce()) {
    let namespaces: Api<Namespace> = Api::all(world.admin.clone());
    namespaces.delete(namespace, &DeleteParams::default()).await.unwrap();
    deleted().await;
    eventually("the namespace to be gone", PATIENCE * 2, async || {
        match namespaces.get_opt(namespace).await.unwrap() {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
}

/// Puts the admin credentials of this server into the tenant's namespace.
async fn credentials(world: &World, server: &Postgres) {
    let there = &world.tenant;
    world
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: admin, namespace: {there} }}\n\
             stringData: {{ username: postgres, password: {:?}, port: '{}' }}\n",
            server.password(),
            server.port()
        ))
        .await;
}

/// A reader in the tenant's namespace, on the server whose admin credentials are there.
async fn reader(world: &World, app: &str) -> String {
    let (there, reader) = (&world.tenant, unique("reader"));
    let more = format!(", access: read{}", tenants(world));
    world.apply(&user(there, &reader, app, &more)).await;
    world.ready("pguser", &format!("{there}/{reader}")).await;
    reader
}

fn tenants(world: &World) -> String {
    format!(", host: 127.0.0.1, superuserSecret: {{ name: admin, namespace: {} }}", world.tenant)
}

/// A namespace with a server of its own and everything that can be in it; the server is down.
async fn tenant(world: &World) -> (Postgres, String, String) {
    let (there, server, app) = (&world.tenant, Postgres::start(17).await, unique("app"));
    credentials(world, &server).await;
    world.apply(&database(there, &app, &format!("{app}_owner"), &tenants(world))).await;
    world.ready("pgdb", &format!("{there}/{app}")).await;
    let reader = reader(world, &app).await;
    server.stop().await;
    (server, app, reader)
}

#[tokio::test]
async fn a_namespace_with_everything_in_it_ends_although_its_server_is_down() {
    let mut world = World::without_operator(17).await;
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    tenant(&world).await;
    end(&world, &world.tenant, async || ()).await;
    assert_eq!(entries(&world).await.len(), 2);
}

#[tokio::test]
async fn what_a_namespace_left_is_not_done_with_the_credentials_of_its_next_owner() {
    let mut world = World::without_operator(17).await;
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    let (server, app, left) = tenant(&world).await;
    end(&world, &world.tenant, async || ()).await;
    server.restart().await;
    let again = Namespace {
        metadata: ObjectMeta { name: Some(world.tenant.clone()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    Api::all(world.admin.clone()).create(&PostParams::default(), &again).await.unwrap();
    credentials(&world, &server).await;
    // Its pass would do what is left in the database.
    reader(&world, &app).await;
    assert!(has_role(&server, &left).await);
    assert_eq!(entries(&world).await.len(), 2);
}

#[tokio::test]
async fn credentials_that_went_with_their_namespace_are_not_waited_for() {
    // With the limit that there is by default.
    let world = World::new().await;
    tenant(&world).await;
    world.stop_operator().await;
    let gone = async || {
        eventually("the Secret to be gone", PATIENCE, async || {
            let found = world.find_secret(&world.tenant, "admin").await;
            if found.is_none() { Ok(()) } else { Err("it is there".to_owned()) }
        })
        .await;
        world.start_operator();
    };
    end(&world, &world.tenant, gone).await;
    assert_eq!(entries(&world).await.len(), 2);
}

#[tokio::test]
async fn what_is_gone_from_the_server_holds_up_no_deletion() {
    let world = World::new().await;
    let (app, reader) = provision(&world, "").await;
    let (other, writer) = provision(&world, "").await;
    world.stop_operator().await;
    world.sql("postgres", &format!("DROP DATABASE {app} WITH (FORCE)")).await;
    world.sql(&other, &format!("DROP OWNED BY {writer}")).await;
    world.sql("postgres", &format!("DROP ROLE {writer}")).await;
    for (kind, name) in [("pguser", &reader), ("pgdb", &app), ("pguser", &writer)] {
        world.delete(kind, name).await;
    }
    world.start_operator();
    for (kind, name) in [("pguser", &reader), ("pgdb", &app), ("pguser", &writer)] {
        world.gone(kind, name).await;
    }
    assert!(!world.has_role(&reader).await);
    assert!(entries(&world).await.is_empty());
}

#[tokio::test]
async fn a_role_that_cannot_go_holds_up_neither_its_resource_nor_its_database() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (app, reader) = provision(&world, "").await;
    let mut admin = own.admin("postgres").await;
    run(&mut admin, &format!("CREATE DATABASE {reader}_own OWNER {reader}")).await.unwrap();
    world.delete("pgdb", &app).await;
    said_while_deleting(&world, "pguser", &reader, "it owns database").await;
    world.gone("pgdb", &app).await;
    let entries = wait_for_entries(&world, &[], &[&reader]).await;
    assert!(entries[0].1.data.as_ref().unwrap()["entry.json"].contains("it owns database"));
    let closed = format!("SELECT rolcanlogin::text FROM pg_catalog.pg_roles WHERE rolname = '{reader}'");
    assert_eq!(value(&own, &closed).await.as_deref(), Some("false"));
    run(&mut admin, &format!("ALTER DATABASE {reader}_own OWNER TO postgres")).await.unwrap();
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&own, &reader).await);
}

#[tokio::test]
async fn a_namesake_takes_over_the_role_that_is_left() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (app, reader) = provision(&world, "").await;
    let number = format!("SELECT oid::text FROM pg_catalog.pg_roles WHERE rolname = '{reader}'");
    let before = value(&own, &number).await;
    own.stop().await;
    world.remove("pguser", &reader).await;
    wait_for_entries(&world, &[], &[&reader]).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.condition("pguser", &reader, ("Ready", "False", "ServerUnavailable")).await;
    own.restart().await;
    world.ready("pguser", &reader).await;
    wait_for_entries(&world, &[], &[]).await;
    assert_eq!(value(&own, &number).await, before);
    let secret = world.secret(&world.namespace, &reader).await;
    own.connect(&app, &reader, &secret["password"]).await.unwrap();
}

#[tokio::test]
async fn another_namespace_gets_a_role_of_the_name_once_the_old_one_is_dropped() {
    let own = Postgres::start(17).await;
    let world = on(&own).await;
    let (app, reader, there) = (unique("app"), unique("reader"), &world.tenant);
    let lets_in = format!(", allowUsersFrom: [{there}]");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), &lets_in)).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    let number = format!("SELECT oid::text FROM pg_catalog.pg_roles WHERE rolname = '{reader}'");
    let before = value(&own, &number).await;
    own.stop().await;
    world.remove("pguser", &reader).await;
    wait_for_entries(&world, &[], &[&reader]).await;
    world.apply(&user(there, &reader, &app, ", access: read")).await;
    let found = world.condition("pguser", &format!("{there}/{reader}"), ("Ready", "False", "Conflict")).await;
    assert!(found.data["status"]["conditions"].to_string().contains("still to be dropped"));
    own.restart().await;
    world.ready("pguser", &format!("{there}/{reader}")).await;
    assert_ne!(value(&own, &number).await, before);
    wait_for_entries(&world, &[], &[]).await;
}

#[tokio::test]
async fn another_server_at_the_same_place_is_not_touched() {
    let (mut world, first) = (World::without_operator(17).await, Postgres::start(17).await);
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    world.superuser_secret("named", &first, first.password()).await;
    let (app, reader) = provision(&world, &named(&world, "named")).await;
    let marker = comment(&first, "pg_authid", &reader).await;
    let identifier = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    let known = value(&first, identifier).await;
    first.stop().await;
    world.remove("pguser", &reader).await;
    wait_for_entries(&world, &[], &[&reader]).await;
    // As if everything had been restored there.
    let second = Postgres::start(18).await;
    let sql = format!(
        "CREATE ROLE {reader} LOGIN; COMMENT ON ROLE {reader} IS '{marker}'; CREATE ROLE {app}_owner"
    );
    run(&mut second.admin("postgres").await, &sql).await.unwrap();
    run(&mut second.admin("postgres").await, &format!("CREATE DATABASE {app} OWNER {app}_owner"))
        .await
        .unwrap();
    assert_ne!(value(&second, identifier).await, known);
    world.superuser_secret("named", &second, second.password()).await;
    eventually("passes over the other server", PATIENCE, async || {
        let passes = second.log().matches("application_name=postgres-provisioner").count();
        if passes >= 2 { Ok(()) } else { Err(format!("{passes} so far")) }
    })
    .await;
    wait_for_entries(&world, &[], &[&reader]).await;
    assert_eq!(comment(&second, "pg_authid", &reader).await, marker);
    first.restart().await;
    world.superuser_secret("named", &first, first.password()).await;
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&first, &reader).await && has_role(&second, &reader).await);
}

/// The entry of a user that never was, with this role.
fn forged(marker: &Value, uid: &str, (app, role): (&str, &str), server: &str) -> ConfigMap {
    let entry = json!({
        "installation": marker["installation"], "kind": "PostgresUser", "namespace": "nowhere", "name": role,
        "uid": uid, "provisioned": { "server": server, "database": app, "role": role },
        "since": "2026-01-01T00:00:00Z", "reason": "none",
    });
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("deferred-deletion-{uid}"), "labels": { LABEL_LEDGER: "deletion" },
            "annotations": { ANNOTATION_RESOURCE: format!("PostgresUser/nowhere/{role}") },
        },
        "data": { "entry.json": entry.to_string() },
    }))
    .unwrap()
}

#[tokio::test]
async fn an_entry_does_nothing_to_a_role_of_another_resource_and_counts_in_one_namespace_only() {
    let world = World::new().await;
    let (app, reader) = provision(&world, "").await;
    let marker = comment(world.postgres, "pg_authid", &reader).await;
    let parsed: Value = serde_json::from_str(&marker).unwrap();
    let uid = parsed["uid"].as_str().unwrap().to_owned();
    // Nobody names these any more.
    let (victim, bait) = (unique("victim"), unique("bait"));
    for (role, uid) in [(&victim, &uid), (&bait, &bait)] {
        let marker = marker.replace(parsed["uid"].as_str().unwrap(), uid);
        world
            .sql("postgres", &format!("CREATE ROLE {role} LOGIN; COMMENT ON ROLE {role} IS '{marker}'"))
            .await;
    }
    let server = format!("127.0.0.1:{}", world.postgres.port());
    let theirs: Api<ConfigMap> = Api::namespaced(world.admin.clone(), &world.tenant);
    let map = forged(&parsed, &bait, (&app, &bait), &server);
    theirs.create(&PostParams::default(), &map).await.unwrap();
    // Neither by another's uid nor by a live resource's, whose role somebody else names.
    for role in [&victim, &reader] {
        let map = forged(&parsed, &unique("uid").replace('_', "-"), (&app, role), &server);
        maps(&world).create(&PostParams::default(), &map).await.unwrap();
    }
    eventually("the entries to be settled", PATIENCE, async || {
        let left = entries(&world).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    for role in [&victim, &reader, &bait] {
        assert!(world.has_role(role).await, "{role}");
        let closed = format!("SELECT rolcanlogin::text FROM pg_catalog.pg_roles WHERE rolname = '{role}'");
        assert_eq!(world.value("postgres", &closed).await.as_deref(), Some("true"), "{role}");
    }
    // One whose uid fits is worked off: the test can fail.
    maps(&world).create(&PostParams::default(), &map).await.unwrap();
    eventually("the role to be gone", PATIENCE, async || {
        if world.has_role(&bait).await { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_let_go() {
    let (mut world, own) = (World::without_operator(17).await, Postgres::start(17).await);
    let values = format!("fullnameOverride: {}\n", unique("unledgered").replace('_', "-"));
    world.identity = world::new_identity_with(world.cluster, &values).await;
    world.settings.server = Some(world::server(&own));
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    let (_, reader) = provision(&world, "").await;
    own.stop().await;
    world.delete("pguser", &reader).await;
    said_while_deleting(&world, "pguser", &reader, "cannot be put off").await;
    own.restart().await;
    world.gone("pguser", &reader).await;
    assert!(!has_role(&own, &reader).await);
}

#[tokio::test]
async fn a_secret_that_may_not_be_deleted_stays_and_is_named() {
    let mut world = World::without_operator(17).await;
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    let (_, reader) = provision(&world, "").await;
    let policy = reader.replace('_', "-");
    world
        .apply(&format!(
            "apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{ name: {policy} }}
spec:
  matchConstraints:
    resourceRules: [{{ apiGroups: [''], apiVersions: [v1], resources: [secrets], operations: [DELETE] }}]
  validations: [{{ expression: \"oldObject.metadata.name != '{reader}'\", message: it is kept }}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{ name: {policy} }}
spec: {{ policyName: {policy}, validationActions: [Deny] }}
"
        ))
        .await;
    let secrets = world.secrets(&world.namespace);
    eventually("the policy to hold", PATIENCE, async || {
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        secrets.delete(&reader, &dry).await.err().ok_or("not yet")
    })
    .await;
    world.remove("pguser", &reader).await;
    assert!(world.warning(&reader, "SecretKept").await.contains("it is kept"));
    assert!(!world.has_role(&reader).await && entries(&world).await.is_empty());
}

#[tokio::test]
async fn resources_go_with_their_definitions_and_come_back_with_them() {
    // A cluster of its own: definitions are everybody's. What started it ends it.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    install_definitions(&cluster.client()).await;
    let mut world = World::without_definitions(17, cluster, world::new_identity(cluster).await).await;
    let own = Postgres::start(17).await;
    world.settings.server = Some(world::server(&own));
    world.settings.deletion_timeout = LIMIT;
    world.start_operator();
    let (_, first) = provision(&world, "").await;
    own.stop().await;
    remove_definitions(&world).await;
    assert_eq!(entries(&world).await.len(), 2);
    own.restart().await;
    // Without its definitions the operator does nothing; with them it goes on.
    install_definitions(&world.admin).await;
    wait_for_entries(&world, &[], &[]).await;
    assert!(!has_role(&own, &first).await);

    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.ready_in(PATIENCE * 3, "pgdb", &app).await;
    world.ready_in(PATIENCE * 3, "pguser", &reader).await;
    // The cluster has no other operator.
    let asked = || {
        let mut asked = cluster.audit();
        asked.retain(|entry| entry.user == world.identity.service_account);
        asked
    };
    // What there was to do, and a look every other second at definitions that were missing.
    let all = asked();
    let refused = all.iter().filter(|entry| entry.code == 404).count();
    assert!(refused <= 20 && all.len() <= 250, "{refused} of {}: {all:#?}", all.len());
    // With everything as it should be, checks ask for nothing.
    let checks = || server_log::sessions(&own.log(), &app);
    eventually("rest", PATIENCE, async || {
        let (before, target) = (asked().len(), checks() + 4);
        eventually("checks", PATIENCE, async || (checks() >= target).then_some(())).await;
        let since = asked().split_off(before);
        if since.is_empty() { Ok(()) } else { Err(format!("{since:#?}")) }
    })
    .await;

    // With the server there, nothing is left to do.
    remove_definitions(&world).await;
    assert!(entries(&world).await.is_empty() && !has_role(&own, &reader).await);
}

async fn install_definitions(admin: &Client) {
    let crds = operator::crds_yaml().unwrap();
    kubernetes::apply(admin, &crds, "default").await.unwrap();
    kubernetes::wait_crds_established(admin).await;
}

/// Deletes both definitions, and with them every resource.
async fn remove_definitions(world: &World) {
    let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
    for crd in crds() {
        definitions.delete(&crd.name_any(), &DeleteParams::default()).await.unwrap();
    }
    eventually("the definitions to be gone", PATIENCE * 2, async || {
        let found = definitions.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        if found.items.is_empty() { Ok(()) } else { Err(format!("{:?}", found.items[0].status)) }
    })
    .await;
}
