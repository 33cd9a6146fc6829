//! Random walks: resources change, tenants work, administrators do things by hand, and after each step one pass
//! makes everything right again, on every major and for both kinds of admin role.
//!
//! A failure prints its seed and its steps. `WALK_SEED=<seed>` walks that way again, `WALK_SEED=random` a new one,
//! `WALK_STEPS=<n>` another distance.

mod happen;
mod objects;
mod oracle;
mod picture;
mod probe;
mod random;
mod world;

use std::{env, fmt::Write as _};

use exec::{End, Sessions};
use plan::{Action, Catalog, Desired, Plan, Withheld, testing::simulate};
use sqlx::PgConnection;
use testbed::postgres::{SUPERUSER, run};

use crate::support::Admin;
use happen::{Happening, happen};
use random::Random;
use world::{Known, World};

/// How many steps a walk has.
const STEPS: usize = 40;

macro_rules! walks {
    ($($name:ident: $major:literal, $admin:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                walk($major, Admin::$admin).await;
            }
        )*
    };
}

walks! {
    a_walk_on_13_stays_right_with_a_superuser: 13, Superuser;
    a_walk_on_13_stays_right_with_a_limited_admin: 13, Limited;
    a_walk_on_14_stays_right_with_a_superuser: 14, Superuser;
    a_walk_on_14_stays_right_with_a_limited_admin: 14, Limited;
    a_walk_on_15_stays_right_with_a_superuser: 15, Superuser;
    a_walk_on_15_stays_right_with_a_limited_admin: 15, Limited;
    a_walk_on_16_stays_right_with_a_superuser: 16, Superuser;
    a_walk_on_16_stays_right_with_a_limited_admin: 16, Limited;
    a_walk_on_17_stays_right_with_a_superuser: 17, Superuser;
    a_walk_on_17_stays_right_with_a_limited_admin: 17, Limited;
    a_walk_on_18_stays_right_with_a_superuser: 18, Superuser;
    a_walk_on_18_stays_right_with_a_limited_admin: 18, Limited;
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

async fn walk(major: u16, admin: Admin) {
    let seed = seed(major, admin);
    eprintln!("WALK_SEED={seed} on {major} as {admin:?}");
    let mut world = World::new(major, admin, Random::new(seed)).await;
    let mut steps = String::new();
    if let Err(wrong) = go(&mut world, &mut steps).await {
        panic!("WALK_SEED={seed} on {major} as {admin:?} in {}\n{steps}\n{wrong}", world.place.database);
    }
}

/// The same every time, so that a failure is the fault of what was changed; or another one each time, to explore.
fn seed(major: u16, admin: Admin) -> u64 {
    match env::var("WALK_SEED").as_deref() {
        Err(_) => u64::from(major) * 2 + u64::from(admin == Admin::Limited),
        Ok("random") => rand::random(),
        Ok(seed) => seed.parse().unwrap(),
    }
}

async fn go(world: &mut World, steps: &mut String) -> Result<(), String> {
    pass(world, steps).await?;
    let mut session = world.place.postgres.admin(world.place.database.as_str()).await;
    for stranger in world.strangers.clone() {
        let sql = format!("GRANT CONNECT ON DATABASE {} TO {stranger}", world.place.database);
        run(&mut session, sql).await.unwrap();
    }
    for step in 0..number("WALK_STEPS").unwrap_or(STEPS) {
        writeln!(steps, "step {step}").unwrap();
        for _ in 0..=world.random.below(3) {
            move_on(world, &mut session, steps).await?;
        }
        pass(world, steps).await?;
        probe::probe(world, &mut session).await?;
    }
    Ok(())
}

/// One thing happens.
async fn move_on(world: &mut World, session: &mut PgConnection, steps: &mut String) -> Result<(), String> {
    let objects = probe::read(world, session).await;
    let happening = happen(world, &objects);
    let (by, sql) = match happening {
        Happening::Resources(text) => {
            writeln!(steps, "  resources: {text}").unwrap();
            return Ok(());
        }
        Happening::Server { by, sql } => (by, sql),
    };
    writeln!(steps, "  {}: {sql}", by.as_deref().unwrap_or("postgres")).unwrap();
    let done = match &by {
        None => run(session, sql).await.map(|_| ()).map_err(|error| error.to_string()),
        Some(role) => world.place.sql_as(&plan::testing::ident(role), sql).await,
    };
    done.map_err(|error| format!("the walk itself is wrong: {error}"))
}

/// One pass, as the operator makes it: the plan is applied, does what the simulator says, and leaves nothing to do.
async fn pass(world: &mut World, steps: &mut String) -> Result<(), String> {
    let desired = world.desired();
    let known = Known::of(world).await;
    let mut sessions = Sessions::new(&world.place.server, &known);
    let read = |error: exec::Error| format!("cannot read: {error}");
    let mut catalog = sessions.read(&desired).await.map_err(read)?;
    // A database that is made now can be looked into only then, and what is wanted of a new owner depends on it.
    let has_owner = catalog.role_oid(&world.owner).is_some();
    let rounds = if catalog.contents.is_some() && has_owner { 1 } else { 2 };
    for round in 1..=rounds {
        let plan = plan::plan(&desired, &catalog);
        check_withheld(world, &plan)?;
        if plan.is_empty() {
            break;
        }
        writeln!(steps, "{}", in_words(&plan)).unwrap();
        let applied =
            sessions.apply(&desired, &plan).await.map_err(|error| format!("cannot apply: {error}"))?;
        match applied.end {
            End::Complete if applied.done == plan.actions => (),
            End::Stale if round < rounds => writeln!(steps, "    and so on").unwrap(),
            end => {
                let catalog = sessions.read(&desired).await.map_err(read)?;
                let next = in_words(&plan::plan(&desired, &catalog));
                return Err(format!("the plan was not applied: {end:?}; now it is:\n{next}"));
            }
        }
        let found = sessions.read(&desired).await.map_err(read)?;
        check_simulation(&desired, catalog, &applied.done, &found)?;
        catalog = found;
    }
    let rest = plan::plan(&desired, &catalog);
    sessions.close().await;
    check_withheld(world, &rest)?;
    if !rest.is_empty() {
        return Err(format!("the second plan is not empty:\n{}", in_words(&rest)));
    }
    world.record(&catalog);
    Ok(())
}

fn in_words(plan: &Plan) -> String {
    let lines: Vec<_> = plan.actions.iter().map(|action| format!("    {action}")).collect();
    lines.join("\n")
}

/// What may be withheld, and when.
fn check_withheld(world: &World, plan: &Plan) -> Result<(), String> {
    let is_expected = |withheld: &Withheld| match withheld {
        Withheld::SchemaPending { .. } => true,
        Withheld::NotPermitted { object, .. } => is_out_of_reach(world, object),
        Withheld::PrivilegesKept { .. } => world.keeps_surplus(),
        Withheld::Role { .. }
        | Withheld::Database { .. }
        | Withheld::DatabaseMissing { .. }
        | Withheld::Refused { .. }
        | Withheld::ListIsFull { .. }
        | Withheld::Busy { .. }
        | Withheld::Triggering { .. }
        | Withheld::MembershipKept { .. }
        | Withheld::CannotLeave { .. } => false,
    };
    match plan.withheld.iter().find(|withheld| !is_expected(withheld)) {
        Some(withheld) => Err(format!("withheld: {withheld}")),
        None => Ok(()),
    }
}

/// Whether it belongs to a superuser or a stranger. Of schemas it is not said to whom.
fn is_out_of_reach(world: &World, object: &str) -> bool {
    let others = world.strangers.iter().map(plan::Ident::as_str).chain([SUPERUSER]);
    let is_others = object.starts_with("schema ") || others.into_iter().any(|other| object.contains(other));
    world.admin == Admin::Limited && is_others
}

fn check_simulation(
    desired: &Desired,
    mut simulated: Catalog,
    done: &[Action],
    found: &Catalog,
) -> Result<(), String> {
    for action in done {
        simulate(&mut simulated, &desired.database, action);
    }
    let differences = picture::differences(desired, &simulated, found);
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("the simulator and the server do not agree:\n{}", differences.join("\n")))
}
