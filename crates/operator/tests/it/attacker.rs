//! A user of the cluster with every right in one namespace and none elsewhere, and whom they are after.

use std::collections::BTreeMap;

use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use testbed::postgres::fetch_rows;
use testbed::{kubernetes, unique};

use crate::resources::{database, user};
use crate::world::{World, resources};

/// Somebody who may do everything in the tenant's namespace that a role can give there.
pub(crate) struct Attacker<'w> {
    world: &'w World,
    client: Client,
}

/// A resource that must be refused.
pub(crate) struct Attack {
    pub(crate) yaml: String,
    /// `pgdb` or `pguser`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// Why it is refused.
    pub(crate) reason: &'static str,
}

/// What somebody else has: a database with its owner, a user and a table, in a namespace of their own.
pub(crate) struct Victim {
    pub(crate) namespace: String,
    pub(crate) database: String,
    pub(crate) owner: String,
    pub(crate) reader: String,
}

/// A world in which the one is at work and the other is not.
pub(crate) async fn stage() -> (World, Victim) {
    let mut world = World::without_operator(17).await;
    let namespace = world.another_namespace("bank").await;
    world.start_operator();
    let name = unique("bank");
    let [owner, reader] = ["owner", "reader"].map(|role| format!("{name}_{role}"));
    let victim = Victim { namespace, database: name, owner, reader };
    let Victim { namespace, database: app, owner, reader } = &victim;
    world.apply(&database(namespace, app, owner, "")).await;
    let secret = victim.reader_secret();
    let yaml = user(namespace, &secret, app, ", access: read");
    world.apply(&yaml.replace(&format!("username: {secret}"), &format!("username: {reader}"))).await;
    world.ready("pgdb", &format!("{namespace}/{app}")).await;
    world.ready("pguser", &format!("{namespace}/{secret}")).await;
    let made = format!("SET ROLE {owner}; CREATE TABLE public.accounts AS SELECT 1 AS balance");
    world.sql(app, &made).await;
    let readable = format!("SELECT has_table_privilege('{reader}', 'public.accounts', 'SELECT')::text");
    assert_eq!(world.value(app, &readable).await.as_deref(), Some("true"));
    (world, victim)
}

impl Victim {
    /// The user's resource and Secret.
    pub(crate) fn reader_secret(&self) -> String {
        self.reader.replace('_', "-")
    }

    /// The passwords that nobody else may learn.
    async fn passwords(&self, world: &World) -> Vec<String> {
        let secrets = world.secrets(&self.namespace).list(&ListParams::default()).await.unwrap();
        let values = secrets.items.into_iter().filter_map(|secret| secret.data?.remove("password"));
        values.map(|value| String::from_utf8(value.0).unwrap()).collect()
    }

    /// Everything about it that an attack could change.
    pub(crate) async fn picture(&self, world: &World) -> String {
        let secrets = world.secrets(&self.namespace).list(&ListParams::default()).await.unwrap();
        let secrets: BTreeMap<_, _> =
            secrets.items.into_iter().map(|one| (one.name_any(), json!(one))).collect();
        let mut resources = Vec::new();
        for (kind, name) in [("pgdb", &self.database), ("pguser", &self.reader_secret())] {
            let found = world.get(kind, &format!("{}/{name}", self.namespace)).await.unwrap();
            let ready = &found.data["status"]["conditions"][0];
            let Value::String(reason) = &ready["reason"] else { panic!("{found:?}") };
            resources.push(json!([
                found.metadata.uid,
                found.data["spec"],
                found.data["status"]["provisioned"],
                reason
            ]));
        }
        let Self { database, owner, reader, .. } = self;
        let sql = format!(
            "SELECT to_jsonb(a)::text || coalesce(shobj_description(a.oid, 'pg_authid'), '') FROM pg_authid a
               WHERE rolname IN ('{owner}', '{reader}')
             UNION ALL
             SELECT (to_jsonb(d) - 'datfrozenxid' - 'datminmxid')::text || coalesce(shobj_description(d.oid, 'pg_database'), '')
               FROM pg_database d WHERE datname = '{database}'
             UNION ALL
             SELECT to_jsonb(m)::text FROM pg_auth_members m
               WHERE '{owner}'::regrole IN (roleid, member) OR '{reader}'::regrole IN (roleid, member)
             UNION ALL
             SELECT relowner || relacl::text FROM pg_class WHERE relname = 'accounts'
             UNION ALL
             SELECT nspowner || nspacl::text FROM pg_namespace WHERE nspname = 'public' ORDER BY 1"
        );
        let rows = fetch_rows(&mut world.postgres.admin(database).await, sql).await.unwrap();
        json!([secrets, resources, rows]).to_string()
    }
}

impl<'w> Attacker<'w> {
    /// Somebody with rights in the tenant's namespace only.
    pub(crate) async fn new(world: &'w World) -> Self {
        let namespace = &world.tenant;
        let group = "pgprovisioner.drewsonne.github.io";
        let rendered = format!(
            "apiVersion: v1
kind: ServiceAccount
metadata: {{ name: mallory, namespace: {namespace} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: mallory, namespace: {namespace} }}
rules:
  - {{ apiGroups: [{group}], resources: [postgresdatabases, postgresusers], verbs: ['*'] }}
  - {{ apiGroups: [''], resources: [secrets, configmaps], verbs: ['*'] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: mallory, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: mallory }}
subjects: [{{ kind: ServiceAccount, name: mallory, namespace: {namespace} }}]
"
        );
        let client = world.cluster.install_identity(&rendered, namespace).await.client();
        Self { world, client }
    }

    /// Applies documents in the one namespace.
    pub(crate) async fn apply(&self, yaml: &str) {
        let applied = kubernetes::apply(&self.client, yaml, &self.world.tenant).await;
        applied.unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    }

    /// A Secret of the one namespace.
    pub(crate) async fn secret(&self, name: &str, data: &Value) {
        let metadata = json!({ "name": name });
        self.apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {metadata}\nstringData: {data}\n"))
            .await;
    }

    /// Merges a change into a resource of the one namespace.
    pub(crate) async fn patch(&self, kind: &str, name: &str, change: &Value) {
        let api = resources(self.client.clone(), kind, &self.world.tenant);
        api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Deletes a resource of the one namespace and waits until it is gone.
    pub(crate) async fn remove(&self, kind: &str, name: &str) {
        let api = resources(self.client.clone(), kind, &self.world.tenant);
        api.delete(name, &DeleteParams::default()).await.unwrap();
        self.world.gone(kind, &self.at(name)).await;
    }

    /// `NAMESPACE/NAME`.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.world.tenant)
    }

    /// Tries something: it is refused with this reason and a Warning event, tells nothing, and changes nothing of the
    /// victim's, neither now nor when the resource is deleted.
    pub(crate) async fn refused(&self, victim: &Victim, attack: &Attack) {
        let before = victim.picture(self.world).await;
        self.apply(&attack.yaml).await;
        self.is_refused(victim, attack, &before).await;
        self.remove(attack.kind, &attack.name).await;
        assert_eq!(victim.picture(self.world).await, before, "deleted: {}", attack.yaml);
    }

    /// The same for a resource that is there and was changed.
    pub(crate) async fn is_refused(&self, victim: &Victim, attack: &Attack, before: &str) {
        let Attack { yaml, kind, name, reason } = attack;
        let found = self.world.condition(kind, &self.at(name), ("Ready", "False", *reason)).await;
        let note = self.world.warning(&self.at(name), reason).await;
        assert_eq!(victim.picture(self.world).await, before, "{yaml}");
        let told = format!("{note} {}", found.data);
        for password in victim.passwords(self.world).await {
            assert!(!told.contains(&password), "{yaml}: {told}");
        }
    }

    /// That the user has no rights elsewhere, nor on a status.
    pub(crate) async fn has_one_namespace_only(&self, victim: &Victim) {
        let foreign: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(self.client.clone(), &victim.namespace);
        let status = json!({ "status": { "conditions": [] } });
        let mine = resources(self.client.clone(), "pgdb", &self.world.tenant);
        let patched = mine.patch_status("any", &PatchParams::default(), &Patch::Merge(&status)).await;
        for refused in [foreign.get(&victim.database).await.err(), patched.err()] {
            assert!(matches!(refused, Some(kube::Error::Api(status)) if status.code == 403));
        }
    }
}
