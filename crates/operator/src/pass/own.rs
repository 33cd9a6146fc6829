//! Who the operator's own server is. PostgreSQL.

use exec::Sessions;
use plan::Desired;

use super::verify;
use crate::context::Context;
use crate::servers::{Address, backoff_key};

/// Asks the operator's own server who it is, unless that is known: resources may name it in another way. One that does
/// not answer is no other server by another name.
pub(super) async fn know_own(context: &Context) {
    let Some(own) = context.server.as_deref() else { return };
    let address = Address::of(own);
    if context.servers.identity(&address).is_some()
        || !context.servers.backoffs.is_free(&backoff_key(own))
        || !context.servers.may_ask_own()
    {
        return;
    }
    let verifier = verify::Verifier::new(context, address.clone());
    let mut sessions = Sessions::new(own, &verifier).with_licence(&context.term);
    match sessions.read(&Desired::new(own.maintenance.clone())).await {
        Ok(catalog) => {
            context.servers.own_answered();
            context.servers.identify(&address, &catalog);
        }
        Err(error) => tracing::debug!(%error, "the operator's own server does not say who it is"),
    }
    sessions.close().await;
}
