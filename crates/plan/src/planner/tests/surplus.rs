//! What is more than was asked for.

use super::*;
use crate::QualifiedName;

#[test]
fn what_was_given_by_hand_is_revoked_from_a_role_that_we_made() {
    let wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &wanted)
        .schema("secret", "owner")
        .table("secret", "salaries", "owner")
        .table("public", "orders", "owner")
        .run(&by_hand(Privilege::Truncate, table("public", "orders"), "reader"))
        .run(&by_hand(Privilege::Select, table("secret", "salaries"), "reader"))
        .run(&by_hand(Privilege::Usage, Target::Schemas(vec![ident("secret")]), "reader"))
        .run(&by_hand(Privilege::Create, Target::Database, "reader"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            REVOKE CREATE ON DATABASE "app" FROM "reader"
            REVOKE USAGE ON SCHEMA "secret" FROM "reader"
            REVOKE SELECT ON TABLE "secret"."salaries" FROM "reader"
            REVOKE TRUNCATE ON TABLE "public"."orders" FROM "reader"
        "#]],
    );
}

#[test]
fn what_a_third_role_gave_is_taken_back_as_that_role() {
    let wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &wanted)
        .role("third")
        .schema("secret", "owner")
        .run(&by_hand(Privilege::Usage, Target::Schemas(vec![ident("secret")]), "third"))
        .table("secret", "salaries", "owner")
        .given(("secret", "salaries"), "owner", "third", (Privileges::READ, Privileges::READ))
        .given(("secret", "salaries"), "third", "reader", (Privileges::READ, Privileges::NONE));
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE SELECT ON TABLE "secret"."salaries" FROM "reader"
    "#]],
    );
    assert_eq!(plan(&wanted, &builder.catalog).actions[0].as_role(), Some(&ident("third")));
}

#[test]
fn who_gave_it_and_cannot_reach_the_schema_loses_the_right_to() {
    let wanted = desired(&["reader read public"]);
    let (read, none) = (Privileges::READ, Privileges::NONE);
    let builder = Builder::provisioned(17, &wanted)
        .role("third")
        .role("bystander")
        .schema("secret", "owner")
        .table("secret", "salaries", "owner")
        .given(("secret", "salaries"), "owner", "third", (read, read))
        .given(("secret", "salaries"), "third", "reader", (read, none));
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE GRANT OPTION FOR SELECT ON TABLE "secret"."salaries" FROM "third" CASCADE
    "#]],
    );
    // Not where that would cost somebody else.
    let builder = builder.given(("secret", "salaries"), "third", "bystander", (read, none));
    check(
        &wanted,
        &builder,
        expect![[r#"
        -- the admin role may not change SELECT on secret.salaries, given by "third"
    "#]],
    );
}

#[test]
fn who_gave_it_and_is_a_superuser_now_loses_the_right_to() {
    let wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &wanted)
        .role("third")
        .schema("secret", "owner")
        .run(&by_hand(Privilege::Usage, Target::Schemas(vec![ident("secret")]), "third"))
        .table("secret", "salaries", "owner")
        .given(("secret", "salaries"), "owner", "third", (Privileges::READ, Privileges::READ))
        .given(("secret", "salaries"), "third", "reader", (Privileges::READ, Privileges::NONE))
        .with_role("third", |role| role.superuser = true);
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE GRANT OPTION FOR SELECT ON TABLE "secret"."salaries" FROM "third" CASCADE
    "#]],
    );
}

#[test]
fn the_right_to_pass_on_goes_and_what_was_passed_on_goes_with_it() {
    let wanted = desired(&["reader read public", "writer readwrite public"]);
    let (read, none) = (Privileges::READ, Privileges::NONE);
    let delete = Privileges::of(&[Privilege::Delete]);
    let builder = Builder::provisioned(17, &wanted)
        .role("stranger")
        .table("public", "orders", "owner")
        .given(("public", "orders"), "owner", "writer", (Privileges::READ_WRITE, read))
        .given(("public", "orders"), "writer", "stranger", (read, read))
        .given(("public", "orders"), "owner", "reader", (delete, delete))
        .given(("public", "orders"), "reader", "stranger", (delete, none));
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE DELETE ON TABLE "public"."orders" FROM "reader" CASCADE
        REVOKE GRANT OPTION FOR SELECT ON TABLE "public"."orders" FROM "writer" CASCADE
    "#]],
    );
}

#[test]
fn what_only_a_lost_right_gave_is_given_by_the_owner() {
    let wanted = desired(&["reader read public", "writer readwrite public"]);
    let (read, none) = (Privileges::READ, Privileges::NONE);
    let builder = Builder::provisioned(17, &wanted)
        .table("public", "orders", "owner")
        .given(("public", "orders"), "owner", "writer", (read, read))
        .run(&revoked_by_hand(Privilege::Select, table("public", "orders"), "reader"))
        .given(("public", "orders"), "writer", "reader", (read, none));
    check(
        &wanted,
        &builder,
        expect![[r#"
        GRANT SELECT ON TABLE "public"."orders" TO "reader"
        REVOKE GRANT OPTION FOR SELECT ON TABLE "public"."orders" FROM "writer" CASCADE
    "#]],
    );
}

#[test]
fn an_adopted_role_keeps_what_it_has_and_that_is_reported() {
    let wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &desired(&[]))
        .table("public", "orders", "owner")
        .role("reader")
        .with_role("reader", |role| {
            role.password = PasswordState::Matches;
            role.login = true;
        })
        .run(&by_hand(Privilege::Insert, table("public", "orders"), "reader"));
    check(
        &wanted,
        &builder,
        expect![[r#"
            COMMENT ON ROLE "reader" IS '{"postgres-provisioner":"v1","installation":"test","resource":"digest-reader","uid":"uid-reader","origin":"adopted"}'
            GRANT CONNECT, TEMPORARY ON DATABASE "app" TO "reader"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reader"
            GRANT USAGE ON SCHEMA "public" TO "reader"
            GRANT SELECT ON TABLE "public"."orders" TO "reader"
            -- reader keeps INSERT on public.orders, which was not asked for
        "#]],
    );
}

#[test]
fn pruning_can_be_switched_on_and_off() {
    let wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &wanted).table("public", "orders", "owner").run(&by_hand(
        Privilege::Truncate,
        table("public", "orders"),
        "reader",
    ));
    for (prune, statements) in [(Prune::Never, 0), (Prune::Always, 1), (Prune::IfCreated, 1)] {
        let mut wanted = wanted.clone();
        let schemas = Schemas::Listed([ident("public")].into());
        wanted.grantees.insert(ident("reader"), Grantee { access: Access::Read, schemas, prune });
        let found = plan(&wanted, &builder.catalog);
        assert_eq!(found.actions.len(), statements, "{prune:?}");
        assert_eq!(found.withheld.len(), 1 - statements, "{prune:?}");
    }
}

#[test]
fn default_privileges_given_by_hand_are_revoked() {
    let wanted = desired(&["reader read"]);
    let by_hand = Action::AlterDefaultPrivileges {
        database: ident("app"),
        creators: vec![ident("owner")],
        schemas: vec![ident("public")],
        object: DefaultObject::Tables,
        change: crate::DefaultChange::Grant,
        privileges: Privileges::of(&[Privilege::Delete]),
        recipients: vec![Recipient::Role(ident("reader"))],
        cause: Cause::Missing,
    };
    check(
        &wanted,
        &Builder::provisioned(17, &wanted).run(&by_hand),
        expect![[r#"
            ALTER DEFAULT PRIVILEGES FOR ROLE "owner" IN SCHEMA "public" REVOKE DELETE ON TABLES FROM "reader"
        "#]],
    );
}

#[test]
fn a_membership_that_gives_more_is_reported_and_left_alone() {
    let wanted = desired(&["reader read", "writer readwrite"]);
    let builder = Builder::provisioned(17, &wanted)
        .table("public", "orders", "owner")
        .role("nothing_more")
        .role("auditors")
        .role("pg_read_all_data")
        .run(&by_hand(Privilege::Select, table("public", "orders"), "nothing_more"))
        .run(&by_hand(Privilege::Delete, table("public", "orders"), "auditors"))
        .member("reader", "nothing_more")
        .member("nothing_more", "auditors")
        .member("writer", "auditors")
        .member("owner", "pg_read_all_data");
    check(
        &wanted,
        &builder,
        expect![[r#"
        -- "owner" is a member of "pg_read_all_data", which has rights on the whole server; REVOKE "pg_read_all_data" FROM "owner" if that is not wanted
        -- "reader" is a member of "nothing_more", which has DELETE on public.orders; REVOKE "nothing_more" FROM "reader" if that is not wanted
    "#]],
    );
}

#[test]
fn what_a_role_has_on_an_extensions_relation_is_surplus() {
    let wanted = desired(&["reader read"]);
    let builder = Builder::provisioned(17, &wanted)
        .table("public", "statements", "postgres")
        .of_extension("public", "statements");
    check(&wanted, &builder, expect![[r""]]);
    let builder = builder.run(&by_hand(Privilege::Select, table("public", "statements"), "reader"));
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE SELECT ON TABLE "public"."statements" FROM "reader"
    "#]],
    );
}

#[test]
fn nothing_is_taken_that_a_role_to_be_spared_has_from_there() {
    let (read, none) = (Privileges::READ, Privileges::NONE);
    let mut wanted = desired(&["giver read public", "reader read public"]);
    let builder = Builder::provisioned(17, &wanted)
        .role("kept")
        .schema("secret", "owner")
        .table("secret", "salaries", "owner")
        .given(("secret", "salaries"), "owner", "giver", (read, read))
        .given(("secret", "salaries"), "giver", "reader", (read, read))
        .given(("secret", "salaries"), "reader", "kept", (read, none));
    let taken = expect![[r#"
        REVOKE SELECT ON TABLE "secret"."salaries" FROM "giver" CASCADE
    "#]];
    check(&wanted, &builder, taken);
    wanted.spared.insert(ident("kept"));
    check(
        &wanted,
        &builder,
        expect![[r"
        -- giver keeps SELECT on secret.salaries, from where a role has it that is observed or suspended, which was not asked for
    "]],
    );
}

#[test]
fn a_role_to_be_spared_keeps_the_right_to_give() {
    let (read, none) = (Privileges::READ, Privileges::NONE);
    let mut wanted = desired(&["reader read public"]);
    let builder = Builder::provisioned(17, &wanted)
        .role("kept")
        .schema("secret", "owner")
        .table("secret", "salaries", "owner")
        .given(("secret", "salaries"), "owner", "kept", (read, read))
        .given(("secret", "salaries"), "kept", "reader", (read, none));
    wanted.spared.insert(ident("kept"));
    check(
        &wanted,
        &builder,
        expect![[r#"
        -- the admin role may not change SELECT on secret.salaries, given by "kept"
    "#]],
    );
}

#[test]
fn a_view_that_moves_stays_open_to_a_role_to_be_spared() {
    let mut wanted = desired(&["writer read public"]);
    let builder = Builder::provisioned(17, &wanted).role("kept").role("other");
    let mut builder = builder.relation("public", "few", "writer", RelationKind::MaterializedView);
    let name = QualifiedName { schema: ident("public"), name: ident("few") };
    let view = Relation { name, kind: RelationKind::MaterializedView };
    let exposed =
        ["kept", "other"].map(|role| ExposedView { view: view.clone(), grantee: builder.oid(role) });
    let found = Dependencies {
        owns: true,
        allow_connections: true,
        exposed: exposed.into(),
        ..Dependencies::default()
    };
    let writer = builder.oid("writer");
    builder.catalog.dependencies.entry(writer).or_default().insert(ident("app"), found);
    wanted.spared.insert(ident("kept"));
    check(
        &wanted,
        &builder,
        expect![[r#"
        REVOKE ALL ON TABLE "public"."few" FROM "other" CASCADE
        REASSIGN OWNED BY "writer" TO "owner"
        GRANT SELECT ON TABLE "public"."few" TO "writer"
    "#]],
    );
}
