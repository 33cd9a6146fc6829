//! Every password that ever was in a Secret.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use testbed::eventually;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a watch of the Secrets of a namespace has shown.
pub(crate) struct Passwords {
    seen: Arc<Mutex<Seen>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// The passwords of each Secret, in order, each once in a row.
    passwords: BTreeMap<String, Vec<String>>,
    /// The version of each Secret that was seen last.
    versions: BTreeMap<String, Option<String>>,
}

impl Passwords {
    /// Begins to watch.
    pub(crate) fn watch(client: &Client, namespace: &str) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let mut task = JoinSet::new();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let notes = seen.clone();
        task.spawn(async move {
            let secrets = watcher(secrets, watcher::Config::default()).default_backoff();
            let mut secrets = std::pin::pin!(secrets.applied_objects());
            while let Some(secret) = secrets.next().await {
                if let Ok(secret) = secret {
                    note(&notes, &secret);
                }
            }
        });
        Self { seen, _task: task }
    }

    /// The passwords that this Secret has held up to this version.
    pub(crate) async fn of(&self, secret: &Secret) -> Vec<String> {
        let name = secret.name_any();
        eventually("the watch to show the Secret", PATIENCE, async || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = seen.versions.get(&name);
            match shown == Some(&secret.metadata.resource_version) {
                true => Ok(seen.passwords.get(&name).cloned().unwrap_or_default()),
                false => Err(format!("{shown:?}")),
            }
        })
        .await
    }
}

fn note(seen: &Mutex<Seen>, secret: &Secret) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, password) = (secret.name_any(), password(secret));
    seen.versions.insert(name.clone(), secret.metadata.resource_version.clone());
    let passwords = seen.passwords.entry(name).or_default();
    if let Some(password) = password.filter(|password| passwords.last() != Some(password)) {
        passwords.push(password);
    }
}

/// The password in a Secret.
pub(crate) fn password(secret: &Secret) -> Option<String> {
    value(secret, "password")
}

/// What is in a Secret under this key.
pub(crate) fn value(secret: &Secret, key: &str) -> Option<String> {
    let found = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8_lossy(&found.0).into_owned())
}
