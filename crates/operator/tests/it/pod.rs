//! The pod that the chart makes, held against the standard that the API server enforces.

use std::path::Path;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use testbed::{Cluster, helm, kubernetes, unique};

#[tokio::test]
async fn the_pod_is_admitted_where_only_restricted_ones_are() {
    let cluster = Cluster::shared().await;
    let admin = cluster.client();
    let namespace = kubernetes::namespace(&admin, "restricted").await;
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();

    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/postgres-provisioner");
    // With every mount and every object that there can be.
    let name = unique("restricted").replace('_', "-");
    let block = "[{ ipBlock: { cidr: 192.0.2.0/24 } }]";
    let policy =
        format!("{{ enabled: true, ingressFrom: {block}, apiServerTo: {block}, postgresTo: {block} }}");
    let values = format!("fullnameOverride: {name}\npostgres: {{ caSecret: ca }}\nnetworkPolicy: {policy}");
    let rendered = helm::template(&chart, "some-release", &namespace, &values).unwrap();
    cluster.install_identity(&rendered, &namespace).await;
    let documents = serde_saphyr::from_multiple::<serde_json::Value>(&rendered).unwrap();
    let object = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap().clone();
    let deployment: Deployment = serde_json::from_value(object("Deployment")).unwrap();
    let policy: NetworkPolicy = serde_json::from_value(object("NetworkPolicy")).unwrap();
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.clone(), &namespace);
    policies.create(&PostParams::default(), &policy).await.unwrap();

    let pods: Api<Pod> = Api::namespaced(admin, &namespace);
    let template = deployment.spec.unwrap().template;
    let metadata = ObjectMeta { name: Some("provisioner".to_owned()), ..template.metadata.unwrap() };
    let mut pod = Pod { metadata, spec: template.spec, ..Pod::default() };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    pods.create(&dry, &pod).await.unwrap();

    pod.spec.as_mut().unwrap().containers[0].security_context = None;
    let refused = pods.create(&dry, &pod).await.unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
}
