//! What holds for every desired state and every catalog. Names come from small pools, so that states collide.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod cases;

use std::collections::{BTreeMap, BTreeSet};

use plan::testing::{Builder, claim, converge, desired, ident};
use plan::{
    Access, Action, Catalog, Cause, DefaultChange, DefaultObject, Desired, Disposition, Ident, Leaving,
    PasswordState, Privilege, Privileges, Recipient, RelationKind, Taken, Target, plan,
};
use postgres_provisioner_plan as plan;
use proptest::prelude::*;

const GRANTEES: [&str; 3] = ["ann", "bob", "cid"];
const SCHEMAS: [&str; 3] = ["public", "one", "two"];
/// Roles that own and grant: ours and a stranger.
const OWNERS: [&str; 5] = ["owner", "ann", "bob", "stranger", "postgres"];

/// What event triggers are for: every command, or some.
const TAGS: [&[&str]; 5] = [
    &[],
    &["GRANT"],
    &["REVOKE", "CREATE TABLE"],
    &["ALTER DEFAULT PRIVILEGES", "DROP OWNED"],
    &["ALTER VIEW"],
];

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
    /// Given by whoever may, with or without the right to pass it on.
    Passed {
        number: u8,
        by: &'static str,
        role: &'static str,
        privilege: Privilege,
        grantable: bool,
    },
    Column {
        number: u8,
        role: &'static str,
        privilege: Privilege,
    },
    /// A relation turns out to be an extension's.
    Extension {
        number: u8,
    },
    Member {
        role: &'static str,
        of: &'static str,
    },
    Password {
        role: &'static str,
    },
    Login {
        role: &'static str,
    },
    Trigger {
        owner: &'static str,
        function_owner: &'static str,
        tags: &'static [&'static str],
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
        (0..12_u8, owner(), grantee(), privilege(), any::<bool>()).prop_map(
            |(number, by, role, privilege, grantable)| Event::Passed {
                number,
                by,
                role,
                privilege,
                grantable
            }
        ),
        (0..12_u8, grantee(), privilege()).prop_map(|(number, role, privilege)| Event::Column {
            number,
            role,
            privilege
        }),
        (0..12_u8).prop_map(|number| Event::Extension { number }),
        (grantee(), owner()).prop_map(|(role, of)| Event::Member { role, of }),
        grantee().prop_map(|role| Event::Password { role }),
        grantee().prop_map(|role| Event::Login { role }),
        (owner(), owner(), prop::sample::select(&TAGS[..]))
            .prop_map(|(owner, function_owner, tags)| Event::Trigger { owner, function_owner, tags }),
    ]
}

/// What comes from one grantee to another.
#[derive(Clone, Debug)]
struct Chain {
    number: u8,
    first: &'static str,
    second: &'static str,
    privilege: Privilege,
}

fn chain() -> impl Strategy<Value = Chain> {
    let grantee = || prop::sample::select(&GRANTEES[..]);
    let privilege = prop::sample::select(&[Privilege::Select, Privilege::Truncate][..]);
    (0..12_u8, grantee(), grantee(), privilege).prop_map(|(number, first, second, privilege)| Chain {
        number,
        first,
        second,
        privilege,
    })
}

/// Each grantee's access; none, and it stays on the server, or gone.
#[derive(Clone, Debug)]
struct Wanted(Vec<&'static str>);

fn wanted() -> impl Strategy<Value = Wanted> {
    let access = prop::sample::select(
        &["", "gone", "read", "readwrite", "read public", "readwrite one", "read public,two"][..],
    );
    prop::collection::vec(access, GRANTEES.len()).prop_map(Wanted)
}

impl Wanted {
    fn desired(&self) -> Desired {
        let is_present = |access: &str| !matches!(access, "" | "gone");
        let named = || GRANTEES.iter().zip(&self.0);
        let present = named().filter(|(_, access)| is_present(access));
        let texts: Vec<_> = present.map(|(name, access)| format!("{name} {access}")).collect();
        let mut wanted = desired(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for (name, access) in named().filter(|(_, access)| !is_present(access)) {
            let disposition = if access.is_empty() { Disposition::Detach } else { Disposition::Drop };
            let leaving = Leaving { claim: claim(name), recorded: None, disposition };
            wanted.leaving.insert(ident(name), leaving);
        }
        wanted
    }
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
            let contents = builder.catalog.contents.as_ref().unwrap();
            let taken = taken || contents.extensions.iter().any(|group| group.names.contains(&ident(&name)));
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
        Event::Passed { number, by, role, privilege, grantable } => {
            pass(builder, *number, (by, role), (*privilege, *grantable))
        }
        Event::Column { number, role, privilege } if has_role(&builder, role) => {
            give_on_column(builder, *number, role, *privilege)
        }
        Event::Extension { number } => {
            let Some((schema, name)) = nth(&builder.catalog, *number) else { return builder };
            builder.of_extension(schema.as_str(), name.as_str())
        }
        Event::Member { role, of } if role != of && has_role(&builder, role) && has_role(&builder, of) => {
            builder.member(role, of)
        }
        Event::Password { role } if has_role(&builder, role) => {
            builder.with_role(role, |role| role.password = PasswordState::Differs)
        }
        Event::Login { role } if has_role(&builder, role) => {
            builder.with_role(role, |role| role.login = false)
        }
        Event::Trigger { owner, function_owner, tags }
            if has_role(&builder, owner) && has_role(&builder, function_owner) =>
        {
            builder.event_trigger(owner, function_owner, tags)
        }
        _ => builder,
    }
}

/// One role gives another a privilege, if it may.
fn pass(
    builder: Builder,
    number: u8,
    (by, role): (&str, &str),
    (privilege, grantable): (Privilege, bool),
) -> Builder {
    let is_there = |name: &str| builder.catalog.role(&ident(name)).is_some();
    let Some((schema, name)) = nth(&builder.catalog, number) else { return builder };
    if by == role || !is_there(by) || !is_there(role) {
        return builder;
    }
    let privileges = Privileges::of(&[privilege]);
    let (by_oid, role_oid) = (builder.oid(by), builder.oid(role));
    let (owner, acl) = found(&builder.catalog, (&schema, &name));
    let may = by_oid == owner || acl.grantable_by(by_oid).contains(privileges);
    if !may || role_oid == owner || acl.grantable_by(role_oid).contains(privileges) {
        return builder;
    }
    let grantable = if grantable { privileges } else { Privileges::NONE };
    builder.given((schema.as_str(), name.as_str()), by, role, (privileges, grantable))
}

/// The owner lets one role give another what it has.
fn pass_on(mut builder: Builder, Chain { number, first, second, privilege }: &Chain) -> Builder {
    let Some((schema, name)) = nth(&builder.catalog, *number) else { return builder };
    let (owner, _) = found(&builder.catalog, (&schema, &name));
    let owner = builder.catalog.roles[&owner].name.as_str().to_owned();
    builder = pass(builder, *number, (&owner, first), (*privilege, true));
    pass(builder, *number, (first, second), (*privilege, false))
}

fn give_on_column(builder: Builder, number: u8, role: &str, privilege: Privilege) -> Builder {
    let Some((schema, name)) = nth(&builder.catalog, number) else { return builder };
    let (owner, _) = found(&builder.catalog, (&schema, &name));
    let owner = builder.catalog.roles[&owner].name.as_str().to_owned();
    let is_it = |((found, other), kind): &((Ident, Ident), RelationKind)| {
        (found, other) == (&schema, &name) && *kind != RelationKind::Sequence
    };
    if owner == role || !relations(&builder.catalog).iter().any(is_it) {
        return builder;
    }
    let privileges = Privileges::of(&[privilege]);
    builder.given_on_column((schema.as_str(), name.as_str()), &owner, role, privileges)
}

fn change(given: bool, target: Target, privilege: Privilege, role: Recipient) -> Action {
    let (database, privileges) = (ident("app"), Privileges::of(&[privilege]));
    if given {
        Action::Grant { database, target, privileges, to: vec![role], grantor: None, cause: Cause::Missing }
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

/// One of the relations, as long as there are any.
fn nth(catalog: &Catalog, number: u8) -> Option<(Ident, Ident)> {
    relations(catalog).into_iter().cycle().nth(usize::from(number)).map(|(name, _)| name)
}

/// The owner of a relation and its list.
fn found<'a>(catalog: &'a Catalog, (schema, name): (&Ident, &Ident)) -> (plan::Oid, &'a plan::Acl) {
    let contents = catalog.contents.as_ref().unwrap();
    let group = contents
        .relations
        .iter()
        .find(|group| contents.schemas[&group.schema].name == *schema && group.names.contains(name));
    let group = group.unwrap();
    (group.owner, contents.acl(group.acl))
}

/// A server, its administrator, and what was provisioned on it.
#[derive(Clone, Debug)]
struct Ground {
    major: u32,
    is_limited: bool,
    before: Wanted,
}

fn ground() -> impl Strategy<Value = Ground> {
    (13..=18_u32, any::<bool>(), wanted()).prop_map(|(major, is_limited, before)| Ground {
        major,
        is_limited,
        before,
    })
}

/// A provisioned server after some events.
fn world(ground: &Ground, events: &[Event]) -> Builder {
    let mut builder = Builder::server(ground.major);
    if ground.is_limited {
        builder = builder.limited();
    }
    converge(&ground.before.desired(), &mut builder.catalog);
    events.iter().fold(builder.role("stranger"), happen)
}

proptest! {
    #![proptest_config(cases::config(8_000))]

    #[test]
    fn a_plan_applied_leaves_nothing_to_do(
        ground in ground(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let (after, mut builder) = (after.desired(), world(&ground, &events));
        give_dependencies(&mut builder, &after);
        converge(&after, &mut builder.catalog);
    }

    #[test]
    fn no_action_is_for_what_no_resource_names_and_none_destroys_without_its_policy(
        ground in ground(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let (after, mut builder) = (after.desired(), world(&ground, &events));
        give_dependencies(&mut builder, &after);
        let ours: BTreeSet<_> = after.logins.keys().chain(after.leaving.keys()).collect();
        for action in plan(&after, &builder.catalog).actions {
            let is_ours = action.roles().iter().all(|role| ours.contains(role));
            prop_assert!(is_ours || takes_the_right_to_give(&action), "{}", action);
            prop_assert!(is_allowed(&action, &after, &builder.catalog), "{}", action);
        }
    }

    #[test]
    fn a_role_that_is_spared_keeps_what_it_has_and_gets_nothing_while_the_rest_is_done(
        ground in ground(),
        after in wanted(),
        spared in prop::collection::vec(any::<bool>(), GRANTEES.len()),
        events in prop::collection::vec(event(), 0..12),
        chains in prop::collection::vec(chain(), 0..4),
    ) {
        let (after, builder) = (after.desired(), world(&ground, &events));
        // What a role gave goes with it, and the server keeps a role that has something from one that cannot take it.
        let stays = |chain: &&Chain| {
            [chain.first, chain.second].iter().all(|role| !after.leaving.contains_key(&ident(role)))
        };
        let mut builder = chains.iter().filter(stays).fold(builder, pass_on);
        give_dependencies(&mut builder, &after);
        let acting = sparing(&after, &spared);
        let before = privileges_of(&builder.catalog, &acting.spared);
        for action in plan(&acting, &builder.catalog).actions {
            prop_assert!(!action.roles().iter().any(|role| acting.spared.contains(role)), "{}", action);
        }
        converge(&acting, &mut builder.catalog);
        prop_assert_eq!(privileges_of(&builder.catalog, &acting.spared), before);
        // Once nobody spares them, what is left is done.
        give_dependencies(&mut builder, &after);
        converge(&after, &mut builder.catalog);
    }

    #[test]
    fn no_action_fires_an_event_trigger_that_runs_a_tenants_code(
        ground in ground(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let (after, mut builder) = (after.desired(), world(&ground, &events));
        give_dependencies(&mut builder, &after);
        let catalog = &builder.catalog;
        let is_trusted = |oid| catalog.roles[&oid].superuser || oid == catalog.server.admin;
        let triggers = &catalog.contents.as_ref().unwrap().event_triggers;
        for action in plan(&after, catalog).actions {
            let text = action.to_string();
            let fires = |tags: &BTreeSet<String>| {
                let is_first = |tag: &String| text.starts_with(&format!("{tag} "));
                tags.is_empty() && !text.starts_with("REASSIGN") || tags.iter().any(is_first)
            };
            let in_database = matches!(action.site(), plan::Site::Database(_));
            for trigger in triggers.iter().filter(|trigger| in_database && fires(&trigger.tags)) {
                let is_fine = is_trusted(trigger.owner) && is_trusted(trigger.function_owner);
                prop_assert!(is_fine, "{} fires {:?}", text, trigger);
            }
        }
    }

    #[test]
    fn a_plan_depends_on_nothing_but_its_input(
        ground in ground(),
        after in wanted(),
        events in prop::collection::vec(event(), 0..12),
    ) {
        let (after, mut builder) = (after.desired(), world(&ground, &events));
        give_dependencies(&mut builder, &after);
        let mut shuffled = builder.catalog.clone();
        shuffled.memberships.reverse();
        if let Some(contents) = &mut shuffled.contents {
            contents.relations.reverse();
            contents.extensions.reverse();
            contents.defaults.reverse();
            contents.columns.reverse();
        }
        prop_assert_eq!(plan(&after, &builder.catalog).actions, plan(&after, &shuffled).actions);
    }
}

/// Somebody looks after these grantees, and they are not to be changed for now: nothing else is said of them.
fn sparing(wanted: &Desired, spared: &[bool]) -> Desired {
    let mut wanted = wanted.clone();
    for name in GRANTEES.iter().zip(spared).filter(|(_, is_spared)| **is_spared).map(|(name, _)| ident(name))
    {
        wanted.logins.remove(&name);
        wanted.grantees.remove(&name);
        wanted.leaving.remove(&name);
        wanted.spared.insert(name);
    }
    wanted
}

/// What these roles may do with each relation.
fn privileges_of(catalog: &Catalog, roles: &BTreeSet<Ident>) -> BTreeMap<(Ident, Ident, Ident), Privileges> {
    let mut found = BTreeMap::new();
    for ((schema, name), _) in relations(catalog) {
        let (_, acl) = self::found(catalog, (&schema, &name));
        for role in roles {
            let Some(oid) = catalog.role_oid(role) else { continue };
            found.insert((schema.clone(), name.clone(), role.clone()), acl.of(oid));
        }
    }
    found
}

/// What a stranger gave to one of ours can only go with its right to give it.
fn takes_the_right_to_give(action: &Action) -> bool {
    matches!(action, Action::Revoke { taken: Taken::GrantOption, grantor: None, .. })
}

/// Whether the desired state says so where the action takes something that cannot be had back.
fn is_allowed(action: &Action, wanted: &Desired, catalog: &Catalog) -> bool {
    let leaves = |role: &Ident| {
        wanted.leaving.get(role).is_some_and(|leaving| leaving.disposition == Disposition::Drop)
    };
    let reads =
        |role: &Ident| wanted.grantees.get(role).is_some_and(|grantee| grantee.access == Access::Read);
    let detaches = |role: &Ident| {
        wanted.leaving.get(role).is_some_and(|leaving| leaving.disposition == Disposition::Detach)
    };
    match action {
        Action::RevokeLogin { role }
        | Action::TerminateSessions { role }
        | Action::DropOwned { role, .. }
        | Action::DropRole { role } => leaves(role),
        Action::ReassignOwned { role, .. }
        | Action::SetRoutineInvoker { role, .. }
        | Action::SetViewInvoker { role, .. }
        | Action::CloseView { role, .. } => leaves(role) || reads(role) || detaches(role),
        Action::DropInvalidDatabase { .. } => catalog.database.as_ref().is_some_and(|found| found.invalid),
        _ => true,
    }
}

/// What introspection finds of roles that own something here.
fn give_dependencies(builder: &mut Builder, wanted: &Desired) {
    let leaving: Vec<_> = wanted.leaving.keys().filter_map(|name| builder.catalog.role_oid(name)).collect();
    let catalog = &mut builder.catalog;
    let owner = catalog.database.as_ref().unwrap().owner;
    let owner = Some((owner, catalog.roles[&owner].name.clone()));
    let owners = catalog.contents.as_ref().unwrap().owners.clone();
    for oid in owners.iter().copied().chain(leaving) {
        let found = plan::Dependencies {
            allow_connections: true,
            database_owner: owner.clone(),
            owns: owners.contains(&oid),
            named: true,
            event_triggers: catalog.contents.as_ref().unwrap().event_triggers.clone(),
            ..plan::Dependencies::default()
        };
        catalog.dependencies.entry(oid).or_default().insert(ident("app"), found);
    }
}
