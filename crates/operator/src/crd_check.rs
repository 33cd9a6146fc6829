//! Waits until the API server knows both kinds as this program does: a field that it does not know is pruned
//! silently, and what is left would be provisioned.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::{Api, Client, ResourceExt as _};

use crate::api::{VERSION, crds};

const PAUSE: Duration = Duration::from_secs(2);

/// Returns once both kinds are served as they should be. Says once what is wrong, whenever that changes.
pub async fn wait(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut said = String::new();
    loop {
        let mut problems = Vec::new();
        for wanted in crds() {
            problems.extend(check(&api, &wanted).await);
        }
        if problems.is_empty() {
            return;
        }
        let problem = problems.join("; ");
        if problem != said {
            tracing::warn!("waiting for the CRDs of this version (kubectl apply -f crds/): {problem}");
            said = problem;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn check(api: &Api<CustomResourceDefinition>, wanted: &CustomResourceDefinition) -> Option<String> {
    let name = wanted.name_any();
    match api.get_opt(&name).await {
        Err(error) => Some(format!("{name} cannot be read: {error}")),
        Ok(None) => Some(format!("{name} is not installed")),
        Ok(Some(found)) => difference(&found, wanted),
    }
}

/// What the installed definition lacks.
fn difference(found: &CustomResourceDefinition, wanted: &CustomResourceDefinition) -> Option<String> {
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
