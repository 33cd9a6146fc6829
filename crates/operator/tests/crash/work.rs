//! What the program is doing when it is killed, and what must have come of it in the end.

use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::passwords::password;
use crate::stage::Stage;

/// What a person chose.
const CHOSEN: &str = "chosen-by-hand-0123456789";

/// What is begun, killed, and finished by another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A database, a reader and a writer.
    Creation,
    /// Another owner; other Secrets; other schemas; more access.
    Change,
    /// A person edits one Secret and deletes another.
    Rotation,
    /// A writer with objects becomes a reader.
    Downgrade,
    /// A writer with objects goes.
    Departure,
    /// A database goes, and with it its users.
    Deletion,
}

/// What a Secret has to be in the end.
pub(crate) struct Holds {
    /// The Secret.
    pub(crate) secret: &'static str,
    /// How many passwords it may ever have held: each is one that is in use, or was until a person changed it.
    pub(crate) passwords: usize,
    /// The Secret that held the same before.
    pub(crate) moved_from: Option<&'static str>,
}

const fn holds(secret: &'static str, passwords: usize) -> Holds {
    Holds { secret, passwords, moved_from: None }
}

impl Work {
    /// What there is before.
    pub(crate) async fn prepare(self, stage: &Stage) {
        if self == Self::Creation {
            return;
        }
        create(stage).await;
        stage.wait_for(&["db", "reader", "writer"]).await;
        stage
            .sql(
                Some("owner"),
                "CREATE SCHEMA shop; CREATE TABLE shop.orders AS SELECT n FROM generate_series(1, 3) n; \
                 CREATE TABLE public.notes AS SELECT 4 AS n; GRANT ALL ON SCHEMA shop TO PUBLIC",
            )
            .await;
        stage
            .sql(
                Some("writer"),
                "CREATE TABLE shop.stock AS SELECT 5 AS n; CREATE VIEW shop.few AS SELECT * FROM shop.stock; \
                 CREATE FUNCTION shop.leak() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'",
            )
            .await;
        stage.sql(None, "REVOKE ALL ON SCHEMA shop FROM PUBLIC").await;
        // What has come since is granted to the others.
        stage.patch("reader", json!({ "prune": true })).await;
        stage.wait_for(&["reader"]).await;
        stage.settle().await;
    }

    /// What a person does.
    pub(crate) async fn act(self, stage: &Stage) {
        let app = &stage.app;
        match self {
            Self::Creation => create(stage).await,
            Self::Change => {
                let heir = json!({ "owner": format!("{app}_heir"), "secretName": "db-2" });
                stage.patch("db", heir).await;
                stage.patch("reader", json!({ "access": "readwrite" })).await;
                let spec = json!({ "schemas": ["shop"], "secretName": "writer-2" });
                stage.patch("writer", spec).await;
            }
            Self::Rotation => {
                let chosen = Patch::Merge(json!({ "stringData": { "password": CHOSEN } }));
                stage.secrets().patch("writer", &PatchParams::default(), &chosen).await.unwrap();
                stage.secrets().delete("db", &DeleteParams::default()).await.unwrap();
            }
            Self::Downgrade => stage.patch("writer", json!({ "access": "read" })).await,
            Self::Departure => stage.delete("writer").await,
            Self::Deletion => stage.delete("db").await,
        }
    }

    /// Whether everything is as it should be in the end, as far as the resources tell.
    pub(crate) async fn is_done(self, stage: &Stage) -> Result<(), String> {
        for name in self.resources() {
            stage.ready(name).await?;
        }
        for name in ["db", "reader", "writer"].iter().filter(|name| !self.resources().contains(name)) {
            if let Some(found) = stage.get(name).await {
                return Err(format!("{name} is there: {}", found.data["status"]["conditions"]));
            }
        }
        match self {
            // The resources stay Ready meanwhile.
            Self::Rotation => rotated(stage).await,
            Self::Creation | Self::Change | Self::Downgrade | Self::Departure | Self::Deletion => Ok(()),
        }
    }

    /// The resources that stay.
    fn resources(self) -> &'static [&'static str] {
        match self {
            Self::Creation | Self::Change | Self::Rotation | Self::Downgrade => &["db", "reader", "writer"],
            Self::Departure => &["db", "reader"],
            Self::Deletion => &[],
        }
    }

    /// The Secrets that there are in the end.
    pub(crate) fn secrets(self) -> Vec<Holds> {
        match self {
            Self::Creation | Self::Downgrade => vec![holds("db", 1), holds("reader", 1), holds("writer", 1)],
            Self::Change => vec![
                holds("db-2", 1),
                holds("reader", 1),
                Holds { moved_from: Some("writer"), ..holds("writer-2", 1) },
            ],
            Self::Rotation => vec![holds("db", 2), holds("reader", 1), holds("writer", 2)],
            Self::Departure => vec![holds("db", 1), holds("reader", 1)],
            Self::Deletion => Vec::new(),
        }
    }

    /// The databases and roles that there are in the end; `app` is the stage's own name.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Self::Creation | Self::Rotation | Self::Downgrade => {
                &["app", "app_owner", "app_reader", "app_writer"]
            }
            Self::Change => &["app", "app_heir", "app_reader", "app_writer"],
            Self::Departure => &["app", "app_owner", "app_reader"],
            Self::Deletion => &["app", "app_owner"],
        }
    }

    /// What must hold in the database at any time, also while nobody is there to put it right.
    pub(crate) async fn holds_always(self, stage: &Stage, at: &str) {
        if self == Self::Creation {
            return;
        }
        // What runs with the rights of one role must not run with those of its heir.
        let laundered = format!(
            "SELECT count(*) FROM pg_proc WHERE proname = 'leak' AND prosecdef \
             AND pg_get_userbyid(proowner) <> '{}_writer'",
            stage.app
        );
        assert_eq!(stage.value(&laundered).await.as_deref(), Some("0"), "{at}");
        let rows = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM \
                    (TABLE shop.orders UNION TABLE public.notes UNION TABLE shop.few) t";
        assert_eq!(stage.value(rows).await.as_deref(), Some("1 2 3 4 5"), "{at}");
        if self == Self::Departure {
            // Or else it could come back for what it no longer has.
            let open = format!(
                "SELECT count(*) FROM pg_roles WHERE rolname = '{0}_writer' AND rolcanlogin AND NOT EXISTS \
                 (SELECT FROM pg_class WHERE relname = 'stock' AND relowner = pg_roles.oid)",
                stage.app
            );
            assert_eq!(stage.value(&open).await.as_deref(), Some("0"), "{at}");
        }
    }

    /// What must hold in the database in the end.
    pub(crate) async fn verify(self, stage: &Stage, at: &str) {
        self.holds_always(stage, at).await;
        for (role, privilege, table, wanted) in self.privileges() {
            let sql = format!(
                "SELECT has_schema_privilege('{0}_{role}', split_part('{table}', '.', 1), 'USAGE') \
                 AND has_table_privilege('{0}_{role}', '{table}', '{privilege}')",
                stage.app
            );
            let found = stage.value(&sql).await;
            assert_eq!(found.as_deref(), Some(*wanted), "{privilege} on {table} of {role}: {at}");
        }
        if self == Self::Deletion {
            let released = format!(
                "SELECT count(*) FROM (SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{0}' \
                 UNION ALL SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{0}_owner') t (said) \
                 WHERE said LIKE '%\"released\":\"true\"%'",
                stage.app
            );
            assert_eq!(stage.value(&released).await.as_deref(), Some("2"), "{at}");
        }
    }

    fn privileges(self) -> &'static [(&'static str, &'static str, &'static str, &'static str)] {
        match self {
            Self::Creation => &[],
            Self::Change => &[
                ("heir", "DELETE", "shop.orders", "t"),
                ("reader", "INSERT", "public.notes", "t"),
                ("writer", "INSERT", "shop.orders", "t"),
                ("writer", "SELECT", "public.notes", "f"),
            ],
            Self::Rotation => {
                &[("reader", "INSERT", "public.notes", "f"), ("writer", "INSERT", "shop.orders", "t")]
            }
            Self::Downgrade => &[
                ("writer", "SELECT", "shop.orders", "t"),
                ("writer", "INSERT", "shop.orders", "f"),
                ("writer", "INSERT", "shop.stock", "f"),
            ],
            Self::Departure => {
                &[("owner", "INSERT", "shop.stock", "t"), ("reader", "SELECT", "shop.stock", "t")]
            }
            Self::Deletion => &[("owner", "INSERT", "shop.stock", "t")],
        }
    }
}

async fn create(stage: &Stage) {
    stage.user("reader", ", access: read").await;
    stage.user("writer", ", access: readwrite").await;
    stage.database("").await;
}

/// Whether what a person chose is in use, and what a person deleted is there again.
async fn rotated(stage: &Stage) -> Result<(), String> {
    let secrets = stage.all_secrets().await;
    for name in ["db", "writer"] {
        let secret = secrets.iter().find(|one| one.name_any() == name);
        let secret = secret.ok_or_else(|| format!("there is no Secret {name}"))?;
        let password = password(secret).unwrap_or_default();
        assert!(name != "writer" || password == CHOSEN, "a person's password was written over");
        stage.login(secret).await?;
    }
    Ok(())
}
