//! The cluster answers, its controllers work, and what an identity may do is seen.

use std::{process::Command, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use testbed::{
    Cluster, eventually,
    kubernetes::{apply, kubectl, namespace, version},
    unique,
};

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_api_server_knows_its_version() {
    let cluster = Cluster::shared().await;
    let server = cluster.client().apiserver_version().await.unwrap();
    assert_eq!(server.git_version, format!("v{}", version()));
}

#[test]
fn two_runtimes_share_a_cluster() {
    let shared = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::shared().await;
            cluster.client().apiserver_version().await.unwrap();
            cluster.process_ids()
        })
    };
    let other = std::thread::spawn(shared);
    assert_eq!(shared(), other.join().unwrap());
}

#[tokio::test]
async fn kubectl_works_with_the_kubeconfig() {
    let cluster = Cluster::shared().await;
    let kubeconfig = cluster.kubeconfig();
    let output = Command::new(kubectl())
        .args(["get", "namespaces", "--output", "name", "--kubeconfig"])
        .arg(kubeconfig)
        .output()
        .unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("namespace/kube-system"));
}

#[tokio::test]
async fn a_deleted_namespace_goes_with_what_is_in_it() {
    let client = Cluster::shared().await.client();
    let namespace = namespace(&client, "gone-").await;
    Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &named("it")).await.unwrap();
    let namespaces = Api::<Namespace>::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    eventually("the namespace to go", DEADLINE, async || {
        match namespaces.get_opt(&namespace).await.unwrap() {
            Some(_) => None,
            None => Some(()),
        }
    })
    .await;
}

#[tokio::test]
async fn an_owned_object_is_collected_with_its_owner() {
    let client = Cluster::shared().await.client();
    let namespace = namespace(&client, "owned-").await;
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    let owner = maps.create(&PostParams::default(), &named("owner")).await.unwrap();
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid.unwrap()}]);
    maps.create(&PostParams::default(), &named("owned")).await.unwrap();
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": reference}}));
    maps.patch("owned", &PatchParams::default(), &patch).await.unwrap();

    maps.delete("owner", &DeleteParams::default()).await.unwrap();
    eventually("the owned object to go", DEADLINE, async || {
        if maps.get_opt("owned").await.unwrap().is_some() { Err("it is still there") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_custom_resource_can_follow_its_definition() {
    let client = Cluster::shared().await.client();
    let namespace = namespace(&client, "crd-").await;
    let (group, text) = (unique("g"), include_str!("kubernetes/crd.yaml"));
    let applied = apply(&client, &text.replace("GROUP", &group), &namespace).await.unwrap();
    assert_eq!(applied[1].metadata.namespace.as_ref(), Some(&namespace));

    let refused = text.replace("GROUP", &group).replace("size: 1", "size: many");
    let error = apply(&client, &refused, &namespace).await.unwrap_err();
    assert!(error.to_string().contains("spec.size"), "{error}");
}

#[tokio::test]
async fn an_identity_may_do_what_its_role_allows_and_the_audit_shows_it() {
    let cluster = Cluster::shared().await;
    let (mine, other) = (unique("mine-"), unique("other-"));
    let rendered = include_str!("kubernetes/chart.yaml").replace("OTHER", &other).replace("MINE", &mine);
    let identity = cluster.install_identity(&rendered, &mine).await;
    assert_eq!(identity.service_account, format!("system:serviceaccount:{mine}:operator"));

    let client = identity.client();
    Api::<ConfigMap>::namespaced(client.clone(), &mine).list(&ListParams::default()).await.unwrap();
    Api::<Namespace>::all(client.clone()).get("default").await.unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), &mine).list(&ListParams::default()).await;
    assert_eq!(code(&secrets.unwrap_err()), 403);
    let elsewhere = Api::<ConfigMap>::namespaced(client, &other).list(&ListParams::default()).await;
    assert_eq!(code(&elsewhere.unwrap_err()), 403);

    let report = cluster.audit_against(&[&identity]);
    let asked: Vec<_> =
        report.forbidden.iter().map(|entry| (&*entry.verb, &*entry.resource, &*entry.namespace)).collect();
    assert_eq!(asked, [("list", "secrets", &*mine), ("list", "configmaps", &*other)]);
    let shown = |permissions: &std::collections::BTreeSet<_>| {
        permissions.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&report.used), ["list configmaps", "get namespaces"]);
    assert_eq!(shown(&report.unused), ["delete configmaps", "get deployments.apps"]);
}

#[tokio::test]
async fn an_api_server_comes_back_with_what_it_knew_and_a_stopped_cluster_is_gone() {
    let cluster = Cluster::start().await;
    let client = cluster.client();
    let namespace = namespace(&client, "kept-").await;
    let before = cluster.audit().len();
    cluster.stop_api_server().await;
    assert!(client.apiserver_version().await.is_err());
    cluster.start_api_server().await;
    Api::<Namespace>::all(client).get(&namespace).await.unwrap();
    assert!(cluster.audit().len() > before, "the audit log began anew");

    let (processes, kubeconfig) = (cluster.process_ids(), cluster.kubeconfig());
    assert_eq!(processes.len(), 3);
    cluster.stop().await;
    assert!(!kubeconfig.exists());
    for process in processes {
        let found = Command::new("ps").args(["-o", "args=", "-p", &process.to_string()]).output().unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
    }
}

fn named(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API server: {other}"),
    }
}
