//! What is left to do for resources that are gone: which of it this pass does, and what is done. A pass treats it like
//! a deletion; whoever names a role by now comes first.

use std::sync::Arc;

use exec::Server;
use plan::{Action, Catalog, Refusal, Withheld};

use super::admit::{self, Admission};
use super::work::{State, Work};
use super::{resolve, with_rules};
use crate::api::told::Mode;
use crate::conditions::{Finding, Notice, Reason};
use crate::context::Context;
use crate::ledger::{Entry, Kind};
use crate::resource::{DatabaseKey, Resource, ServerKey, Treatment};
use crate::servers::Address;

/// What is left to do on this server for resources that are really gone. What a former owner of the namespace's name left
/// behind neither sends the admin credentials of the next one anywhere nor stands in anybody's way.
pub(super) fn on(context: &Context, all: &[Resource], server: &ServerKey) -> Vec<Arc<Entry>> {
    if context.settings.mode == Mode::Observe {
        return Vec::new();
    }
    let credentials_from = credentials_from(context, server);
    let mut entries = context.ledger.on(server);
    entries.retain(|entry| {
        entry.credentials_from == credentials_from && !all.iter().any(|resource| resource.uid() == entry.uid)
    });
    entries
}

/// Whether this pass is about it.
pub(super) fn is_of(entry: &Entry, key: &DatabaseKey) -> bool {
    entry.database() == key.database
}

/// What of it may be done: what the admin credentials may be used for is judged as if the resource were still there.
pub(super) fn allowed(
    context: &Context,
    key: &ServerKey,
    server: &Server,
    mut entries: Vec<Arc<Entry>>,
) -> Vec<Arc<Entry>> {
    entries.retain(|entry| {
        let judged = with_rules(context, |rules| admit::check_server(rules, &entry.namespace, key));
        match judged.err().or_else(|| resolve::lends(context, key, server, &entry.namespace)) {
            None => true,
            Some(finding) => {
                tracing::debug!(%entry, reason = finding.message, "what is left to do is not allowed");
                false
            }
        }
    });
    entries
}

/// The uid of the namespace whose admin credentials are used.
pub(super) fn credentials_from(context: &Context, key: &ServerKey) -> Option<String> {
    let ServerKey::Named { secret, .. } = key else { return None };
    context.caches.namespace_uid(&secret.namespace)
}

/// A role that is still to be dropped is no role for another namespace; in its own it is taken over.
pub(super) fn keep_roles(context: &Context, admission: &mut Admission, entries: &[Arc<Entry>]) {
    let accepted = std::mem::take(&mut admission.accepted);
    for resource in accepted {
        let address = resolve::address(context, &resource);
        let identity = address.as_ref().and_then(|address| context.servers.identity(address));
        let has = resolve::recorded(context, &resource)
            .is_some_and(|found| found.role.as_deref() == Some(resource.role()));
        let is_rival = |entry: &&Arc<Entry>| {
            entry.kind == Kind::PostgresUser
                && entry.namespace != resource.namespace()
                // Without a number it is a name that somebody asked for.
                && entry.roles().any(|role| role.name == resource.role() && role.oid.is_some())
                && address.as_ref().is_some_and(|address| entry.is_on(address, identity.as_deref()))
        };
        match entries.iter().find(is_rival).filter(|_| !resource.is_deleting() && !has) {
            None => admission.accepted.push(resource),
            Some(entry) => {
                let message = format!(
                    "{entry} was deleted, and its role {} is still to be dropped (ConfigMap {})",
                    resource.role(),
                    entry.map_name()
                );
                let finding = Finding { reason: Reason::Conflict, message };
                admission.refused.insert(resource.uid().to_owned(), finding);
            }
        }
    }
}

impl Work<'_> {
    /// Whether this server is another one than some of what is left to do speaks of, which was not known before.
    pub(super) fn sets_aside(&self, state: &mut State, catalog: &Catalog) -> bool {
        let identifier = catalog.server.system_identifier.as_deref();
        let elsewhere = self.departures().filter(|entry| !entry.is_on(&self.address, identifier));
        let elsewhere = elsewhere.map(|entry| entry.uid.clone()).collect();
        std::mem::replace(&mut state.elsewhere, elsewhere) != state.elsewhere
    }

    /// What is left to do in this database.
    pub(super) fn departures(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|entry| &**entry).filter(|entry| is_of(entry, self.key))
    }

    /// Takes what is done off the ledger.
    pub(super) async fn work_off(&self, state: &State) -> Result<(), kube::Error> {
        for entry in self.departures() {
            if state.elsewhere.contains(&entry.uid) {
                tracing::debug!(%entry, address = %self.address, "another server answers");
                continue;
            }
            if self.is_merely_looked_at(entry) {
                continue;
            }
            let Some(end) = end(state, entry) else { continue };
            let note = format!("{entry}: {end} on {}", self.address);
            tracing::info!("done for a resource that is gone: {note}");
            self.context.events.publish(self.context.ledger.object(entry), Notice::DeletionCompleted, &note);
            self.context.ledger.remove(&self.context.client, entry).await?;
        }
        Ok(())
    }

    /// Whether a namesake that nothing is done for names a role of it: that does not take the role over.
    fn is_merely_looked_at(&self, entry: &Entry) -> bool {
        let is_looked_at = |one: &Resource| {
            self.context.treatment(one) != Treatment::Reconciled && entry.has_role(one.role())
        };
        self.admission.accepted.iter().any(is_looked_at)
    }
}

/// What became of it; `None` while something is still to be done.
fn end(state: &State, entry: &Entry) -> Option<String> {
    let outcome = &state.outcome;
    let catalog = outcome.catalog.as_ref()?;
    let is_left = |action: &Action| {
        let roles = action.roles();
        let is_databases = roles.is_empty() && entry.kind == Kind::PostgresDatabase;
        is_databases || roles.iter().any(|role| entry.has_role(role.as_str()))
    };
    let is_held = |withheld: &Withheld| match withheld {
        Withheld::CannotLeave { role, .. }
        | Withheld::Role { role, refusal: Refusal::InsufficientPrivilege, .. } => {
            entry.has_role(role.as_str())
        }
        _ => false,
    };
    if outcome.left.iter().any(is_left) || outcome.withheld.iter().any(is_held) {
        return None;
    }
    let ends = entry.roles().map(|role| {
        let is_there = role.name.parse().is_ok_and(|name| catalog.role_oid(&name).is_some());
        let is_anothers = outcome.withheld.iter().any(|withheld| match withheld {
            Withheld::Role { role: found, .. } => found.as_str() == role.name,
            _ => false,
        });
        let holder = state.resources.iter().find(|one| one.role() == role.name && !one.is_deleting());
        match (is_there, is_anothers, holder) {
            (false, ..) => format!("role {} is gone", role.name),
            (true, _, Some(holder)) => format!("role {} is now of {holder}", role.name),
            (true, true, None) => format!("role {} is another's by now and was not touched", role.name),
            (true, false, None) => format!("role {} stays", role.name),
        }
    });
    Some(ends.collect::<Vec<_>>().join(", "))
}

/// Where the server of this pass is, as far as its resources or what is left to do tell.
pub(super) fn address(
    context: &Context,
    key: &DatabaseKey,
    resources: &[Resource],
    entries: &[Arc<Entry>],
) -> Option<Address> {
    let known = match (resources.first(), entries.iter().find(|entry| is_of(entry, key))) {
        (Some(resource), _) => resource.provisioned(),
        (None, entry) => entry.map(|entry| &entry.provisioned),
    };
    resolve::address_of(context, &key.server, known)
}
