//! The samples, which are the example of the old operator's README, unchanged.

use sqlx::PgConnection;
use testbed::Postgres;

use crate::app::{may, may_not, sqlstate};
use crate::world::World;

const DATABASE: &str = include_str!("../../../../deploy/samples/database.yaml");
const READER: &str = include_str!("../../../../deploy/samples/user.yaml");

#[tokio::test]
async fn the_example_is_ready_and_its_secrets_log_in() {
    // Its names are its own: one server after the other.
    for major in [13, 15, 17, 18] {
        let mut world = World::without_operator(major).await;
        world.rename("app-db", "my-app").await;
        world.start_operator();
        world.apply(DATABASE).await;
        world.apply(READER).await;
        world.ready("pgdb", "my-app-db").await;
        world.ready("pguser", "my-app-reader").await;

        let mut owner = login(&world, "my-app-db-credentials", "my_app_owner").await;
        may(&mut owner, "CREATE SCHEMA analytics; CREATE TABLE analytics.visits AS SELECT 1 AS id").await;
        may(&mut owner, "CREATE TABLE public.orders AS SELECT 1 AS id").await;
        let mut reader = login(&world, "my-app-reader-credentials", "my_app_reader").await;
        may(&mut reader, "SELECT * FROM public.orders").await;
        may_not(&mut reader, "INSERT INTO public.orders VALUES (2)").await;
        strangers_stay_out(world.postgres).await;

        world.remove("pguser", "my-app-reader").await;
        world.remove("pgdb", "my-app-db").await;
        world.stop_operator().await;
    }
}

/// The Secret in the application's namespace has the five keys, and they log in.
async fn login(world: &World, secret: &str, role: &str) -> PgConnection {
    let secret = world.secret("my-app", secret).await;
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["database", "host", "password", "port", "username"]);
    assert_eq!((&*secret["username"], &*secret["database"]), (role, "my_app"));
    assert_eq!((&*secret["host"], secret["port"].clone()), ("127.0.0.1", world.postgres.port().to_string()));
    world.login(&secret).await
}

async fn strangers_stay_out(postgres: &Postgres) {
    may(&mut postgres.admin("postgres").await, "CREATE ROLE my_app_stranger LOGIN PASSWORD 'x'").await;
    let refused = postgres.connect("my_app", "my_app_stranger", "x").await.unwrap_err();
    assert_eq!(sqlstate(&refused), "42501", "{refused}");
}
