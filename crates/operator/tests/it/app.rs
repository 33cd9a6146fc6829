//! A database and its users, as most tests need them: applied, Ready, and used by logging in.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use sqlx::PgConnection;
use testbed::postgres::{fetch_rows, fetch_text, run};
use testbed::unique;

use crate::resources;
use crate::world::World;

/// A database of the operator's namespace. Resources, their roles and their Secrets are called alike, but for the
/// owner's.
pub(crate) struct App<'w> {
    pub(crate) world: &'w World,
    /// The database, its resource and its Secret.
    pub(crate) name: String,
    /// Its owner.
    pub(crate) owner: String,
    users: AtomicU32,
}

impl<'w> App<'w> {
    /// A database that is Ready.
    pub(crate) async fn provision(world: &'w World) -> Self {
        let name = unique("app");
        let app = Self { world, owner: format!("{name}_owner"), name, users: AtomicU32::new(0) };
        world.apply(&resources::database(&world.namespace, &app.name, &app.owner, "")).await;
        world.ready("pgdb", &app.name).await;
        app
    }

    /// One that was provisioned in a world before this one's operator, or will be.
    pub(crate) fn of(world: &'w World, name: &str, owner: &str) -> Self {
        Self { world, name: name.to_owned(), owner: owner.to_owned(), users: AtomicU32::new(0) }
    }

    /// A user that is Ready; `more` is the rest of its spec.
    pub(crate) async fn user(&self, more: &str) -> String {
        let user = format!("{}u{}", self.name, self.users.fetch_add(1, Ordering::Relaxed));
        self.world.apply(&resources::user(&self.world.namespace, &user, &self.name, more)).await;
        self.world.ready("pguser", &user).await;
        user
    }

    /// Changes the spec of a user and waits until it is Ready again.
    pub(crate) async fn change(&self, user: &str, spec: serde_json::Value) {
        self.world.patch("pguser", user, json!({ "spec": spec })).await;
        self.world.ready("pguser", user).await;
    }

    /// Logs in with the Secret of this resource.
    pub(crate) async fn session(&self, resource: &str) -> PgConnection {
        self.world.login(&self.world.secret(&self.world.namespace, resource).await).await
    }

    /// Logs in as the owner.
    pub(crate) async fn owner(&self) -> PgConnection {
        self.session(&self.name).await
    }

    /// Runs statements as the owner.
    pub(crate) async fn sql_as_owner(&self, sql: &str) {
        may(&mut self.owner().await, sql).await;
    }

    /// Runs statements in the database as the superuser.
    pub(crate) async fn sql(&self, sql: &str) {
        self.world.sql(&self.name, sql).await;
    }

    /// The first value of an answer to the superuser.
    pub(crate) async fn value(&self, sql: &str) -> Option<String> {
        self.world.value(&self.name, sql).await
    }

    /// Every privilege in the database that was given to the role itself, one object a line; the owner of the
    /// database is called OWNER, the role ROLE.
    pub(crate) async fn privileges(&self, role: &str) -> String {
        let sql = format!(
            "SELECT o.object || ': ' || string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
            FROM (
              SELECT 'database' AS object, datacl AS acl FROM pg_database WHERE datname = current_database()
              UNION ALL SELECT 'schema ' || nspname, nspacl FROM pg_namespace
              UNION ALL
              SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || nspname || '.' || relname, relacl
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              UNION ALL
              SELECT 'future ' || CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
                WHEN 'n' THEN 'schemas' ELSE defaclobjtype::text END || ' of ' || rolname || coalesce(' in ' || nspname, ''),
                defaclacl
              FROM pg_default_acl d JOIN pg_roles r ON r.oid = defaclrole LEFT JOIN pg_namespace n ON n.oid = defaclnamespace
            ) o, aclexplode(o.acl) a
            WHERE a.grantee = '{role}'::regrole
            GROUP BY o.object ORDER BY 1"
        );
        let rows = fetch_rows(&mut self.world.postgres.admin(&self.name).await, sql).await.unwrap();
        let lines: Vec<_> = rows.into_iter().flatten().flatten().collect();
        lines.join("\n").replace(&self.owner, "OWNER").replace(role, "ROLE")
    }
}

/// Runs statements that must succeed.
#[track_caller]
pub(crate) fn may<'a>(session: &'a mut PgConnection, sql: &'a str) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        if let Err(error) = run(session, sql).await {
            panic!("{caller}: {sql}: {error}");
        }
    }
}

/// Runs a statement that must fail for want of a privilege.
#[track_caller]
pub(crate) fn may_not<'a>(session: &'a mut PgConnection, sql: &'a str) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        match run(session, sql).await {
            Ok(_) => panic!("{caller}: {sql} was allowed"),
            Err(error) => assert_eq!(sqlstate(&error), "42501", "{caller}: {sql}: {error}"),
        }
    }
}

/// The first value of an answer.
#[track_caller]
pub(crate) fn value<'a>(
    session: &'a mut PgConnection,
    sql: &'a str,
) -> impl Future<Output = Option<String>> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let found = fetch_text(session, sql).await;
        found.unwrap_or_else(|error| panic!("{caller}: {sql}: {error}"))
    }
}

/// What kind of error the server gave.
pub(crate) fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.map(std::borrow::Cow::into_owned).unwrap_or_default()
}
