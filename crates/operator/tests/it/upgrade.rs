//! `helm upgrade` from the chart of version 1, and the way back.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use operator::api::ANNOTATION_VERSION;
use serde_json::{Value, json};
use testbed::{Cluster, Postgres, eventually, helm};

use crate::program::Program;
use crate::version_one::{self, VersionOne};
use crate::world::{PATIENCE, World, resources};

const RELEASE: &str = "postgres-provisioner";
/// The namespace in the values file.
const HOME: &str = "app-db";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/postgres-provisioner")
}

/// The values file of somebody who installed version 1.
fn old_values() -> String {
    std::fs::read_to_string(chart().join("ci/old-values.yaml")).unwrap()
}

/// The environment that the release gives its container, as far as it is written out there.
async fn environment(world: &World) -> Vec<(String, String)> {
    let deployments: Api<Deployment> = Api::namespaced(world.admin.clone(), HOME);
    let deployment = json!(deployments.get(RELEASE).await.unwrap());
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], json!({ "app": RELEASE }));
    let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    let variables = variables.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    variables.filter_map(|one| Some((text(&one["name"])?, text(&one["value"])?))).collect()
}

/// The version of the operator that the users' definition says it is from.
async fn version(world: &World) -> Value {
    let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
    let found = definitions.get("postgresusers.pgprovisioner.drewsonne.github.io").await.unwrap();
    json!(found)["metadata"]["annotations"][ANNOTATION_VERSION].clone()
}

#[tokio::test]
async fn a_plain_helm_upgrade_leads_from_version_1_to_this_one() {
    // A cluster of its own: a release has names that are everybody's. What started it ends it.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let admin = cluster.kubeconfig();
    let postgres = Postgres::start(17).await;
    let setup = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {HOME} }}\n");
    testbed::kubernetes::apply(&cluster.client(), &setup, HOME).await.unwrap();
    helm::install(&admin, &version_one::chart(), RELEASE, &old_values()).unwrap();
    let before = cluster.installed_identity(&helm::manifest(&admin, RELEASE).unwrap(), HOME).await;
    let mut world = World::without_definitions(17, cluster, before).await;
    HOME.clone_into(&mut world.namespace);

    let v1 = VersionOne { world: &world, postgres: &postgres };
    let app = v1.database(HOME, json!({ "secretNamespace": world.tenant })).await;
    v1.sql(&app.database, &format!("CREATE SCHEMA analytics AUTHORIZATION {}", app.role)).await;
    let reader = v1.user(HOME, &app, "read", json!({})).await;
    let secrets = async || {
        let mut versions = Vec::new();
        for (namespace, one) in [(&world.tenant, &app), (&world.namespace, &reader)] {
            versions.push(world.secrets(namespace).get(&one.name).await.unwrap().metadata.resource_version);
        }
        versions
    };
    let versions = secrets().await;
    assert_eq!(version(&world).await, json!(null));

    helm::upgrade(&admin, &chart(), RELEASE, None).unwrap();
    // Helm leaves definitions as they are.
    assert_eq!(version(&world).await, json!(null));
    let variables = environment(&world).await;
    assert!(variables.contains(&("PG_HOST".to_owned(), "pg-rw.app-db.svc.cluster.local".to_owned())));
    let manifest = helm::manifest(&admin, RELEASE).unwrap();
    let identity = cluster.installed_identity(&manifest, HOME).await;
    let upgraded = World::without_definitions(17, cluster, identity).await;
    let mut program = start(&upgraded, &postgres, &variables);
    program.wait_for_status("/readyz", 200).await;
    for one in [&app, &reader] {
        world.ready(one.kind, &one.at()).await;
        postgres.connect(&app.database, &one.role, &one.password).await.unwrap();
    }
    assert_eq!(version(&world).await, env!("CARGO_PKG_VERSION"));
    assert_eq!(secrets().await, versions);
    // What the definitions of version 1 would have lost.
    world.patch("pguser", &reader.at(), json!({ "spec": { "prune": false } })).await;
    assert_eq!(world.get("pguser", &reader.at()).await.unwrap().data["spec"]["prune"], false);
    world.ready("pguser", &reader.at()).await;
    assert!(program.terminate().await.success());
    let report = cluster.audit_against(&[&upgraded.identity]);
    assert_eq!(report.forbidden, [], "the release gives every right that is needed");

    // And back: version 1 finds its finalizer, its status and its Secrets, and may write what it used to write.
    helm::rollback(&admin, RELEASE, 1).unwrap();
    let found = world.get("pguser", &reader.at()).await.unwrap();
    assert_eq!(found.metadata.finalizers.as_deref(), Some(&[operator::api::FINALIZER.to_owned()][..]));
    assert_eq!(found.data["status"]["user_create_fn"]["ready"], true);
    let result = json!({ "status": { "user_resume_fn": found.data["status"]["user_create_fn"] } });
    let old = resources(world.identity.client(), "pguser", HOME);
    eventually("the rights of version 1", PATIENCE, async || {
        let patched = old.patch_status(&reader.name, &PatchParams::default(), &Patch::Merge(&result)).await;
        patched.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(secrets().await, versions);

    helm::upgrade(&admin, &chart(), RELEASE, Some(&old_values())).unwrap();
    program = start(&upgraded, &postgres, &variables);
    program.wait_for_status("/readyz", 200).await;
    world.remove("pgdb", &app.at()).await;
    world.gone("pguser", &reader.at()).await;
    assert!(program.terminate().await.success());
}

/// The operator as the upgraded release runs it, on a server that is there.
fn start(upgraded: &World, postgres: &Postgres, variables: &[(String, String)]) -> Program {
    let own = ["PG_HOST", "PG_PORT", "HTTP_PORT"];
    let mut all: Vec<_> = variables
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    all.extend([("POD_NAMESPACE", HOME), ("WATCH_NAMESPACES", "")]);
    Program::start_with(upgraded, postgres, &all)
}
