//! Installs the definitions of both kinds and upgrades them; Helm does neither to those of a release that is there.
//! Kubernetes.

use std::cmp::Ordering;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use semver::Version;

use crate::api::{ANNOTATION_VERSION, OPERATOR};
use crate::crd_check::difference;

/// What is done about a definition that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is created.
    Create,
    /// It is waited for: whoever deleted it while the operator ran meant that.
    Wait,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Create,
    Upgrade,
}

/// Brings one definition to what is wanted, and returns what there is then. One of a later version stays as it is, so
/// that an older replica or a rolled back operator takes no field away.
///
/// # Errors
///
/// What the API server says.
pub async fn bring_up(
    api: &Api<CustomResourceDefinition>,
    found: Option<CustomResourceDefinition>,
    wanted: &CustomResourceDefinition,
    absent: Absent,
) -> Result<Option<CustomResourceDefinition>, kube::Error> {
    let name = wanted.name_any();
    let applied = match step(found.as_ref(), wanted, absent) {
        Step::Nothing => return Ok(found),
        Step::Create => {
            let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..PostParams::default() };
            match api.create(&params, wanted).await {
                // Another replica was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => return api.get_opt(&name).await,
                created => created?,
            }
        }
        // By force: Helm or kubectl installed the older one, and what is asked for is the operator's to know. Labels,
        // annotations and whatever else they have set besides stay.
        Step::Upgrade => {
            api.patch(&name, &PatchParams::apply(OPERATOR).force(), &Patch::Apply(wanted)).await?
        }
    };
    let before = found.as_ref().and_then(version).map_or("none".to_owned(), |version| version.to_string());
    tracing::info!(%name, before, "CRD applied");
    Ok(Some(applied))
}

fn step(found: Option<&CustomResourceDefinition>, wanted: &CustomResourceDefinition, absent: Absent) -> Step {
    let Some(found) = found else {
        return if absent == Absent::Create { Step::Create } else { Step::Nothing };
    };
    // It is on its way out, with every resource of its kind: nothing is to be kept of it.
    if found.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    match version(found).cmp(&version(wanted)) {
        Ordering::Less => Step::Upgrade,
        Ordering::Equal if difference(found, wanted).is_some() => Step::Upgrade,
        Ordering::Equal | Ordering::Greater => Step::Nothing,
    }
}

/// The operator's version that a definition is from; before 2.0 none said.
fn version(crd: &CustomResourceDefinition) -> Option<Version> {
    crd.annotations().get(ANNOTATION_VERSION)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::crds;

    fn with_version(version: Option<&str>) -> CustomResourceDefinition {
        let mut crd = crds().remove(0);
        let annotations = crd.metadata.annotations.as_mut().unwrap();
        match version {
            Some(version) => _ = annotations.insert(ANNOTATION_VERSION.to_owned(), version.to_owned()),
            None => _ = annotations.remove(ANNOTATION_VERSION),
        }
        crd
    }

    fn step_from(found: &CustomResourceDefinition) -> Step {
        step(Some(found), &with_version(Some("2.1.0")), Absent::Create)
    }

    #[test]
    fn an_older_definition_is_upgraded_and_a_newer_one_left_alone() {
        assert_eq!(step_from(&with_version(None)), Step::Upgrade);
        assert_eq!(step_from(&with_version(Some("2.0.9"))), Step::Upgrade);
        assert_eq!(step_from(&with_version(Some("2.1.0-rc.1"))), Step::Upgrade);
        assert_eq!(step_from(&with_version(Some("2.1.0"))), Step::Nothing);
        assert_eq!(step_from(&with_version(Some("2.1.1"))), Step::Nothing);
        assert_eq!(step_from(&with_version(Some("10.0.0"))), Step::Nothing);
    }

    #[test]
    fn a_definition_of_the_same_version_that_lacks_something_is_put_right() {
        let mut cut = with_version(Some("2.1.0"));
        cut.spec.versions[0].schema = None;
        assert_eq!(step_from(&cut), Step::Upgrade);
    }

    #[test]
    fn a_definition_that_is_gone_or_going_is_not_made_again_behind_somebodys_back() {
        let wanted = with_version(Some("2.1.0"));
        assert_eq!(step(None, &wanted, Absent::Create), Step::Create);
        assert_eq!(step(None, &wanted, Absent::Wait), Step::Nothing);
        let mut going = with_version(None);
        going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
        assert_eq!(step_from(&going), Step::Nothing);
    }
}
