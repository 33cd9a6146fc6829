//! The CRDs: brought up by the operator where that is its to do, and never down.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use operator::api::{ANNOTATION_VERSION, crds};
use serde_json::{Value, json};
use testbed::{Cluster, Postgres, eventually, kubernetes, unique};

use crate::program::Program;
use crate::resources::{database, user};
use crate::world::{self, PATIENCE, World};

const USERS: &str = "postgresusers.pgprovisioner.drewsonne.github.io";

/// The definitions as an older operator had them: without `spec.prune`.
pub(crate) fn older() -> String {
    ["PostgresDatabase", "PostgresUser"].map(older_of).join("\n---\n")
}

/// One of them.
pub(crate) fn older_of(kind: &str) -> String {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let mut crd = serde_json::to_value(crd).unwrap();
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"].as_object_mut().unwrap().remove("prune").unwrap();
    crd["metadata"]["annotations"].as_object_mut().unwrap().insert(ANNOTATION_VERSION.into(), json!("1.9.0"));
    crd.to_string()
}

fn definitions(world: &World) -> Api<CustomResourceDefinition> {
    Api::all(world.admin.clone())
}

/// The properties of a user's spec, and the version that the definition says it is from.
async fn users(world: &World) -> (Value, Value) {
    let found = json!(definitions(world).get(USERS).await.unwrap());
    let spec = &found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    (spec.clone(), found["metadata"]["annotations"][ANNOTATION_VERSION].clone())
}

#[tokio::test]
async fn definitions_are_brought_up_and_never_down() {
    // A cluster of its own: definitions are everybody's. What started it ends it.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let world = World::without_definitions(17, cluster, world::new_identity(cluster).await).await;
    let postgres = Postgres::start(17).await;
    kubernetes::apply(&world.admin, &older_of("PostgresUser"), "default").await.unwrap();
    let manage = [("MANAGE_CRDS", "true")];
    let mut program = Program::start_with(&world, &postgres, &manage);
    program.wait_for_status("/readyz", 200).await;
    let now = json!(env!("CARGO_PKG_VERSION"));
    let (spec, version) = users(&world).await;
    assert!(spec["prune"].is_object() && version == now, "{version}");
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read, prune: false")).await;
    world.ready("pguser", &reader).await;

    // Somebody puts the older ones back.
    kubernetes::apply(&world.admin, &older(), "default").await.unwrap();
    eventually("the definition to be brought up", PATIENCE, async || {
        let (spec, version) = users(&world).await;
        (spec["prune"].is_object() && version == now).then_some(()).ok_or(program.log())
    })
    .await;
    program.wait_for_status("/readyz", 200).await;

    // A later operator has been here.
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let change = json!([
        { "op": "add", "path": format!("{schema}/later"), "value": { "type": "string" } },
        { "op": "replace", "path": "/metadata/annotations/pgprovisioner.drewsonne.github.io~1version", "value": "99.0.0" },
    ]);
    let patch = Patch::Json::<()>(serde_json::from_value(change).unwrap());
    definitions(&world).patch(USERS, &PatchParams::default(), &patch).await.unwrap();
    assert!(program.terminate().await.success());
    program = Program::start_with(&world, &postgres, &manage);
    program.wait_for_status("/readyz", 200).await;
    let (spec, version) = users(&world).await;
    assert!(spec["later"].is_object() && version == "99.0.0", "{version}");

    // Who deletes one while the operator runs means that: it cleans up, and makes none.
    definitions(&world).delete(USERS, &DeleteParams::default()).await.unwrap();
    program.wait_for_line("postgresusers.pgprovisioner.drewsonne.github.io is not installed").await;
    program.wait_for_status("/readyz", 503).await;
    assert!(definitions(&world).get_opt(USERS).await.unwrap().is_none());
    let roles = format!("SELECT rolname FROM pg_roles WHERE rolname = '{reader}'");
    let mut admin = postgres.admin("postgres").await;
    assert_eq!(testbed::postgres::fetch_text(&mut admin, &roles).await.unwrap(), None);
    kubernetes::apply(&world.admin, &operator::crds_yaml().unwrap(), "default").await.unwrap();
    program.wait_for_status("/readyz", 200).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    assert!(program.terminate().await.success());
}
