//! A relay in front of an API server passes on, counts and makes trouble.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, WatchEvent, WatchParams},
};
use testbed::{
    Cluster, kubernetes,
    relay::kubernetes::{Relay, Trouble},
};

#[tokio::test]
async fn it_passes_on_what_is_asked_and_tells_of_changes() {
    let cluster = Cluster::shared().await;
    let changes = Arc::new(AtomicUsize::new(0));
    let count = changes.clone();
    let done = Arc::new(move |_: &_, code: u16| {
        assert_eq!(code / 100, 2);
        count.fetch_add(1, Ordering::SeqCst);
    });
    let relay = Relay::observed(&cluster.config(), done).await;
    let client = Client::try_from(relay.config(&cluster.config())).unwrap();
    let namespace = kubernetes::namespace(&client, "relay").await;
    assert_eq!(changes.load(Ordering::SeqCst), 1);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let version = maps.list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version;
    let watch = maps.watch(&WatchParams::default(), &version.unwrap()).await.unwrap();
    // The cluster puts a map of its own into each namespace.
    let mut watch = Box::pin(watch.try_filter(|event| {
        let is_error = matches!(event, WatchEvent::Error(_));
        let is_ours = matches!(event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("one"));
        std::future::ready(is_ours || is_error)
    }));
    let mut one = ConfigMap::default();
    one.metadata.name = Some("one".to_owned());
    maps.create(&PostParams::default(), &one).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    relay.expire_watches();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Error(error))) if error.code == 410));
    assert!(watch.next().await.is_none());

    relay.trouble(|asked| (!asked.is_read()).then_some(Trouble::refused(403, "Forbidden")));
    let refused = maps.delete("one", &DeleteParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_forbidden()));
    relay.recover();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert_eq!(changes.load(Ordering::SeqCst), 3);
    assert_eq!(relay.asked().iter().filter(|asked| !asked.is_read()).count(), 4);
    Api::<Namespace>::all(client).delete(&namespace, &DeleteParams::default()).await.unwrap();
}
