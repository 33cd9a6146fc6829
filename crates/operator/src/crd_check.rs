//! Waits until the API server knows both kinds as this program does, and notices when it no longer does: a field that it
//! does not know is pruned silently, and what is left would be provisioned. Kubernetes.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::api::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};

use crate::api::{VERSION, crds};
use crate::crd_apply::{Absent, bring_up};
use crate::manners::WatchPauses;
use crate::settings::Definitions;

const PAUSE: Duration = Duration::from_secs(2);
/// What was just made is served a moment later.
const MOMENT: Duration = Duration::from_millis(100);

/// How a definition is.
enum State {
    Right,
    /// The API server is about to serve it.
    Pending,
    Wrong(String),
}

/// Returns once both kinds are served as they should be, and brings them there if that is the operator's to do. Says
/// once what is wrong, whenever that changes.
pub async fn wait(client: &Client, definitions: Definitions, absent: Absent) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut said = String::new();
    loop {
        let (mut problems, mut is_pending) = (Vec::new(), false);
        for wanted in crds() {
            match settle(&api, &wanted, definitions, absent).await {
                State::Right => (),
                State::Pending => is_pending = true,
                State::Wrong(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() && !is_pending {
            return;
        }
        let problem = problems.join("; ");
        if problem != said && !problem.is_empty() {
            let way = match definitions {
                Definitions::Apply => "",
                Definitions::Compare => {
                    " (postgres-provisioner crds | kubectl apply --server-side --force-conflicts -f -)"
                }
            };
            tracing::warn!("waiting for the CRDs of this version{way}: {problem}");
            said = problem;
        }
        tokio::time::sleep(if problems.is_empty() { MOMENT } else { PAUSE }).await;
    }
}

/// Returns once a definition is no longer as it should be, with what is wrong. An API server that does not answer is no
/// reason.
pub async fn lost(client: &Client) -> String {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let watches = crds().into_iter().map(|wanted| {
        let metadata: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
        let changes = watcher::watch_object(metadata, &wanted.name_any()).backoff(WatchPauses::default());
        changes.map(move |_| wanted.clone()).boxed()
    });
    let mut changes = futures::stream::select_all(watches);
    while let Some(wanted) = changes.next().await {
        let problem = loop {
            match api.get_opt(&wanted.name_any()).await {
                Ok(found) => break compare(found.as_ref(), &wanted),
                Err(error) => tracing::debug!(%error, "a CRD cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        if let Some(problem) = problem {
            return problem;
        }
    }
    "the watch of the CRDs ended".to_owned()
}

async fn settle(
    api: &Api<CustomResourceDefinition>,
    wanted: &CustomResourceDefinition,
    definitions: Definitions,
    absent: Absent,
) -> State {
    let name = wanted.name_any();
    let mut found = match api.get_opt(&name).await {
        Ok(found) => found,
        Err(error) => return State::Wrong(format!("{name} cannot be read: {error}")),
    };
    if definitions == Definitions::Apply {
        found = match bring_up(api, found, wanted, absent).await {
            Ok(found) => found,
            Err(error) => return State::Wrong(format!("{name} cannot be applied: {error}")),
        };
    }
    match compare(found.as_ref(), wanted) {
        Some(problem) => State::Wrong(problem),
        None if found.as_ref().is_some_and(is_established) => State::Right,
        None => State::Pending,
    }
}

fn compare(found: Option<&CustomResourceDefinition>, wanted: &CustomResourceDefinition) -> Option<String> {
    match found {
        None => Some(format!("{} is not installed", wanted.name_any())),
        Some(found) => difference(found, wanted),
    }
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Established" && one.status == "True")
}

/// What the installed definition lacks.
pub(crate) fn difference(
    found: &CustomResourceDefinition,
    wanted: &CustomResourceDefinition,
) -> Option<String> {
    let name = wanted.name_any();
    let (Some(found), Some(wanted)) = (version(found), version(wanted)) else {
        return Some(format!("{name} does not serve {VERSION}"));
    };
    let mut missing = Vec::new();
    if let (Some(found), Some(wanted)) = (schema(found), schema(wanted)) {
        push_missing(found, wanted, "", &mut missing);
    }
    if schema(found).is_none() {
        missing.push("its schema".to_owned());
    }
    (!missing.is_empty())
        .then(|| format!("{name} is older than this program, it lacks {}", missing.join(", ")))
}

fn version(crd: &CustomResourceDefinition) -> Option<&CustomResourceDefinitionVersion> {
    crd.spec.versions.iter().find(|version| version.name == VERSION && version.served)
}

fn schema(version: &CustomResourceDefinitionVersion) -> Option<&JSONSchemaProps> {
    version.schema.as_ref()?.open_api_v3_schema.as_ref()
}

fn push_missing(found: &JSONSchemaProps, wanted: &JSONSchemaProps, path: &str, missing: &mut Vec<String>) {
    if found.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    for (name, wanted) in wanted.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        match found.properties.as_ref().and_then(|properties| properties.get(name)) {
            None => missing.push(path.trim_start_matches('.').to_owned()),
            Some(found) => push_missing(found, wanted, &path, missing),
        }
    }
    if let (Some(JSONSchemaPropsOrArray::Schema(found)), Some(JSONSchemaPropsOrArray::Schema(wanted))) =
        (&found.items, &wanted.items)
    {
        push_missing(found, wanted, path, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> CustomResourceDefinition {
        crds().into_iter().find(|crd| crd.spec.names.kind == "PostgresUser").unwrap()
    }

    fn spec_of(crd: &mut CustomResourceDefinition) -> &mut JSONSchemaProps {
        let schema = crd.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        schema.properties.as_mut().unwrap().get_mut("spec").unwrap()
    }

    #[test]
    fn its_own_definitions_are_right() {
        assert_eq!(difference(&user(), &user()), None);
    }

    #[test]
    fn a_field_that_would_be_pruned_is_named() {
        let mut older = user();
        spec_of(&mut older).properties.as_mut().unwrap().remove("prune");
        let difference = difference(&older, &user()).unwrap();
        assert!(difference.ends_with("it lacks spec.prune"), "{difference}");
    }

    #[test]
    fn a_newer_definition_is_right() {
        let mut newer = user();
        spec_of(&mut newer).properties.as_mut().unwrap().insert("later".into(), JSONSchemaProps::default());
        assert_eq!(difference(&newer, &user()), None);
    }

    #[test]
    fn a_version_that_is_not_served_is_missing() {
        let mut unserved = user();
        unserved.spec.versions[0].served = false;
        assert!(difference(&unserved, &user()).is_some());
    }
}
