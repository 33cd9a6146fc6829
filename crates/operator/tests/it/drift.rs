//! What others change behind the operator's back is found, repaired and reported.

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, ListParams, Patch, PatchParams, Request};
use operator::api::user::PostgresUser;
use serde_json::{Value, json};
use testbed::{eventually, unique};

use crate::app::{App, may};
use crate::resources::{database, user};
use crate::server_log;
use crate::witness;
use crate::world::{PATIENCE, World};

const READER: &str = ", access: read, schemas: [public]";

/// Changes something while the operator is away, and waits until its first check has reported that. Gives back the
/// statements that it took; of `password`, only that there was one.
async fn repaired(app: &App<'_>, sql: &str, (kind, name): (&str, &str), message: &str) -> Vec<String> {
    let world = app.world;
    world.stop_operator().await;
    app.sql(sql).await;
    let log = world.postgres.log().len();
    world.start_operator();
    eventually(&format!("{message} of {kind} {name}"), PATIENCE, async || {
        let found = witness::condition(&world.namespace, name, ("Drifted", "True", "DriftRepaired"));
        match found {
            Some(found) if found == message => Ok(()),
            found => Err(found.unwrap_or_else(|| "no drift was reported".to_owned())),
        }
    })
    .await;
    assert_eq!(world.warning(name, "DriftRepaired").await, format!("{message}; repaired"));
    world.condition(kind, name, ("Drifted", "False", "InSync")).await;
    world.condition(kind, name, ("Ready", "True", "Provisioned")).await;
    let log = world.postgres.log().split_off(log);
    changes(&log, app)
}

/// The operator's statements about this database and its roles that changed something.
fn changes(log: &str, app: &App<'_>) -> Vec<String> {
    let is_change = |statement: &str| {
        server_log::is_change(statement)
            && !["BEGIN", "COMMIT", "LOCK", "SELECT"].iter().any(|verb| statement.starts_with(verb))
    };
    let ours = server_log::statements(log)
        .filter(|(database, statement)| *database == app.name || statement.contains(&app.name));
    ours.map(|(_, statement)| statement.to_owned()).filter(|statement| is_change(statement)).collect()
}

#[tokio::test]
async fn one_revoked_select_is_one_grant() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id; CREATE TABLE public.other (id int)")
        .await;
    let revoke = format!("REVOKE SELECT ON public.orders FROM {reader}");
    let message = format!("SELECT on public.orders was revoked from {reader}");
    let statements = repaired(&app, &revoke, ("pguser", &reader), &message).await;
    assert_eq!(statements, [format!("GRANT SELECT ON TABLE \"public\".\"orders\" TO \"{reader}\"")]);
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}

#[tokio::test]
async fn the_next_check_finds_it_without_being_told() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    app.sql(&format!("REVOKE SELECT ON public.orders FROM {reader}")).await;
    let note = world.warning(&reader, "DriftRepaired").await;
    assert_eq!(note, format!("SELECT on public.orders was revoked from {reader}; repaired"));
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
}

/// Both were looked at before, and nothing could be done.
#[tokio::test]
async fn what_waited_for_the_namespace_of_its_secret_is_new_and_no_drift() {
    let mut world = World::without_operator(17).await;
    let (app, late) = (unique("app"), unique("late").replace('_', "-"));
    let (owner, reader) = (format!("{app}_owner"), format!("{app}reader"));
    world.settings.watch.insert(late.clone());
    world.start_operator();
    let more = format!(", secretNamespace: {late}");
    world.apply(&database(&world.namespace, &app, &owner, &more)).await;
    world.apply(&user(&world.namespace, &reader, &app, &format!("{READER}{more}"))).await;
    for (kind, name) in [("pgdb", &app), ("pguser", &reader)] {
        world.condition(kind, name, ("Ready", "False", "SecretNamespaceMissing")).await;
    }
    world.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {late} }}\n")).await;
    for (kind, name) in [("pgdb", &app), ("pguser", &reader)] {
        let found = world.ready(kind, name).await;
        assert_eq!(found.data["status"]["lastDrift"], Value::Null);
        assert!(world.event(name, "Created", 1).await.contains("CREATE ROLE"));
    }
}

/// Otherwise a tenant could keep drift from being told.
#[tokio::test]
async fn a_resource_that_waits_hides_no_drift_of_others() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let waiting = format!("{}waiting", app.name);
    let more = format!("{READER}, secretNamespace: {}", unique("none").replace('_', "-"));
    world.apply(&user(&world.namespace, &waiting, &app.name, &more)).await;
    world.condition("pguser", &waiting, ("Ready", "False", "SecretNamespaceMissing")).await;
    app.sql(&format!("REVOKE SELECT ON public.orders FROM {reader}")).await;
    world.warning(&reader, "DriftRepaired").await;
}

#[tokio::test]
async fn a_dropped_role_is_back_with_its_password() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    let secret = world.secret(&world.namespace, &reader).await;
    let drop = format!("DROP OWNED BY {reader}; DROP ROLE {reader}");
    repaired(&app, &drop, ("pguser", &reader), &format!("role {reader} was dropped")).await;
    assert_eq!(world.secret(&world.namespace, &reader).await, secret);
    world.login(&secret).await;
}

#[tokio::test]
async fn a_database_is_given_back_to_its_owner() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let message = format!("database {} was taken from its owner {}", app.name, app.owner);
    let take = format!("ALTER DATABASE {} OWNER TO postgres", app.name);
    repaired(&app, &take, ("pgdb", &app.name), &message).await;
    let owner = "SELECT datdba::regrole FROM pg_database WHERE datname = current_database()";
    assert_eq!(app.value(owner).await.as_ref(), Some(&app.owner));
}

#[tokio::test]
async fn public_is_shut_out_again() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let open = format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", app.name);
    let message = format!("CONNECT on database {} was given to PUBLIC", app.name);
    let statements = repaired(&app, &open, ("pgdb", &app.name), &message).await;
    assert_eq!(statements, [format!("REVOKE CONNECT ON DATABASE \"{}\" FROM PUBLIC", app.name)]);
}

#[tokio::test]
async fn a_privilege_beyond_the_access_is_revoked() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let give = format!("GRANT TRUNCATE ON public.orders TO {reader}");
    let message = format!("TRUNCATE on public.orders was given to {reader}");
    let statements = repaired(&app, &give, ("pguser", &reader), &message).await;
    assert_eq!(statements, [format!("REVOKE TRUNCATE ON TABLE \"public\".\"orders\" FROM \"{reader}\"")]);
}

#[tokio::test]
async fn a_password_set_by_hand_goes_back_to_the_secrets() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    let secret = world.secret(&world.namespace, &reader).await;
    let change = format!("ALTER ROLE {reader} PASSWORD 'set by hand'");
    repaired(&app, &change, ("pguser", &reader), &format!("the password of {reader} was changed")).await;
    world.login(&secret).await;
    assert!(world.postgres.connect(&app.name, &reader, "set by hand").await.is_err());
}

#[tokio::test]
async fn a_password_changed_in_the_secret_while_nobody_looks_is_no_drift() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    world.stop_operator().await;
    let chosen = Patch::Merge(json!({ "stringData": { "password": "chosen-by-hand-0123456789" } }));
    let secrets = world.secrets(&world.namespace);
    let secret = secrets.patch(&reader, &PatchParams::default(), &chosen).await.unwrap();
    world.start_operator();
    eventually("a login with the new password", PATIENCE, async || {
        world.postgres.connect(&app.name, &reader, "chosen-by-hand-0123456789").await.map(drop)
    })
    .await;
    let version = json!(secret.metadata.resource_version);
    eventually("the status to tell of the Secret", PATIENCE, async || {
        let found = world.get("pguser", &reader).await.unwrap();
        let found = &found.data["status"]["provisioned"]["secretVersion"];
        if *found == version { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
    assert_eq!(witness::condition(&world.namespace, &reader, ("Drifted", "True", "DriftRepaired")), None);
}

#[tokio::test]
async fn a_database_that_was_dropped_is_made_again_loudly() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    world.stop_operator().await;
    world.sql("postgres", &format!("DROP DATABASE {}", app.name)).await;
    world.start_operator();
    assert!(world.warning(&app.name, "DatabaseRecreated").await.contains(&app.name));
    world.ready("pguser", &reader).await;
    world.ready("pgdb", &app.name).await;
    app.session(&reader).await;
    app.owner().await;
}

#[tokio::test]
async fn a_new_schema_is_growth_and_no_drift() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    app.sql("CREATE SCHEMA imported; CREATE TABLE imported.rows (id int)").await;
    assert!(world.event(&reader, "Extended", 1).await.contains("imported"));
    may(&mut app.session(&reader).await, "SELECT * FROM imported.rows").await;
    // The check that found it has reported by then.
    world.checks(&app.name, 2).await;
    assert_eq!(witness::condition(&world.namespace, &reader, ("Drifted", "True", "DriftRepaired")), None);
}

#[tokio::test]
async fn what_was_repaired_can_be_read_the_next_morning() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id; CREATE TABLE public.visits ()").await;
    let drift = async |count: u32| {
        eventually("the drift to be remembered", PATIENCE, async || {
            let found = world.get("pguser", &reader).await.map_err(|error| error.to_string())?;
            let last = found.data["status"]["lastDrift"].clone();
            if last["count"] == count { Ok(last) } else { Err(last.to_string()) }
        })
        .await
    };
    app.sql(&format!(
        "REVOKE SELECT ON public.orders FROM {reader}; GRANT TRUNCATE ON public.visits TO {reader}"
    ))
    .await;
    let first = drift(1).await;
    let objects = ["SELECT on public.orders was revoked from ", "TRUNCATE on public.visits was given to "];
    assert_eq!(first["objects"], json!(objects.map(|object| format!("{object}{reader}"))));
    assert_eq!((&first["changes"], &first["repaired"]), (&json!(2), &first["time"]));
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    assert_eq!(drift(1).await, first);

    app.sql(&format!("REVOKE SELECT ON public.orders FROM {reader}")).await;
    assert_eq!(drift(2).await["objects"].as_array().unwrap().len(), 1);
    // Growth is none.
    app.sql("CREATE SCHEMA imported; CREATE TABLE imported.rows (id int)").await;
    let grown = app.user(", access: read").await;
    app.sql("CREATE SCHEMA later; CREATE TABLE later.rows (id int)").await;
    world.event(&grown, "Extended", 1).await;
    world.checks(&app.name, 2).await;
    assert_eq!(world.get("pguser", &grown).await.unwrap().data["status"]["lastDrift"], Value::Null);
}

#[tokio::test]
async fn drift_that_cannot_be_repaired_is_told_once_and_counts_once() {
    let world = World::on(16).await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    // A superuser's, which the operator does not mind.
    app.sql(&format!(
        "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
         CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('GRANT') EXECUTE FUNCTION public.refuse();
         ALTER EVENT TRIGGER refuse ENABLE ALWAYS; REVOKE SELECT ON public.orders FROM {reader}"
    ))
    .await;
    let found = world.condition("pguser", &reader, ("Drifted", "True", "DriftRemains")).await;
    let since = found.data["status"]["lastDrift"]["time"].clone();
    let note = world.warning(&reader, "DriftRemains").await;
    assert_eq!(note, format!("SELECT on public.orders was revoked from {reader}; not repaired"));
    let before = world.writes();
    world.checks(&app.name, 4).await;
    assert_eq!(world.writes(), before, "each check finds it");
    // A restart does not forget it.
    world.stop_operator().await;
    world.start_operator();
    world.checks(&app.name, 3).await;
    assert_eq!(world.writes(), before, "each check finds it");

    app.sql("DROP EVENT TRIGGER refuse").await;
    world.event(&reader, "DriftRepaired", 1).await;
    let found = world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    let last = &found.data["status"]["lastDrift"];
    assert_eq!((&last["time"], &last["count"]), (&since, &json!(1)));
    assert!(last["repaired"].is_string());
}

#[tokio::test]
async fn somebody_who_breaks_something_else_each_time_does_not_flood() {
    let mut world = World::without_operator(17).await;
    world.settings.resync = std::time::Duration::from_millis(100);
    world.start_operator();
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    let tables: Vec<_> = (0..20).map(|number| format!("public.t{number}")).collect();
    let create: Vec<_> = tables.iter().map(|table| format!("CREATE TABLE {table} ()")).collect();
    app.sql_as_owner(&create.join(";")).await;
    for (count, table) in (1_u32..).zip(&tables) {
        app.sql(&format!("REVOKE SELECT ON {table} FROM {reader}")).await;
        eventually("the repair", PATIENCE, async || {
            let found = world.get("pguser", &reader).await.map_err(|error| error.to_string())?;
            let last = found.data["status"]["lastDrift"].clone();
            if last["count"] == count { Ok(()) } else { Err(last.to_string()) }
        })
        .await;
    }
    let note = world.event(&reader, "DriftRepaired", 10).await;
    assert!(note.starts_with("more of the same"), "{note}");
    let events: Api<Event> = Api::namespaced(world.admin.clone(), &world.namespace);
    let events = events.list(&ListParams::default()).await.unwrap().into_iter();
    assert_eq!(events.filter(|event| event.reason.as_deref() == Some("DriftRepaired")).count(), 9);
}

#[tokio::test]
async fn drift_is_a_column() {
    // The report of a check stands until the next one, which does not come.
    let world = World::told().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    assert_eq!(
        cells(&world, &reader).await,
        [&reader, &app.name, &reader, "read", "True", "Provisioned", "False"]
    );
    world.stop_operator().await;
    app.sql(&format!("REVOKE CONNECT ON DATABASE {} FROM {reader}", app.name)).await;
    world.start_operator();
    world.condition("pguser", &reader, ("Drifted", "True", "DriftRepaired")).await;
    assert_eq!(
        cells(&world, &reader).await,
        [&reader, &app.name, &reader, "read", "True", "Provisioned", "True"]
    );
}

#[tokio::test]
async fn the_last_drift_is_a_column_of_the_wide_table() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(READER).await;
    let wide = async |column: &str| {
        let table = table(&world).await;
        let columns = table["columnDefinitions"].as_array().unwrap();
        let at = columns.iter().position(|one| one["name"] == column && one["priority"] == 1).unwrap();
        let row = table["rows"].as_array().unwrap().iter().find(|row| row["cells"][0] == reader).unwrap();
        row["cells"][at].clone()
    };
    assert_eq!(wide("Last Drift").await, Value::Null);
    app.sql(&format!("REVOKE CONNECT ON DATABASE {} FROM {reader}", app.name)).await;
    world.event(&reader, "DriftRepaired", 1).await;
    world.condition("pguser", &reader, ("Drifted", "False", "InSync")).await;
    assert!(wide("Last Drift").await.is_string());
    world.patch("pguser", &reader, json!({ "spec": { "mode": "Observe", "suspend": true } })).await;
    assert_eq!((wide("Mode").await, wide("Suspended").await), (json!("Observe"), json!(true)));
}

/// What `kubectl get pguser` shows, but for the age.
async fn cells(world: &World, user: &str) -> Vec<String> {
    let table = table(world).await;
    let columns = table["columnDefinitions"].as_array().unwrap();
    let shown = |at: &usize| columns[*at]["priority"] == 0 && columns[*at]["name"] != "Age";
    let row = table["rows"].as_array().unwrap().iter().find(|row| row["cells"][0] == user).unwrap();
    let cells = row["cells"].as_array().unwrap();
    (0..cells.len()).filter(shown).map(|at| cells[at].as_str().unwrap_or_default().to_owned()).collect()
}

/// All users of the operator's namespace, as kubectl gets them.
pub(crate) async fn table(world: &World) -> Value {
    let kind = ApiResource::erase::<PostgresUser>(&());
    let url = format!("/apis/{}/namespaces/{}/{}", kind.api_version, world.namespace, kind.plural);
    let mut request = Request::new(url).list(&ListParams::default()).unwrap();
    request.headers_mut().insert("accept", "application/json;as=Table;v=v1;g=meta.k8s.io".parse().unwrap());
    world.admin.request(request).await.unwrap()
}
