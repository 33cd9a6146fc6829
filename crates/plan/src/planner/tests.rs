//! What the plan says, statement by statement.

mod limits;
mod ownership;
mod surplus;
mod triggers;

use std::collections::BTreeSet;

use expect_test::{Expect, expect};

use crate::testing::{Builder, claim, converge, desired, ident, login};
use crate::{
    Access, Action, Cause, DefaultObject, Dependencies, Desired, Disposition, ExposedView, Grantee, Leaving,
    Managed, Oid, Origin, PasswordState, Privilege, Privileges, Prune, Recipient, Recorded, Refused,
    Relation, RelationKind, Routine, Schemas, Taken, Target, plan,
};

/// Compares the plan with the expected statements, and shows that it leaves nothing to do.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "tests read better without borrows")]
fn check(desired: &Desired, builder: &Builder, expected: Expect) {
    let found = plan(desired, &builder.catalog);
    let actions = found.actions.iter().map(|action| format!("{action}\n"));
    let withheld = found.withheld.iter().map(|withheld| format!("-- {withheld}\n"));
    expected.assert_eq(&actions.chain(withheld).collect::<String>());
    converge(desired, &mut builder.catalog.clone());
}

fn table(schema: &str, name: &str) -> Target {
    let name = crate::QualifiedName { schema: ident(schema), name: ident(name) };
    Target::Tables(vec![Relation { name, kind: RelationKind::Table }])
}

fn by_hand(privilege: Privilege, target: Target, role: &str) -> Action {
    Action::Grant {
        database: ident("app"),
        target,
        privileges: Privileges::of(&[privilege]),
        to: vec![Recipient::Role(ident(role))],
        grantor: None,
        cause: Cause::Missing,
    }
}

fn revoked_by_hand(privilege: Privilege, target: Target, role: &str) -> Action {
    Action::Revoke {
        database: ident("app"),
        target,
        privileges: Privileges::of(&[privilege]),
        taken: Taken::Privilege,
        from: vec![Recipient::Role(ident(role))],
        grantor: None,
    }
}

fn leaving(disposition: Disposition, role: &str) -> Leaving {
    Leaving { claim: claim(role), recorded: None, disposition }
}

#[test]
fn a_new_database_is_made_closed_and_opened_when_it_is_right() {
    check(
        &desired(&["reader read"]),
        &Builder::server(17),
        expect![[r#"
            CREATE ROLE "owner" NOLOGIN
            COMMENT ON ROLE "owner" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-owner","uid":"uid-owner"}'
            CREATE ROLE "reader" NOLOGIN
            COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-reader","uid":"uid-reader"}'
            CREATE DATABASE "app" OWNER "owner" TEMPLATE "template0" ENCODING 'UTF8' ALLOW_CONNECTIONS false
            COMMENT ON DATABASE "app" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-app","uid":"uid-app"}'
            REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM PUBLIC
            GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "reader"
            ALTER DATABASE "app" ALLOW_CONNECTIONS true
            ALTER ROLE "owner" PASSWORD '…'
            ALTER ROLE "owner" LOGIN
            ALTER ROLE "reader" PASSWORD '…'
            ALTER ROLE "reader" LOGIN
        "#]],
    );
}

#[test]
fn without_a_password_in_its_secret_a_role_cannot_log_in() {
    let mut desired = desired(&[]);
    desired.logins.get_mut(&ident("owner")).unwrap().password = None;
    let builder = Builder::provisioned(17, &desired);
    assert!(!builder.catalog.role(&ident("owner")).unwrap().login);
}

#[test]
fn what_is_planned_in_the_database_stays_the_same_when_the_roles_are_there() {
    let wanted = desired(&["old readwrite"]);
    let more = desired(&["old readwrite", "reader read public", "writer readwrite"]);
    let mut builder = Builder::provisioned(17, &wanted).table("public", "orders", "owner");
    let before = plan(&more, &builder.catalog);
    for action in before.steps().next().unwrap() {
        builder = builder.run(action);
    }
    let after = plan(&more, &builder.catalog);
    assert_eq!(before.steps().nth(1), after.steps().next());
}

#[test]
fn in_the_opened_database_grantees_get_what_is_there_and_what_will_be() {
    let wanted = desired(&[]);
    let more = desired(&["reader read public", "writer readwrite"]);
    check(
        &more,
        &Builder::provisioned(17, &wanted).table("public", "orders", "owner"),
        expect![[r#"
            CREATE ROLE "reader" NOLOGIN
            COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-reader","uid":"uid-reader"}'
            CREATE ROLE "writer" NOLOGIN
            COMMENT ON ROLE "writer" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-writer","uid":"uid-writer"}'
            GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "reader"
            GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner", "writer" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" GRANT SELECT, USAGE ON SEQUENCES TO "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" GRANT USAGE, CREATE ON SCHEMAS TO "writer"
            GRANT USAGE ON SCHEMA "public" TO "reader"
            GRANT USAGE, CREATE ON SCHEMA "public" TO "writer"
            GRANT SELECT ON TABLE "public"."orders" TO "reader"
            GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."orders" TO "writer"
            ALTER ROLE "reader" PASSWORD '…'
            ALTER ROLE "reader" LOGIN
            ALTER ROLE "writer" PASSWORD '…'
            ALTER ROLE "writer" LOGIN
        "#]],
    );
}

#[test]
fn up_to_14_public_is_closed_to_everyone_and_opened_to_the_owner() {
    let wanted = desired(&[]);
    let mut builder = Builder::server(14);
    for action in plan(&wanted, &builder.catalog).actions {
        builder = builder.run(&action);
    }
    check(
        &wanted,
        &builder,
        expect![[r#"
            GRANT USAGE, CREATE ON SCHEMA "public" TO "owner"
            REVOKE CREATE ON SCHEMA "public" FROM PUBLIC
        "#]],
    );
}

#[test]
fn objects_that_creators_make_later_need_no_statement() {
    let wanted = desired(&["reader read", "writer readwrite"]);
    let builder = Builder::provisioned(17, &wanted)
        .schema("later", "owner")
        .table("later", "by_owner", "owner")
        .table("public", "by_writer", "writer")
        .relation("public", "numbers", "owner", RelationKind::Sequence);
    check(&wanted, &builder, expect![""]);
}

#[test]
fn one_revoked_select_is_one_grant() {
    let wanted = desired(&["reader read", "writer readwrite"]);
    let builder = Builder::provisioned(17, &wanted)
        .table("public", "orders", "owner")
        .table("public", "lines", "owner")
        .run(&revoked_by_hand(Privilege::Select, table("public", "orders"), "reader"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            GRANT SELECT ON TABLE "public"."orders" TO "reader"
        "#]],
    );
    let Action::Grant { cause, .. } = &plan(&wanted, &builder.catalog).actions[0] else { unreachable!() };
    assert_eq!(*cause, Cause::Missing);
}

#[test]
fn a_role_that_nothing_proves_is_not_touched() {
    let wanted = desired(&["reader read"]);
    check(
        &wanted,
        &Builder::provisioned(17, &desired(&[])).role("reader"),
        expect![[r#"
            -- role "reader" is not touched: it was there before and nothing proves that it may be taken; put its password into the Secret, or run: COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"adopt","ns":"shop","name":"reader"}'
        "#]],
    );
}

#[test]
fn superusers_and_reserved_names_are_never_touched() {
    let wanted = desired(&["root read", "pg_reader read"]);
    let builder = Builder::provisioned(17, &desired(&[])).role("root").with_role("root", |role| {
        role.superuser = true;
        role.password = PasswordState::Matches;
    });
    check(
        &wanted,
        &builder,
        expect![[r#"
            -- role "pg_reader" is not touched: the name is reserved
            -- role "root" is not touched: it is a superuser
        "#]],
    );
}

#[test]
fn a_database_of_a_strangers_role_is_not_touched_and_gets_no_users() {
    let wanted = desired(&["reader read"]);
    let create =
        Action::CreateDatabase { database: ident("app"), owner: ident("stranger"), template: ident("t") };
    let builder = Builder::server(17)
        .role("stranger")
        .run(&create)
        .run(&Action::AllowConnections { database: ident("app") })
        .run(&Action::CommentOnDatabase { database: ident("app"), comment: claim("app").marker.to_string() });
    check(
        &wanted,
        &builder,
        expect![[r#"
            -- database "app" is not touched: its marker is ours, but its owner is not
        "#]],
    );
}

#[test]
fn a_user_waits_for_its_database() {
    let wanted = Desired { managed: Managed::No, ..desired(&["reader read"]) };
    check(
        &wanted,
        &Builder::server(17),
        expect![[r#"
            -- database "app" does not exist
        "#]],
    );
}

#[test]
fn a_listed_schema_that_is_missing_is_pending_and_growth_when_it_appears() {
    let wanted = desired(&["reader read public,analytics"]);
    let builder = Builder::provisioned(17, &wanted);
    check(
        &wanted,
        &builder,
        expect![[r"
            -- schema analytics does not exist yet
        "]],
    );
    let builder = builder.schema("analytics", "owner").table("analytics", "visits", "owner");
    check(
        &wanted,
        &builder,
        expect![[r#"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "analytics" GRANT SELECT ON TABLES TO "reader"
            GRANT USAGE ON SCHEMA "analytics" TO "reader"
            GRANT SELECT ON TABLE "analytics"."visits" TO "reader"
        "#]],
    );
    for action in plan(&wanted, &builder.catalog).actions {
        let (Action::Grant { cause, .. } | Action::AlterDefaultPrivileges { cause, .. }) = action else {
            unreachable!()
        };
        assert_eq!(cause, Cause::Growth);
    }
}

#[test]
fn owner_public_and_password_drift_is_repaired() {
    let wanted = desired(&["reader read public"]);
    let public = Action::Grant {
        database: ident("app"),
        target: Target::Database,
        privileges: Privileges::of(&[Privilege::Connect]),
        to: vec![Recipient::Public],
        grantor: None,
        cause: Cause::Missing,
    };
    let mut wanted = wanted;
    let builder = Builder::provisioned(17, &wanted);
    let oid = builder.catalog.database.as_ref().unwrap().oid;
    if let Managed::Yes { recorded, .. } = &mut wanted.managed {
        *recorded = Some(crate::Recorded { system_identifier: None, oid, origin: crate::Origin::Created });
    }
    let builder = builder
        .role("thief")
        .run(&Action::AlterDatabaseOwner { database: ident("app"), owner: ident("thief") })
        .run(&public)
        .with_role("reader", |role| role.password = PasswordState::Differs)
        .with_role("owner", |role| role.login = false);
    check(
        &wanted,
        &builder,
        expect![[r#"
            ALTER DATABASE "app" OWNER TO "owner"
            REVOKE CONNECT ON DATABASE "app" FROM PUBLIC
            ALTER ROLE "owner" LOGIN
            ALTER ROLE "reader" PASSWORD '…'
        "#]],
    );
}

#[test]
fn a_downgraded_writer_gives_away_what_it_made_and_reads_it_from_then_on() {
    let before = desired(&["writer readwrite", "other read"]);
    let mut builder = Builder::provisioned(17, &before).table("public", "mine", "writer");
    let writer = builder.oid("writer");
    let routine = Routine {
        name: crate::QualifiedName { schema: ident("public"), name: ident("elevate") },
        arguments: Vec::new(),
    };
    let found = Dependencies {
        allow_connections: true,
        owns: true,
        named: true,
        definer_routines: vec![routine],
        ..Dependencies::default()
    };
    builder.catalog.dependencies.entry(writer).or_default().insert(ident("app"), found);
    check(
        &desired(&["writer read", "other read"]),
        &builder,
        expect![[r#"
            ALTER ROUTINE "public"."elevate"() SECURITY INVOKER
            REASSIGN OWNED BY "writer" TO "owner"
            GRANT SELECT ON TABLE "public"."mine" TO "writer"
            REVOKE CREATE ON SCHEMA "public" FROM "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "writer" REVOKE SELECT ON TABLES FROM "other"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE INSERT, UPDATE, DELETE ON TABLES FROM "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE SELECT, USAGE ON SEQUENCES FROM "writer"
            ALTER DEFAULT PRIVILEGES FOR ROLE "writer" REVOKE USAGE ON SCHEMAS FROM "other"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE CREATE ON SCHEMAS FROM "writer"
        "#]],
    );
}

#[test]
fn narrowing_to_a_schema_replaces_the_global_default() {
    let before = desired(&["reader read"]);
    let builder =
        Builder::provisioned(17, &before).schema("secret", "owner").table("secret", "salaries", "owner");
    check(
        &desired(&["reader read public"]),
        &builder,
        expect![[r#"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reader"
            REVOKE USAGE ON SCHEMA "secret" FROM "reader"
            REVOKE SELECT ON TABLE "secret"."salaries" FROM "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE SELECT ON TABLES FROM "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE USAGE ON SCHEMAS FROM "reader"
        "#]],
    );
}

#[test]
fn a_leaving_user_is_shut_out_emptied_and_dropped() {
    let before = desired(&["writer readwrite"]);
    let mut builder = Builder::provisioned(17, &before)
        .table("public", "mine", "writer")
        .with_role("writer", |role| role.sessions = 2);
    let writer = builder.oid("writer");
    let view = Relation {
        name: crate::QualifiedName { schema: ident("public"), name: ident("window") },
        kind: RelationKind::View,
    };
    let owner = builder.oid("owner");
    let here = Dependencies {
        allow_connections: true,
        database_owner: Some((owner, ident("owner"))),
        owns: true,
        named: true,
        definer_views: vec![view.clone()],
        exposed: vec![ExposedView { view, grantee: Oid::PUBLIC }],
        ..Dependencies::default()
    };
    let elsewhere = Dependencies {
        database_owner: Some((Oid(10), ident("postgres"))),
        definer_views: Vec::new(),
        exposed: Vec::new(),
        ..here.clone()
    };
    builder
        .catalog
        .dependencies
        .insert(writer, [(ident("app"), here), (ident("postgres"), elsewhere)].into());
    let mut wanted = desired(&[]);
    wanted.leaving.insert(ident("writer"), leaving(Disposition::Drop, "writer"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            ALTER ROLE "writer" NOLOGIN
            SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = 'writer' AND pid <> pg_catalog.pg_backend_pid()
            REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM "writer"
            ALTER VIEW "public"."window" SET (security_invoker = true)
            REASSIGN OWNED BY "writer" TO "owner"
            DROP OWNED BY "writer"
            REASSIGN OWNED BY "writer" TO "postgres"
            DROP OWNED BY "writer"
            DROP ROLE "writer"
        "#]],
    );
}

#[test]
fn a_former_owner_that_we_made_is_dropped_after_handing_over() {
    let before = desired(&[]);
    let mut builder = Builder::provisioned(17, &before).table("public", "orders", "owner");
    let owner = builder.oid("owner");
    let here = Dependencies {
        allow_connections: true,
        database_owner: Some((owner, ident("owner"))),
        owns: true,
        ..Dependencies::default()
    };
    builder.catalog.dependencies.insert(owner, [(ident("app"), here)].into());
    let mut wanted = desired(&[]);
    wanted.logins = [(ident("heir"), login("heir"))].into();
    if let Managed::Yes { owner, .. } = &mut wanted.managed {
        *owner = ident("heir");
    }
    wanted.leaving.insert(ident("owner"), leaving(Disposition::DropIfCreated, "owner"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            ALTER ROLE "owner" NOLOGIN
            CREATE ROLE "heir" NOLOGIN
            COMMENT ON ROLE "heir" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-heir","uid":"uid-heir"}'
            ALTER DATABASE "app" OWNER TO "heir"
            REASSIGN OWNED BY "owner" TO "heir"
            DROP OWNED BY "owner"
            ALTER ROLE "heir" PASSWORD '…'
            ALTER ROLE "heir" LOGIN
            DROP ROLE "owner"
        "#]],
    );
}

/// The owner is to be replaced by somebody else, and owns what is in the database.
fn with_heir(heir: &str) -> (Desired, Builder) {
    let mut builder = Builder::provisioned(17, &desired(&[])).table("public", "orders", "owner");
    let owner = builder.oid("owner");
    let here = Dependencies { allow_connections: true, owns: true, ..Dependencies::default() };
    builder.catalog.dependencies.insert(owner, [(ident("app"), here)].into());
    let mut wanted = desired(&[]);
    wanted.logins = [(ident(heir), login(heir))].into();
    if let Managed::Yes { owner, .. } = &mut wanted.managed {
        *owner = ident(heir);
    }
    wanted.leaving.insert(ident("owner"), leaving(Disposition::DropIfCreated, "owner"));
    (wanted, builder)
}

#[test]
fn a_new_owner_that_may_not_be_used_changes_nothing() {
    let (wanted, builder) = with_heir("dba");
    check(
        &wanted,
        &builder.role("dba").with_role("dba", |role| role.superuser = true),
        expect![[r#"
        -- role "dba" is not touched: it is a superuser
        -- database "app" is not touched: its owner role may not be used
    "#]],
    );
}

#[test]
fn what_cannot_be_given_away_is_not_dropped() {
    let (wanted, builder) = with_heir("heir");
    let found = plan(&wanted, &builder.catalog);
    let refused = found.actions.iter().find(|action| matches!(action, Action::ReassignOwned { .. }));
    let refused = Refused { action: refused.unwrap().clone(), message: "no".into() };
    let found = plan(&Desired { refused: vec![refused], ..wanted }, &builder.catalog);
    let departs = |action: &&Action| matches!(action, Action::DropOwned { .. } | Action::DropRole { .. });
    assert_eq!(found.actions.iter().find(departs), None);
    let withheld: Vec<_> = found.withheld.iter().map(ToString::to_string).collect();
    expect![[r#"
        [
            "role \"owner\" cannot go: the server refused REASSIGN OWNED BY \"owner\" TO \"heir\": no",
        ]
    "#]]
    .assert_debug_eq(&withheld);
}

#[test]
fn a_user_that_only_may_connect_leaves_without_a_rest() {
    let builder = Builder::provisioned(17, &desired(&["reader read none"]));
    let mut wanted = desired(&[]);
    wanted.leaving.insert(ident("reader"), leaving(Disposition::Drop, "reader"));
    check(
        &wanted,
        &builder,
        expect![[r#"
        ALTER ROLE "reader" NOLOGIN
        REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM "reader"
        DROP ROLE "reader"
    "#]],
    );
}

#[test]
fn a_sharers_marker_is_left_as_it_is() {
    let mut wanted = desired(&["reader read"]);
    let builder = Builder::provisioned(17, &wanted);
    let reader = wanted.logins.get_mut(&ident("reader")).unwrap();
    reader.claim.marker = claim("elder").marker;
    reader.claim.uids.insert(reader.claim.marker.uid.clone());
    check(&wanted, &builder, expect![[""]]);
    // Only what is left of one that is gone is marked again.
    wanted.logins.get_mut(&ident("reader")).unwrap().claim.uids.remove("uid-reader");
    wanted.logins.get_mut(&ident("reader")).unwrap().recorded = Some(Recorded {
        system_identifier: Some("1".into()),
        oid: builder.oid("reader"),
        origin: Origin::Created,
    });
    check(
        &wanted,
        &builder,
        expect![[r#"
        COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-elder","uid":"uid-elder"}'
    "#]],
    );
}

#[test]
fn a_role_that_something_else_names_loses_only_what_it_has_here() {
    let before = desired(&["reader read"]);
    let mut wanted = desired(&[]);
    wanted.leaving.insert(ident("reader"), leaving(Disposition::Detach, "reader"));
    check(
        &wanted,
        &Builder::provisioned(17, &before).table("public", "orders", "owner"),
        expect![[r#"
            REVOKE CONNECT, TEMPORARY ON DATABASE "app" FROM "reader"
            REVOKE USAGE ON SCHEMA "public" FROM "reader"
            REVOKE SELECT ON TABLE "public"."orders" FROM "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE SELECT ON TABLES FROM "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" REVOKE USAGE ON SCHEMAS FROM "reader"
        "#]],
    );
}

#[test]
fn a_leaving_role_of_somebody_else_is_left_alone() {
    let mut wanted = desired(&[]);
    wanted.leaving.insert(ident("stranger"), leaving(Disposition::Drop, "stranger"));
    check(
        &wanted,
        &Builder::provisioned(17, &desired(&[])).role("stranger"),
        expect![[r#"
            -- role "stranger" is not touched: it is not ours to drop
        "#]],
    );
}

#[test]
fn a_leaving_role_that_nobody_marked_goes_with_its_password_only() {
    let mut wanted = desired(&[]);
    wanted.leaving.insert(ident("stranger"), leaving(Disposition::Drop, "stranger"));
    for (password, goes) in [(PasswordState::Matches, true), (PasswordState::Differs, false)] {
        let builder = Builder::provisioned(17, &desired(&[])).role("stranger");
        let builder = builder.with_role("stranger", |role| role.password = password);
        let found = plan(&wanted, &builder.catalog);
        let is_dropped = found.actions.iter().any(|action| matches!(action, Action::DropRole { .. }));
        assert_eq!(is_dropped, goes, "{password:?}: {found:#?}");
    }
}

#[test]
fn a_released_database_and_its_owner_say_that_their_namesake_may_take_them() {
    let before = desired(&[]);
    let builder = Builder::provisioned(17, &before);
    let mut wanted = Desired { managed: Managed::Released { claim: claim("app") }, ..desired(&[]) };
    wanted.logins.clear();
    wanted.leaving.insert(ident("owner"), leaving(Disposition::Release, "owner"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            COMMENT ON ROLE "owner" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-owner","uid":"uid-owner","released":"true"}'
            COMMENT ON DATABASE "app" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-app","uid":"uid-app","released":"true"}'
        "#]],
    );
    let mut catalog = builder.catalog;
    converge(&wanted, &mut catalog);
    let again = plan(&before, &catalog);
    assert_eq!(again.withheld, []);
    assert_eq!(again.actions.len(), 2, "only the two markers are written again: {again:?}");
}

#[test]
fn a_superusers_tables_make_it_a_creator_in_their_schema_only() {
    let wanted = desired(&["reader read"]);
    check(
        &wanted,
        &Builder::provisioned(17, &wanted).table("public", "migrated", "postgres"),
        expect![[r#"
            ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reader"
            GRANT SELECT ON TABLE "public"."migrated" TO "reader"
        "#]],
    );
}
