//! Passwords and the Secrets that hold them, as a pass needs them. Kubernetes.

use exec::{Password, check_usable, random_password, scram};
use plan::{Catalog, Ident, PasswordState, Plan};

use super::Error;
use super::secrets::{self, Relation};
use super::verify::Expected;
use super::work::{State, Work};
use crate::resource::{ObjectName, Resource};
use crate::vault::{Contents, Freshness};

impl Work<'_> {
    /// The passwords that are in their Secrets, and verifiers of them.
    pub(super) async fn read_passwords(&self, state: &mut State) -> Result<(), Error> {
        let leaders: Vec<_> = {
            let cast = self.cast(state);
            cast.active().filter_map(|one| cast.leader(one.role()).cloned()).collect()
        };
        for leader in leaders {
            let secret = leader.secret();
            let found = self.context.vault.read(&self.context.caches, &secret, Freshness::Watched).await?;
            let Some(found) = found.filter(|found| secrets::relation(found, &leader) != Relation::Foreign)
            else {
                continue;
            };
            let Some(password) = found.password().filter(|password| check_usable(password).is_ok()) else {
                continue;
            };
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
        let vault = &self.context.vault;
        let verifier = vault.verifier(&expected.secret, &expected.version).or_else(|| {
            let verifier = scram::verifier(&expected.password).ok()?;
            vault.set_verifier(&expected.secret, &expected.version, verifier.clone());
            Some(verifier)
        });
        if let Some(verifier) = verifier {
            state.verifiers.insert(role.clone(), verifier);
        }
        state.expected.insert(role, expected);
    }

    /// Brings the Secrets to what they should be once the server has answered and the database is there. True when
    /// a password is new.
    pub(super) async fn write_secrets(
        &self,
        state: &mut State,
        catalog: &Catalog,
        next: &Plan,
    ) -> Result<bool, Error> {
        if catalog.contents.is_none() {
            return Ok(false);
        }
        let active: Vec<_> = state.resources.iter().filter(|one| !one.is_deleting()).cloned().collect();
        let mut is_new = false;
        for resource in active {
            let role: Ident = resource.role().parse()?;
            let is_withheld = next.withheld.iter().any(|withheld| match withheld {
                plan::Withheld::Role { role: found, .. } => *found == role,
                plan::Withheld::Database { .. } | plan::Withheld::DatabaseMissing { .. } => true,
                _ => false,
            });
            if !is_withheld {
                is_new |= self.write_secret(state, &resource, role).await?;
            }
        }
        Ok(is_new)
    }

    async fn write_secret(&self, state: &mut State, resource: &Resource, role: Ident) -> Result<bool, Error> {
        let secret = resource.secret();
        let present = state.expected.get(&role).map(|expected| expected.password.clone());
        let leads =
            self.cast(state).leader(resource.role()).is_some_and(|leader| leader.uid() == resource.uid());
        let mut freshness = Freshness::Watched;
        let (found, written) = loop {
            let found = self.context.vault.read(&self.context.caches, &secret, freshness).await?;
            if found.as_deref().is_some_and(|found| secrets::relation(found, resource) == Relation::Foreign) {
                return Ok(false);
            }
            let password = match (&present, leads) {
                (Some(password), _) => password.clone(),
                (None, true) => self.first_password(resource, found.as_deref()).await?,
                // The eldest resource's pass makes it; its Secret wakes this one.
                (None, false) => return Ok(false),
            };
            let wanted = secrets::wanted(resource, &password, &self.server.host, self.server.port);
            match secrets::write(self.context, resource, found.as_deref(), &wanted).await {
                // Somebody was faster, or the watch lags behind.
                Err(kube::Error::Api(status)) if status.code == 409 && freshness == Freshness::Watched => {
                    freshness = Freshness::Now;
                }
                written => break (found, written?),
            }
        };
        if written.is_some() {
            state.outcome.secrets_written.push(resource.uid().to_owned());
        }
        let Some(right) = written.or(found).filter(|_| leads) else { return Ok(false) };
        let Some(password) = right.password().cloned() else { return Ok(false) };
        let is_new = state.expected.get(&role).is_none_or(|expected| expected.password != password);
        self.expect(state, role, Expected { secret, version: right.version.clone(), password });
        Ok(is_new)
    }

    /// The password of a role that has none: what is in the Secret already, what was in the former one, a new one.
    async fn first_password(
        &self,
        resource: &Resource,
        found: Option<&Contents>,
    ) -> Result<Password, kube::Error> {
        let present = found.and_then(|found| found.password().cloned());
        if let Some(present) = present.filter(|password| check_usable(password).is_ok()) {
            return Ok(present);
        }
        Ok(self.former_password(resource).await?.unwrap_or_else(random_password))
    }

    /// The password in the Secret that the resource named before: it moves with the resource.
    async fn former_password(&self, resource: &Resource) -> Result<Option<Password>, kube::Error> {
        let Some(former) = former_secret(resource) else { return Ok(None) };
        let is_same_role =
            resource.provisioned().is_some_and(|found| found.role.as_deref() == Some(resource.role()));
        let found = self.context.vault.read(&self.context.caches, &former, Freshness::Watched).await?;
        let found =
            found.filter(|found| is_same_role && secrets::relation(found, resource) != Relation::Foreign);
        Ok(found
            .and_then(|found| found.password().cloned())
            .filter(|password| check_usable(password).is_ok()))
    }
}

/// Where the credentials were before `secretName` or `secretNamespace` changed.
pub(super) fn former_secret(resource: &Resource) -> Option<ObjectName> {
    let found = resource.provisioned()?;
    let former = ObjectName { namespace: found.secret_namespace.clone()?, name: found.secret_name.clone()? };
    (former != resource.secret()).then_some(former)
}

/// A password that was just made is no role's yet.
pub(super) fn distrust(catalog: &mut Catalog, state: &State) {
    for role in catalog.roles.values_mut() {
        if state.expected.contains_key(&role.name) && role.password == PasswordState::Unknown {
            role.password = PasswordState::Differs;
        }
    }
}
