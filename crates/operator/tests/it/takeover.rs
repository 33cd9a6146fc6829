//! What version 1 has left is taken over as it is.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use testbed::postgres::fetch_text;
use testbed::{Postgres, eventually};

use crate::server_log;
use crate::version_one::{Provided, VersionOne};
use crate::world::{PATIENCE, World, server};

/// The marks by which the operator knows its own.
const MARKERS: [&str; 4] = [
    "postgres: COMMENT ON DATABASE app",
    "postgres: COMMENT ON ROLE OWNER",
    "postgres: COMMENT ON ROLE READER",
    "postgres: COMMENT ON ROLE WRITER",
];

/// What version 1 left out. It covered what the admin role will make, and who owned something when it looked, schema by
/// schema: neither new schemas nor what a writer makes. It gave no SELECT on sequences, and TEMPORARY only by way of
/// PUBLIC.
const PUT_RIGHT: [&str; 7] = [
    "app: ALTER DEFAULT PRIVILEGES FOR ROLE OWNER GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO WRITER",
    "app: ALTER DEFAULT PRIVILEGES FOR ROLE OWNER GRANT SELECT, USAGE ON SEQUENCES TO WRITER",
    "app: ALTER DEFAULT PRIVILEGES FOR ROLE OWNER GRANT USAGE, CREATE ON SCHEMAS TO WRITER",
    "app: ALTER DEFAULT PRIVILEGES FOR ROLE WRITER IN SCHEMA analytics, public GRANT SELECT ON TABLES TO READER",
    "app: GRANT SELECT ON SEQUENCE public.orders_id_seq TO WRITER",
    "postgres: GRANT TEMPORARY ON DATABASE app TO READER",
    "postgres: GRANT TEMPORARY ON DATABASE app TO WRITER",
];

/// A verifier of the same password, where the server had an md5 hash of it.
const MD5: [&str; 3] = [
    "postgres: ALTER ROLE OWNER PASSWORD",
    "postgres: ALTER ROLE READER PASSWORD",
    "postgres: ALTER ROLE WRITER PASSWORD",
];

/// Two namespaces besides the operator's, and a server of one's own.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) postgres: Postgres,
    pub(crate) other: String,
}

impl Stage {
    pub(crate) async fn new(major: u16) -> Self {
        let postgres = Postgres::start(major).await;
        let mut world = World::without_operator(17).await;
        world.settings.server = Some(server(&postgres));
        let other = world.another_namespace("other").await;
        Self { world, postgres, other }
    }

    pub(crate) fn version_one(&self) -> VersionOne<'_> {
        VersionOne { world: &self.world, postgres: &self.postgres }
    }

    /// The first value of an answer to the superuser.
    pub(crate) async fn value(&self, database: &str, sql: &str) -> String {
        let mut admin = self.postgres.admin(database).await;
        let found = fetch_text(&mut admin, sql).await;
        found.unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap_or_default()
    }

    /// Namespace, name and version of every Secret.
    pub(crate) async fn secrets(&self) -> BTreeMap<String, Option<String>> {
        let mut versions = BTreeMap::new();
        for namespace in [&self.world.namespace, &self.world.tenant, &self.other] {
            let secrets = self.world.secrets(namespace).list(&ListParams::default()).await.unwrap();
            for secret in secrets {
                versions
                    .insert(format!("{namespace}/{}", secret.name_any()), secret.metadata.resource_version);
            }
        }
        versions
    }

    /// What was changed on the server, database by database, with markers, verifiers and numbers left out.
    fn changes(&self, names: &[(&str, &str)]) -> Vec<String> {
        let log = self.postgres.log();
        let is_change = |statement: &str| {
            let aside = ["BEGIN", "COMMIT", "LOCK", "SELECT"];
            server_log::is_change(statement) && !aside.iter().any(|verb| statement.starts_with(verb))
        };
        let statements = server_log::statements(&log).filter(|(_, statement)| is_change(statement));
        let mut lines: Vec<_> = statements
            .map(|(database, statement)| {
                let mut line = format!("{database}: {statement}");
                for (name, word) in names {
                    line = line.replace(name, word);
                }
                let literal = line.find(" IS '{").or_else(|| line.find(" 'SCRAM-SHA-256$"));
                line.truncate(literal.map_or(line.len(), |at| at));
                line.replace('"', "")
            })
            .collect();
        lines.sort();
        lines
    }

    /// Logs in with what is in the Secret, which is what version 1 put there.
    pub(crate) async fn works(&self, provided: &Provided, postgres: &Postgres) {
        let secret = self.world.secret(&provided.secret_namespace, &provided.name).await;
        assert_eq!(secret["password"], provided.password);
        let session = postgres.connect(&provided.database, &provided.role, &provided.password).await;
        session.unwrap_or_else(|error| panic!("{} cannot log in: {error}", provided.role));
    }
}

/// Waits until a Secret that is made now is younger than what is said of the resource.
pub(crate) async fn next_second(world: &World, provided: &Provided) {
    let found = world.get(provided.kind, &provided.at()).await.unwrap();
    let said = found.data["status"]["conditions"][0]["lastTransitionTime"].as_str().unwrap().to_owned();
    let said: jiff::Timestamp = said.parse().unwrap();
    eventually("the next second", PATIENCE, async || {
        (jiff::Timestamp::now().as_second() > said.as_second()).then_some(())
    })
    .await;
}

/// What the owner has in its database before there are users.
pub(crate) async fn fill(v1: &VersionOne<'_>, Provided { role, database, .. }: &Provided) {
    let sql = format!(
        "SET ROLE {role}; CREATE SCHEMA analytics; CREATE TABLE public.orders (id serial);
         CREATE TABLE analytics.facts AS SELECT 1 AS id"
    );
    // Up to 14 everyone may create in it, and from 15 on its owner.
    v1.sql(database, &format!("GRANT CREATE ON DATABASE {database} TO {role}; {sql}")).await;
}

/// The database of the old README, with two users, and what is taken over of it.
async fn is_taken_over(major: u16) {
    let stage = Stage::new(major).await;
    let Stage { world, postgres, .. } = &stage;
    let v1 = stage.version_one();
    let elsewhere = json!({ "secretNamespace": world.tenant });
    let app = v1.database(&world.namespace, elsewhere.clone()).await;
    fill(&v1, &app).await;
    let listed = json!({ "schemas": ["public", "analytics"], "secretNamespace": world.tenant });
    let reader = v1.user(&world.namespace, &app, "read", listed).await;
    let writer = v1.user(&world.namespace, &app, "readwrite", json!({ "host": "ignored.invalid" })).await;
    // By hand, and in the application.
    v1.sql(&app.database, &format!("GRANT TRUNCATE ON public.orders TO {}", writer.role)).await;
    let all = [&app, &reader, &writer];
    let before = stage.secrets().await;

    world.start_operator();
    for one in all {
        world.ready(one.kind, &one.at()).await;
    }
    let log = || server_log::sessions(&postgres.log(), &app.database);
    let target = log() + 2;
    eventually("checks", PATIENCE, async || (log() >= target).then_some(())).await;
    assert_eq!(stage.secrets().await, before);
    for one in all {
        stage.works(one, postgres).await;
    }
    let names =
        [(&*app.role, "OWNER"), (&app.database, "app"), (&reader.role, "READER"), (&writer.role, "WRITER")];
    let hashes = MD5.iter().filter(|_| major <= 13);
    let mut expected: Vec<_> = MARKERS.iter().chain(&PUT_RIGHT).chain(hashes).collect();
    expected.sort();
    assert_eq!(stage.changes(&names), expected.into_iter().copied().collect::<Vec<_>>());
    let public = "SELECT has_database_privilege('public', current_database(), 'CONNECT')::text";
    assert_eq!(stage.value(&app.database, public).await, "true");
    let found = world.get("pguser", &writer.at()).await.unwrap();
    let conditions = found.data["status"]["conditions"].to_string();
    assert!(conditions.contains("PrivilegesKept") && conditions.contains("host is ignored"), "{conditions}");
    assert_eq!(found.data["status"]["user_create_fn"]["ready"], true);
    assert!(found.annotations().keys().any(|key| key.starts_with("kopf.")));

    // From a change on its access is exact.
    world.patch("pguser", &writer.at(), json!({ "spec": { "access": "read", "host": null } })).await;
    world.ready("pguser", &writer.at()).await;
    let granted = format!(
        "SELECT string_agg(DISTINCT relname || ' ' || privilege_type, ', ' ORDER BY relname || ' ' || privilege_type)
         FROM pg_class, aclexplode(relacl) WHERE grantee = '{}'::regrole",
        writer.role
    );
    assert_eq!(stage.value(&app.database, &granted).await, "facts SELECT, orders SELECT");
    stage.works(&writer, postgres).await;

    // It goes as if it had never been version 1's.
    world.remove("pguser", &reader.at()).await;
    world.remove("pgdb", &app.at()).await;
    world.gone("pguser", &writer.at()).await;
    let roles = "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname !~ '^(pg_|postgres$)'";
    assert_eq!(stage.value("postgres", roles).await, app.role);
    assert_eq!(stage.secrets().await.len(), 0);
    let kept = stage.value(&app.database, "SELECT count(*)::text FROM public.orders").await;
    assert_eq!(kept, "0");
}

#[tokio::test]
async fn version_1_on_postgresql_13_is_taken_over() {
    is_taken_over(13).await;
}

#[tokio::test]
async fn version_1_on_postgresql_15_is_taken_over() {
    is_taken_over(15).await;
}

#[tokio::test]
async fn version_1_on_postgresql_17_is_taken_over() {
    is_taken_over(17).await;
}

#[tokio::test]
async fn what_was_deleted_between_the_two_is_cleaned_up() {
    let stage = Stage::new(17).await;
    let world = &stage.world;
    let v1 = stage.version_one();
    let elsewhere = json!({ "secretNamespace": world.tenant });
    let app = v1.database(&world.namespace, elsewhere.clone()).await;
    fill(&v1, &app).await;
    let reader = v1.user(&world.namespace, &app, "read", elsewhere.clone()).await;
    // Somebody changed this one's password: nothing proves any more that the role is the resource's.
    let strange = v1.user(&world.namespace, &app, "read", elsewhere).await;
    v1.sql("postgres", &format!("ALTER ROLE {} PASSWORD 'another-one'", strange.role)).await;
    for one in [&reader, &strange] {
        world.delete(one.kind, &one.at()).await;
    }
    world.start_operator();
    world.ready("pgdb", &app.at()).await;
    for one in [&reader, &strange] {
        world.gone("pguser", &one.at()).await;
    }
    assert_eq!(stage.secrets().await.len(), 1);
    let roles =
        "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^(pg_|postgres$)'";
    assert_eq!(stage.value("postgres", roles).await, format!("{},{}", app.role, strange.role));
    assert_eq!(world.event(&strange.name, "RoleKept", 1).await, format!("role {}", strange.role));
    world.remove("pgdb", &app.at()).await;
    assert_eq!(stage.secrets().await.len(), 0);
}
