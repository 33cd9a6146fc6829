//! A service account with the rights that a chart renders for it.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::Kubeconfig,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    Cluster,
    apply::{MANAGER, apply_one, documents},
};
use crate::eventually;

const DEADLINE: Duration = Duration::from_secs(30);

/// Somebody with exactly the rights of a chart's service account.
#[derive(Clone)]
pub struct Identity {
    /// As it stands in the audit log: `system:serviceaccount:NAMESPACE:NAME`.
    pub service_account: String,
    /// How a program reaches the cluster as this identity.
    pub kubeconfig: Kubeconfig,
    /// The rules of every role that is bound to it, wherever they hold.
    pub rules: Vec<PolicyRule>,
    config: Config,
}

impl Identity {
    /// A client that acts as this identity; it belongs to the runtime it is made in.
    pub fn client(&self) -> Client {
        super::client(self.config())
    }

    /// What [`Identity::client`] is made from.
    pub fn config(&self) -> Config {
        self.config.clone()
    }
}

impl Cluster {
    /// Applies the service account, roles and bindings among the documents of a rendered chart, and
    /// returns who may do what they allow. Missing namespaces are created; other documents are left out.
    ///
    /// Panics when there is not exactly one service account.
    pub async fn install_identity(&self, rendered: &str, namespace: &str) -> Identity {
        let client = self.client();
        let kinds = ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
        let mut documents = documents(rendered);
        documents.retain(|document| kinds.contains(&kind(document)));
        create_namespaces(&client, &documents, namespace).await;
        for document in &documents {
            let applied = apply_one(&client, document, namespace).await;
            applied.unwrap_or_else(|error| {
                panic!("cannot apply {} {}: {error}", kind(document), document.name_any())
            });
        }

        self.identity_of(&documents, namespace).await
    }

    /// Who may do what the roles and bindings among the documents of an installed release allow.
    ///
    /// Panics when there is not exactly one service account.
    pub async fn installed_identity(&self, manifest: &str, namespace: &str) -> Identity {
        self.identity_of(&documents(manifest), namespace).await
    }

    async fn identity_of(&self, documents: &[DynamicObject], namespace: &str) -> Identity {
        let client = self.client();
        let account = the_account(documents, namespace);
        let granted = granted(&client, documents, &account, namespace).await;
        let Account { namespace, name } = &account;
        let service_account = format!("system:serviceaccount:{namespace}:{name}");
        wait_until_granted(&client, &service_account, &granted).await;
        let kubeconfig = self.kubeconfig_for(&token(&client, &account).await);
        let config = super::config(kubeconfig.clone()).await;
        let rules = granted.into_iter().map(|(_, rule)| rule).collect();
        Identity { service_account, kubeconfig, rules, config }
    }
}

impl Cluster {
    /// Gives the identity, in another namespace, the rights that it has in the one of its service account only: for
    /// programs that take another namespace for their own.
    pub async fn extend_identity(&self, identity: &Identity, namespace: &str) {
        let client = self.client();
        let user = identity.service_account.split(':').collect::<Vec<_>>();
        let [_, _, home, account] = user[..] else { panic!("{user:?} is no service account") };
        let bindings = Api::<RoleBinding>::namespaced(client.clone(), home);
        let bindings = bindings.list(&ListParams::default()).await.expect("the administrator lists bindings");
        let is_its = |subject: &Subject| {
            subject.name == account && subject.namespace.as_deref().is_none_or(|place| place == home)
        };
        let mut granted = Vec::new();
        for binding in bindings.items.iter().filter(|one| one.subjects.iter().flatten().any(is_its)) {
            let rules = rules(&client, &binding.role_ref, Some(home)).await;
            let (name, subject) =
                (binding.name_any(), json!({ "kind": "ServiceAccount", "name": account, "namespace": home }));
            let role_ref = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name });
            let metadata = json!({ "name": name, "namespace": namespace });
            let api = "rbac.authorization.k8s.io/v1";
            for document in [
                json!({ "apiVersion": api, "kind": "Role", "metadata": metadata, "rules": rules }),
                json!({ "apiVersion": api, "kind": "RoleBinding", "metadata": metadata, "roleRef": role_ref, "subjects": [subject] }),
            ] {
                let document = serde_json::from_value(document).expect("a role or binding");
                apply_one(&client, &document, namespace).await.expect("roles and bindings are valid");
            }
            granted.extend(rules.into_iter().map(|rule| (Some(namespace.to_owned()), rule)));
        }
        wait_until_granted(&client, &identity.service_account, &granted).await;
    }
}

struct Account {
    namespace: String,
    name: String,
}

/// A rule, and the namespace that it is limited to.
type Granted = (Option<String>, PolicyRule);

fn kind(document: &DynamicObject) -> &str {
    document.types.as_ref().map_or("", |types| &types.kind)
}

/// The documents of one kind, as what they are.
fn of_kind<K>(documents: &[DynamicObject], wanted: &str) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + DeserializeOwned,
{
    let matching = documents.iter().filter(|document| kind(document) == wanted);
    let parsed = matching.map(|document| document.clone().try_parse());
    let parsed: Result<_, _> = parsed.collect();
    parsed.unwrap_or_else(|error| panic!("a {wanted} of the chart is not one: {error}"))
}

async fn create_namespaces(client: &Client, documents: &[DynamicObject], namespace: &str) {
    let mut names: BTreeSet<String> = documents.iter().filter_map(kube::ResourceExt::namespace).collect();
    names.insert(namespace.to_owned());
    for name in names {
        let document = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let namespaces = Api::<Namespace>::all(client.clone());
        let applied = namespaces.patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(document)).await;
        applied.unwrap_or_else(|error| panic!("cannot create the namespace {name}: {error}"));
    }
}

fn the_account(documents: &[DynamicObject], namespace: &str) -> Account {
    let accounts: Vec<ServiceAccount> = of_kind(documents, "ServiceAccount");
    let [account] = accounts.as_slice() else {
        panic!("the chart renders {} service accounts, and one was expected", accounts.len())
    };
    Account {
        namespace: account.namespace().unwrap_or_else(|| namespace.to_owned()),
        name: account.name_any(),
    }
}

async fn granted(
    client: &Client,
    documents: &[DynamicObject],
    account: &Account,
    namespace: &str,
) -> Vec<Granted> {
    let mut granted = Vec::new();
    let is_account = |subject: &Subject, bound_in: Option<&str>| {
        subject.kind == "ServiceAccount"
            && subject.name == account.name
            && subject.namespace.as_deref().or(bound_in) == Some(&account.namespace)
    };
    for binding in of_kind::<ClusterRoleBinding>(documents, "ClusterRoleBinding") {
        if binding.subjects.iter().flatten().any(|subject| is_account(subject, None)) {
            let rules = rules(client, &binding.role_ref, None).await;
            granted.extend(rules.into_iter().map(|rule| (None, rule)));
        }
    }
    for binding in of_kind::<RoleBinding>(documents, "RoleBinding") {
        let place = binding.namespace().unwrap_or_else(|| namespace.to_owned());
        if binding.subjects.iter().flatten().any(|subject| is_account(subject, Some(&place))) {
            let rules = rules(client, &binding.role_ref, Some(&place)).await;
            granted.extend(rules.into_iter().map(|rule| (Some(place.clone()), rule)));
        }
    }
    granted
}

/// The rules of a bound role, also of one that the cluster had before.
async fn rules(client: &Client, role: &RoleRef, namespace: Option<&str>) -> Vec<PolicyRule> {
    let found = match (role.kind.as_str(), namespace) {
        ("Role", Some(namespace)) => {
            Api::<Role>::namespaced(client.clone(), namespace).get(&role.name).await.map(|role| role.rules)
        }
        _ => Api::<ClusterRole>::all(client.clone()).get(&role.name).await.map(|role| role.rules),
    };
    found
        .unwrap_or_else(|error| panic!("a binding names the {} {}: {error}", role.kind, role.name))
        .unwrap_or_default()
}

async fn token(client: &Client, account: &Account) -> String {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &account.namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec { expiration_seconds: Some(24 * 60 * 60), ..TokenRequestSpec::default() },
        ..TokenRequest::default()
    };
    let granted = accounts.create_token_request(&account.name, &PostParams::default(), &request).await;
    let granted = granted.unwrap_or_else(|error| panic!("no token for {}: {error}", account.name));
    granted.status.expect("a granted request has a status").token
}

/// The authorizer learns of new roles by a watch: until then it would refuse what they allow.
async fn wait_until_granted(client: &Client, user: &str, granted: &[Granted]) {
    let reviews = Api::<SubjectAccessReview>::all(client.clone());
    for (namespace, rule) in granted.iter().filter(|(_, rule)| rule.resources.is_some()) {
        let review = review(user, namespace.as_deref(), rule);
        eventually(&format!("{user} to have {rule:?}"), DEADLINE, async || {
            let answer =
                reviews.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
            let status = answer.status.unwrap_or_default();
            if status.allowed { Ok(()) } else { Err(status.reason.unwrap_or_default()) }
        })
        .await;
    }
}

fn review(user: &str, namespace: Option<&str>, rule: &PolicyRule) -> SubjectAccessReview {
    let first = |list: &Option<Vec<String>>| list.iter().flatten().next().cloned();
    let resource = first(&rule.resources).unwrap_or_default();
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    let attributes = ResourceAttributes {
        group: first(&rule.api_groups),
        resource: Some(resource.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: rule.verbs.first().cloned(),
        name: first(&rule.resource_names),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}
