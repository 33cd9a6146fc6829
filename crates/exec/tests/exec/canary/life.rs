//! From the creation of a database to the departure of its owner.

use plan::{Access, Disposition, Grantee, Ident, Leaving, Managed, Prune, Schemas, Withheld, testing::ident};

use testbed::postgres::SUPERUSER;

use super::nest::{CANARY, Nest, Song};
use crate::support::{Admin, leave, rounds};

const SHADOWS: &str = include_str!("shadows.sql");
const TRICKS: &str = include_str!("tricks.sql");
const ARMED: &str = include_str!("armed.sql");
const FOREIGN: &str = include_str!("foreign.sql");
const TEMPORARY: &str = include_str!("temporary.sql");
const SETTINGS: &str = include_str!("settings.sql");

#[tokio::test]
async fn no_trick_runs_with_the_rights_of_a_superuser() {
    for major in 13..=18 {
        life(major, Admin::Superuser).await;
    }
}

#[tokio::test]
async fn no_trick_runs_with_the_rights_of_a_limited_admin() {
    for major in 13..=18 {
        life(major, Admin::Limited).await;
    }
}

async fn life(major: u16, admin: Admin) {
    let mut nest = Nest::new(major, admin).await;
    let mut desired = nest.place.desired();
    maintenance(&nest).await;
    nest.place.converge(&desired).await;
    nest.assert_silent("creation");

    inhabit(&mut nest).await;
    nest.place.converge(&desired).await;
    nest.assert_silent("the first check");
    assert!(!nest.songs().is_empty(), "the tenants hear their canaries themselves");

    drift(&nest).await;
    nest.place.converge(&desired).await;
    nest.assert_silent("repair of drift");

    let second = nest.place.another(&mut desired, "second");
    let listed = Schemas::Listed([ident("owners")].into());
    let grantee = Grantee { access: Access::ReadWrite, schemas: listed.clone(), prune: Prune::IfCreated };
    desired.grantees.insert(second, grantee);
    desired.grantees.get_mut(&nest.place.reader).unwrap().schemas = listed;
    nest.place.converge(&desired).await;
    nest.assert_silent("a change of users");

    desired.grantees.get_mut(&nest.place.writer).unwrap().access = Access::Read;
    nest.place.converge(&desired).await;
    nest.assert_silent("a downgrade");
    analyze(&nest, &[]).await;

    desired.grantees.get_mut(&nest.place.writer).unwrap().access = Access::ReadWrite;
    nest.place.converge(&desired).await;
    depart(&nest, &mut desired).await;
    nest.assert_silent("a departure");

    let heir = nest.place.another(&mut desired, "heir");
    let former = desired.logins.remove(&nest.place.owner).unwrap();
    let Managed::Yes { owner, claim, .. } = &mut desired.managed else { unreachable!("it is managed") };
    let claim = claim.clone();
    *owner = heir.clone();
    let disposition = Disposition::DropIfCreated;
    let leaving = Leaving { claim: former.claim, recorded: None, disposition };
    desired.leaving.insert(nest.place.owner.clone(), leaving);
    nest.tenant = None;
    // What a superuser gave on its own schema, no other admin role takes back.
    nest.sql(format!("REVOKE ALL ON SCHEMA public FROM {}", nest.place.owner)).await;
    // Where the schema `public` goes with the database, the plan is another once that has changed hands.
    let mut sessions = nest.place.sessions();
    rounds(&mut sessions, &desired).await.unwrap();
    sessions.close().await;
    nest.place.converge(&desired).await;
    nest.assert_silent("a change of owner");
    analyze(&nest, &[&nest.place.owner]).await;

    desired.managed = Managed::Released { claim };
    let role = desired.logins.remove(&heir).unwrap();
    let leaving = Leaving { claim: role.claim, recorded: None, disposition: Disposition::Release };
    desired.leaving.insert(heir, leaving);
    nest.place.converge(&desired).await;
    nest.assert_silent("the release of the database");
}

/// The owner of the maintenance database shadows everything too.
async fn maintenance(nest: &Nest) {
    nest.make_maintenance().await;
    let database = &nest.place.server.maintenance;
    nest.sql_in(database, format!("SET ROLE squatter; {SHADOWS}")).await;
    let settings = SETTINGS.replace(":database", &database.to_string()).replace(":owner", "squatter");
    nest.sql_in(database, settings).await;
}

/// Owner and writer fill the database with tricks.
async fn inhabit(nest: &mut Nest) {
    let place = &nest.place;
    let (owner, writer) = (place.owner.clone(), place.writer.clone());
    nest.sql(format!(
        "CREATE EXTENSION postgres_fdw SCHEMA public; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO PUBLIC; \
         GRANT ALL ON SCHEMA public TO {owner}"
    ))
    .await;
    nest.sql_as(&owner, format!("CREATE SCHEMA owners; CREATE SCHEMA writers; {CANARY}")).await;
    nest.place.converge(&nest.place.desired()).await;
    for file in [TRICKS, ARMED, FOREIGN] {
        nest.sql_as(&owner, nest.filled(file, &owner, "owners")).await;
    }
    nest.sql_as(&writer, nest.filled(TRICKS, &writer, "writers")).await;
    nest.sql_as(&owner, SHADOWS).await;
    nest.sql_as(&owner, nest.filled(SETTINGS, &owner, "owners")).await;
    let password = place.secrets.0[&owner].expose();
    let tenant = place.postgres.connect(place.database.as_str(), owner.as_str(), password).await;
    let mut tenant = tenant.unwrap();
    testbed::postgres::run(&mut tenant, TEMPORARY).await.unwrap();
    nest.tenant = Some(tenant);
}

/// Somebody takes and gives on everything.
async fn drift(nest: &Nest) {
    let (reader, writer, database) = (&nest.place.reader, &nest.place.writer, &nest.place.database);
    nest.sql(format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA owners FROM {reader}, {writer}; \
         REVOKE ALL ON ALL TABLES IN SCHEMA writers FROM {reader}; \
         GRANT TRUNCATE, TRIGGER ON ALL TABLES IN SCHEMA owners TO {reader}; \
         GRANT SELECT (n) ON owners.stock TO {reader}; \
         GRANT INSERT (n), UPDATE (n) ON owners.peek TO {reader}; \
         REVOKE ALL ON ALL SEQUENCES IN SCHEMA owners FROM {writer}; \
         REVOKE ALL ON SCHEMA owners FROM {reader}; \
         GRANT ALL ON SCHEMA owners TO {reader} WITH GRANT OPTION; \
         ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE ALL ON TABLES FROM {reader}, {writer}; \
         ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA owners GRANT ALL ON TABLES TO {reader}; \
         REVOKE CONNECT ON DATABASE {database} FROM {reader}; GRANT ALL ON DATABASE {database} TO PUBLIC; \
         ALTER ROLE {reader} NOLOGIN; ALTER ROLE {writer} PASSWORD 'other'",
        nest.place.owner, nest.place.owner
    ))
    .await;
}

/// The writer goes. What would run as its heir stays its own until it is gone.
async fn depart(nest: &Nest, desired: &mut plan::Desired) {
    let writer = nest.place.writer.clone();
    let filled = |file| nest.filled(file, &writer, "more");
    nest.sql_as(&nest.place.owner, "CREATE SCHEMA more").await;
    nest.place.converge(desired).await;
    nest.sql_as(&writer, filled(TRICKS)).await;
    nest.sql_as(&writer, filled(ARMED)).await;
    nest.place.converge(desired).await;
    leave(desired, &writer);
    let mut sessions = nest.place.sessions();
    let said = rounds(&mut sessions, desired).await.unwrap().withheld;
    sessions.close().await;
    let is_held = |one: &Withheld| matches!(one, Withheld::CannotLeave { role, .. } if *role == writer);
    assert!(said.iter().any(is_held), "{said:?} on {}", nest.place.postgres);
    nest.assert_silent("a departure that has to wait");
    analyze(nest, &[&writer]).await;
    nest.sql("DROP TABLE more.armed, more.chained; DROP MATERIALIZED VIEW more.frozen").await;
    nest.place.converge(desired).await;
}

/// What autovacuum does any minute, and others now and then: nothing runs as another than who made it, but for what an
/// owner leaves to its successor.
async fn analyze(nest: &Nest, leaving: &[&Ident]) {
    let before = nest.songs();
    nest.sql("ANALYZE owners.stock, writers.stock").await;
    for schema in if leaving.contains(&&nest.place.writer) { &["owners", "more"][..] } else { &["owners"] } {
        nest.sql(format!(
            "ANALYZE {schema}.armed, {schema}.frozen; REFRESH MATERIALIZED VIEW {schema}.frozen; \
             DELETE FROM {schema}.keys WHERE n = (SELECT pg_catalog.min(n) FROM {schema}.keys)"
        ))
        .await;
    }
    let is_fine = |song: &&Song| {
        let author = song.trick.split(':').next().unwrap_or_default();
        let is_successors = author == nest.place.owner.as_str() && leaving.contains(&&nest.place.owner);
        song.current == author || is_successors
    };
    let heard = nest.songs();
    for part in ["index", "materialized view", "trigger behind a foreign key"] {
        let is_heard = |song: &Song| song.session == SUPERUSER && song.trick.contains(part);
        assert!(heard.iter().any(is_heard), "{part}: {heard:?}");
    }
    let stolen: Vec<_> = heard.difference(&before).filter(|song| !is_fine(song)).collect();
    assert!(stolen.is_empty(), "{stolen:?} on {}", nest.place.postgres);
    nest.assert_silent("ANALYZE");
}
