//! What tenants do to be in everybody's way: it is reported on their own resources, and others are provisioned meanwhile.

use testbed::postgres::run;
use testbed::unique;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::app::App;
use crate::resources::database;
use crate::world::{PATIENCE, World};

/// A server of the tenant's own that is none: it does this with whoever connects.
async fn hostile<F>(welcome: fn(TcpStream) -> F) -> u16
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(welcome(client));
        }
    });
    port
}

/// Takes everything and says nothing.
async fn silent(mut client: TcpStream) -> std::io::Result<()> {
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await.map(|_| ())
}

/// Lets everybody in, and says nothing any more.
async fn silent_once_in(mut client: TcpStream) -> std::io::Result<()> {
    greet(&mut client).await?;
    silent(client).await
}

/// Lets everybody in, and then says a byte at a time of what is a gigabyte.
async fn trickling(mut client: TcpStream) -> std::io::Result<()> {
    greet(&mut client).await?;
    client.write_all(b"D\x3f\xff\xff\xff").await?;
    let mut byte = [0];
    // As slowly as it is asked something, which is hardly ever.
    while client.read(&mut byte).await? > 0 {
        client.write_all(b"x").await?;
    }
    Ok(())
}

/// Lets everybody in, and answers without end.
async fn endless(mut client: TcpStream) -> std::io::Result<()> {
    greet(&mut client).await?;
    client.write_all(b"D\x3f\xff\xff\xff").await?;
    let much = vec![b'x'; 1 << 20];
    loop {
        client.write_all(&much).await?;
    }
}

async fn greet(client: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let length = client.read_u32().await? as usize;
        let mut rest = vec![0; length - 4];
        client.read_exact(&mut rest).await?;
        // The first question is whether to encrypt.
        if length == 8 {
            client.write_all(b"N").await?;
            continue;
        }
        return client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await;
    }
}

/// Applies a database on this server; its name.
async fn on_server(world: &World, port: u16) -> String {
    let (app, here) = (unique("app"), &world.namespace);
    world
        .apply(&format!(
            "apiVersion: v1
kind: Secret
metadata: {{ name: {app}-admin, namespace: {here} }}
stringData: {{ username: postgres, password: x, port: '{port}' }}
"
        ))
        .await;
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: {app}-admin, namespace: {here} }}");
    world.apply(&database(here, &app, &format!("{app}_owner"), &more)).await;
    app
}

#[tokio::test]
async fn servers_that_never_answer_are_in_nobodys_way() {
    let world = World::new().await;
    let ports = [
        hostile(silent).await,
        hostile(silent_once_in).await,
        hostile(trickling).await,
        hostile(endless).await,
    ];
    let mut hung = Vec::new();
    for port in ports {
        for _ in 0..5 {
            hung.push(on_server(&world, port).await);
        }
    }
    App::provision(&world).await.user(", access: read").await;
    let other = testbed::Postgres::shared(18).await;
    let app = unique("app");
    let here = &world.namespace;
    world.superuser_secret("other", other, other.password()).await;
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: other, namespace: {here} }}");
    world.apply(&database(here, &app, &format!("{app}_owner"), &more)).await;
    world.ready("pgdb", &app).await;
    world.condition("pgdb", &hung[0], ("Ready", "False", "ServerUnavailable")).await;
    world.condition("pgdb", &hung[19], ("Ready", "False", "UnsupportedServer")).await;
}

/// Schemas with names as long as can be.
fn schemas(numbers: std::ops::RangeInclusive<u32>) -> String {
    let (first, last) = numbers.into_inner();
    format!(
        "DO $$ BEGIN FOR s IN {first}..{last} LOOP EXECUTE format('CREATE SCHEMA %I', rpad('s' || s, 63, 'x')); \
         END LOOP; END $$"
    )
}

#[tokio::test]
async fn a_catalog_that_is_too_large_is_said_and_read_again_when_it_is_not() {
    let mut world = World::without_operator(17).await;
    world.settings.catalog_limit = 256 << 10;
    world.start_operator();
    let app = App::provision(&world).await;
    // More than most have, and no more than may be.
    app.sql_as_owner(&schemas(1..=1500)).await;
    let reader = app.user(", access: read").await;
    app.sql_as_owner(&schemas(1501..=4000)).await;
    let found = world.condition("pgdb", &app.name, ("Ready", "False", "CatalogTooLarge")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("more than 256 kB"), "{said}");
    world.condition("pguser", &reader, ("Ready", "False", "CatalogTooLarge")).await;
    App::provision(&world).await;
    let dropped = "DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace WHERE nspname ~ 'xx$' LOOP \
                   EXECUTE format('DROP SCHEMA %I', s); END LOOP; END $$";
    app.sql_as_owner(dropped).await;
    world.ready("pguser", &reader).await;
    world.ready("pgdb", &app.name).await;
}

#[tokio::test]
async fn many_who_hold_what_a_pass_needs_leave_room_for_others() {
    let own = testbed::Postgres::start(17).await;
    let mut world = World::without_operator(17).await;
    world.settings.server = Some(crate::world::server(&own));
    world.start_operator();
    let mut held = Vec::new();
    for _ in 0..4 {
        let name = unique("app");
        world.apply(&database(&world.namespace, &name, &format!("{name}_owner"), "")).await;
        world.ready("pgdb", &name).await;
        let secret = world.secret(&world.namespace, &name).await;
        let mut owner = own.connect(&name, &secret["username"], &secret["password"]).await.unwrap();
        // Its own row and the database's, which a pass has to change; and our lock.
        run(&mut own.admin("postgres").await, format!("ALTER ROLE {name}_owner NOLOGIN")).await.unwrap();
        let blocking = format!(
            "BEGIN; ALTER ROLE {name}_owner PASSWORD 'x'; GRANT CONNECT ON DATABASE {name} TO PUBLIC; \
             SELECT pg_advisory_lock_shared(1346851414, 0)"
        );
        run(&mut owner, blocking).await.unwrap();
        held.push((name, owner));
    }
    let name = unique("app");
    world.apply(&database(&world.namespace, &name, &format!("{name}_owner"), "")).await;
    // It may have to wait for two rounds of places, of ten seconds each.
    world.ready_in(2 * PATIENCE, "pgdb", &name).await;
    for (name, _) in &held {
        world.condition_in(2 * PATIENCE, "pgdb", name, ("Ready", "False", "NotConverged")).await;
    }
    let names: Vec<_> = held.into_iter().map(|(name, _)| name).collect();
    for name in names {
        world.ready_in(2 * PATIENCE, "pgdb", &name).await;
    }
    world.stop_operator().await;
}
