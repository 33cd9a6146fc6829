//! What holds for every desired state and every catalog. Names come from small pools, so that states collide.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::collections::BTreeSet;

use plan::testing::{Builder, claim, converge, desired, ident};
use plan::{
    Action, Catalog, Cause, DefaultChange, DefaultObject, Desired, Disposition, Ident, Leaving,
    PasswordState, Privilege, Privileges, Recipient, RelationKind, Taken, Target, plan,
};
use postgres_provisioner_plan as plan;
use proptest::prelude::*;

const GRANTEES: [&str; 3] = ["ann", "bob", "cid"];
const SCHEMAS: [&str; 3] = ["public", "one", "two"];
/// Roles that own and grant: ours and a stranger.
const OWNERS: [&str; 5] = ["owner", "ann", "bob", "stranger", "postgres"];

/// Something that tenants, administrators and thieves do between two passes.
#[derive(Clone, Debug)]
enum Event {
    Schema {
        name: &'static str,
        owner: &'static str,
    },
    Relation {
        schema: &'static str,
        number: u8,
        owner: &'static str,
        kind: RelationKind,
    },
    Privilege {
        given: bool,
        privilege: Privilege,
        number: u8,
        role: &'static str,
    },
    Default {
        given: bool,
        privilege: Privilege,
        creator: &'static str,
        schema: Option<&'static str>,
        role: &'static str,
    },
    Database {
        privilege: Privilege,
        role: Option<&'static str>,
    },
    Password {
        role: &'static str,
    },
    Login {
        role: &'static str,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let schema = || prop::sample::select(&SCHEMAS[..]);
    let owner = || prop::sample::select(&OWNERS[..]);
    let grantee = || prop::sample::select(&GRANTEES[..]);
    let kind = prop::sample::select(&[RelationKind::Table, RelationKind::View, RelationKind::Sequence][..]);
    let privilege = || {
        prop::sample::select(
            &[Privilege::Select, Privilege::Insert, Privilege::Truncate, Privilege::Delete][..],
        )
    };
    prop_oneof![
        (schema(), owner()).prop_map(|(name, owner)| Event::Schema { name, owner }),
        (schema(), 0..4_u8, owner(), kind).prop_map(|(schema, number, owner, kind)| Event::Relation {
            schema,
            number,
            owner,
            kind
        }),
        (any::<bool>(), privilege(), 0..12_u8, grantee())
            .prop_map(|(given, privilege, number, role)| Event::Privilege { given, privilege, number, role }),
        (any::<bool>(), privilege(), owner(), prop::option::of(schema()), grantee()).prop_map(
            |(given, privilege, creator, schema, role)| Event::Default {
                given,
                privilege,
                creator,
                schema,
                role
            }
        ),
        (prop::sample::select(&[Privilege::Connect, Privilege::Create][..]), prop::option::of(grantee()))
            .prop_map(|(privilege, role)| Event::Database { privilege, role }),
        grantee().prop_map(|role| Event::Password { role }),
        grantee().prop_map(|role| Event::Login { role }),
    ]
}

/// Each grantee's access, or none.
fn wanted() -> impl Strategy<Value = Desired> {
    let access = prop::sample::select(
        &["", "read", "readwrite", "read public", "readwrite one", "read public,two"][..],
    );
    prop::collection::vec(access, GRANTEES.len()).prop_map(|accesses| {
        let texts: Vec<_> = GRANTEES
            .iter()
            .zip(&accesses)
            .filter(|(_, access)| !access.is_empty())
            .map(|(name, access)| format!("{name} {access}"))
            .collect();
        let mut wanted = desired(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, _) in GRANTEES.iter().zip(&accesses).filter(|(_, access)| access.is_empty()) {
            let leaving = Leaving { claim: claim(name), recorded: None, disposition: Disposition::Detach };
            wanted.leaving.insert(ident(name), leaving);
        }
        wanted
    })
}

fn happen(builder: Builder, event: &Event) -> Builder {
    let has_role = |builder: &Builder, role: &str| builder.catalog.role(&ident(role)).is_some();
    let has_schema = |builder: &Builder, schema: &str| {
        let contents = builder.catalog.contents.as_ref().unwrap();
        contents.schemas.values().any(|found| found.name.as_str() == schema)
    };
    match event {
        Event::Schema { name, owner } if has_role(&builder, owner) && !has_schema(&builder, name) => {
            builder.schema(name, owner)
        }
        Event::Relation { schema, number, owner, kind }
            if has_role(&builder, owner) && has_schema(&builder, schema) =>
        {
            let name = format!("r{number}{kind:?}");
            let taken =
                relations(&builder.catalog).iter().any(|(found, _)| *found == (ident(schema), ident(&name)));
            if taken { builder } else { builder.relation(schema, &name, owner, *kind) }
        }
        Event::Privilege { given, privilege, number, role } if has_role(&builder, role) => {
            let relations = relations(&builder.catalog);
            let Some(((schema, name), kind)) = relations.iter().cycle().nth(usize::from(*number)).cloned()
            else {
                return builder;
            };
            let relation = plan::Relation { name: plan::QualifiedName { schema, name }, kind };
            let target = if kind == RelationKind::Sequence {
                Target::Sequences(vec![relation])
            } else {
                Target::Tables(vec![relation])
            };
            builder.run(&change(*given, target, *privilege, Recipient::Role(ident(role))))
        }
        Event::Default { given, privilege, creator, schema, role }
            if creator != role
                && has_role(&builder, creator)
                && has_role(&builder, role)
                && schema.is_none_or(|schema| has_schema(&builder, schema)) =>
        {
            builder.run(&Action::AlterDefaultPrivileges {
                database: ident("app"),
                creators: vec![ident(creator)],
                schemas: schema.iter().map(|schema| ident(schema)).collect(),
                object: DefaultObject::Tables,
                change: if *given { DefaultChange::Grant } else { DefaultChange::Revoke },
                privileges: Privileges::of(&[*privilege]),
                recipients: vec![Recipient::Role(ident(role))],
                cause: Cause::Missing,
            })
        }
        Event::Database { privilege, role } if role.is_none_or(|role| has_role(&builder, role)) => {
            let to = role.map_or(Recipient::Public, |role| Recipient::Role(ident(role)));
            builder.run(&change(true, Target::Database, *privilege, to))
        }
        Event::Password { role } if has_role(&builder, role) => {
            builder.with_role(role, |role| role.password = PasswordState::Differs)
        }
        Event::Login { role } if has_role(&builder, role) => {
            builder.with_role(role, |role| role.login = false)
        }
        _ => builder,
    }
}

fn change(given: bool, target: Target, privilege: Privilege, role: Recipient) -> Action {
    let (database, privileges) = (ident("app"), Privileges::of(&[privilege]));
    if given {
        Action::Grant { database, target, privileges, to: vec![role], cause: Cause::Missing }
    } else {
        Action::Revoke {
            database,
            target,
            privileges,
            taken: Taken::Privilege,
            from: vec![role],
            grantor: None,
        }
    }
}

fn relations(catalog: &Catalog) -> Vec<((Ident, Ident), RelationKind)> {
    let contents = catalog.contents.as_ref().unwrap();
    let groups = contents.relations.iter();
    groups
        .flat_map(|group| {
            let schema = &contents.schemas[&group.schema].name;
            group.names.iter().map(move |name| ((schema.clone(), name.clone()), group.kind))
        })
        .collect()
}

/// A provisioned server after some events.
fn world(before: &Desired, events: &[Event]) -> Builder {
    let builder = Builder::provisioned(17, before).role("stranger");
    events.iter().fold(builder, happen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_applied_leaves_nothing_to_do(
        before in wanted(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let mut builder = world(&before, &events);
        give_dependencies(&mut builder);
        converge(&after, &mut builder.catalog);
    }

    #[test]
    fn no_action_is_for_a_role_that_no_resource_names(
        before in wanted(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let mut builder = world(&before, &events);
        give_dependencies(&mut builder);
        let ours: BTreeSet<_> = after.logins.keys().chain(after.leaving.keys()).collect();
        for action in plan(&after, &builder.catalog).actions {
            prop_assert!(action.roles().iter().all(|role| ours.contains(role)), "{}", action);
        }
    }

    #[test]
    fn a_plan_depends_on_nothing_but_its_input(
        before in wanted(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let builder = world(&before, &events);
        let mut shuffled = builder.catalog.clone();
        shuffled.memberships.reverse();
        if let Some(contents) = &mut shuffled.contents {
            contents.relations.reverse();
            contents.defaults.reverse();
            contents.columns.reverse();
        }
        prop_assert_eq!(plan(&after, &builder.catalog).actions, plan(&after, &shuffled).actions);
    }
}

/// What introspection finds of roles that own something here.
fn give_dependencies(builder: &mut Builder) {
    let catalog = &mut builder.catalog;
    let owner = catalog.database.as_ref().unwrap().owner;
    let owner = Some((owner, catalog.roles[&owner].name.clone()));
    for oid in catalog.contents.as_ref().unwrap().owners.clone() {
        let found = plan::Dependencies {
            allow_connections: true,
            database_owner: owner.clone(),
            owns: true,
            named: true,
            ..plan::Dependencies::default()
        };
        catalog.dependencies.entry(oid).or_default().insert(ident("app"), found);
    }
}
