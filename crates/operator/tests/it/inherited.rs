//! What version 1 provided across namespaces: it stays, and gives nobody more than that.

use kube::api::{DeleteParams, Patch, PatchParams};
use operator::api::{ANNOTATION_ALLOW_SECRETS_FROM, ANNOTATION_RESOURCE};
use operator::settings::Boundary;
use serde_json::json;
use testbed::Postgres;

use crate::takeover::{Stage, fill};
use crate::version_one::Provided;

#[tokio::test]
async fn what_lies_in_other_namespaces_is_served_as_before() {
    let stage = Stage::new(17).await;
    let Stage { world, postgres, other } = &stage;
    let v1 = stage.version_one();
    let shop = v1.database(&world.tenant, json!({ "secretNamespace": other })).await;
    fill(&v1, &shop).await;
    let guest = v1.user(other, &shop, "read", json!({})).await;
    let placed = v1.user(&world.tenant, &shop, "readwrite", json!({ "secretNamespace": other })).await;
    // Of a database that no resource speaks of.
    let stray = stray(&v1).await;
    let lone = v1.user(&world.tenant, &stray, "read", json!({ "schemas": ["public"] })).await;
    let all = [&shop, &guest, &placed, &lone];
    let before = stage.secrets().await;
    world.start_operator();
    for one in all {
        world.ready(one.kind, &one.at()).await;
        stage.works(one, postgres).await;
    }
    world.stop_operator().await;
    world.start_operator();
    world.patch("pgdb", &shop.at(), json!({ "spec": { "prune": false } })).await;
    world.ready("pgdb", &shop.at()).await;
    assert_eq!(stage.secrets().await, before);

    // More than that takes consent, and being refused takes nothing away.
    world.patch("pguser", &guest.at(), json!({ "spec": { "access": "readwrite" } })).await;
    world.condition("pguser", &guest.at(), ("Ready", "False", "NotAllowed")).await;
    stage.works(&guest, postgres).await;
    world.patch("pgdb", &shop.at(), json!({ "spec": { "secretName": "elsewhere" } })).await;
    world.condition("pgdb", &shop.at(), ("Ready", "False", "NotAllowed")).await;
    stage.works(&shop, postgres).await;
    assert_eq!(stage.secrets().await, before);
    world.annotate(other, ANNOTATION_ALLOW_SECRETS_FROM, &world.tenant).await;
    world.ready("pgdb", &shop.at()).await;
    assert_eq!(world.secret(other, "elsewhere").await["password"], shop.password);

    for one in [&lone, &placed, &shop] {
        world.remove(one.kind, &one.at()).await;
    }
    world.remove("pguser", &guest.at()).await;
    assert_eq!(stage.secrets().await.len(), 0);
}

/// A database that was made by hand.
async fn stray(v1: &crate::version_one::VersionOne<'_>) -> Provided {
    let made = v1.database(&v1.world.namespace, json!({})).await;
    v1.forget(&made).await;
    made
}

#[tokio::test]
async fn a_server_of_ones_own_stays_and_half_of_one_counts_for_nothing() {
    let stage = Stage::new(17).await;
    let second = Postgres::start(17).await;
    let world = &stage.world;
    world.superuser_secret("second", &second, second.password()).await;
    let v1 = crate::version_one::VersionOne { world, postgres: &second };
    let pair = json!({
        "host": second.host(), "superuserSecret": { "name": "second", "namespace": world.namespace },
    });
    let app = v1.database(&world.namespace, pair.clone()).await;
    fill(&v1, &app).await;
    let reader = v1.user(&world.namespace, &app, "read", pair.clone()).await;
    let half = json!({ "superuserSecret": pair["superuserSecret"] });
    let own = stage.version_one().database(&world.namespace, half).await;
    let before: Vec<_> =
        stage.secrets().await.into_iter().filter(|(name, _)| !name.ends_with("/second")).collect();
    world.start_operator();
    for one in [&app, &reader] {
        world.ready(one.kind, &one.at()).await;
        stage.works(one, &second).await;
    }
    let found = world.ready("pgdb", &own.at()).await.data["status"]["conditions"].to_string();
    assert!(found.contains("superuserSecret is ignored without host"), "{found}");
    stage.works(&own, &stage.postgres).await;
    let after: Vec<_> =
        stage.secrets().await.into_iter().filter(|(name, _)| !name.ends_with("/second")).collect();
    assert_eq!(after, before);
}

#[tokio::test]
async fn without_the_word_of_version_1_the_secret_has_to_say_whose_it_is() {
    let mut stage = Stage::new(17).await;
    stage.world.settings.boundaries.secrets = Boundary::Any;
    let Stage { world, postgres, other } = &stage;
    let v1 = stage.version_one();
    let shop = v1.database(&world.tenant, json!({ "secretNamespace": other })).await;
    let kept = v1.database(&world.tenant, json!({ "secretNamespace": other })).await;
    // As after a backup was restored.
    v1.forget_status(&shop).await;
    world.start_operator();
    world.ready("pgdb", &kept.at()).await;
    let found = world.condition("pgdb", &shop.at(), ("Ready", "False", "SecretConflict")).await;
    let said = found.data["status"]["conditions"].to_string();
    let mark = format!("PostgresDatabase/{}", shop.at());
    let command = format!("kubectl annotate secret -n {other} {} {ANNOTATION_RESOURCE}={mark}", shop.name);
    assert!(said.contains(&command), "{said}");
    let annotation = json!({ "metadata": { "annotations": { ANNOTATION_RESOURCE: mark } } });
    let secrets = world.secrets(other);
    secrets.patch(&shop.name, &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    world.ready("pgdb", &shop.at()).await;
    stage.works(&shop, postgres).await;

    // Closed again, only what version 1 provided needs no consent.
    world.stop_operator().await;
    stage.world.settings.boundaries.secrets = Boundary::Consent;
    let Stage { world, other, .. } = &stage;
    world.start_operator();
    world.condition("pgdb", &shop.at(), ("Ready", "False", "NotAllowed")).await;
    world.patch("pgdb", &kept.at(), json!({ "spec": { "prune": false } })).await;
    world.ready("pgdb", &kept.at()).await;
    world.annotate(other, ANNOTATION_ALLOW_SECRETS_FROM, &world.tenant).await;
    world.ready("pgdb", &shop.at()).await;
}

#[tokio::test]
async fn nobody_gets_what_version_1_wrote_for_another() {
    let stage = Stage::new(17).await;
    let Stage { world, postgres, other } = &stage;
    let v1 = stage.version_one();
    let elsewhere = json!({ "secretNamespace": other });
    // Older than the victim, too.
    let thief = v1.database(&world.tenant, elsewhere.clone()).await;
    let squatter = v1.database(&world.tenant, elsewhere.clone()).await;
    let burglar = v1.database(&world.tenant, elsewhere.clone()).await;
    let waiter = v1.database(&world.tenant, elsewhere).await;
    let victim = v1.database(other, json!({})).await;
    let by_hand = json!({ "username": victim.role, "password": "x", "database": victim.database, "host": "x", "port": "1" });
    let metadata = json!({ "name": "by-hand", "namespace": other });
    world
        .apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {by_hand}\n"))
        .await;
    // While nobody looks: to the victim's Secret, to its role, to what nobody speaks of, and to what is still to come.
    world.patch("pgdb", &thief.at(), json!({ "spec": { "secretName": victim.name } })).await;
    world.patch("pgdb", &squatter.at(), json!({ "spec": { "owner": victim.role } })).await;
    world.patch("pgdb", &burglar.at(), json!({ "spec": { "secretName": "by-hand" } })).await;
    world.secrets(other).delete(&waiter.name, &DeleteParams::default()).await.unwrap();
    let before = stage.secrets().await;
    world.start_operator();
    world.ready("pgdb", &victim.at()).await;
    let refused =
        [(&thief, "Conflict"), (&squatter, "NotAllowed"), (&burglar, "NotAllowed"), (&waiter, "NotAllowed")];
    for (one, reason) in refused {
        world.condition("pgdb", &one.at(), ("Ready", "False", reason)).await;
    }
    assert_eq!(stage.secrets().await, before);
    stage.works(&victim, postgres).await;

    // What is put there later is somebody else's.
    crate::takeover::next_second(world, &waiter).await;
    v1.put_secret(&waiter).await;
    let checked = stage.secrets().await;
    for prune in [true, false] {
        world.patch("pgdb", &waiter.at(), json!({ "spec": { "prune": prune } })).await;
        world.condition("pgdb", &waiter.at(), ("Ready", "False", "NotAllowed")).await;
    }
    assert_eq!(stage.secrets().await, checked);
    let comment = format!("SELECT shobj_description('{}'::regrole, 'pg_authid')", waiter.role);
    assert_eq!(stage.value("postgres", &comment).await, "");
}
