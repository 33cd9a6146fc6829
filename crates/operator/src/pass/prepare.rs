//! What a pass is about, and on which server: whatever can be said without it is said. Kubernetes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use exec::Server;

use super::{Error, SOON, admitted, aside, deferral, departures, failed, gather, report, resolve};
use crate::conditions::Finding;
use crate::context::Context;
use crate::ledger::Entry;
use crate::passes::Next;
use crate::patch;
use crate::resource::{DatabaseKey, Resource, ServerKey};
use crate::servers::Address;

/// What there is to do, and where.
pub(super) struct Prepared {
    /// Where.
    pub(super) server: Arc<Server>,
    /// For these.
    pub(super) resources: Vec<Resource>,
    /// What is left to do on the server for resources that are gone.
    pub(super) entries: Vec<Arc<Entry>>,
}

/// Finds out, or tells when to look again where there is nothing to do on a server. `name` is told on whose behalf.
pub(super) async fn prepare(
    context: &Context,
    key: &DatabaseKey,
    name: impl FnOnce(&Resource),
) -> Result<ControlFlow<Next, Prepared>, Error> {
    // Not for longer: a thousand passes can wait for their turn, each with what there was when it came.
    let (resources, entries) = {
        let census = gather::census(context);
        (census.of(key), departures::on(context, &census.all, &key.server))
    };
    let is_over = |resources: &[Resource], entries: &[Arc<Entry>]| {
        resources.is_empty() && !entries.iter().any(|entry| departures::is_of(entry, key))
    };
    if is_over(&resources, &entries) {
        context.memory.forget(key);
        context.pauses.clear(key);
        return Ok(ControlFlow::Break(Next::Never));
    }
    let resources = aside::set_aside(context, resources).await?;
    if is_over(&resources, &entries) {
        return Ok(ControlFlow::Break(Next::Never));
    }
    let database = resources.iter().find(|one| matches!(one, Resource::Database(_)));
    if let Some(resource) = database.or(resources.first()) {
        name(resource);
    }
    let address = departures::address(context, key, &resources, &entries);
    let those = refused(context, &key.server, address.as_ref(), &resources);
    let resources = refuse(context, &those, resources).await?;
    if is_over(&resources, &entries) {
        return Ok(ControlFlow::Break(Next::Resync));
    }
    let server = match server(context, &key.server, &resources).await {
        Ok(server) => server,
        // Its Secret is watched.
        Err(_) if resources.is_empty() => return Ok(ControlFlow::Break(Next::Resync)),
        Err(finding) => {
            failed(context, &resources, &finding).await?;
            return Ok(ControlFlow::Break(Next::After(SOON * 30)));
        }
    };
    // Now that its credentials were read it is known where it is, and who else is there.
    let mut those = resolve::lent(context, &key.server, &server, &resources);
    those.extend(refused(context, &key.server, Some(&Address::of(&server)), &resources));
    let resources = refuse(context, &those, resources).await?;
    let entries = departures::allowed(context, &key.server, &server, entries);
    if is_over(&resources, &entries) {
        return Ok(ControlFlow::Break(Next::Resync));
    }
    Ok(ControlFlow::Continue(Prepared { server, resources, entries }))
}

/// Why some of these resources of this server are refused, by uid.
fn refused(
    context: &Context,
    server: &ServerKey,
    address: Option<&Address>,
    resources: &[Resource],
) -> BTreeMap<String, Finding> {
    let admission = admitted(context, server, address);
    let refused = |one: &Resource| Some((one.uid().to_owned(), admission.refused.get(one.uid())?.clone()));
    resources.iter().filter_map(refused).collect()
}

/// Reports the resources that are refused, lets go those of them that were deleted, and gives back the others.
async fn refuse(
    context: &Context,
    refused: &BTreeMap<String, Finding>,
    resources: Vec<Resource>,
) -> Result<Vec<Resource>, kube::Error> {
    let mut served = Vec::new();
    for resource in resources {
        match refused.get(resource.uid()) {
            None => served.push(resource),
            Some(finding) if resource.is_leaving() && aside::may_go(context, &resource) => {
                deferral::hold(context, &resource, finding).await?;
            }
            Some(_) if aside::may_go(context, &resource) => {
                patch::remove_finalizer(&context.client, &resource).await?;
            }
            Some(finding) => report::failure(context, &[resource], finding).await?,
        }
    }
    Ok(served)
}

/// The server, or why not. What is deleted together with its admin credentials is cleaned up with what they were.
async fn server(context: &Context, key: &ServerKey, resources: &[Resource]) -> Result<Arc<Server>, Finding> {
    match (resolve::server(context, key).await, key) {
        (Ok(server), _) => Ok(server),
        (Err(error), ServerKey::Named { host, secret })
            if !resources.is_empty() && resources.iter().all(Resource::is_deleting) =>
        {
            context.servers.last_named(host, secret).ok_or_else(|| error.finding())
        }
        (Err(error), _) => Err(error.finding()),
    }
}
