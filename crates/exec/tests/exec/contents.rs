//! What is read of a database.

use std::fmt::Write as _;

use expect_test::expect;
use plan::{Acl, Catalog, Desired, Disposition, ExposedView, Leaving, Oid, PasswordState, testing::ident};
use testbed::{Postgres, postgres::run, unique};

use crate::support::{Admin, MAJORS, Place, place, place_on, read, server, sql};

const PREPARED: &str = r#"
    CREATE SCHEMA shop AUTHORIZATION OWNER;
    CREATE SCHEMA "we""ird";
    SET ROLE OWNER;
    CREATE TABLE shop.orders (id serial, note text);
    CREATE TABLE shop.items (id int, note text);
    CREATE TABLE shop.parts (id int) PARTITION BY LIST (id);
    CREATE VIEW shop.few AS SELECT * FROM shop.items;
    CREATE MATERIALIZED VIEW shop.kept AS SELECT * FROM shop.items;
    GRANT TRUNCATE ON shop.orders TO READER WITH GRANT OPTION;
    GRANT UPDATE (note) ON shop.items TO READER;
    GRANT UPDATE (note) ON shop.orders TO STRANGER;
    REVOKE ALL ON shop.few FROM OWNER;
    ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO READER;
    RESET ROLE;
    CREATE FOREIGN DATA WRAPPER wrapper;
    CREATE SERVER elsewhere FOREIGN DATA WRAPPER wrapper;
    CREATE FOREIGN TABLE shop.far (id int) SERVER elsewhere;
    CREATE EXTENSION pg_stat_statements SCHEMA shop;
    GRANT CREATE ON SCHEMA "we""ird" TO STRANGER;
    GRANT STRANGER TO READER;
    COMMENT ON ROLE READER IS 'by hand';
    ALTER ROLE READER VALID UNTIL '2031-01-01';
    CREATE FUNCTION public.array_cat(aclitem[], aclitem[]) RETURNS aclitem[] LANGUAGE plpgsql
      AS $$ BEGIN RAISE 'a tenant''s function was run'; END $$;
"#;

#[tokio::test]
async fn schemas_relations_and_privileges_are_read_alike_on_every_version_and_by_every_admin() {
    let wanted = expect![[r#"
        database owned by owner: owner CREATE, CONNECT, TEMPORARY by owner
        schema shop owned by owner: owner USAGE, CREATE by owner
        schema we"ird owned by postgres: postgres USAGE, CREATE by postgres; stranger CREATE by postgres
        shop MaterializedView of owner ["kept"]: owner - by owner
        shop PartitionedTable of owner ["parts"]: owner - by owner
        shop Sequence of owner ["orders_id_seq"]: owner SELECT, UPDATE, USAGE by owner
        shop Table of owner ["items"]: owner - by owner
        shop Table of owner ["orders"]: owner - by owner; reader TRUNCATE* by owner
        shop View of owner ["few"]: 
        shop ForeignTable of postgres ["far"]: postgres - by postgres
        column shop.items.note: reader UPDATE by owner
        default of owner in shop for Tables: reader SELECT by owner
        owners: owner
        postgres: superuser
        owner: login
        stranger: login
        reader: login, expires, comment by hand
        reader is a member of stranger: inherit true, set true
    "#]];
    for major in MAJORS {
        let place = place(major, Admin::Limited).await;
        let stranger = prepare(&place).await;
        let desired = desired(&place);
        let limited = read(&place, &desired).await.unwrap();
        assert_eq!(limited.role(&place.reader).unwrap().password, PasswordState::Differs);
        let place = Place { server: server(place.postgres), ..place };
        let full = read(&place, &desired).await.unwrap();
        assert_eq!(full.role(&place.reader).unwrap().password, PasswordState::Matches);
        assert_eq!(full.server.version.major(), u32::from(major));
        assert!(full.server.system_identifier.as_ref().is_some_and(|id| id.parse::<u64>().is_ok()));
        assert_eq!(limited.server.system_identifier, full.server.system_identifier);
        for catalog in [limited, full] {
            wanted.assert_eq(&describe(&catalog, &place, &stranger));
        }
    }
}

/// A database of the superuser's making, so that nothing is in it but what stands above.
async fn prepare(place: &Place) -> String {
    let stranger = unique("stranger");
    let password = place.secrets.0[&place.reader].expose();
    let shared = format!(
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE {} LOGIN; CREATE ROLE {stranger} LOGIN; \
         CREATE ROLE {} LOGIN PASSWORD '{}';",
        place.owner,
        place.reader,
        password.replace('\'', "''"),
    );
    sql(place.postgres, "postgres", shared).await;
    sql(place.postgres, "postgres", format!("CREATE DATABASE {} OWNER {}", place.database, place.owner))
        .await;
    let lines = PREPARED
        .replace("OWNER;", &format!("{};", place.owner))
        .replace("FROM OWNER", &format!("FROM {}", place.owner))
        .replace("ROLE OWNER", &format!("ROLE {}", place.owner))
        .replace("READER", &place.reader.to_string())
        .replace("STRANGER", &stranger);
    place.sql(lines).await;
    place.sql(format!("REVOKE ALL ON DATABASE {} FROM PUBLIC", place.database)).await;
    // The limited admin role is a member of the owner, as on managed services.
    place.sql(format!("GRANT {} TO {}", place.owner, place.server.user)).await;
    stranger
}

fn desired(place: &Place) -> Desired {
    let mut desired = place.desired();
    desired.logins.remove(&place.writer);
    desired.grantees.remove(&place.writer);
    desired
}

/// The catalog in words, without what differs per version (the schema `public`, what an owner has of a table),
/// per run (numbers, names) and per admin (its own role).
fn describe(catalog: &Catalog, place: &Place, stranger: &str) -> String {
    let contents = catalog.contents.as_ref().unwrap();
    let database = catalog.database.as_ref().unwrap();
    let role = |oid: Oid| catalog.roles.get(&oid).map_or("PUBLIC", |role| role.name.as_str());
    let acl = |acl: &Acl, owner: Oid, is_table: bool| {
        let item = |item: &plan::AclItem| {
            let star = if item.grantable.is_empty() { "" } else { "*" };
            let is_usual = item.grantee == owner && is_table;
            let privileges = if is_usual { "-".to_owned() } else { item.privileges.to_string() };
            format!("{} {privileges}{star} by {}", role(item.grantee), role(item.grantor))
        };
        let mut items: Vec<_> = acl.0.iter().map(item).collect();
        items.sort();
        items.join("; ")
    };
    let mut text = String::new();
    writeln!(
        text,
        "database owned by {}: {}",
        role(database.owner),
        acl(&database.acl, database.owner, false)
    )
    .unwrap();
    let mut lines = Vec::new();
    for schema in contents.schemas.values().filter(|schema| schema.name != ident("public")) {
        let list = acl(contents.acl(schema.acl), schema.owner, false);
        lines.push(format!("schema {} owned by {}: {list}\n", schema.name.as_str(), role(schema.owner)));
    }
    lines.sort();
    let mut groups = Vec::new();
    for group in &contents.relations {
        let names: Vec<_> = group.names.iter().map(plan::Ident::as_str).collect();
        let list = acl(contents.acl(group.acl), group.owner, group.kind != plan::RelationKind::Sequence);
        let schema = contents.schemas[&group.schema].name.as_str();
        groups.push((
            role(group.owner),
            format!("{schema} {:?} of {} {names:?}: {list}\n", group.kind, role(group.owner)),
        ));
    }
    groups.sort();
    lines.extend(groups.into_iter().map(|(_, line)| line));
    for column in &contents.columns {
        let name = &column.relation.name;
        let list = acl(&Acl(vec![column.item]), Oid::PUBLIC, false);
        lines.push(format!(
            "column {}.{}.{}: {list}\n",
            name.schema.as_str(),
            name.name.as_str(),
            column.column.as_str()
        ));
    }
    for default in &contents.defaults {
        let schema = default.schema.map_or("all", |oid| contents.schemas[&oid].name.as_str());
        let list = acl(&default.acl, Oid::PUBLIC, false);
        lines.push(format!(
            "default of {} in {schema} for {:?}: {list}\n",
            role(default.creator),
            default.object
        ));
    }
    let owners: Vec<_> = contents.owners.iter().map(|oid| role(*oid)).collect();
    lines.push(format!("owners: {}\n", owners.join(", ")));
    let admin = catalog.roles[&catalog.server.admin].name.as_str();
    for (oid, role) in &catalog.roles {
        let is_admin = *oid == catalog.server.admin && !role.superuser;
        if is_admin || role.name.as_str().starts_with("pg_") || role.name.as_str().starts_with("admin") {
            continue;
        }
        let words = [
            ("superuser", role.superuser),
            ("login", role.login && !role.superuser),
            ("expires", role.expires),
        ];
        let mut words: Vec<_> =
            words.iter().filter(|(_, is)| *is).map(|(word, _)| (*word).to_owned()).collect();
        words.extend(role.comment.as_ref().map(|comment| format!("comment {comment}")));
        lines.push(format!("{}: {}\n", role.name.as_str(), words.join(", ")));
    }
    for membership in &catalog.memberships {
        let (role, member) = (role(membership.role), role(membership.member));
        if member != admin && !member.starts_with("admin") {
            let (inherit, set) = (membership.inherit, membership.set);
            lines.push(format!("{member} is a member of {role}: inherit {inherit}, set {set}\n"));
        }
    }
    text.extend(lines);
    for (name, plain) in
        [(place.owner.as_str(), "owner"), (place.reader.as_str(), "reader"), (stranger, "stranger")]
    {
        text = text.replace(name, plain);
    }
    text
}

#[tokio::test]
async fn a_missing_or_closed_database_has_no_contents() {
    for admin in [Admin::Superuser, Admin::Limited] {
        let place = place(17, admin).await;
        let desired = place.desired();
        let catalog = read(&place, &desired).await.unwrap();
        assert_eq!((catalog.database, catalog.contents), (None, None));
        let create = format!("CREATE DATABASE {} ALLOW_CONNECTIONS false", place.database);
        sql(place.postgres, "postgres", create).await;
        let catalog = read(&place, &desired).await.unwrap();
        assert!(!catalog.database.unwrap().allow_connections);
        assert_eq!(catalog.contents, None);
        let invalid = format!(
            "UPDATE pg_database SET datconnlimit = -2, datallowconn = true WHERE datname = '{}'",
            place.database.as_str()
        );
        sql(place.postgres, "postgres", invalid).await;
        let catalog = read(&place, &desired).await.unwrap();
        assert!(catalog.database.unwrap().invalid);
        assert_eq!(catalog.contents, None);
    }
}

#[tokio::test]
async fn what_a_leaving_role_has_is_found_in_every_database() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let mut desired = place.desired();
        place.converge(&desired).await;
        let [other, closed] = ["other", "closed"].map(unique);
        for database in [&other, &closed] {
            sql(place.postgres, "postgres", format!("CREATE DATABASE {database}")).await;
            let made = format!(
                "CREATE SCHEMA s; GRANT ALL ON SCHEMA s TO {writer}; SET ROLE {writer}; \
                 CREATE VIEW s.v AS SELECT 1 AS one; GRANT SELECT ON s.v TO {reader}; \
                 CREATE FUNCTION s.f(int, text[]) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
                 REVOKE ALL ON FUNCTION s.f(int, text[]) FROM PUBLIC",
                writer = place.writer,
                reader = place.reader
            );
            sql(place.postgres, database, made).await;
        }
        sql(place.postgres, "postgres", format!("ALTER DATABASE {closed} ALLOW_CONNECTIONS false")).await;
        let login = desired.logins.remove(&place.writer).unwrap();
        desired.grantees.remove(&place.writer);
        let leaving = Leaving { claim: login.claim, recorded: None, disposition: Disposition::Drop };
        desired.leaving.insert(place.writer.clone(), leaving);
        let mut session = place
            .postgres
            .connect(&other, place.writer.as_str(), place.secrets.0[&place.writer].expose())
            .await
            .unwrap();
        run(&mut session, "SELECT 1").await.unwrap();

        let catalog = read(&place, &desired).await.unwrap();
        assert_eq!(catalog.role(&place.writer).unwrap().sessions, 1);
        let found = &catalog.dependencies[&catalog.role_oid(&place.writer).unwrap()];
        let here = &found[&place.database];
        assert!(!here.owns && here.named, "{here:?}");
        let there = &found[&ident(&other)];
        assert!(there.owns && there.named && there.allow_connections, "{there:?}");
        assert_eq!(
            there.definer_routines[0].to_string(),
            r#""s"."f"(IN "pg_catalog"."int4", IN "pg_catalog"."_text")"#
        );
        assert_eq!(there.definer_views[0].to_string(), r#""s"."v""#);
        let reader = catalog.role_oid(&place.reader).unwrap();
        assert!(
            matches!(&there.exposed[..], [ExposedView { grantee, .. }] if *grantee == reader),
            "{there:?}"
        );
        let closed = &found[&ident(&closed)];
        assert!(closed.owns && !closed.allow_connections, "{closed:?}");
        assert_eq!(found.len(), 3, "{found:?}");
    }
}

#[tokio::test]
async fn rights_on_shared_objects_alone_count_for_the_maintenance_database() {
    let place = place(17, Admin::Superuser).await;
    let mut desired = place.desired();
    place.converge(&desired).await;
    let other = unique("other");
    sql(place.postgres, "postgres", format!("CREATE DATABASE {other}")).await;
    sql(place.postgres, "postgres", format!("GRANT CONNECT ON DATABASE {other} TO {}", place.reader)).await;
    let login = desired.logins.remove(&place.reader).unwrap();
    desired.grantees.remove(&place.reader);
    let leaving = Leaving { claim: login.claim, recorded: None, disposition: Disposition::Drop };
    desired.leaving.insert(place.reader.clone(), leaving);
    let catalog = read(&place, &desired).await.unwrap();
    let found = &catalog.dependencies[&catalog.role_oid(&place.reader).unwrap()];
    // DROP OWNED reaches them from any database.
    assert_eq!(found.keys().collect::<Vec<_>>(), [&place.database]);
    let drop = format!(
        "DROP OWNED BY {reader}; GRANT CONNECT ON DATABASE {other} TO {reader}",
        reader = place.reader
    );
    place.sql(drop).await;
    let catalog = read(&place, &desired).await.unwrap();
    let found = &catalog.dependencies[&catalog.role_oid(&place.reader).unwrap()];
    assert!(found[&ident("postgres")].named, "{found:?}");
    let catalog = place.converge(&desired).await;
    assert_eq!(catalog.role(&place.reader), None);
}

#[tokio::test]
async fn a_reader_that_owns_something_is_looked_at() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place
        .sql(format!("CREATE TABLE public.mine (); ALTER TABLE public.mine OWNER TO {}", place.reader))
        .await;
    let catalog = read(&place, &desired).await.unwrap();
    let reader = catalog.role_oid(&place.reader).unwrap();
    assert!(catalog.contents.unwrap().owners.contains(&reader));
    assert!(catalog.dependencies[&reader][&place.database].owns);
    let catalog = place.converge(&desired).await;
    assert!(catalog.dependencies.is_empty(), "{:?}", catalog.dependencies);
}

/// An object of every kind that has an owner, and how it goes.
const OWNED: [(&str, &str); 20] = [
    ("CREATE TABLE public.x (); ALTER TABLE public.x OWNER TO READER", "TABLE public.x"),
    (
        "CREATE FUNCTION public.x() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         ALTER FUNCTION public.x() OWNER TO READER",
        "FUNCTION public.x",
    ),
    ("CREATE TYPE public.x AS ENUM (); ALTER TYPE public.x OWNER TO READER", "TYPE public.x"),
    ("CREATE SCHEMA x AUTHORIZATION READER", "SCHEMA x"),
    (
        "CREATE OPERATOR public.=== (FUNCTION = pg_catalog.int4eq, LEFTARG = int, RIGHTARG = int); \
         ALTER OPERATOR public.=== (int, int) OWNER TO READER",
        "OPERATOR public.=== (int, int)",
    ),
    (
        "CREATE OPERATOR FAMILY public.x USING btree; ALTER OPERATOR FAMILY public.x USING btree OWNER TO READER",
        "OPERATOR FAMILY public.x USING btree",
    ),
    (
        "CREATE OPERATOR FAMILY public.x USING hash; \
         CREATE OPERATOR CLASS public.x FOR TYPE int USING hash FAMILY public.x \
           AS OPERATOR 1 =, FUNCTION 1 pg_catalog.hashint4(int); \
         ALTER OPERATOR CLASS public.x USING hash OWNER TO READER",
        "OPERATOR FAMILY public.x USING hash CASCADE",
    ),
    (
        "CREATE COLLATION public.x FROM pg_catalog.\"C\"; ALTER COLLATION public.x OWNER TO READER",
        "COLLATION public.x",
    ),
    (
        "CREATE CONVERSION public.x FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1; \
         ALTER CONVERSION public.x OWNER TO READER",
        "CONVERSION public.x",
    ),
    ("CREATE LANGUAGE x HANDLER plpgsql_call_handler; ALTER LANGUAGE x OWNER TO READER", "LANGUAGE x"),
    (
        "CREATE TEXT SEARCH CONFIGURATION public.x (COPY = pg_catalog.simple); \
         ALTER TEXT SEARCH CONFIGURATION public.x OWNER TO READER",
        "TEXT SEARCH CONFIGURATION public.x",
    ),
    (
        "CREATE TEXT SEARCH DICTIONARY public.x (TEMPLATE = pg_catalog.simple); \
         ALTER TEXT SEARCH DICTIONARY public.x OWNER TO READER",
        "TEXT SEARCH DICTIONARY public.x",
    ),
    ("SET ROLE READER; CREATE EXTENSION pg_trgm SCHEMA pg_catalog; RESET ROLE", "EXTENSION pg_trgm"),
    ("CREATE FOREIGN DATA WRAPPER x; ALTER FOREIGN DATA WRAPPER x OWNER TO READER", "FOREIGN DATA WRAPPER x"),
    (
        "CREATE FOREIGN DATA WRAPPER x; CREATE SERVER x FOREIGN DATA WRAPPER x; ALTER SERVER x OWNER TO READER",
        "FOREIGN DATA WRAPPER x CASCADE",
    ),
    (
        "CREATE FUNCTION public.x() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER x ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION public.x(); \
         ALTER EVENT TRIGGER x OWNER TO READER",
        "FUNCTION public.x CASCADE",
    ),
    ("CREATE PUBLICATION x; ALTER PUBLICATION x OWNER TO READER", "PUBLICATION x"),
    (
        "CREATE SUBSCRIPTION x CONNECTION 'dbname=none' PUBLICATION x \
           WITH (connect = false, enabled = false, create_slot = false, slot_name = NONE); \
         ALTER SUBSCRIPTION x OWNER TO READER",
        "SUBSCRIPTION x",
    ),
    (
        "CREATE TABLE public.y (a int, b int); CREATE STATISTICS public.x ON a, b FROM public.y; \
         ALTER STATISTICS public.x OWNER TO READER",
        "TABLE public.y",
    ),
    ("SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO READER", "LARGE OBJECT"),
];

#[tokio::test]
async fn a_reader_that_owns_anything_of_any_kind_is_known() {
    for major in [13, 18] {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let mut sessions = place.sessions();
        let mut owns = async || {
            let catalog = sessions.read(&desired).await.unwrap();
            catalog.contents.as_ref().unwrap().owners.contains(&catalog.role_oid(&place.reader).unwrap())
        };
        let mut admin = place.postgres.admin(place.database.as_str()).await;
        let mut sql = async |text: &str| {
            let done = run(&mut admin, text).await;
            done.unwrap_or_else(|error| panic!("{text}: {error} on {}", place.postgres));
        };
        for (make, gone) in OWNED {
            assert!(!owns().await, "before {make} on {}", place.postgres);
            // Some owners must be superusers when they become owners.
            let reader = place.reader.to_string();
            let make = make.replace("READER", &reader);
            sql(&format!("ALTER ROLE {reader} SUPERUSER; {make}; ALTER ROLE {reader} NOSUPERUSER")).await;
            assert!(owns().await, "{make} on {}", place.postgres);
            // Where there are many large objects they are looked for in another way.
            if gone == "LARGE OBJECT" {
                sql("SELECT count(lo_create(0)) FROM generate_series(1, 40000)").await;
                assert!(owns().await, "{make} among others on {}", place.postgres);
                sql("SELECT lo_unlink(4711)").await;
                assert!(!owns().await, "on {}", place.postgres);
            } else {
                sql(&format!("DROP {gone}")).await;
            }
        }
        sessions.close().await;
    }
}

#[tokio::test]
async fn what_a_reader_has_temporarily_is_its_own() {
    for major in MAJORS {
        let place = place(major, Admin::Superuser).await;
        let desired = place.desired();
        place.converge(&desired).await;
        let password = place.secrets.0[&place.reader].expose();
        let session = place.postgres.connect(place.database.as_str(), place.reader.as_str(), password).await;
        let mut session = session.unwrap();
        let made = "CREATE TEMPORARY TABLE mine (id serial); CREATE TYPE pg_temp.pair AS (a int, b int); \
                    CREATE FUNCTION pg_temp.one() RETURNS int LANGUAGE sql AS 'SELECT 1'";
        run(&mut session, made).await.unwrap();
        let mut sessions = place.sessions();
        let catalog = sessions.read(&desired).await.unwrap();
        assert_eq!(plan::plan(&desired, &catalog).actions, [], "on {}", place.postgres);
        sessions.close().await;
        run(&mut session, "INSERT INTO mine DEFAULT VALUES").await.unwrap();
    }
}

#[tokio::test]
async fn two_readings_of_the_same_are_equal() {
    let place = place(18, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;
    place
        .sql(format!(
            "CREATE TABLE public.a (); CREATE TABLE public.b (); GRANT ALL ON public.a TO {}",
            place.reader
        ))
        .await;
    assert_eq!(read(&place, &desired).await.unwrap(), read(&place, &desired).await.unwrap());
}

/// In a database of another encoding, a name that fits there can be too long to be written here.
#[tokio::test]
async fn a_role_whose_name_cannot_be_written_is_no_obstacle() {
    let postgres = Postgres::start(17).await;
    let encoding = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    sql(&postgres, "postgres", format!("CREATE DATABASE latin {encoding}")).await;
    let longest = "é".repeat(63);
    let made = format!(
        "CREATE ROLE \"{longest}\"; CREATE SCHEMA theirs AUTHORIZATION \"{longest}\"; CREATE TABLE theirs.orders (); \
         ALTER TABLE theirs.orders OWNER TO \"{longest}\"; CREATE TABLE public.ours (); \
         GRANT SELECT ON public.ours TO \"{longest}\"; \
         ALTER DEFAULT PRIVILEGES FOR ROLE \"{longest}\" GRANT SELECT ON TABLES TO postgres"
    );
    sql(&postgres, "latin", made).await;
    let place = place_on(Box::leak(Box::new(postgres)), Admin::Superuser).await;
    let place = Place { database: ident("latin"), ..place };
    let mut desired = place.desired();
    desired.managed = plan::Managed::No;
    let catalog = place.converge(&desired).await;
    let schemas = catalog.contents.unwrap().schemas;
    assert!(schemas.values().all(|schema| schema.name.as_str() == "public"), "{schemas:?}");
    place.sql_as(&place.reader, "SELECT FROM public.ours").await.unwrap();
}
