//! An installation as version 1 leaves it: what it wrote on resources, into Secrets and on the server.

use std::path::{Path, PathBuf};

use kube::api::{DeleteParams, Patch, PatchParams};
use operator::api::FINALIZER;
use serde_json::{Value, json};
use testbed::postgres::run;
use testbed::{Postgres, unique};

use crate::world::{World, resources};

/// Version 1 at work.
pub(crate) struct VersionOne<'w> {
    pub(crate) world: &'w World,
    /// Its server.
    pub(crate) postgres: &'w Postgres,
}

/// What it provided for one resource.
pub(crate) struct Provided {
    /// `pgdb` or `pguser`.
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) database: String,
    pub(crate) secret_namespace: String,
    pub(crate) password: String,
}

impl Provided {
    /// How [`World`] calls it.
    pub(crate) fn at(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A chart that stands in for that of version 1.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/version_one/chart")
}

impl VersionOne<'_> {
    /// Provides a database, whose resource and Secret are called alike; `more` is the rest of its spec.
    pub(crate) async fn database(&self, namespace: &str, more: Value) -> Provided {
        let name = unique("app");
        let provided = Provided {
            kind: "pgdb",
            namespace: namespace.to_owned(),
            role: format!("{name}_owner"),
            database: name.clone(),
            secret_namespace: place(namespace, &more),
            name,
            password: unique("password"),
        };
        let spec = json!({ "dbName": provided.database, "owner": provided.role });
        self.announce(&provided, spec, more, None).await;
        self.make_role(&provided).await;
        let Provided { database, role, .. } = &provided;
        self.sql("postgres", &format!("CREATE DATABASE {database} OWNER {role}")).await;
        self.put_secret(&provided).await;
        let result = json!({ "database": database, "owner": role, "ready": true });
        self.note(&provided, json!({ "create_fn": result, "resume_fn": result })).await;
        provided
    }

    /// Provides a user of a database; `more` is the rest of its spec.
    pub(crate) async fn user(
        &self,
        namespace: &str,
        database: &Provided,
        access: &str,
        more: Value,
    ) -> Provided {
        let name = unique("user");
        let provided = Provided {
            kind: "pguser",
            namespace: namespace.to_owned(),
            role: name.clone(),
            database: database.database.clone(),
            secret_namespace: place(namespace, &more),
            name,
            password: unique("password"),
        };
        let Provided { role, database: app, .. } = &provided;
        let schemas = more["schemas"].clone();
        let spec = json!({ "username": role, "dbName": app, "access": access });
        self.announce(&provided, spec, more, Some(database)).await;
        self.make_role(&provided).await;
        let listed: Vec<_> = schemas.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let listed = if listed.is_empty() { vec!["public", "analytics"] } else { listed };
        self.grant(&provided, &database.role, access, &listed).await;
        self.put_secret(&provided).await;
        let result = json!({
            "username": role, "database": app, "access": access, "schemas": schemas, "ready": true,
        });
        self.note(&provided, json!({ "user_create_fn": result })).await;
        provided
    }

    /// Takes away the resource and its Secret; what is on the server stays.
    pub(crate) async fn forget(&self, provided: &Provided) {
        let Provided { kind, namespace, name, secret_namespace, .. } = provided;
        let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let api = resources(self.world.admin.clone(), kind, namespace);
        api.patch(name, &PatchParams::default(), &release).await.unwrap();
        api.delete(name, &DeleteParams::default()).await.unwrap();
        match self.world.secrets(secret_namespace).delete(name, &DeleteParams::default()).await {
            // The collector was quicker.
            Err(kube::Error::Api(status)) if status.is_not_found() => (),
            deleted => _ = deleted.unwrap(),
        }
    }

    /// Takes away the status, which backups do without.
    pub(crate) async fn forget_status(&self, provided: &Provided) {
        self.note(provided, json!(null)).await;
    }

    /// Runs statements as the server's superuser.
    pub(crate) async fn sql(&self, database: &str, sql: &str) {
        let ran = run(&mut self.postgres.admin(database).await, sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The resource with its marks: finalizer, what it was when it was handled last, and the database that it goes with.
    async fn announce(&self, provided: &Provided, mut spec: Value, more: Value, database: Option<&Provided>) {
        let Provided { kind, namespace, name, .. } = provided;
        spec["secretName"] = json!(name);
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let handled = json!({ "spec": spec }).to_string();
        let mut metadata = json!({
            "name": name, "namespace": namespace, "finalizers": [FINALIZER],
            "annotations": { "kopf.zalando.org/last-handled-configuration": handled },
        });
        if let Some(database) = database.filter(|database| database.namespace == *namespace) {
            let found = self.world.get("pgdb", &database.at()).await.unwrap();
            metadata["ownerReferences"] = json!([owner("PostgresDatabase", &found)]);
        }
        let kind = if *kind == "pgdb" { "PostgresDatabase" } else { "PostgresUser" };
        let api = "pgprovisioner.drewsonne.github.io/v1";
        let document = json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec });
        self.world.apply(&document.to_string()).await;
    }

    /// A role with its password, kept as servers of that age do.
    async fn make_role(&self, Provided { role, password, .. }: &Provided) {
        let kept = if self.postgres.major() <= 13 { "md5" } else { "scram-sha-256" };
        let sql =
            format!("SET password_encryption = '{kept}'; CREATE ROLE {role} LOGIN PASSWORD '{password}'");
        self.sql("postgres", &sql).await;
    }

    /// What users of a database got: on what is there, and on what the admin role and the owner will make.
    async fn grant(&self, provided: &Provided, owner: &str, access: &str, schemas: &[&str]) {
        let Provided { role, database, .. } = provided;
        let (on_tables, writes) = match access {
            "read" => ("SELECT", false),
            _ => ("SELECT, INSERT, UPDATE, DELETE", true),
        };
        let mut sql = vec![format!("GRANT CONNECT ON DATABASE {database} TO {role}")];
        for schema in schemas {
            sql.push(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
            sql.push(format!("GRANT {on_tables} ON ALL TABLES IN SCHEMA {schema} TO {role}"));
            if writes {
                sql.push(format!("GRANT CREATE ON SCHEMA {schema} TO {role}"));
                sql.push(format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"));
            }
            for creator in ["", &format!("FOR ROLE {owner}")] {
                let future = format!("ALTER DEFAULT PRIVILEGES {creator} IN SCHEMA {schema} GRANT");
                sql.push(format!("{future} {on_tables} ON TABLES TO {role}"));
                if writes {
                    sql.push(format!("{future} USAGE ON SEQUENCES TO {role}"));
                }
            }
        }
        self.sql(database, &sql.join("; ")).await;
    }

    /// The Secret: owned by the resource in the same namespace, by nobody elsewhere, and without a label.
    pub(crate) async fn put_secret(&self, provided: &Provided) {
        let Provided { kind, namespace, name, secret_namespace, .. } = provided;
        let mut metadata = json!({ "name": name, "namespace": secret_namespace });
        if namespace == secret_namespace {
            let found = self.world.get(kind, &provided.at()).await.unwrap();
            let kind = if *kind == "pgdb" { "PostgresDatabase" } else { "PostgresUser" };
            metadata["ownerReferences"] = json!([owner(kind, &found)]);
        }
        let data = json!({
            "username": provided.role, "password": provided.password, "database": provided.database,
            "host": self.postgres.host(), "port": self.postgres.port().to_string(),
        });
        let document =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data });
        self.world.apply(&document.to_string()).await;
    }

    /// What its handlers returned.
    async fn note(&self, provided: &Provided, results: Value) {
        let api = resources(self.world.admin.clone(), provided.kind, &provided.namespace);
        let change = Patch::Merge(json!({ "status": results }));
        api.patch_status(&provided.name, &PatchParams::default(), &change).await.unwrap();
    }
}

fn place(namespace: &str, more: &Value) -> String {
    more["secretNamespace"].as_str().unwrap_or(namespace).to_owned()
}

fn owner(kind: &str, object: &kube::api::DynamicObject) -> Value {
    let kube::api::ObjectMeta { name, uid, .. } = &object.metadata;
    json!({
        "apiVersion": "pgprovisioner.drewsonne.github.io/v1", "kind": kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}
