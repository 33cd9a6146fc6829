//! Secrets as they were last read: a Secret is read again only when its version has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use exec::{Password, PasswordMode};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use plan::{Ident, NewPassword, PasswordState};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::api::{ANNOTATION_RESOURCE, LABEL_RESOURCE_UID, OPERATOR};
use crate::caches::{Caches, Version};
use crate::lock::lock;
use crate::resource::ObjectName;
use crate::servers::Address;

/// The keys that we own, in the order in which they are shown.
pub const KEYS: [&str; 5] = ["username", "password", "database", "host", "port"];

/// How much is kept of a value: more than the longest that can be used, so that it is still too long. A Secret can be
/// 1 MB, and there can be many.
const LONGEST: usize = 2_000;
/// How many owners are kept.
const OWNERS: usize = 100;

/// What is in a Secret, as far as it matters. All values are kept like passwords.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Which version this is.
    pub version: Version,
    /// When the API server made it.
    pub created: Option<Timestamp>,
    /// The uids of its owners.
    pub owners: Vec<String>,
    /// The uid of the resource that it is labelled with.
    pub label: Option<String>,
    /// The resource that it is annotated with.
    pub annotation: Option<String>,
    /// Whether it is a plain Secret that may be changed.
    pub is_plain: bool,
    /// Whether it has keys that are not ours.
    pub has_others: bool,
    /// Our keys and what is in them; a value that is no text is an empty one, and a long one is cut.
    pub data: BTreeMap<&'static str, Password>,
}

impl Contents {
    /// The password, if there is one.
    pub fn password(&self) -> Option<&Password> {
        self.data.get("password")
    }

    fn of(secret: Secret) -> Option<Self> {
        let Secret { metadata, data, immutable, type_, .. } = secret;
        let mut data = data.unwrap_or_default();
        let ours = KEYS.map(|key| Some((key, text(data.remove(key)?.0))));
        let ObjectMeta { uid, resource_version, owner_references, labels, annotations, .. } = metadata;
        Some(Self {
            version: Version { uid: uid?, resource_version: resource_version? },
            created: metadata.creation_timestamp.map(|time| time.0),
            owners: owner_references.into_iter().flatten().take(OWNERS).map(|owner| owner.uid).collect(),
            label: labels.and_then(|mut labels| labels.remove(LABEL_RESOURCE_UID)),
            annotation: annotations.and_then(|mut annotations| annotations.remove(ANNOTATION_RESOURCE)),
            is_plain: type_.is_none_or(|kind| kind == "Opaque") && immutable != Some(true),
            has_others: !data.is_empty(),
            data: ours.into_iter().flatten().collect(),
        })
    }
}

fn text(bytes: Vec<u8>) -> Password {
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    Password::new(&text[..text.floor_char_boundary(LONGEST)])
}

/// How current an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As the watch has it.
    Watched,
    /// As the API server has it now: the watch lags behind our own writes.
    Now,
}

/// Secrets by name, each read once per version.
pub struct Vault {
    client: Client,
    known: Mutex<BTreeMap<ObjectName, Known>>,
}

#[derive(Clone)]
struct Known {
    contents: Arc<Contents>,
    /// Set while the watch has not shown this version.
    unseen: Option<Unseen>,
    /// What a server is sent of the password, once that was needed: a verifier has a salt, which stays.
    sent: Option<(PasswordMode, NewPassword)>,
    /// The last login with the password, where verifiers cannot be read.
    login: Option<Login>,
}

/// What a login showed. Of another role, or on another server, it shows nothing.
#[derive(Clone)]
struct Login {
    address: Address,
    role: Ident,
    when: Instant,
    state: PasswordState,
}

/// A version that the watch has not shown: it lags behind our own writes.
#[derive(Clone)]
struct Unseen {
    /// What the watch shows as long as it lags behind.
    over: Option<Version>,
    since: Instant,
}

/// How long the watch may lag behind: it can have been broken while a Secret came and went.
const LAG: Duration = Duration::from_secs(10);

impl Known {
    /// Whether this is what there is, when the watch shows this version.
    fn is_current(&self, shown: Option<&Version>) -> bool {
        let lags = |unseen: &Unseen| unseen.over.as_ref() == shown && unseen.since.elapsed() < LAG;
        shown == Some(&self.contents.version) || self.unseen.as_ref().is_some_and(lags)
    }
}

impl Vault {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// What is in a Secret; `None` when there is none.
    pub async fn read(
        &self,
        caches: &Caches,
        name: &ObjectName,
        freshness: Freshness,
    ) -> Result<Option<Arc<Contents>>, kube::Error> {
        let shown = caches.secret_version(name);
        if freshness == Freshness::Watched && caches.watches(&name.namespace) {
            let current =
                |known: &mut Known| known.is_current(shown.as_ref()).then(|| known.contents.clone());
            let known = self.with(name, current).flatten();
            if known.is_some() {
                return Ok(known);
            }
            if shown.is_none() {
                self.forget(name);
                return Ok(None);
            }
        }
        let found = self.api(name).get_opt(&name.name).await?;
        Ok(found.and_then(|secret| self.learn(name, secret, Unseen { over: shown, since: Instant::now() })))
    }

    /// Makes a Secret that is not there.
    pub async fn create(
        &self,
        name: &ObjectName,
        secret: &Secret,
    ) -> Result<Option<Arc<Contents>>, kube::Error> {
        let created = self.api(name).create(&PostParams::default(), secret).await?;
        Ok(self.learn(name, created, Unseen { over: None, since: Instant::now() }))
    }

    /// Changes this version of a Secret by a merge patch.
    pub async fn patch(
        &self,
        name: &ObjectName,
        version: &Version,
        patch: &serde_json::Value,
    ) -> Result<Option<Arc<Contents>>, kube::Error> {
        let params = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
        let patched = self.api(name).patch(&name.name, &params, &Patch::Merge(patch)).await?;
        let unseen = Unseen { over: Some(version.clone()), since: Instant::now() };
        Ok(self.learn(name, patched, unseen))
    }

    /// Deletes this version of a Secret: whoever changed it since may have made it his. Whether it is gone already does
    /// not matter.
    pub async fn delete(&self, name: &ObjectName, version: &Version) -> Result<(), kube::Error> {
        let Version { uid, resource_version } = version.clone();
        let preconditions = Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = self.api(name).delete(&name.name, &params).await;
        self.forget(name);
        match deleted {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            deleted => deleted.map(|_| ()),
        }
    }

    /// Which version of a Secret there is: the watch's, or that of our own write that it has not shown yet.
    pub fn version(&self, caches: &Caches, name: &ObjectName) -> Option<Version> {
        let shown = caches.secret_version(name);
        let current =
            |known: &mut Known| known.is_current(shown.as_ref()).then(|| known.contents.version.clone());
        self.with(name, current).flatten().or(shown)
    }

    /// Notes what the watch shows; true when that is what was read or written last.
    pub fn saw(&self, name: &ObjectName, shown: Option<&Version>) -> bool {
        let Some(shown) = shown else {
            self.forget(name);
            return false;
        };
        self.with_version(name, shown, |known| known.unseen = None).is_some()
    }

    /// What a server of this mode is sent of the password in this version; `None` when that is unusable.
    pub fn new_password(
        &self,
        mode: PasswordMode,
        (name, version): (&ObjectName, &Version),
        password: &Password,
    ) -> Option<NewPassword> {
        let known = self.with_version(name, version, |known| known.sent.clone()).flatten();
        if let Some((_, sent)) = known.filter(|(found, _)| *found == mode) {
            return Some(sent);
        }
        let sent = exec::new_password(mode, password).ok()?;
        self.with_version(name, version, |known| known.sent = Some((mode, sent.clone())));
        Some(sent)
    }

    /// What the last login as this role of this server with the password in this version showed, and when.
    pub fn login(
        &self,
        (name, version): (&ObjectName, &Version),
        (address, role): (&Address, &Ident),
    ) -> Option<(Instant, PasswordState)> {
        let found = self.with_version(name, version, |known| known.login.clone()).flatten();
        let found = found.filter(|found| found.address == *address && found.role == *role);
        found.map(|found| (found.when, found.state))
    }

    /// Remembers what a login as this role of this server with the password in this version showed.
    pub fn set_login(
        &self,
        (name, version): (&ObjectName, &Version),
        (address, role): (&Address, &Ident),
        state: PasswordState,
    ) {
        let login = Login { address: address.clone(), role: role.clone(), when: Instant::now(), state };
        self.with_version(name, version, |known| known.login = Some(login));
    }

    fn api(&self, name: &ObjectName) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &name.namespace)
    }

    fn learn(&self, name: &ObjectName, secret: Secret, unseen: Unseen) -> Option<Arc<Contents>> {
        let contents = Arc::new(Contents::of(secret)?);
        let mut known = self.lock();
        let is_known = known.get(name).is_some_and(|known| known.contents.version == contents.version);
        if !is_known {
            let unseen = Some(unseen).filter(|unseen| unseen.over.as_ref() != Some(&contents.version));
            let entry = Known { contents: contents.clone(), unseen, sent: None, login: None };
            known.insert(name.clone(), entry);
        }
        Some(contents)
    }

    fn forget(&self, name: &ObjectName) {
        self.lock().remove(name);
    }

    fn with<T>(&self, name: &ObjectName, f: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.lock().get_mut(name).map(f)
    }

    fn with_version<T>(
        &self,
        name: &ObjectName,
        version: &Version,
        f: impl FnOnce(&mut Known) -> T,
    ) -> Option<T> {
        self.lock().get_mut(name).filter(|known| known.contents.version == *version).map(f)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectName, Known>> {
        lock(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_secret_is_never_shown() {
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "metadata": { "uid": "u", "resourceVersion": "1" },
            "data": { "password": "aHVudGVyMg==" },
        }))
        .unwrap();
        let contents = Contents::of(secret).unwrap();
        assert_eq!(contents.password().unwrap().expose(), "hunter2");
        assert!(!format!("{contents:?}").contains("hunter2"));
    }

    #[test]
    fn a_large_secret_takes_little_memory_and_its_password_is_still_too_long() {
        let large = "eHh4".repeat(1 << 18);
        let secret: Secret = serde_json::from_value(serde_json::json!({
            "metadata": { "uid": "u", "resourceVersion": "1" },
            "data": { "password": large, "other": large },
        }))
        .unwrap();
        let contents = Contents::of(secret).unwrap();
        let kept: usize = contents.data.values().map(|value| value.expose().len()).sum();
        assert!(contents.has_others && kept <= LONGEST, "{kept}");
        let found = exec::check_usable(contents.password().unwrap());
        assert_eq!(found, Err(exec::PasswordError::TooLong));
    }
}
