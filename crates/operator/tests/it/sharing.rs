//! One role that several resources of a namespace name.

use serde_json::json;
use testbed::unique;

use crate::app::{may, may_not};
use crate::resources::database;
use crate::world::World;

const API: &str = "apiVersion: pgprovisioner.drewsonne.github.io/v1";

/// Two databases of one owner, and a user of both.
struct Pair<'w> {
    world: &'w World,
    databases: [String; 2],
    owner: String,
    /// The role. Its resources and Secrets are called `ROLE-DATABASE`, with hyphens only.
    role: String,
}

impl<'w> Pair<'w> {
    /// Applies all of it in one go and waits until all of it is Ready.
    async fn provision(world: &'w World, accesses: [&str; 2]) -> Self {
        let name = unique("pair");
        let pair = Self {
            world,
            databases: [format!("{name}a"), format!("{name}b")],
            owner: format!("{name}_owner"),
            role: format!("{name}u"),
        };
        let here = &world.namespace;
        let mut documents: Vec<_> =
            pair.databases.iter().map(|one| database(here, one, &pair.owner, "")).collect();
        for (at, access) in accesses.iter().enumerate() {
            let (user, role, database) = (pair.user(at), &pair.role, &pair.databases[at]);
            documents.push(format!(
                "{API}\nkind: PostgresUser\nmetadata: {{ name: {user}, namespace: {here} }}\n\
                 spec: {{ username: {role}, dbName: {database}, access: {access}, secretName: {user} }}\n"
            ));
        }
        world.apply(&documents.join("---\n")).await;
        for at in 0..2 {
            world.ready("pgdb", &pair.databases[at]).await;
            world.ready("pguser", &pair.user(at)).await;
        }
        pair
    }

    fn user(&self, at: usize) -> String {
        format!("{}-{}", self.role, self.databases[at])
    }

    async fn session(&self, secret: &str) -> sqlx::PgConnection {
        self.world.login(&self.world.secret(&self.world.namespace, secret).await).await
    }

    async fn sql_as_owner(&self, at: usize, sql: &str) {
        may(&mut self.session(&self.databases[at]).await, sql).await;
    }
}

#[tokio::test]
async fn a_role_has_its_own_access_in_each_database_and_one_password() {
    let world = World::new().await;
    let pair = Pair::provision(&world, ["read", "readwrite"]).await;
    let [first, second] = [
        world.secret(&world.namespace, &pair.user(0)).await,
        world.secret(&world.namespace, &pair.user(1)).await,
    ];
    assert_eq!(first["password"], second["password"]);
    for at in 0..2 {
        pair.sql_as_owner(at, "CREATE TABLE public.orders AS SELECT 1 AS id").await;
        may(&mut pair.session(&pair.user(at)).await, "SELECT * FROM public.orders").await;
    }
    may_not(&mut pair.session(&pair.user(0)).await, "DELETE FROM public.orders").await;
    may(&mut pair.session(&pair.user(1)).await, "DELETE FROM public.orders").await;
}

#[tokio::test]
async fn both_databases_are_repaired_and_changed_at_the_same_time() {
    let world = World::new().await;
    let pair = Pair::provision(&world, ["read", "readwrite"]).await;
    for at in 0..2 {
        pair.sql_as_owner(at, "CREATE TABLE public.orders AS SELECT 1 AS id").await;
    }
    // What both share, and what each has for itself.
    world
        .sql("postgres", &format!("ALTER ROLE {} NOLOGIN; ALTER ROLE {} NOLOGIN", pair.role, pair.owner))
        .await;
    for (at, access) in ["readwrite", "read"].into_iter().enumerate() {
        world.sql(&pair.databases[at], &format!("REVOKE SELECT ON public.orders FROM {}", pair.role)).await;
        world.patch("pguser", &pair.user(at), json!({ "spec": { "access": access } })).await;
    }
    for at in 0..2 {
        world.ready("pgdb", &pair.databases[at]).await;
        world.ready("pguser", &pair.user(at)).await;
        may(&mut pair.session(&pair.user(at)).await, "SELECT * FROM public.orders").await;
    }
    may(&mut pair.session(&pair.user(0)).await, "DELETE FROM public.orders").await;
    may_not(&mut pair.session(&pair.user(1)).await, "DELETE FROM public.orders").await;
}

/// The first of its users goes, then the other.
async fn users_go(first: usize) {
    let world = World::new().await;
    let pair = Pair::provision(&world, ["readwrite", "readwrite"]).await;
    for at in 0..2 {
        may(&mut pair.session(&pair.user(at)).await, "CREATE TABLE public.mine AS SELECT 1 AS id").await;
    }
    let second = 1 - first;
    let mut secret = world.secret(&world.namespace, &pair.user(second)).await;
    world.remove("pguser", &pair.user(first)).await;
    assert_eq!(world.find_secret(&world.namespace, &pair.user(first)).await, None);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'mine'";
    assert_eq!(world.value(&pair.databases[first], owner).await.as_ref(), Some(&pair.owner));
    // Its password is what it was, in the other database only.
    may(&mut world.login(&secret).await, "INSERT INTO public.mine VALUES (2)").await;
    secret.insert("database".to_owned(), pair.databases[first].clone());
    assert!(world.try_login(&secret).await.is_err());

    world.remove("pguser", &pair.user(second)).await;
    assert_eq!(world.value(&pair.databases[second], owner).await.as_ref(), Some(&pair.owner));
    assert!(!world.has_role(&pair.role).await);
}

#[tokio::test]
async fn a_user_of_two_databases_leaves_the_first_one_first() {
    users_go(0).await;
}

#[tokio::test]
async fn a_user_of_two_databases_leaves_the_second_one_first() {
    users_go(1).await;
}

#[tokio::test]
async fn both_databases_of_an_owner_go_at_the_same_time_and_their_users_with_them() {
    let world = World::new().await;
    let pair = Pair::provision(&world, ["read", "readwrite"]).await;
    for database in &pair.databases {
        world.delete("pgdb", database).await;
    }
    for at in 0..2 {
        world.gone("pguser", &pair.user(at)).await;
        world.gone("pgdb", &pair.databases[at]).await;
        let there =
            format!("SELECT datname FROM pg_catalog.pg_database WHERE datname = '{}'", pair.databases[at]);
        assert_eq!(world.value("postgres", &there).await.as_ref(), Some(&pair.databases[at]));
    }
    assert!(!world.has_role(&pair.role).await);
    assert!(world.has_role(&pair.owner).await, "the owner keeps the data");
}

#[tokio::test]
async fn an_owner_that_leaves_one_of_two_databases_keeps_the_other() {
    let world = World::new().await;
    let pair = Pair::provision(&world, ["read", "read"]).await;
    for at in 0..2 {
        pair.sql_as_owner(at, "CREATE TABLE public.orders AS SELECT 1 AS id").await;
    }
    let next = unique("owner");
    world.patch("pgdb", &pair.databases[0], json!({ "spec": { "owner": next } })).await;
    world.ready("pgdb", &pair.databases[0]).await;
    world.ready("pgdb", &pair.databases[1]).await;
    pair.sql_as_owner(1, "INSERT INTO public.orders VALUES (2)").await;
    let owners =
        "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()";
    assert_eq!(world.value(&pair.databases[0], owners).await.as_ref(), Some(&next));
    assert_eq!(world.value(&pair.databases[1], owners).await.as_ref(), Some(&pair.owner));
    may(&mut pair.session(&pair.user(0)).await, "SELECT * FROM public.orders").await;
    // REASSIGN would take the other database along: what is in this one stays, and that is said.
    let found = world.condition("pgdb", &pair.databases[0], ("Withheld", "True", "NotPermitted")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains(&format!("it owns database \\\"{}\\\"", pair.databases[1])), "{said}");
}
