//! What happens between two passes: resources change, tenants work, administrators do things by hand.

use std::collections::BTreeSet;

use plan::{Access, Disposition, Grantee, Prune, Schemas, testing::ident};

use super::{
    objects::{Objects, Relation},
    world::{SCHEMAS, World},
};

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Resources say something else now.
    Resources(String),
    /// Statements of this role, or of the superuser.
    Server { by: Option<String>, sql: String },
}

type Kind = fn(&mut World, &Objects) -> Option<Happening>;

/// How often each happens, more or less.
const KINDS: [(usize, Kind); 25] = [
    (3, add_user),
    (2, change_access),
    (2, change_schemas),
    (1, change_prune),
    (2, remove_user),
    (1, change_owner),
    (1, change_database_prune),
    (4, create_schema),
    (9, create_relation),
    (2, create_definer),
    (2, rename_relation),
    (1, rename_schema),
    (3, drop_relation),
    (1, drop_schema),
    (3, grant_on_relation),
    (4, pass_on),
    (2, grant_on_columns),
    (2, revoke_on_relation),
    (3, change_default_privileges),
    (2, change_schema_privileges),
    (1, change_database_privileges),
    (2, change_role),
    (1, change_comment),
    (1, create_by_stranger),
    (2, change_owner_of_relation),
];

/// The next thing that happens.
pub(super) fn happen(world: &mut World, objects: &Objects) -> Happening {
    let kinds: Vec<Kind> = KINDS.iter().flat_map(|(times, kind)| vec![*kind; *times]).collect();
    loop {
        let kind = kinds[world.random.below(kinds.len())];
        if let Some(happening) = kind(world, objects) {
            return happening;
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what happens is an Option everywhere")]
fn superuser(sql: String) -> Option<Happening> {
    Some(Happening::Server { by: None, sql })
}

/// By this role if it can log in and reach the schema, else by the superuser.
#[expect(clippy::unnecessary_wraps, reason = "what happens is an Option everywhere")]
fn owner_of(relation: &Relation, world: &World, objects: &Objects, sql: String) -> Option<Happening> {
    let reaches = objects.schemas[&relation.schema].creators.contains(&relation.owner);
    let by = Some(relation.owner.clone()).filter(|owner| reaches && can_act(owner, world, objects));
    Some(Happening::Server { by, sql })
}

fn can_act(role: &String, world: &World, objects: &Objects) -> bool {
    objects.roles.contains(role) && !world.locked_out.contains(role)
}

// Resources.

#[expect(clippy::unnecessary_wraps, reason = "what happens is an Option everywhere")]
fn resources(text: String) -> Option<Happening> {
    Some(Happening::Resources(text))
}

fn random_schemas(world: &mut World) -> Schemas {
    if world.random.once_in(2) {
        return Schemas::All;
    }
    Schemas::Listed(world.random.some(SCHEMAS).into_iter().map(ident).collect())
}

fn random_access(world: &mut World) -> Access {
    if world.random.once_in(3) { Access::Read } else { Access::ReadWrite }
}

fn add_user(world: &mut World, _: &Objects) -> Option<Happening> {
    let is_free = |name: &&plan::Ident| !world.users.contains_key(name) && !world.leaving.contains_key(name);
    let free: Vec<_> = world.names.iter().filter(is_free).cloned().collect();
    let name = world.random.pick(free)?;
    let prune = if world.random.once_in(8) { Prune::Never } else { Prune::IfCreated };
    let (access, schemas) = (random_access(world), random_schemas(world));
    let user = Grantee { access, schemas, prune };
    let text = format!("user {name} comes: {user:?}");
    world.users.insert(name, user);
    resources(text)
}

fn change_user(world: &mut World, change: impl FnOnce(&mut World, &mut Grantee)) -> Option<Happening> {
    let names: Vec<_> = world.users.keys().cloned().collect();
    let name = world.random.pick(names)?;
    let mut user = world.users[&name].clone();
    change(world, &mut user);
    let text = format!("user {name} changes: {user:?}");
    world.users.insert(name, user);
    resources(text)
}

fn change_access(world: &mut World, _: &Objects) -> Option<Happening> {
    change_user(world, |_, user| {
        user.access = match user.access {
            Access::Read => Access::ReadWrite,
            Access::ReadWrite => Access::Read,
        };
    })
}

fn change_schemas(world: &mut World, _: &Objects) -> Option<Happening> {
    change_user(world, |world, user| user.schemas = random_schemas(world))
}

fn change_prune(world: &mut World, _: &Objects) -> Option<Happening> {
    change_user(world, |world, user| {
        user.prune = match user.prune {
            Prune::Never if world.random.once_in(2) => Prune::IfCreated,
            Prune::Never => Prune::Always,
            Prune::IfCreated | Prune::Always => Prune::Never,
        };
    })
}

fn remove_user(world: &mut World, _: &Objects) -> Option<Happening> {
    let names: Vec<_> = world.users.keys().cloned().collect();
    let name = world.random.pick(names)?;
    world.users.remove(&name);
    world.leave(&name, Disposition::Drop);
    resources(format!("user {name} goes"))
}

fn change_owner(world: &mut World, _: &Objects) -> Option<Happening> {
    let others =
        world.owners.iter().filter(|owner| **owner != world.owner && !world.leaving.contains_key(owner));
    let others: Vec<_> = others.cloned().collect();
    let next = world.random.pick(others)?;
    let before = std::mem::replace(&mut world.owner, next.clone());
    world.leave(&before, Disposition::DropIfCreated);
    resources(format!("the owner is {next} instead of {before}"))
}

fn change_database_prune(world: &mut World, _: &Objects) -> Option<Happening> {
    world.prune = if world.prune == Prune::IfCreated { Prune::Never } else { Prune::IfCreated };
    resources(format!("the database's prune is {:?}", world.prune))
}

// Tenants.

fn free_schema(world: &mut World, objects: &Objects) -> Option<&'static str> {
    world.random.pick(SCHEMAS.into_iter().filter(|name| !objects.schemas.contains_key(*name)))
}

fn create_schema(world: &mut World, objects: &Objects) -> Option<Happening> {
    let name = ident(free_schema(world, objects)?);
    let owner = objects.owner.clone();
    match world.random.below(6) {
        0 => superuser(format!("CREATE SCHEMA {name}")),
        1 => {
            let users: Vec<_> = world.present(&objects.roles).cloned().collect();
            let user = ident(&world.random.pick(users)?);
            superuser(format!("CREATE SCHEMA {name} AUTHORIZATION {user}"))
        }
        _ if can_act(&owner, world, objects) => {
            Some(Happening::Server { by: Some(owner), sql: format!("CREATE SCHEMA {name}") })
        }
        _ => None,
    }
}

fn new_name(world: &mut World) -> String {
    let number = world.number();
    if world.random.once_in(4) { format!("X \"{number}") } else { format!("x{number}") }
}

/// A schema and a role that can create in it, the superuser included now and then.
fn workplace(world: &mut World, objects: &Objects) -> Option<(String, Option<String>)> {
    let schema = world.random.pick(objects.schemas.keys())?;
    if world.random.once_in(10) {
        return Some((schema.clone(), None));
    }
    let creators = objects.schemas[schema].creators.iter().filter(|role| can_act(role, world, objects));
    // A stranger may create in `public` up to 14; it has an entry of its own here.
    let creators = creators.filter(|role| !world.strangers.iter().any(|stranger| stranger.as_str() == *role));
    let creators: Vec<_> = creators.cloned().collect();
    Some((schema.clone(), Some(world.random.pick(creators)?)))
}

fn create_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    if objects.relations.len() > 22 {
        return drop_relation(world, objects);
    }
    let (schema, by) = workplace(world, objects)?;
    let sql = relation(world, objects, &schema, by.as_deref());
    Some(Happening::Server { by, sql })
}

fn relation(world: &mut World, objects: &Objects, schema: &str, by: Option<&str>) -> String {
    let plain = new_name(world);
    let name = format!("{}.{}", ident(schema), ident(&plain));
    match world.random.below(8) {
        0 | 1 => format!("CREATE TABLE {name} (n int, m int)"),
        2 => format!("CREATE TABLE {name} (n int, m int, k serial)"),
        3 => format!("CREATE TABLE {name} (n int, m int, k int GENERATED ALWAYS AS IDENTITY)"),
        4 => {
            let part = format!("{}.{}", ident(schema), ident(&new_name(world)));
            format!(
                "CREATE TABLE {name} (n int, m int) PARTITION BY LIST (n); \
                 CREATE TABLE {part} PARTITION OF {name} FOR VALUES IN (1)"
            )
        }
        5 => {
            let by = by.unwrap_or("postgres");
            let reaches = |found: &&Relation| {
                found.is_table()
                    && found.owner == by
                    && (by == "postgres" || objects.schemas[&found.schema].creators.contains(by))
            };
            let own: Vec<_> = objects.relations.iter().filter(reaches).map(Relation::quoted).collect();
            world.made.insert(plain, by.to_owned());
            match world.random.pick(own) {
                Some(table) => format!("CREATE VIEW {name} AS SELECT n FROM {table}"),
                None => format!("CREATE VIEW {name} AS SELECT 1 AS n"),
            }
        }
        6 => format!("CREATE MATERIALIZED VIEW {name} AS SELECT 1 AS n"),
        _ => format!("CREATE SEQUENCE {name}"),
    }
}

fn create_definer(world: &mut World, objects: &Objects) -> Option<Happening> {
    let (schema, by) = workplace(world, objects)?;
    let plain = new_name(world);
    world.made.insert(plain.clone(), by.clone().unwrap_or_else(|| "postgres".to_owned()));
    let name = format!("{}.{}", ident(&schema), ident(&plain));
    let sql = format!(
        "CREATE FUNCTION {name}(int, text[]) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'"
    );
    Some(Happening::Server { by, sql })
}

fn create_by_stranger(world: &mut World, objects: &Objects) -> Option<Happening> {
    let stranger = world.random.pick(world.strangers.clone())?;
    let schema = world.random.pick(objects.schemas.keys())?.clone();
    if !objects.schemas[&schema].creators.contains(stranger.as_str()) {
        return superuser(format!("GRANT USAGE, CREATE ON SCHEMA {} TO {stranger}", ident(&schema)));
    }
    let by = Some(stranger.as_str().to_owned());
    let sql = relation(world, objects, &schema, by.as_deref());
    Some(Happening::Server { by, sql })
}

fn rename_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    let relation = world.random.pick(&objects.relations)?;
    let name = new_name(world);
    if let Some(creator) = world.made.remove(&relation.name) {
        world.made.insert(name.clone(), creator);
    }
    let sql = format!("ALTER {} {} RENAME TO {}", relation.keyword(), relation.quoted(), ident(&name));
    owner_of(relation, world, objects, sql)
}

fn rename_schema(world: &mut World, objects: &Objects) -> Option<Happening> {
    let name = ident(free_schema(world, objects)?);
    let old = world.random.pick(objects.schemas.keys().filter(|name| *name != "public"))?;
    superuser(format!("ALTER SCHEMA {} RENAME TO {name}", ident(old)))
}

fn drop_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    let relation = world.random.pick(objects.relations.iter().filter(|found| !found.is_part))?;
    let sql = format!("DROP {} {} CASCADE", relation.keyword(), relation.quoted());
    // What others have made on top of it is theirs.
    if relation.is_table() { superuser(sql) } else { owner_of(relation, world, objects, sql) }
}

fn drop_schema(world: &mut World, objects: &Objects) -> Option<Happening> {
    let name = world.random.pick(objects.schemas.keys().filter(|name| *name != "public"))?;
    superuser(format!("DROP SCHEMA {} CASCADE", ident(name)))
}

// Privileges, by tenants and by hand.

/// A user or a stranger, other than this role.
fn grantee(world: &mut World, objects: &Objects, but: &str) -> Option<String> {
    let users: Vec<_> = world.present(&objects.roles).cloned().collect();
    let strangers = world.strangers.iter().map(|stranger| stranger.as_str().to_owned());
    let all: Vec<_> = users.into_iter().chain(strangers).filter(|role| role != but).collect();
    world.random.pick(all)
}

/// A relation that the admin role may change. What it may not is not its business.
fn ours<'a>(world: &mut World, objects: &'a Objects) -> Option<&'a Relation> {
    let ours: Vec<_> = objects.relations.iter().filter(|found| world.can_act_as(&found.owner)).collect();
    world.random.pick(ours)
}

fn privileges(world: &mut World, relation: &Relation) -> String {
    let all: &[&str] = match relation.kind {
        'S' => &["USAGE", "SELECT", "UPDATE"],
        _ => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"],
    };
    if world.random.once_in(4) { "ALL".to_owned() } else { world.random.some(all.iter().copied()).join(", ") }
}

fn grant_on_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    let relation = ours(world, objects)?;
    let to = ident(&grantee(world, objects, &relation.owner)?);
    let what = privileges(world, relation);
    let option = option(world);
    let sql = format!("GRANT {what} ON {} {} TO {to}{option}", relation.class(), relation.quoted());
    owner_of(relation, world, objects, sql)
}

/// Now and then the right to pass it on.
fn option(world: &mut World) -> &'static str {
    if world.random.once_in(3) { " WITH GRANT OPTION" } else { "" }
}

/// Who may, passes a privilege on, and now and then the right to do so. Nobody but a superuser can take back what
/// strangers gave.
fn pass_on(world: &mut World, objects: &Objects) -> Option<Happening> {
    let can_give = |role: &String| can_act(role, world, objects) && world.can_act_as(role);
    let options: Vec<_> = objects.options.iter().filter(|[_, _, role, _]| can_give(role)).collect();
    let [schema, name, role, privilege] = world.random.pick(options)?;
    let is_it = |found: &&Relation| found.schema == *schema && found.name == *name;
    let relation = objects.relations.iter().find(is_it)?;
    let to = grantee(world, objects, role).filter(|to| *to != relation.owner)?;
    let (class, on, option) = (relation.class(), relation.quoted(), option(world));
    let sql = format!("GRANT {privilege} ON {class} {on} TO {}{option}", ident(&to));
    Some(Happening::Server { by: Some(role.clone()), sql })
}

fn revoke_on_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    let relation = ours(world, objects)?;
    let from = ident(&grantee(world, objects, &relation.owner)?);
    let what = privileges(world, relation);
    let sql = format!("REVOKE {what} ON {} {} FROM {from}", relation.class(), relation.quoted());
    owner_of(relation, world, objects, sql)
}

fn grant_on_columns(world: &mut World, objects: &Objects) -> Option<Happening> {
    let relation = ours(world, objects).filter(|relation| relation.kind != 'S')?;
    let to = ident(&grantee(world, objects, &relation.owner)?);
    let what = world.random.some(["SELECT", "INSERT", "UPDATE", "REFERENCES"]);
    let what: Vec<_> = what.into_iter().map(|privilege| format!("{privilege} (n)")).collect();
    let option = option(world);
    let sql = format!("GRANT {} ON {} TO {to}{option}", what.join(", "), relation.quoted());
    owner_of(relation, world, objects, sql)
}

fn change_default_privileges(world: &mut World, objects: &Objects) -> Option<Happening> {
    let creators: Vec<_> = world
        .present(&objects.roles)
        .chain([&objects.owner])
        .cloned()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let creator = world.random.pick(creators)?;
    let grantee = ident(&grantee(world, objects, &creator)?);
    let schema = if world.random.once_in(2) { world.random.pick(objects.schemas.keys()) } else { None };
    let (object, all): (_, &[&str]) = match world.random.below(if schema.is_some() { 3 } else { 4 }) {
        0 => ("SEQUENCES", &["USAGE", "SELECT", "UPDATE"]),
        1 | 2 => ("TABLES", &["SELECT", "INSERT", "TRUNCATE", "REFERENCES"]),
        _ => ("SCHEMAS", &["USAGE", "CREATE"]),
    };
    let what = world.random.some(all.iter().copied()).join(", ");
    let change = if world.random.once_in(2) {
        format!("GRANT {what} ON {object} TO {grantee}{}", option(world))
    } else {
        format!("REVOKE {what} ON {object} FROM {grantee}")
    };
    let place = schema.map_or(String::new(), |schema| format!("IN SCHEMA {} ", ident(schema)));
    if can_act(&creator, world, objects) && world.random.once_in(2) {
        let sql = format!("ALTER DEFAULT PRIVILEGES {place}{change}");
        return Some(Happening::Server { by: Some(creator), sql });
    }
    superuser(format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} {place}{change}", ident(&creator)))
}

fn change_schema_privileges(world: &mut World, objects: &Objects) -> Option<Happening> {
    let ours = objects.schemas.iter().filter(|(_, schema)| world.can_act_as(&schema.owner));
    let ours: Vec<_> = ours.collect();
    let (name, schema) = world.random.pick(ours)?;
    let what = world.random.some(["USAGE", "CREATE"]).join(", ");
    let name = ident(name);
    if world.random.once_in(4) {
        // Where everybody may create, readers are creators too, and nobody promises anything of what they make.
        let what = if name.as_str() == "public" { &what } else { "USAGE" };
        return superuser(format!("GRANT {what} ON SCHEMA {name} TO PUBLIC"));
    }
    let role = ident(&grantee(world, objects, &schema.owner)?);
    if world.random.once_in(2) {
        superuser(format!("GRANT {what} ON SCHEMA {name} TO {role}{}", option(world)))
    } else {
        superuser(format!("REVOKE {what} ON SCHEMA {name} FROM {role}"))
    }
}

fn change_database_privileges(world: &mut World, objects: &Objects) -> Option<Happening> {
    let database = world.place.database.clone();
    let what = world.random.some(["CONNECT", "CREATE", "TEMPORARY"]).join(", ");
    let users: Vec<_> = world.present(&objects.roles).cloned().collect();
    match (world.random.below(3), world.random.pick(users)) {
        (0, _) => superuser(format!("GRANT {what} ON DATABASE {database} TO PUBLIC")),
        (1, Some(user)) => {
            superuser(format!("GRANT {what} ON DATABASE {database} TO {}{}", ident(&user), option(world)))
        }
        (_, Some(user)) => {
            let sql = format!("REVOKE {what} ON DATABASE {database} FROM {}", ident(&user));
            world.locked_out.insert(user);
            superuser(sql)
        }
        (_, None) => None,
    }
}

fn change_role(world: &mut World, objects: &Objects) -> Option<Happening> {
    let roles: Vec<_> = world.present(&objects.roles).chain([&objects.owner]).cloned().collect();
    let role = world.random.pick(roles)?;
    let what = world.random.pick([
        "NOLOGIN",
        "PASSWORD 'another'",
        "PASSWORD NULL",
        "CREATEDB",
        "VALID UNTIL '2001-01-01'",
    ])?;
    let sql = format!("ALTER ROLE {} {what}", ident(&role));
    world.locked_out.insert(role);
    superuser(sql)
}

fn change_comment(world: &mut World, objects: &Objects) -> Option<Happening> {
    let roles: Vec<_> = world.present(&objects.roles).chain([&objects.owner]).cloned().collect();
    let role = ident(&world.random.pick(roles)?);
    let comment = world.random.pick(["NULL", "'nightly'"])?;
    if world.random.once_in(4) {
        return superuser(format!("COMMENT ON DATABASE {} IS {comment}", world.place.database));
    }
    superuser(format!("COMMENT ON ROLE {role} IS {comment}"))
}

fn change_owner_of_relation(world: &mut World, objects: &Objects) -> Option<Happening> {
    let tables: Vec<_> =
        objects.relations.iter().filter(|found| found.is_table() && world.can_act_as(&found.owner)).collect();
    let table = world.random.pick(tables)?;
    let to =
        if world.random.once_in(3) { objects.owner.clone() } else { grantee(world, objects, &table.owner)? };
    if !world.can_act_as(&to) {
        return None;
    }
    superuser(format!("ALTER TABLE {} OWNER TO {}", table.quoted(), ident(&to)))
}
