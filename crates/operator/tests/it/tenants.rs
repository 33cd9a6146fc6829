//! What tenants do to their own database, and what that means for its users.

use testbed::postgres::run;

use crate::app::{App, may, may_not};
use crate::world::World;

#[tokio::test]
async fn a_relation_that_somebody_has_for_itself_delays_nothing_else() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    app.sql_as_owner("CREATE TABLE public.locked (n int); CREATE TABLE public.free (n int)").await;
    let mut tenant = app.owner().await;
    run(&mut tenant, "BEGIN; ALTER TABLE public.locked ADD COLUMN m int").await.unwrap();
    let reader = app.user(", access: read").await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "RelationBusy")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("public.locked"), "{said}");
    may(&mut app.session(&reader).await, "SELECT * FROM public.free").await;
    run(&mut tenant, "COMMIT").await.unwrap();
    world.condition("pguser", &reader, ("Withheld", "False", "NothingWithheld")).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.locked").await;
    let found = world.ready("pguser", &reader).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("InSync"), "that it was late is no drift: {said}");
}

#[tokio::test]
async fn a_membership_that_gives_more_is_reported_and_stays() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    let reader = app.user(", access: read").await;
    world.sql("postgres", &format!("GRANT {} TO {reader}", app.owner)).await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "MembershipKept")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains(&app.owner), "{said}");
    world.ready("pguser", &reader).await;
    world.sql("postgres", &format!("REVOKE {} FROM {reader}", app.owner)).await;
    world.condition("pguser", &reader, ("Withheld", "False", "NothingWithheld")).await;
}

#[tokio::test]
async fn the_right_to_pass_privileges_on_is_taken_back_with_what_was_passed_on() {
    let world = World::new().await;
    let app = App::provision(&world).await;
    app.sql_as_owner("CREATE TABLE public.orders AS SELECT 1 AS id").await;
    let (reader, other) =
        (app.user(", access: read").await, app.user(", access: read, schemas: [none]").await);
    app.sql_as_owner(&format!("GRANT SELECT ON public.orders TO {reader} WITH GRANT OPTION")).await;
    app.sql(&format!("SET ROLE {reader}; GRANT SELECT ON public.orders TO PUBLIC, {other}")).await;
    let said = world.warning(&reader, "DriftRepaired").await;
    assert!(said.contains("the right to pass on SELECT on public.orders"), "{said}");
    world.checks(&app.name, 2).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    may_not(&mut app.session(&other).await, "SELECT * FROM public.orders").await;
    // Without the right to, it gives nothing.
    may(&mut app.session(&reader).await, &format!("GRANT SELECT ON public.orders TO {other}")).await;
    may_not(&mut app.session(&other).await, "SELECT * FROM public.orders").await;
}

#[tokio::test]
async fn what_would_run_a_tenants_function_as_the_operator_waits_and_is_reported_once() {
    let world = World::on(16).await;
    let app = App::provision(&world).await;
    app.sql_as_owner(
        "CREATE TABLE public.orders AS SELECT 1 AS id; CREATE FUNCTION public.note() RETURNS event_trigger \
         LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', session_user; END $$",
    )
    .await;
    let gone = app.user(", access: read").await;
    // Others are off.
    let watch = "CREATE EVENT TRIGGER watch ON ddl_command_start EXECUTE FUNCTION public.note(); \
                 ALTER EVENT TRIGGER watch ENABLE ALWAYS";
    app.sql(watch).await;
    let reader = app.user(", access: read").await;
    let found = world.condition("pguser", &reader, ("Withheld", "True", "UnsafeEventTrigger")).await;
    let said = found.data["status"]["conditions"].to_string();
    assert!(said.contains("watch") && said.contains(&app.owner), "{said}");
    // Its credentials work, and the login of another is closed.
    world.ready("pguser", &reader).await;
    may_not(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    world.delete("pguser", &gone).await;
    world.condition("pguser", &gone, ("Ready", "False", "Deleting")).await;
    let closed = format!("SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname = '{gone}'");
    assert_eq!(world.value("postgres", &closed).await.as_ref(), Some(&gone));
    world.checks(&app.name, 1).await;
    let before = world.writes();
    world.checks(&app.name, 3).await;
    assert_eq!(world.writes(), before, "it is said once");
    app.sql("ALTER EVENT TRIGGER watch DISABLE").await;
    world.condition("pguser", &reader, ("Withheld", "False", "NothingWithheld")).await;
    may(&mut app.session(&reader).await, "SELECT * FROM public.orders").await;
    world.gone("pguser", &gone).await;
}
