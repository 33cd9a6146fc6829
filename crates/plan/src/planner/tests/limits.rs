//! What the admin role, the server and a statement can bear.

use super::*;

#[test]
fn users_with_the_same_need_share_statements_and_names_are_batched() {
    let mut builder = Builder::provisioned(17, &desired(&[]));
    for number in 0..1200 {
        builder = builder.table("public", &format!("t{number}"), "owner");
    }
    let found = plan(&desired(&["a read public", "b read public", "c read"]), &builder.catalog);
    let grants: Vec<_> = found
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Grant { target: Target::Tables(_), .. }))
        .collect();
    assert_eq!(grants.len(), 3, "1,200 tables are three statements of at most 500");
    assert_eq!(grants[0].roles(), [&ident("a"), &ident("b"), &ident("c")]);
}

#[test]
fn a_refused_batch_is_split_and_only_the_refused_object_is_withheld() {
    let builder =
        Builder::provisioned(17, &desired(&[])).table("public", "a", "owner").table("public", "b", "owner");
    let mut wanted = desired(&["reader read public"]);
    let is_grant = |action: &&Action| matches!(action, Action::Grant { target: Target::Tables(_), .. });
    let batch = plan(&wanted, &builder.catalog).actions.iter().find(is_grant).unwrap().clone();
    wanted.refused.push(Refused { action: batch.clone(), message: "row is too big".into() });
    wanted.refused.push(Refused { action: batch.split()[0].clone(), message: "row is too big".into() });
    let found = plan(&wanted, &builder.catalog);
    let grants: Vec<_> = found.actions.iter().filter(is_grant).map(ToString::to_string).collect();
    assert_eq!(grants, [r#"GRANT SELECT ON TABLE "public"."b" TO "reader""#]);
    assert_eq!(
        found.withheld.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [r#"the server refused GRANT SELECT ON TABLE "public"."a" TO "reader": row is too big"#]
    );
}

#[test]
fn an_admin_without_superuser_becomes_a_member_and_leaves_superusers_objects() {
    let wanted = desired(&["reader read"]);
    let mut builder = Builder::server(16).role("dba").limited();
    builder = builder.with_role("dba", |role| role.superuser = true);
    let memberships: BTreeSet<_> = plan(&wanted, &builder.catalog)
        .actions
        .iter()
        .filter(|action| matches!(action, Action::GrantMembership { .. }))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        memberships,
        [
            r#"GRANT "owner" TO "admin" WITH INHERIT TRUE, SET TRUE"#.to_owned(),
            r#"GRANT "reader" TO "admin" WITH INHERIT TRUE, SET TRUE"#.to_owned(),
        ]
        .into()
    );
    converge(&wanted, &mut builder.catalog);
    let builder = builder.table("public", "by_dba", "dba");
    check(
        &wanted,
        &builder,
        expect![[r#"
            -- the admin role may not change SELECT on public.by_dba owned by "dba"
            -- the admin role may not change SELECT on what "dba" creates
        "#]],
    );
}

#[test]
fn a_list_of_privileges_is_not_made_longer_than_a_row_can_hold() {
    let wanted = desired(&["reader read", "writer readwrite"]);
    let mut builder = Builder::provisioned(17, &desired(&[])).table("public", "orders", "owner");
    for number in 0..1_897 {
        builder = builder.role(&format!("other{number}"));
    }
    let others: Vec<_> = (0..1_897).map(|number| Recipient::Role(ident(&format!("other{number}")))).collect();
    let builder = builder.run(&Action::Grant {
        database: ident("app"),
        target: table("public", "orders"),
        privileges: Privileges::READ,
        to: others.clone(),
        grantor: None,
        cause: Cause::Missing,
    });
    assert_eq!(plan(&wanted, &builder.catalog).withheld, []);
    // Another table of the same owner is as far from the limit as before.
    let builder = builder
        .role("last")
        .run(&by_hand(Privilege::Select, table("public", "orders"), "last"))
        .table("public", "items", "owner")
        .run(&Action::AlterDefaultPrivileges {
            database: ident("app"),
            creators: vec![ident("owner")],
            schemas: vec![ident("public")],
            object: DefaultObject::Tables,
            change: crate::DefaultChange::Grant,
            privileges: Privileges::READ,
            recipients: [others, vec![Recipient::Role(ident("last"))]].concat(),
            cause: Cause::Missing,
        });
    let withheld: Vec<_> = plan(&wanted, &builder.catalog).withheld.iter().map(ToString::to_string).collect();
    expect![[r#"
        "writer" has no SELECT, INSERT, UPDATE, DELETE on public.orders: its list of privileges is as long as PostgreSQL can store it (1900 entries are the limit here); let users share roles
        "writer" has no SELECT, INSERT, UPDATE, DELETE on TABLES that "owner" creates: its list of privileges is as long as PostgreSQL can store it (1900 entries are the limit here); let users share roles"#]].assert_eq(&withheld.join("\n"));
    converge(&wanted, &mut builder.catalog.clone());
}

#[test]
fn an_admin_without_the_attributes_is_told_which_it_needs() {
    let wanted = desired(&["reader read"]);
    let no_roles = Builder::server(17).limited().with_role("admin", |role| role.create_role = false);
    check(
        &wanted,
        &no_roles,
        expect![[r#"
        -- role "owner" is not touched: the admin role "admin" needs CREATEROLE: ALTER ROLE "admin" CREATEROLE
        -- role "reader" is not touched: the admin role "admin" needs CREATEROLE: ALTER ROLE "admin" CREATEROLE
        -- database "app" is not touched: its owner role may not be used
    "#]],
    );
    let no_databases = Builder::server(17).limited().with_role("admin", |role| role.create_db = false);
    check(
        &wanted,
        &no_databases,
        expect![[r#"
        -- database "app" is not touched: the admin role "admin" needs CREATEDB: ALTER ROLE "admin" CREATEDB
    "#]],
    );
}

#[test]
fn from_16_on_an_admin_needs_the_admin_option_on_what_it_changes() {
    let wanted = desired(&["reader read"]);
    for (major, expected) in [
        (
            15,
            expect![[r#"
        ALTER ROLE "reader" LOGIN
    "#]],
        ),
        (
            16,
            expect![[r#"
        -- role "reader" is not touched: the admin role "admin" needs the ADMIN option on it: GRANT "reader" TO "admin" WITH ADMIN OPTION
    "#]],
        ),
    ] {
        let mut builder = Builder::provisioned(major, &wanted).limited();
        // Somebody gave it the rights and not the option.
        let admin = builder.oid("admin");
        for role in ["owner", "reader"] {
            let role = builder.oid(role);
            let given = crate::Membership {
                role,
                member: admin,
                grantor: Oid(10),
                admin: false,
                inherit: true,
                set: true,
            };
            builder.catalog.memberships.push(given);
        }
        let builder = builder.with_role("reader", |role| role.login = false);
        check(&wanted, &builder, expected);
    }
}

#[test]
fn a_membership_without_set_is_completed() {
    let wanted = desired(&[]);
    let mut builder = Builder::server(16).limited();
    converge(&wanted, &mut builder.catalog);
    let admin = builder.catalog.server.admin;
    for found in builder.catalog.memberships.iter_mut().filter(|found| found.grantor == admin) {
        found.set = false;
    }
    check(
        &wanted,
        &builder,
        expect![[r#"
        GRANT "owner" TO "admin" WITH INHERIT TRUE, SET TRUE
    "#]],
    );
}

#[test]
fn a_step_does_not_lock_more_than_its_share_of_relations() {
    let wanted = desired(&["reader read public"]);
    let mut builder = Builder::provisioned(17, &wanted);
    let oid = builder.catalog.contents.as_ref().unwrap().schemas.keys().next().copied().unwrap();
    let owner = builder.oid("owner");
    let contents = builder.catalog.contents.as_mut().unwrap();
    let acl = crate::AclId(contents.acls.len());
    contents.acls.push(crate::Acl::default());
    let names = (0..2_300).map(|number| ident(&format!("t{number:04}"))).collect();
    let kind = RelationKind::Table;
    contents.relations.push(crate::RelationGroup { schema: oid, kind, owner, acl, names });
    let found = plan(&wanted, &builder.catalog);
    let relations = |step: &[Action]| step.iter().map(|action| action.relations().len()).sum::<usize>();
    assert_eq!(found.steps().map(relations).collect::<Vec<_>>(), [1_000, 1_000, 300]);
}

#[test]
fn a_relation_that_somebody_works_on_does_not_hold_up_the_others() {
    let mut wanted = desired(&["reader read public", "writer readwrite public"]);
    let builder = Builder::provisioned(17, &wanted)
        .table("public", "free", "postgres")
        .table("public", "locked", "postgres")
        .run(&Action::Grant {
            database: ident("app"),
            target: table("public", "locked"),
            privileges: Privileges::READ_WRITE,
            to: vec![Recipient::Role(ident("writer"))],
            grantor: None,
            cause: Cause::Missing,
        });
    wanted.busy.insert(crate::QualifiedName { schema: ident("public"), name: ident("locked") });
    check(
        &wanted,
        &builder,
        expect![[r#"
        ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT SELECT ON TABLES TO "reader"
        ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "writer"
        ALTER DEFAULT PRIVILEGES FOR ROLE "postgres" IN SCHEMA "public" GRANT SELECT, USAGE ON SEQUENCES TO "writer"
        GRANT SELECT ON TABLE "public"."free" TO "reader"
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."free" TO "writer"
        -- another session is at work on public.locked: what "reader" lacks there, or has too much, waits
    "#]],
    );
}

#[test]
fn an_owner_that_is_yet_to_be_made_takes_by_its_name() {
    let wanted = desired(&["reader read"]);
    let mut builder = Builder::server(16).limited();
    converge(&wanted, &mut builder.catalog);
    let (owner, reader) = (builder.oid("owner"), builder.oid("reader"));
    let connect = Privileges::of(&[Privilege::Connect]);
    let acl = &mut builder.catalog.database.as_mut().unwrap().acl;
    let found = acl.0.iter_mut().find(|item| (item.grantor, item.grantee) == (owner, reader)).unwrap();
    found.grantable = connect;
    let (mut next, _) = with_heir("heir");
    next.grantees = wanted.grantees.clone();
    next.logins.insert(ident("reader"), login("reader"));
    let taken = plan(&next, &builder.catalog).actions;
    let taken = taken.iter().find(|action| action.to_string().starts_with("REVOKE GRANT OPTION"));
    assert_eq!(taken.and_then(Action::as_role), Some(&ident("heir")));
}

#[test]
fn what_is_left_in_a_database_of_a_stranger_goes_to_who_the_admin_role_can_give_it_to() {
    let mut wanted = desired(&["writer readwrite"]);
    let mut builder = Builder::server(16).limited();
    converge(&wanted, &mut builder.catalog);
    wanted.grantees.clear();
    wanted.logins.remove(&ident("writer"));
    wanted.leaving.insert(ident("writer"), leaving(Disposition::Drop, "writer"));
    let stranger = Some((Oid(99_999), ident("stranger")));
    let blank = Dependencies { allow_connections: true, owns: true, ..Dependencies::default() };
    let found = Dependencies { database_owner: stranger, ..blank };
    let writer = builder.oid("writer");
    builder.catalog.dependencies.entry(writer).or_default().insert(ident("other"), found);
    let heirs = |builder: &Builder| {
        let actions = plan(&wanted, &builder.catalog).actions;
        actions
            .into_iter()
            .filter(|action| matches!(action, Action::ReassignOwned { .. }))
            .collect::<Vec<_>>()
    };
    let to =
        |heir| Action::ReassignOwned { database: ident("other"), role: ident("writer"), to: ident(heir) };
    assert_eq!(heirs(&builder), [to("admin")]);
    assert_eq!(heirs(&builder.with_role("admin", |role| role.superuser = true)), [to("stranger")]);
}

#[test]
fn what_others_may_refer_to_goes_to_no_powerful_heir() {
    let mut wanted = desired(&["writer readwrite"]);
    let mut builder = Builder::provisioned(17, &wanted);
    wanted.grantees.clear();
    wanted.logins.remove(&ident("writer"));
    wanted.leaving.insert(ident("writer"), leaving(Disposition::Drop, "writer"));
    let Target::Tables(lent_relations) = table("public", "lent") else { unreachable!("it is one") };
    let owner = |name: &str| Some((builder.oid(name), ident(name)));
    let found = |database_owner| Dependencies {
        allow_connections: true,
        owns: true,
        lent_relations: lent_relations.clone(),
        database_owner,
        ..Dependencies::default()
    };
    let (here, there) = (found(owner("owner")), found(owner("postgres")));
    let writer = builder.oid("writer");
    let databases = builder.catalog.dependencies.entry(writer).or_default();
    databases.extend([(ident("app"), here), (ident("postgres"), there)]);
    let found = plan(&wanted, &builder.catalog);
    let heirs: Vec<_> = found.actions.iter().map(ToString::to_string).collect();
    assert!(heirs.contains(&r#"REASSIGN OWNED BY "writer" TO "owner""#.to_owned()), "{heirs:#?}");
    assert!(
        !heirs.iter().any(|said| said.contains("postgres") || said.starts_with("DROP ROLE")),
        "{heirs:#?}"
    );
    let [withheld] = &found.withheld[..] else { panic!("{:?}", found.withheld) };
    assert!(withheld.to_string().contains("REFERENCES or TRIGGER"), "{withheld}");
}
