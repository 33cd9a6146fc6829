//! What logins may and may not do, on every version whose differences matter.

use crate::app::{App, may, may_not, value};
use crate::world::World;

/// Tests that run on PostgreSQL 13, 15, 17 and 18.
macro_rules! on_every_version {
    ($($name:ident)*) => {
        $(mod $name {
            #[tokio::test]
            async fn on_13() {
                super::$name(13).await;
            }

            #[tokio::test]
            async fn on_15() {
                super::$name(15).await;
            }

            #[tokio::test]
            async fn on_17() {
                super::$name(17).await;
            }

            #[tokio::test]
            async fn on_18() {
                super::$name(18).await;
            }
        })*
    };
}

on_every_version! {
    a_reader_reads_what_is_and_what_will_be_in_its_schemas
    a_reader_of_everything_reads_schemas_that_come_later
    a_writer_changes_data_and_nothing_else
}

const READER: &str = ", access: read, schemas: [public, analytics]";
const WRITER: &str = ", access: readwrite, schemas: [public, analytics]";

/// Relations of every kind in `public` and `analytics`, and a schema that is nobody's business.
async fn prepare(app: &App<'_>) {
    app.sql_as_owner(
        "CREATE SCHEMA analytics; CREATE SCHEMA hidden; CREATE TABLE hidden.secrets AS SELECT 1 AS id",
    )
    .await;
    for schema in ["public", "analytics"] {
        app.sql_as_owner(&relations(schema, "early")).await;
    }
    app.sql(&format!(
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
        CREATE FOREIGN TABLE public.early_foreign (line text) SERVER files OPTIONS (filename 'PG_VERSION');
        ALTER FOREIGN TABLE public.early_foreign OWNER TO {}",
        app.owner
    ))
    .await;
}

/// Statements that make a relation of every kind, each with one row.
fn relations(schema: &str, prefix: &str) -> String {
    let name = format!("{schema}.{prefix}");
    format!(
        "CREATE TABLE {name}_table (id serial, item text);
        INSERT INTO {name}_table (item) VALUES ('one');
        CREATE VIEW {name}_view AS SELECT * FROM {name}_table;
        CREATE MATERIALIZED VIEW {name}_materialized AS SELECT * FROM {name}_table;
        CREATE TABLE {name}_parent (id int) PARTITION BY LIST (id);
        CREATE TABLE {name}_partition PARTITION OF {name}_parent FOR VALUES IN (1);
        INSERT INTO {name}_parent VALUES (1)"
    )
}

const KINDS: [&str; 5] = ["table", "view", "materialized", "parent", "partition"];

async fn a_reader_reads_what_is_and_what_will_be_in_its_schemas(major: u16) {
    let world = World::on(major).await;
    let app = App::provision(&world).await;
    prepare(&app).await;
    let (reader, writer) = (app.user(READER).await, app.user(WRITER).await);
    // From here on nobody could repair what default privileges miss.
    world.stop_operator().await;
    app.sql_as_owner(&relations("analytics", "late")).await;
    may(&mut app.session(&writer).await, &relations("public", "written")).await;

    let mut reader = app.session(&reader).await;
    for prefix in ["public.early", "analytics.early", "analytics.late", "public.written"] {
        for kind in KINDS {
            let count = format!("SELECT count(*) FROM {prefix}_{kind}");
            assert_eq!(value(&mut reader, &count).await.as_deref(), Some("1"), "{count}");
        }
    }
    assert_eq!(value(&mut reader, "SELECT line FROM public.early_foreign").await, Some(major.to_string()));
    may(&mut reader, "CREATE TEMPORARY TABLE mine (id int)").await;
    for table in ["public.early_table", "analytics.late_table", "public.written_table"] {
        for refused in [
            format!("INSERT INTO {table} (item) VALUES ('two')"),
            format!("UPDATE {table} SET item = 'two'"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            may_not(&mut reader, &refused).await;
        }
    }
    may_not(&mut reader, "CREATE TABLE public.mine (id int)").await;
    may_not(&mut reader, "CREATE SCHEMA mine").await;
    may_not(&mut reader, "SELECT * FROM hidden.secrets").await;
}

async fn a_reader_of_everything_reads_schemas_that_come_later(major: u16) {
    let world = World::on(major).await;
    let app = App::provision(&world).await;
    prepare(&app).await;
    let (reader, writer) = (app.user(", access: read").await, app.user(", access: readwrite").await);
    world.stop_operator().await;
    app.sql_as_owner("CREATE SCHEMA later").await;
    app.sql_as_owner(&relations("later", "late")).await;
    may(&mut app.session(&writer).await, &relations("later", "written")).await;

    let mut reader = app.session(&reader).await;
    for prefix in ["public.early", "analytics.early", "later.late", "later.written"] {
        for kind in KINDS {
            may(&mut reader, &format!("SELECT * FROM {prefix}_{kind}")).await;
        }
    }
    may(&mut reader, "SELECT * FROM hidden.secrets").await;
    may_not(&mut reader, "CREATE TABLE later.mine (id int)").await;
}

async fn a_writer_changes_data_and_nothing_else(major: u16) {
    let world = World::on(major).await;
    let app = App::provision(&world).await;
    prepare(&app).await;
    let (writer, other) = (app.user(WRITER).await, app.user(WRITER).await);
    world.stop_operator().await;
    app.sql_as_owner(&relations("analytics", "late")).await;
    may(&mut app.session(&other).await, &relations("public", "written")).await;

    let mut writer = app.session(&writer).await;
    for prefix in ["public.early", "analytics.early", "analytics.late", "public.written"] {
        let table = format!("{prefix}_table");
        for allowed in [
            format!("INSERT INTO {table} (item) VALUES ('two')"),
            format!("UPDATE {table} SET item = 'three' WHERE id = 2"),
            format!("DELETE FROM {table} WHERE item = 'three'"),
            format!("SELECT nextval('{table}_id_seq'), last_value FROM {table}_id_seq"),
        ] {
            may(&mut writer, &allowed).await;
        }
        may_not(&mut writer, &format!("TRUNCATE {table}")).await;
    }
    may(&mut writer, "CREATE TABLE public.mine (id int); CREATE TABLE analytics.mine (id int)").await;
    may(&mut writer, "CREATE TEMPORARY TABLE passing (id int)").await;
    for refused in ["SELECT * FROM hidden.secrets", "CREATE TABLE hidden.mine (id int)", "CREATE SCHEMA mine"]
    {
        may_not(&mut writer, refused).await;
    }
}
