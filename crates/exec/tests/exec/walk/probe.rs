//! Finds out what roles can do, by asking the server and by trying.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Access, Ident, Literal, testing::ident};
use sqlx::PgConnection;
use testbed::postgres::{fetch_rows, fetch_text, run};

use super::{
    objects::{Objects, Relation, objects},
    oracle::{Bounds, Oracle, all_on_relation},
    world::World,
};

/// Something that a role tries, and whether it must succeed.
struct Attempt {
    sql: String,
    allowed: bool,
    /// A view that the role may read can still be one whose owner may not read what is below.
    indirect: bool,
}

/// Everything that the rules say, on the server as it is and on things that are made now.
pub(super) async fn probe(world: &mut World, session: &mut PgConnection) -> Result<(), String> {
    let before = read(world, session).await;
    check_roles(world, &before)?;
    let made = create(world, &before).await?;
    let objects = read(world, session).await;
    let failed = examine(world, &objects, session).await;
    // The schema comes last.
    for sql in made.iter().rev() {
        run(session, sql).await.map_err(|error| format!("{sql}: {error}"))?;
    }
    failed
}

pub(super) async fn read(world: &World, session: &mut PgConnection) -> Objects {
    let roles = world.names.iter().chain(&world.owners).chain(&world.strangers);
    objects(session, roles).await
}

/// Who should be there is there, and no one else.
fn check_roles(world: &World, objects: &Objects) -> Result<(), String> {
    let wanted: BTreeSet<_> =
        world.users.keys().chain([&world.owner]).chain(&world.strangers).map(Ident::as_str).collect();
    let found: BTreeSet<_> = objects.roles.iter().map(String::as_str).collect();
    if wanted != found {
        return Err(format!("these roles should exist: {wanted:?}, these do: {found:?}"));
    }
    // Before 15 a view cannot be told to run with its caller's rights.
    let views: BTreeSet<_> =
        objects.relations.iter().filter(|found| found.kind == 'v').map(|found| &found.name).collect();
    for (name, owner) in &objects.definers {
        let creator = world.made.get(name);
        if creator != Some(owner) && (world.major >= 15 || !views.contains(name)) {
            return Err(format!("{name} of {creator:?} runs with the rights of {owner}"));
        }
    }
    Ok(())
}

/// Every creator makes something, each in one schema; the owner also makes a schema. How it is undone.
async fn create(world: &mut World, objects: &Objects) -> Result<Vec<String>, String> {
    let mut undo = Vec::new();
    let oracle = Oracle { world, objects };
    let owner = world.owner.as_str().to_owned();
    let mut work = Vec::new();
    // Readers create nothing, even where PUBLIC may.
    let writers =
        world.users.iter().filter(|(_, user)| user.access == Access::ReadWrite).map(|(name, _)| name);
    for role in writers.chain([&world.owner]).map(|role| role.as_str().to_owned()) {
        let can_create = |schema: &&String| oracle.on_schema(&role, schema) == oracle_all();
        work.push((role.clone(), objects.schemas.keys().filter(can_create).cloned().collect::<Vec<_>>()));
    }
    for (role, schemas) in work {
        let Some(schema) = world.random.pick(schemas) else { continue };
        let mut sql = Vec::new();
        let mut place = ident(&schema);
        let mut make = |place: &Ident, number: u32, undo: &mut Vec<String>| {
            sql.push(format!("CREATE TABLE {place}.later{number} (n int, m int, k serial)"));
            undo.push(format!("DROP TABLE {place}.later{number}"));
        };
        make(&place, world.number(), &mut undo);
        if role == owner {
            place = ident(&format!("later{}", world.number()));
            // Undone in the opposite order.
            undo.push(format!("DROP SCHEMA {place} CASCADE"));
            let number = world.number();
            sql.push(format!(
                "CREATE SCHEMA {place}; CREATE TABLE {place}.later{number} (n int, m int, k serial)"
            ));
        }
        let done = world.place.sql_as(&ident(&role), sql.join("; ")).await;
        done.map_err(|error| format!("{role} cannot create: {}: {error}", sql.join("; ")))?;
    }
    Ok(undo)
}

fn oracle_all() -> Bounds {
    let all = BTreeSet::from(["USAGE", "CREATE"]);
    Bounds { least: all.clone(), most: all }
}

async fn examine(world: &World, objects: &Objects, session: &mut PgConnection) -> Result<(), String> {
    let oracle = Oracle { world, objects };
    oracle.public_is_closed()?;
    ask(&oracle, session).await?;
    for role in world.users.keys().chain([&world.owner]) {
        try_everything(&oracle, role).await?;
    }
    Ok(())
}

/// What the server says that roles have: everything, also what is hard to try.
async fn ask(oracle: &Oracle<'_>, session: &mut PgConnection) -> Result<(), String> {
    let found = has(oracle, session).await;
    let mut wrong = Vec::new();
    let mut check = |role: &str, what: String, bounds: &Bounds, found: Option<&BTreeSet<String>>| {
        let none = BTreeSet::new();
        let found = found.unwrap_or(&none);
        if !bounds.hold(found) {
            let Bounds { least, most } = bounds;
            wrong.push(format!("{role} on {what}: must have {least:?}, at most {most:?}, has {found:?}"));
        }
    };
    for role in oracle.world.users.keys().chain([&oracle.world.owner]).map(Ident::as_str) {
        let key = |class: &str, schema: &str, name: &str| [role, class, schema, name].map(str::to_owned);
        check(role, "the database".into(), &oracle.on_database(role), found.get(&key("database", "", "")));
        for schema in oracle.objects.schemas.keys() {
            let bounds = oracle.on_schema(role, schema);
            check(role, format!("schema {schema}"), &bounds, found.get(&key("schema", schema, "")));
        }
        for relation in &oracle.objects.relations {
            let bounds = oracle.on_relation(role, relation);
            let key = key("relation", &relation.schema, &relation.name);
            check(role, format!("{} of {}", relation.quoted(), relation.owner), &bounds, found.get(&key));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// By role, class, schema and name: the privileges, on the whole or on any column.
async fn has(oracle: &Oracle<'_>, session: &mut PgConnection) -> BTreeMap<[String; 4], BTreeSet<String>> {
    let roles = oracle.world.users.keys().chain([&oracle.world.owner]);
    let roles: Vec<_> = roles.map(|role| format!("({})", Literal(role.as_str()))).collect();
    let array = |kind| {
        let words: Vec<_> = all_on_relation(kind, oracle.world.major).into_iter().collect();
        format!("'{{{}}}'::text[]", words.join(","))
    };
    let query = format!(
        "WITH who (name) AS (VALUES {roles}),
         schema AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
         SELECT w.name, 'database', '', '', p FROM who w, unnest('{{CONNECT,CREATE,TEMPORARY}}'::text[]) p
         WHERE has_database_privilege(w.name, current_database(), p)
         UNION ALL
         SELECT w.name, 'schema', s.nspname, '', p FROM who w, schema s, unnest('{{USAGE,CREATE}}'::text[]) p
         WHERE has_schema_privilege(w.name, s.oid, p)
         UNION ALL
         SELECT w.name, 'relation', s.nspname, c.relname, p
         FROM who w, schema s JOIN pg_class c ON c.relnamespace = s.oid, unnest({tables}) p
         WHERE c.relkind IN ('r', 'p', 'v', 'm') AND (has_table_privilege(w.name, c.oid, p) OR
           CASE WHEN p IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') THEN has_any_column_privilege(w.name, c.oid, p)
           ELSE false END)
         UNION ALL
         SELECT w.name, 'relation', s.nspname, c.relname, p
         FROM who w, schema s JOIN (SELECT * FROM pg_class WHERE relkind = 'S' OFFSET 0) c
           ON c.relnamespace = s.oid, unnest({sequences}) p
         WHERE has_sequence_privilege(w.name, c.oid, p)",
        roles = roles.join(", "),
        tables = array('r'),
        sequences = array('S'),
    );
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in fetch_rows(session, query).await.unwrap() {
        let [role, class, schema, name, privilege] =
            row.into_iter().map(Option::unwrap).collect::<Vec<_>>().try_into().unwrap();
        found.entry([role, class, schema, name]).or_default().insert(privilege);
    }
    found
}

/// Logs in and tries.
async fn try_everything(oracle: &Oracle<'_>, role: &Ident) -> Result<(), String> {
    let place = &oracle.world.place;
    let password = place.secrets.0[role].expose();
    let session = place.postgres.connect(place.database.as_str(), role.as_str(), password).await;
    let mut session = session.map_err(|error| format!("{role} cannot log in: {error}"))?;
    let attempts = attempts(oracle, role.as_str());
    let outcomes = outcomes(&mut session, &attempts).await.map_err(|error| format!("{role}: {error}"))?;
    let mut wrong = Vec::new();
    for (attempt, outcome) in attempts.iter().zip(&outcomes) {
        let (code, message) = outcome.split_once(' ').unwrap();
        let refused = code == "42501";
        if refused == attempt.allowed && !(refused && attempt.indirect) {
            wrong.push(format!("{role} tried {}: {code} {message}", attempt.sql));
        }
    }
    if attempts.len() != outcomes.len() {
        wrong.push(format!("{role}: {} attempts, {} outcomes", attempts.len(), outcomes.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What the rules say anything about.
fn attempts(oracle: &Oracle<'_>, role: &str) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut add = |sql: String, allowed: Option<bool>, indirect: bool| {
        attempts.extend(allowed.map(|allowed| Attempt { sql, allowed, indirect }));
    };
    let both = |a: Option<bool>, b: Option<bool>| match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), b) => b,
        (None, _) => None,
    };
    let database = oracle.on_database(role);
    add("CREATE SCHEMA attempt".into(), database.has("CREATE"), false);
    add("CREATE TEMPORARY TABLE attempt ()".into(), database.has("TEMPORARY"), false);
    for schema in oracle.objects.schemas.keys() {
        let bounds = oracle.on_schema(role, schema);
        let create = both(bounds.has("USAGE"), bounds.has("CREATE"));
        // With CREATE alone nothing can be found, and yet be created.
        if bounds.has("CREATE") != Some(true) || create == Some(true) {
            add(format!("CREATE TABLE {}.attempt ()", ident(schema)), create, false);
        }
    }
    for relation in &oracle.objects.relations {
        let bounds = oracle.on_relation(role, relation);
        let usage = oracle.on_schema(role, &relation.schema).has("USAGE");
        for (privilege, sql) in uses(relation) {
            add(sql, both(usage, bounds.has(privilege)), relation.kind == 'v');
        }
        if relation.kind == 'S' {
            let nextval = bounds.has("USAGE").map(|usage| usage || bounds.has("UPDATE") == Some(true));
            let name = relation.quoted();
            add(format!("SELECT nextval({})", Literal(&name)), both(usage, nextval), false);
        }
    }
    attempts
}

/// A statement for each privilege that needs that one and no other.
fn uses(relation: &Relation) -> Vec<(&'static str, String)> {
    let name = relation.quoted();
    let select = ("SELECT", format!("SELECT count(*) FROM {name}"));
    match relation.kind {
        'r' | 'p' => vec![
            select,
            ("INSERT", format!("INSERT INTO {name} DEFAULT VALUES")),
            ("UPDATE", format!("UPDATE {name} SET m = 1")),
            ("DELETE", format!("DELETE FROM {name}")),
            ("TRUNCATE", format!("TRUNCATE {name}")),
        ],
        'S' => vec![
            ("SELECT", format!("SELECT last_value FROM {name}")),
            ("UPDATE", format!("SELECT setval({}, 1)", Literal(&name))),
        ],
        _ => vec![select],
    }
}

/// Tries each alone and undoes it: the SQLSTATE and what the server said.
async fn outcomes(session: &mut PgConnection, attempts: &[Attempt]) -> Result<Vec<String>, sqlx::Error> {
    let list: Vec<_> = attempts.iter().map(|attempt| Literal(&attempt.sql).to_string()).collect();
    let text = format!(
        "DO $walk$
         DECLARE attempt text; outcomes text[] := '{{}}';
         BEGIN
           FOREACH attempt IN ARRAY ARRAY[{}]::text[] LOOP
             BEGIN
               EXECUTE attempt;
               RAISE EXCEPTION 'done' USING ERRCODE = 'WALKS';
             EXCEPTION WHEN OTHERS THEN
               outcomes := array_append(outcomes, SQLSTATE || ' ' || SQLERRM);
             END;
           END LOOP;
           PERFORM set_config('walk.outcomes', array_to_string(outcomes, chr(1)), false);
         END $walk$",
        list.join(", ")
    );
    run(session, text).await?;
    let outcomes = fetch_text(session, "SELECT current_setting('walk.outcomes')").await?;
    Ok(outcomes.unwrap_or_default().split('\u{1}').map(str::to_owned).collect())
}
