//! What an owner of a database does to be in the way: each attack ends, has no effect or is reported, and others go on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use exec::{Class, End, Error, Server, SslMode, Tls};
use plan::{Desired, Ident, Withheld};
use sqlx::PgConnection;
use testbed::{
    Postgres,
    postgres::run,
    relay::postgres::{Cut, Relay},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{Admin, MAJORS, Place, leave, own_superuser, place, place_on, read, rounds, sql};

/// A database that is as it should be.
async fn provisioned(major: u16) -> (Place, Desired) {
    // Whoever waits while it has our lock is a stranger for the other tests.
    let place = own_superuser(place(major, Admin::Superuser).await).await;
    let desired = place.desired();
    place.converge(&desired).await;
    (place, desired)
}

/// A session of one of the roles.
async fn session(place: &Place, database: &str, role: &Ident) -> PgConnection {
    place.postgres.connect(database, role.as_str(), place.secrets.0[role].expose()).await.unwrap()
}

/// A database of somebody else on the same server is made.
async fn neighbour_converges(place: &Place) {
    let neighbour = place_on(place.postgres, Admin::Superuser).await;
    neighbour.converge(&neighbour.desired()).await;
}

/// Rounds as the operator takes them; what is withheld at their end.
async fn withheld(place: &Place, desired: &Desired) -> Vec<Withheld> {
    let mut desired = desired.clone();
    let mut sessions = place.sessions();
    for number in 1..=8 {
        let catalog = sessions.read(&desired).await.unwrap();
        let plan = plan::plan(&desired, &catalog);
        if plan.is_empty() {
            sessions.close().await;
            return plan.withheld;
        }
        match sessions.apply(&desired, &plan).await.unwrap().end {
            End::Busy(busy) if number > 3 => desired.busy.extend(busy),
            End::Refused(refused) => desired.refused.push(refused),
            End::Complete | End::Stale | End::Busy(_) => (),
            End::NotConverged(left) => panic!("{left:?}"),
        }
    }
    panic!("there is always something left to do on {}", place.postgres)
}

/// More than 64 KiB of names, and of lists of privileges.
const LARGE: [&str; 2] = [
    "DO $$ BEGIN FOR s IN 1..1000 LOOP EXECUTE format('CREATE SCHEMA %I', rpad('s' || s, 63, '\"')); END LOOP; END $$",
    "DO $$ BEGIN FOR t IN 1..300 LOOP EXECUTE format('CREATE TABLE public.t%s (n int)', t); FOR r IN 0..9 LOOP \
     IF (t >> r) & 1 = 1 THEN EXECUTE format('GRANT SELECT ON public.t%s TO crowd%s', t, r); END IF; \
     END LOOP; END LOOP; END $$",
];

#[tokio::test]
async fn a_catalog_that_is_too_large_is_not_taken_in() {
    for major in MAJORS {
        let crowd = "DO $$ BEGIN FOR r IN 0..9 LOOP EXECUTE format('CREATE ROLE crowd%s', r); END LOOP; \
                     EXCEPTION WHEN duplicate_object THEN NULL; END $$";
        sql(Postgres::shared(major).await, "postgres", crowd).await;
        for made in LARGE {
            let (place, desired) = provisioned(major).await;
            place.sql_as(&place.owner, made).await.unwrap();
            let mut small = place.sessions().with_limit(64 << 10);
            let error = small.read(&desired).await.unwrap_err();
            assert_eq!(error.class(), Class::TooLarge, "{error}");
            let Error::TooLarge { bytes, limit: 65536 } = error else { panic!("{error}") };
            // What it says suffices.
            let limit = u32::try_from(bytes).unwrap();
            place.sessions().with_limit(limit).read(&desired).await.unwrap();
            let error = place.sessions().with_limit(limit - 1).read(&desired).await.unwrap_err();
            assert_eq!(error, Error::TooLarge { bytes, limit: limit - 1 }, "on {}", place.postgres);
        }
    }
}

#[tokio::test]
async fn what_a_leaving_role_owns_may_be_too_large() {
    let (place, mut desired) = provisioned(17).await;
    let made = "DO $$ BEGIN FOR v IN 1..1000 LOOP \
                EXECUTE format('CREATE VIEW public.%I AS SELECT 1 AS n', rpad('v' || v, 63, 'x')); END LOOP; END $$";
    place.sql_as(&place.writer, made).await.unwrap();
    // As large as the rest of the catalog, and nothing else.
    place.sql("CREATE SCHEMA hidden").await;
    leave(&mut desired, &place.writer);
    let found = read(&place, &desired).await.unwrap();
    assert!(!found.dependencies.is_empty());
    let error = place.sessions().with_limit(100 << 10).read(&desired).await.unwrap_err();
    assert_eq!(error.class(), Class::TooLarge, "{error}");
    place.converge(&desired).await;
}

#[tokio::test]
async fn our_lock_held_by_strangers_delays_nobody() {
    for major in MAJORS {
        let (place, desired) = provisioned(major).await;
        place.sql("CREATE TABLE public.orders ()").await;
        let mut held = Vec::new();
        for database in [place.database.as_str(), "postgres"] {
            let mut stranger = session(&place, database, &place.reader).await;
            run(&mut stranger, "SELECT pg_advisory_lock_shared(1346851414, 0)").await.unwrap();
            held.push(stranger);
        }
        sql(place.postgres, "postgres", format!("ALTER ROLE {} NOLOGIN", place.writer)).await;
        let relay = Relay::start(place.server.port, Cut::Never).await;
        let tls = Tls { mode: SslMode::Disable, ..Tls::default() };
        let server = Server { port: relay.port, tls, ..place.server.clone() };
        let place = Place { server, ..place };
        place.converge(&desired).await;
        // Or else each pass on the server could be made to wait.
        let statements = relay.statements();
        let is = |text: &str| statements.iter().filter(|one| one.starts_with(text)).count();
        let (tried, waited) =
            (is("SELECT pg_catalog.pg_try_advisory"), is("SELECT pg_catalog.pg_advisory_xact_lock"));
        assert_eq!((tried, waited), (2, 0), "on {}", place.postgres);
    }
}

#[tokio::test]
async fn idle_sessions_in_the_templates_and_the_maintenance_database_are_in_nobodys_way() {
    for major in [13, 18] {
        let (place, _) = provisioned(major).await;
        let mut idle = Vec::new();
        for database in ["template1", "postgres"] {
            let mut one = session(&place, database, &place.owner).await;
            run(&mut one, "BEGIN; SELECT 1").await.unwrap();
            idle.push(one);
        }
        neighbour_converges(&place).await;
    }
}

/// What a transaction that is never committed holds, and what a pass then wants to change: by the owner of the database,
/// in its database.
const HELD: [(&str, &str, &str); 4] = [
    (
        "the row of the database",
        "ALTER DATABASE DATABASE SET work_mem = '1MB'; GRANT CONNECT ON DATABASE DATABASE TO OWNER",
        "REVOKE CONNECT ON DATABASE DATABASE FROM READER",
    ),
    ("the row of a role", "ALTER ROLE OWNER PASSWORD 'x'", "ALTER ROLE OWNER NOLOGIN"),
    (
        "the row of a schema",
        "GRANT USAGE ON SCHEMA shop TO PUBLIC",
        "REVOKE USAGE ON SCHEMA shop FROM READER",
    ),
    (
        "default privileges",
        "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM WRITER",
        "ALTER DEFAULT PRIVILEGES FOR ROLE OWNER REVOKE SELECT ON TABLES FROM READER",
    ),
];

#[tokio::test]
async fn a_transaction_that_never_ends_is_left_behind() {
    for ((what, held, changed), major) in HELD.into_iter().zip([13, 18, 18, 13]) {
        let (place, desired) = provisioned(major).await;
        let names = [
            ("DATABASE DATABASE", format!("DATABASE {}", place.database)),
            ("OWNER", place.owner.to_string()),
            ("READER", place.reader.to_string()),
            ("WRITER", place.writer.to_string()),
        ];
        let with_names =
            |text: &str| names.iter().fold(text.to_owned(), |text, (word, name)| text.replace(word, name));
        place.sql_as(&place.owner, "CREATE SCHEMA shop").await.unwrap();
        place.converge(&desired).await;
        // An owner that is logged in already goes on.
        let mut idle = session(&place, place.database.as_str(), &place.owner).await;
        place.sql(with_names(changed)).await;
        run(&mut idle, format!("BEGIN; {}", with_names(held))).await.unwrap();
        let left = withheld(&place, &desired).await;
        assert!(
            left.iter().any(|one| matches!(one, Withheld::Refused { .. })),
            "{what} on {}: {left:?}",
            place.postgres
        );
        neighbour_converges(&place).await;
        run(&mut idle, "ROLLBACK").await.unwrap();
        place.converge(&desired).await;
    }
}

#[tokio::test]
async fn a_limit_on_the_connections_of_a_database_is_no_trouble_of_the_server() {
    for admin in [Admin::Superuser, Admin::Limited] {
        let place = own_superuser(place(17, admin).await).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let limited = format!("ALTER DATABASE {} CONNECTION LIMIT 0", place.database);
        place.sql_as(&place.owner, limited).await.unwrap();
        match (admin, read(&place, &desired).await) {
            (Admin::Superuser, found) => assert!(found.is_ok()),
            (Admin::Limited, found) => assert_eq!(found.unwrap_err().class(), Class::Refused),
        }
        neighbour_converges(&place).await;
    }
}

#[tokio::test]
async fn a_huge_comment_is_not_read() {
    for major in MAJORS {
        let (place, desired) = provisioned(major).await;
        let huge = "DO $$ BEGIN FOR n IN 1..2 LOOP \
             EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), repeat(chr(64 + n), 20000000)); \
             EXECUTE format('COMMENT ON SCHEMA shop IS %L', repeat(chr(64 + n), 20000000)); END LOOP; END $$";
        place.sql_as(&place.owner, "CREATE SCHEMA shop").await.unwrap();
        place.sql_as(&place.owner, huge).await.unwrap();
        place.sessions().with_limit(64 << 10).read(&desired).await.unwrap();
        place.converge(&desired).await;
    }
}

#[tokio::test]
async fn ten_thousand_large_objects_keep_no_role() {
    for major in MAJORS {
        let (place, mut desired) = provisioned(major).await;
        let mut writer = session(&place, "postgres", &place.writer).await;
        run(&mut writer, "SELECT count(lo_create(0)) FROM generate_series(1, 10000)").await.unwrap();
        drop(writer);
        leave(&mut desired, &place.writer);
        let found = place.converge(&desired).await;
        assert_eq!(found.role(&place.writer), None, "on {}", place.postgres);
        let removed = "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata";
        sql(place.postgres, "postgres", removed).await;
    }
}

#[tokio::test]
async fn a_role_that_owns_more_than_can_be_locked_stays_and_the_rest_is_done() {
    let few = Postgres::builder(17).set("max_locks_per_transaction", "10").set("max_connections", "20");
    let postgres: &'static Postgres = Box::leak(Box::new(few.start().await));
    let place = place_on(postgres, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    let made = "DO $$ BEGIN FOR t IN 1..6000 LOOP EXECUTE format('CREATE TABLE public.t%s ()', t); \
                IF t % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$";
    place.sql_as(&place.writer, made).await.unwrap();
    leave(&mut desired, &place.writer);
    sql(postgres, "postgres", format!("ALTER ROLE {} NOLOGIN", place.reader)).await;
    let left = withheld(&place, &desired).await;
    let reason = left.iter().find(|one| one.role() == Some(&place.writer)).unwrap().to_string();
    assert!(reason.contains("out of shared memory"), "{reason}");
    place.sql_as(&place.reader, "SELECT FROM public.t1").await.unwrap();
    neighbour_converges(&place).await;
    postgres.stop().await;
}

#[tokio::test]
async fn a_table_that_is_locked_for_ever_costs_only_itself() {
    let (place, desired) = provisioned(17).await;
    place.sql_as(&place.owner, "CREATE TABLE public.held (); CREATE TABLE public.free ()").await.unwrap();
    place.sql(format!("REVOKE SELECT ON public.held, public.free FROM {}", place.reader)).await;
    let mut idle = session(&place, place.database.as_str(), &place.owner).await;
    run(&mut idle, "BEGIN; LOCK public.held").await.unwrap();
    let left = withheld(&place, &desired).await;
    assert!(matches!(left.as_slice(), [Withheld::Busy { .. }]), "{left:?}");
    place.sql_as(&place.reader, "SELECT FROM public.free").await.unwrap();
    neighbour_converges(&place).await;
    run(&mut idle, "ROLLBACK").await.unwrap();
    let mut sessions = place.sessions();
    assert!(rounds(&mut sessions, &desired).await.unwrap().withheld.is_empty());
    sessions.close().await;
}

/// Letters of one to four bytes, and what ends quotes.
const SCRIPTS: [&str; 8] = ["x", "ж", "語", "😀", "\"", "'", "\\", "$$"];

#[tokio::test]
async fn names_as_long_as_can_be_in_every_script_are_handled_like_others() {
    for major in MAJORS {
        let (place, desired) = provisioned(major).await;
        let mut owner = session(&place, place.database.as_str(), &place.owner).await;
        for script in SCRIPTS {
            let name: Ident = script.repeat(63 / script.len()).parse().unwrap();
            run(&mut owner, format!("CREATE SCHEMA {name}; CREATE TABLE {name}.{name} ({name} int)"))
                .await
                .unwrap();
            run(&mut owner, format!("CREATE VIEW {name}.view AS SELECT 1 AS n")).await.unwrap();
            run(&mut owner, format!("REVOKE ALL ON {name}.{name} FROM {}", place.reader)).await.unwrap();
            run(&mut owner, format!("GRANT SELECT ({name}) ON {name}.{name} TO {}", place.reader))
                .await
                .unwrap();
        }
        place.converge(&desired).await;
        let name: Ident = SCRIPTS[3].repeat(15).parse().unwrap();
        place.sql_as(&place.reader, format!("SELECT {name} FROM {name}.{name}")).await.unwrap();
    }
}

/// A server that takes any password and answers the statement of this number with one message of a gigabyte; how many
/// megabytes of it were taken.
async fn endless(at: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
    let counter = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer(client, at, counter.clone()));
        }
    });
    (port, taken)
}

async fn answer(mut client: TcpStream, at: usize, taken: Arc<AtomicUsize>) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    client.read_exact(&mut startup).await?;
    if at > 0 {
        // Welcome, and ready.
        client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
        client.read_u8().await?;
    }
    client.write_all(b"D\x3f\xff\xff\xff").await?;
    let much = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        client.write_all(&much).await?;
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_answers_without_end_is_cut_off() {
    for at in [0, 1] {
        let mut place = place(17, Admin::Superuser).await;
        let (port, taken) = endless(at).await;
        place.server.port = port;
        place.server.tls = Tls { mode: SslMode::Disable, ..Tls::default() };
        let error = read(&place, &place.desired()).await.unwrap_err();
        assert_eq!(error.class(), Class::Unsupported, "{error}");
        assert!(error.to_string().contains("answers without end"), "{error}");
        // The system takes some before it is read.
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken < 64, "{taken} megabytes were taken");
    }
}
