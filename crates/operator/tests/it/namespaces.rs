//! What a user with every right in one namespace tries against another: names, databases and Secrets.

use kube::ResourceExt as _;
use operator::api::{
    ANNOTATION_ALLOW_SECRETS_FROM, ANNOTATION_RESOURCE, FINALIZER, LABEL_MANAGED_BY, LABEL_RESOURCE_UID,
};
use operator::settings::Boundary;
use serde_json::json;
use testbed::{eventually, unique};

use crate::attacker::{Attack, Attacker, stage};
use crate::resources::{database, user};
use crate::witness;
use crate::world::{PATIENCE, World};

const READ: &str = ", access: readwrite";

/// A `PostgresDatabase` that is refused.
fn wants_database(name: &str, yaml: String, reason: &'static str) -> Attack {
    Attack { yaml, kind: "pgdb", name: name.to_owned(), reason }
}

/// A `PostgresUser` that is refused.
fn wants_user(name: &str, yaml: String, reason: &'static str) -> Attack {
    Attack { yaml, kind: "pguser", name: name.to_owned(), reason }
}

/// A user called like this whose role is another.
fn user_as(namespace: &str, name: &str, role: &str, database: &str, more: &str) -> String {
    user(namespace, name, database, &format!("{READ}{more}"))
        .replace(&format!("username: {name}"), &format!("username: {role}"))
}

#[tokio::test]
async fn nobody_gets_a_name_that_another_namespace_has() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    attacker.has_one_namespace_only(&victim).await;
    let (here, own, name) = (&world.tenant, unique("own"), unique("x"));
    let (app, owner, reader) = (&victim.database, &victim.owner, &victim.reader);
    attacker.apply(&database(here, &own, &format!("{own}_owner"), "")).await;
    world.ready("pgdb", &attacker.at(&own)).await;
    let of = |database: &str| format!("dbName: {database},");
    let attacks = [
        wants_database(&name, database(here, &name, &name, "").replace(&of(&name), &of(app)), "Conflict"),
        wants_database(&name, database(here, &name, owner, ""), "Conflict"),
        wants_database(&name, database(here, &name, reader, ""), "Conflict"),
        wants_database(&name, database(here, &name, "postgres", ""), "Reserved"),
        wants_user(&name, user_as(here, &name, reader, &own, ""), "Conflict"),
        wants_user(&name, user_as(here, &name, owner, &own, ""), "Conflict"),
        wants_user(&name, user_as(here, &name, reader, app, ""), "NotAllowed"),
        wants_user(&name, user_as(here, &name, &name, app, ""), "NotAllowed"),
        wants_user(&name, user_as(here, &name, &name, "template1", ""), "Reserved"),
    ];
    for attack in &attacks {
        attacker.refused(&victim, attack).await;
        assert!(!world.has_role(&name).await);
    }
}

#[tokio::test]
async fn what_no_resource_has_is_nobodys_to_take_without_proof() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (here, own, name, theirs) = (&world.tenant, unique("own"), unique("x"), unique("theirs"));
    world
        .sql(
            "postgres",
            &format!("CREATE ROLE {theirs} LOGIN PASSWORD 'secret'; CREATE ROLE {theirs}_root SUPERUSER"),
        )
        .await;
    world.sql("postgres", &format!("CREATE DATABASE {theirs} OWNER {theirs}")).await;
    attacker.apply(&database(here, &own, &format!("{own}_owner"), "")).await;
    world.ready("pgdb", &attacker.at(&own)).await;
    attacker.secret("guess", &json!({ "username": theirs, "password": "guessed" })).await;
    let state = format!(
        "SELECT string_agg(to_jsonb(a)::text, ',' ORDER BY oid) || (SELECT datdba || coalesce(datacl::text, '')
           FROM pg_database WHERE datname = '{theirs}') FROM pg_authid a WHERE rolname LIKE '{theirs}%'"
    );
    let before = world.value("postgres", &state).await;
    let guess = |yaml: String| yaml.replace(&format!("secretName: {name}"), "secretName: guess");
    let attacks = [
        wants_user(&name, user_as(here, &name, &theirs, &own, ""), "NotOurs"),
        wants_user(&name, guess(user_as(here, &name, &theirs, &own, "")), "NotOurs"),
        wants_user(&name, user_as(here, &name, &format!("{theirs}_root"), &own, ""), "Reserved"),
        wants_user(&name, user_as(here, &name, &name, &theirs, ""), "DatabaseMissing"),
        wants_database(&name, guess(database(here, &name, &theirs, "")), "NotOurs"),
        wants_database(&theirs, database(here, &theirs, &name, ""), "NotOurs"),
    ];
    for attack in &attacks {
        attacker.refused(&victim, attack).await;
        assert_eq!(world.value("postgres", &state).await, before, "{}", attack.yaml);
    }
}

#[tokio::test]
async fn a_resource_that_was_served_gets_nothing_by_a_change_nor_by_its_deletion() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let before = victim.picture(&world).await;
    let place = json!({ "secretName": victim.database, "secretNamespace": victim.namespace });
    for (spec, reason) in [
        (json!({ "owner": victim.owner }), "Conflict"),
        (json!({ "owner": victim.reader }), "Conflict"),
        (place, "NotAllowed"),
    ] {
        let own = unique("own");
        attacker.apply(&database(&world.tenant, &own, &format!("{own}_owner"), "")).await;
        world.ready("pgdb", &attacker.at(&own)).await;
        attacker.patch("pgdb", &own, &json!({ "spec": spec })).await;
        let attack = wants_database(&own, spec.to_string(), reason);
        attacker.is_refused(&victim, &attack, &before).await;
        attacker.remove("pgdb", &own).await;
        assert_eq!(victim.picture(&world).await, before, "deleted: {spec}");
    }
}

#[tokio::test]
async fn a_forged_owner_or_finalizer_makes_nobody_a_child() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let before = victim.picture(&world).await;
    let parent = world.get("pgdb", &format!("{}/{}", victim.namespace, victim.database)).await.unwrap();
    let name = unique("x");
    let metadata = json!({
        "name": name, "namespace": world.tenant, "finalizers": [FINALIZER],
        "ownerReferences": [{
            "apiVersion": "pgprovisioner.drewsonne.github.io/v1", "kind": "PostgresDatabase", "name": victim.database,
            "uid": parent.uid().unwrap(),
        }],
    });
    let yaml = user_as(&world.tenant, &name, &victim.reader, &victim.database, "");
    let yaml =
        yaml.replace(&format!("{{ name: {name}, namespace: {} }}", world.tenant), &metadata.to_string());
    attacker.apply(&yaml).await;
    // Sooner or later the collector takes it for an orphan.
    eventually("it to be refused or collected", PATIENCE, async || {
        match world.get("pguser", &attacker.at(&name)).await {
            Ok(found) => found.data["status"]["conditions"].to_string().contains("NotAllowed").then_some(()),
            Err(_) => Some(()),
        }
    })
    .await;
    assert_eq!(victim.picture(&world).await, before);
}

#[tokio::test]
async fn a_secret_of_another_namespace_is_neither_written_nor_deleted_nor_used() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (here, there, name, theirs) = (&world.tenant, &victim.namespace, unique("x"), unique("theirs"));
    world.sql("postgres", &format!("CREATE ROLE {theirs} LOGIN PASSWORD 'by-hand-{theirs}'")).await;
    for (secret, data) in [
        ("by-hand", json!({ "username": theirs, "password": format!("by-hand-{theirs}") })),
        ("half", json!({ "password": format!("half-{theirs}") })),
        ("token", json!({ "token": "x" })),
    ] {
        let metadata = json!({ "name": secret, "namespace": there });
        world
            .apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n"))
            .await;
    }
    let own = unique("own");
    attacker.apply(&database(here, &own, &format!("{own}_owner"), "")).await;
    world.ready("pgdb", &attacker.at(&own)).await;
    let at = |secret: &str, role: &str| {
        let yaml = user_as(here, &name, role, &own, &format!(", secretNamespace: {there}"));
        yaml.replace(&format!("secretName: {name}"), &format!("secretName: {secret}"))
    };
    let names = [victim.database.as_str(), "by-hand", "half", "token", "new"];
    for secret in names {
        attacker.refused(&victim, &wants_user(&name, at(secret, &name), "NotAllowed")).await;
    }

    // To take Secrets of theirs is not to give them what is there.
    world.annotate(there, ANNOTATION_ALLOW_SECRETS_FROM, here).await;
    let attacks = [
        (victim.database.as_str(), name.as_str(), "Conflict"),
        ("by-hand", &name, "SecretConflict"),
        ("by-hand", &theirs, "SecretConflict"),
        ("half", &name, "SecretConflict"),
        ("token", &name, "SecretConflict"),
    ];
    for (secret, role, reason) in attacks {
        attacker.refused(&victim, &wants_user(&name, at(secret, role), reason)).await;
    }
    // Unless they say for whom it is.
    let meant = json!({ ANNOTATION_RESOURCE: format!("PostgresUser/{here}/{name}") });
    let metadata = json!({ "name": "by-hand", "namespace": there, "annotations": meant });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n")).await;
    attacker.apply(&at("by-hand", &theirs)).await;
    world.ready("pguser", &attacker.at(&name)).await;
}

#[tokio::test]
async fn what_another_put_in_the_place_of_a_secret_does_not_move_along() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (here, there, own) = (&world.tenant, &victim.namespace, unique("own"));
    world.annotate(there, ANNOTATION_ALLOW_SECRETS_FROM, here).await;
    let more = format!(", secretNamespace: {there}");
    attacker.apply(&database(here, &own, &format!("{own}_owner"), &more)).await;
    world.ready("pgdb", &attacker.at(&own)).await;
    world.annotate(there, ANNOTATION_ALLOW_SECRETS_FROM, "").await;
    world.condition("pgdb", &attacker.at(&own), ("Ready", "False", "NotAllowed")).await;
    let secrets = world.secrets(there);
    secrets.delete(&own, &kube::api::DeleteParams::default()).await.unwrap();
    let (metadata, password) = (json!({ "name": own, "namespace": there }), unique("theirs"));
    let data = json!({ "password": password });
    world.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n")).await;
    let before = victim.picture(&world).await;
    attacker.patch("pgdb", &own, &json!({ "spec": { "secretNamespace": null } })).await;
    world.ready("pgdb", &attacker.at(&own)).await;
    assert_ne!(world.secret(here, &own).await["password"], password);
    attacker.remove("pgdb", &own).await;
    assert_eq!(victim.picture(&world).await, before);
}

#[tokio::test]
async fn forged_marks_on_a_secret_of_ones_own_lead_nowhere() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let name = unique("x");
    let found = world.get("pgdb", &format!("{}/{}", victim.namespace, victim.database)).await.unwrap();
    let metadata = json!({
        "name": name,
        "labels": { LABEL_MANAGED_BY: "postgres-provisioner", LABEL_RESOURCE_UID: found.uid().unwrap() },
        "annotations": { ANNOTATION_RESOURCE: format!("PostgresDatabase/{}/{}", victim.namespace, victim.database) },
    });
    attacker
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {{ password: forged }}\n"
        ))
        .await;
    let yaml = database(&world.tenant, &name, &format!("{name}_owner"), "");
    attacker.refused(&victim, &wants_database(&name, yaml, "SecretConflict")).await;
    assert_eq!(world.secret(&world.tenant, &name).await["password"], "forged");
}

#[tokio::test]
async fn whoever_came_first_keeps_the_name_also_from_its_owner() {
    let world = World::new().await;
    let attacker = Attacker::new(&world).await;
    let (app, owner) = (unique("app"), unique("owner"));
    attacker.apply(&database(&world.tenant, &app, &unique("squatter"), "")).await;
    world.ready("pgdb", &attacker.at(&app)).await;
    let state = format!("SELECT datdba || datacl::text FROM pg_database WHERE datname = '{app}'");
    let before = world.value("postgres", &state).await;
    world.apply(&database(&world.namespace, &app, &owner, "")).await;
    world.condition("pgdb", &app, ("Ready", "False", "Conflict")).await;
    // What it leaves behind is for the server's administrator to give away.
    attacker.remove("pgdb", &app).await;
    world.condition("pgdb", &app, ("Ready", "False", "NotOurs")).await;
    assert_eq!(world.value("postgres", &state).await, before);
    assert!(!world.has_role(&owner).await);
}

#[tokio::test]
async fn a_squatter_that_cannot_have_a_name_stands_in_nobodys_way() {
    let mut world = World::without_operator(17).await;
    world.settings.resync = std::time::Duration::from_hours(1);
    let attacker = Attacker::new(&world).await;
    let app = unique("app");
    attacker.secret(&app, &json!({ "token": "x" })).await;
    // With the finalizer, so that it comes first and not merely before the other.
    let squatter = database(&world.tenant, &app, &unique("squatter"), "");
    let finalizer = format!("metadata: {{ finalizers: [{FINALIZER}], ");
    attacker.apply(&squatter.replace("metadata: { ", &finalizer)).await;
    eventually("the next second", PATIENCE, async || {
        let born = world.get("pgdb", &attacker.at(&app)).await.unwrap().metadata.creation_timestamp.unwrap();
        (jiff::Timestamp::now().as_second() > born.0.as_second()).then_some(())
    })
    .await;
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.start_operator();
    // Only until the other has the name.
    eventually("a SecretConflict", PATIENCE, async || {
        witness::condition(&world.tenant, &app, ("Ready", "False", "SecretConflict"))
    })
    .await;
    world.ready("pgdb", &app).await;
    // Nor when it asks again and again.
    for prune in [true, false, true] {
        attacker.patch("pgdb", &app, &json!({ "spec": { "prune": prune } })).await;
        world.condition("pgdb", &attacker.at(&app), ("Ready", "False", "Conflict")).await;
    }
    world.ready("pgdb", &app).await;
}

#[tokio::test]
async fn who_was_let_in_once_does_not_stay_on_the_word_of_a_squatter() {
    let (world, victim) = stage().await;
    let attacker = Attacker::new(&world).await;
    let (here, app, name) = (&world.tenant, &victim.database, unique("x"));
    let theirs = format!("{}/{app}", victim.namespace);
    world.patch("pgdb", &theirs, json!({ "spec": { "allowUsersFrom": [here] } })).await;
    attacker.apply(&user(here, &name, app, ", access: read")).await;
    world.ready("pguser", &attacker.at(&name)).await;
    world.remove("pgdb", &theirs).await;
    world.condition("pguser", &attacker.at(&name), ("Ready", "False", "DatabaseMissing")).await;
    let may_write = format!("SELECT has_table_privilege('{name}', 'public.accounts', 'INSERT')::text");
    assert_eq!(world.value(app, &may_write).await.as_deref(), Some("false"));
    attacker.secret(app, &json!({ "token": "x" })).await;
    attacker.apply(&database(here, app, &unique("squatter"), &format!(", allowUsersFrom: [{here}]"))).await;
    world.condition("pgdb", &attacker.at(app), ("Ready", "False", "SecretConflict")).await;
    attacker.patch("pguser", &name, &json!({ "spec": { "access": "readwrite" } })).await;
    world.condition("pguser", &attacker.at(&name), ("Ready", "False", "DatabaseMissing")).await;
    assert_eq!(world.value(app, &may_write).await.as_deref(), Some("false"));
}

#[tokio::test]
async fn open_boundaries_give_away_no_secret_that_is_there() {
    let mut world = World::without_operator(17).await;
    world.settings.boundaries.secrets = Boundary::Any;
    world.settings.boundaries.databases = Boundary::Any;
    world.start_operator();
    let attacker = Attacker::new(&world).await;
    let (app, name, there) = (unique("app"), unique("x"), &world.namespace);
    world.apply(&database(there, &app, &format!("{app}_owner"), "")).await;
    world.ready("pgdb", &app).await;
    let before = world.secrets(there).get(&app).await.unwrap();
    let more = format!(", access: read, secretNamespace: {there}");
    let yaml = user(&world.tenant, &name, &app, &more);
    attacker.apply(&yaml.replace(&format!("secretName: {name}"), &format!("secretName: {app}"))).await;
    world.condition("pguser", &attacker.at(&name), ("Ready", "False", "Conflict")).await;
    attacker.patch("pguser", &name, &json!({ "spec": { "secretName": name } })).await;
    world.ready("pguser", &attacker.at(&name)).await;
    world.login(&world.secret(there, &name).await).await;
    attacker.remove("pguser", &name).await;
    assert_eq!(world.find_secret(there, &name).await, None);
    assert_eq!(world.secrets(there).get(&app).await.unwrap(), before);
}
