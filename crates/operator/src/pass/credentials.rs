//! Passwords and the Secrets that hold them, as a pass needs them. Kubernetes.

use std::collections::BTreeSet;

use exec::{Password, check_usable, random_password};
use futures::future::join_all;
use kube::core::Status;
use plan::{Catalog, Ident, PasswordState, Plan};

use super::Error;
use super::secrets::{self, Relation};
use super::verify::Expected;
use super::work::{State, Work};
use crate::conditions::{Finding, Reason};
use crate::resource::{ObjectName, Resource};
use crate::vault::{Contents, Freshness};

/// A Secret that is to be as its resource wants it.
pub(super) struct Due {
    resource: Resource,
    role: Ident,
    /// Whether the password in it decides.
    leads: bool,
    /// Whether there is no usable password yet.
    pub(super) is_new: bool,
}

/// A Secret that is as it should be.
struct Written {
    /// Whether it was not before.
    is_new: bool,
    /// The password in it, where this is the Secret that decides.
    expected: Option<Expected>,
}

impl Work<'_> {
    /// The passwords that are in their Secrets, and what the server is sent of them.
    pub(super) async fn read_passwords(&self, state: &mut State) -> Result<(), Error> {
        let leaders: Vec<_> = {
            let cast = self.cast(state);
            let everyone = state.resources.iter().chain(&state.everyone).filter(|one| !one.is_deleting());
            let active = everyone.filter_map(|one| cast.leader(one.role()).cloned());
            // What was never taken over has to be proved to be let go of.
            let leaving = cast.resources.iter().filter(|one| one.is_deleting() && one.is_untaken());
            active.chain(leaving.filter(|one| cast.leader(one.role()).is_none()).cloned()).collect()
        };
        for leader in leaders {
            let secret = leader.secret();
            let found = self.context.vault.read(&self.context.caches, &secret, Freshness::Watched).await?;
            let Some(found) =
                found.filter(|found| self.relation(&secret, found, &leader) != Relation::Foreign)
            else {
                continue;
            };
            let Some(password) = usable_password(&found) else { continue };
            let role: Ident = leader.role().parse()?;
            self.expect(
                state,
                role,
                Expected { secret, version: found.version.clone(), password: password.clone() },
            );
        }
        Ok(())
    }

    fn expect(&self, state: &mut State, role: Ident, expected: Expected) {
        let (vault, version) = (&self.context.vault, (&expected.secret, &expected.version));
        if let Some(sent) = vault.new_password(self.server.passwords, version, &expected.password) {
            state.passwords.insert(role.clone(), sent);
        }
        state.expected.insert(role, expected);
    }

    pub(super) fn relation(&self, name: &ObjectName, found: &Contents, resource: &Resource) -> Relation {
        secrets::relation(&self.context.namespace, name, found, resource)
    }

    /// The Secrets that can be brought to what they should be: once the server has answered and the database is
    /// there. A new one comes last, when its login has everything but the password.
    pub(super) fn secrets_due(
        &self,
        state: &State,
        catalog: &Catalog,
        next: &Plan,
    ) -> Result<Vec<Due>, plan::IdentError> {
        let mut due = Vec::new();
        if catalog.contents.is_none() {
            return Ok(due);
        }
        let cast = self.cast(state);
        for resource in cast.active() {
            let role: Ident = resource.role().parse()?;
            let leads = cast.leader(resource.role()).is_some_and(|leader| leader.uid() == resource.uid());
            let is_new = !state.expected.contains_key(&role);
            let is_withheld = next.withheld.iter().any(|withheld| match withheld {
                plan::Withheld::Role { role: found, .. } => *found == role,
                plan::Withheld::Database { .. } | plan::Withheld::DatabaseMissing { .. } => true,
                _ => false,
            });
            if !is_withheld && (!is_new || (leads && next.is_empty())) {
                due.push(Due { resource: resource.clone(), role, leads, is_new });
            }
        }
        Ok(due)
    }

    /// Brings the Secrets to what they should be. Tells the roles whose password is new.
    pub(super) async fn write_secrets(
        &self,
        state: &mut State,
        due: Vec<Due>,
    ) -> Result<BTreeSet<Ident>, Error> {
        let mut new = BTreeSet::new();
        // All at once: each login waits for the password of all.
        let written = join_all(due.iter().map(|due| self.write_secret(state, due))).await;
        for (Due { resource, role, .. }, written) in due.into_iter().zip(written) {
            match written {
                Ok(Some(written)) => {
                    if written.is_new {
                        state.outcome.secrets_written.push(resource.uid().to_owned());
                    }
                    if let Some(expected) = written.expected {
                        let found = state.expected.get(&role);
                        if found.is_none_or(|found| found.password != expected.password) {
                            new.insert(role.clone());
                        }
                        self.expect(state, role, expected);
                    }
                }
                Ok(None) => (),
                // One Secret that cannot be written must not cost the others of the database theirs.
                Err(kube::Error::Api(status)) if is_refusal(&status) => {
                    let message = format!("Secret {}: {}", resource.secret(), status.message);
                    let finding = Finding { reason: Reason::SecretRefused, message };
                    state.outcome.refused_secrets.insert(resource.uid().to_owned(), finding);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(new)
    }

    /// Brings one Secret to what it should be; `None` when it cannot or may not be written.
    async fn write_secret(&self, state: &State, due: &Due) -> Result<Option<Written>, kube::Error> {
        let Due { resource, role, leads, .. } = due;
        let secret = resource.secret();
        let present = state.expected.get(role).map(|expected| expected.password.clone());
        let mut freshness = Freshness::Watched;
        let (found, written) = loop {
            let found = self.context.vault.read(&self.context.caches, &secret, freshness).await?;
            if found
                .as_deref()
                .is_some_and(|found| self.relation(&secret, found, resource) == Relation::Foreign)
            {
                return Ok(None);
            }
            let password = match *leads {
                true => self.leading_password(resource, found.as_deref()).await?,
                // The eldest resource's pass makes it; its Secret wakes this one.
                false => present.clone(),
            };
            let Some(password) = password else { return Ok(None) };
            let wanted = secrets::wanted(resource, &password, &self.server.host, self.server.port);
            match secrets::write(self.context, resource, found.as_deref(), &wanted).await {
                // Somebody was faster, or the watch lags behind.
                Err(kube::Error::Api(status)) if status.code == 409 && freshness == Freshness::Watched => {
                    freshness = Freshness::Now;
                }
                written => break (found, written?),
            }
        };
        let is_new = written.is_some();
        let expected = written.or(found).filter(|_| *leads).and_then(|right| {
            let (version, password) = (right.version.clone(), right.password()?.clone());
            Some(Expected { secret, version, password })
        });
        Ok(Some(Written { is_new, expected }))
    }

    /// What is in the Secret now, although it was read before: whoever changed or deleted it since meant it. `None`
    /// when that cannot be used: a person's words are not written over, and the next pass says so.
    async fn leading_password(
        &self,
        resource: &Resource,
        found: Option<&Contents>,
    ) -> Result<Option<Password>, kube::Error> {
        let present = found.and_then(Contents::password).filter(|password| !password.expose().is_empty());
        if let Some(password) = present {
            return Ok(Some(password.clone()).filter(|password| check_usable(password).is_ok()));
        }
        if let Some(former) = self.former_password(resource).await? {
            return Ok(Some(former));
        }
        Ok(Some(self.sharers_password(resource).await?.unwrap_or_else(random_password)))
    }

    /// The password of others that share the role, for a resource that is new: its elder may have been seen later, and
    /// somebody uses that password by now.
    async fn sharers_password(&self, resource: &Resource) -> Result<Option<Password>, kube::Error> {
        let shares = |other: &&Resource| {
            other.role() == resource.role()
                && other.namespace() == resource.namespace()
                && other.uid() != resource.uid()
        };
        let is_new = resource.provisioned().is_none();
        for sharer in self.admission.accepted.iter().filter(shares).filter(|_| is_new) {
            let secret = sharer.secret();
            let found = self.context.vault.read(&self.context.caches, &secret, Freshness::Watched).await?;
            let found = found.filter(|found| self.relation(&secret, found, sharer) != Relation::Foreign);
            if let Some(password) = found.as_deref().and_then(usable_password) {
                return Ok(Some(password.clone()));
            }
        }
        Ok(None)
    }

    /// The password in the Secret that the resource named before: it moves with the resource.
    async fn former_password(&self, resource: &Resource) -> Result<Option<Password>, kube::Error> {
        let Some(former) = former_secret(resource) else { return Ok(None) };
        let is_same_role =
            resource.provisioned().is_some_and(|found| found.role.as_deref() == Some(resource.role()));
        let found = self.context.vault.read(&self.context.caches, &former, Freshness::Watched).await?;
        let is_its = |found: &Contents| self.relation(&former, found, resource) != Relation::Foreign;
        let found = found.filter(|found| is_same_role && is_its(found));
        Ok(found.as_deref().and_then(usable_password).cloned())
    }
}

/// Whether trying again would get the same answer.
const fn is_refusal(status: &Status) -> bool {
    matches!(status.code, 400 | 403 | 422)
}

fn usable_password(contents: &Contents) -> Option<&Password> {
    contents.password().filter(|password| check_usable(password).is_ok())
}

/// Where the credentials were before `secretName` or `secretNamespace` changed.
fn former_secret(resource: &Resource) -> Option<ObjectName> {
    resource.provisioned()?.secret().filter(|former| *former != resource.secret())
}

/// All Secrets that held the credentials before and may still be there.
pub(super) fn former_secrets(resource: &Resource) -> Vec<ObjectName> {
    let Some(found) = resource.provisioned() else { return Vec::new() };
    let listed = found.former_secrets.iter();
    let listed = listed.map(|one| ObjectName { namespace: one.namespace.clone(), name: one.name.clone() });
    let mut all: Vec<_> = listed.chain(found.secret()).filter(|one| *one != resource.secret()).collect();
    all.sort();
    all.dedup();
    all
}

/// A password that is new is no role's yet.
pub(super) fn distrust(catalog: &mut Catalog, new: &BTreeSet<Ident>) {
    for role in catalog.roles.values_mut().filter(|role| new.contains(&role.name)) {
        role.password = PasswordState::Differs;
    }
}
