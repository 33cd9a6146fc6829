//! What is on the server, read without the code under test.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Ident, testing::ident};
use sqlx::PgConnection;
use testbed::postgres::fetch_rows;

/// Everything that the walk chooses from and the rules speak of.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    /// The roles of this walk that exist.
    pub(super) roles: BTreeSet<String>,
    pub(super) schemas: BTreeMap<String, Schema>,
    pub(super) relations: Vec<Relation>,
    /// Who may pass a privilege on a relation on: schema, relation, role, privilege.
    pub(super) options: Vec<[String; 4]>,
    /// Who owns the database.
    pub(super) owner: String,
    /// What PUBLIC has on the database.
    pub(super) public: BTreeSet<String>,
    /// Of routines and views that run with their owner's rights: name and owner.
    pub(super) definers: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) owner: String,
    /// What PUBLIC has.
    pub(super) public: BTreeSet<String>,
    /// The roles that may create in it and reach what they create.
    pub(super) creators: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: char,
    pub(super) owner: String,
    /// The sequence of an identity column, which nobody can drop alone.
    pub(super) is_part: bool,
}

impl Relation {
    /// As a statement names it.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }

    pub(super) const fn is_table(&self) -> bool {
        matches!(self.kind, 'r' | 'p')
    }

    /// The key word after GRANT … ON.
    pub(super) const fn class(&self) -> &'static str {
        if self.kind == 'S' { "SEQUENCE" } else { "TABLE" }
    }

    /// The key word after ALTER and DROP.
    pub(super) const fn keyword(&self) -> &'static str {
        match self.kind {
            'S' => "SEQUENCE",
            'v' => "VIEW",
            'm' => "MATERIALIZED VIEW",
            _ => "TABLE",
        }
    }
}

/// Up to 14 nobody stands for the owner of whichever database one looks from.
const QUERY: &str = "
WITH known AS (SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname IN (ROLES)),
schema AS (
  SELECT n.oid, n.nspname, n.nspacl, n.nspowner,
    CASE WHEN o.rolname = 'pg_database_owner' THEN d.datdba ELSE n.nspowner END AS owner
  FROM pg_namespace n
  JOIN pg_roles o ON o.oid = n.nspowner
  JOIN pg_database d ON d.datname = current_database()
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
)
SELECT 'role', rolname::text, NULL, NULL, NULL FROM known
UNION ALL
SELECT 'schema', nspname, pg_get_userbyid(owner), NULL, NULL FROM schema
UNION ALL
SELECT 'public', s.nspname, a.privilege_type, NULL, NULL
FROM schema s, aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a
WHERE a.grantee = 0
UNION ALL
SELECT 'creator', s.nspname, k.rolname, NULL, NULL
FROM schema s, known k
WHERE has_schema_privilege(k.oid, s.oid, 'CREATE') AND has_schema_privilege(k.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'relation', s.nspname, c.relname,
  c.relkind::text || CASE WHEN EXISTS (
    SELECT FROM pg_depend p
    WHERE p.classid = 'pg_class'::regclass AND p.objid = c.oid AND p.deptype = 'i' AND c.relkind = 'S'
  ) THEN ' part' ELSE '' END,
  pg_get_userbyid(c.relowner)
FROM pg_class c JOIN schema s ON s.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
UNION ALL
SELECT DISTINCT 'option', s.nspname, c.relname, k.rolname, a.privilege_type
FROM pg_class c JOIN schema s ON s.oid = c.relnamespace, aclexplode(c.relacl) a JOIN known k ON k.oid = a.grantee
WHERE a.is_grantable AND a.grantee <> c.relowner AND has_schema_privilege(k.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'owner', pg_get_userbyid(d.datdba), NULL, NULL, NULL
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'database', a.privilege_type, NULL, NULL, NULL
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
WHERE d.datname = current_database() AND a.grantee = 0
UNION ALL
SELECT 'definer', p.proname, pg_get_userbyid(p.proowner), NULL, NULL
FROM pg_proc p JOIN schema s ON s.oid = p.pronamespace WHERE p.prosecdef
UNION ALL
SELECT 'definer', c.relname, pg_get_userbyid(c.relowner), NULL, NULL
FROM pg_class c JOIN schema s ON s.oid = c.relnamespace
WHERE c.relkind = 'v' AND NOT 'security_invoker=true' = ANY (coalesce(c.reloptions, '{}'))
ORDER BY 1 DESC, 2, 3, 4, 5";

/// Reads it, with a session of the superuser.
pub(super) async fn objects<'a>(
    session: &mut PgConnection,
    roles: impl Iterator<Item = &'a Ident>,
) -> Objects {
    let roles: Vec<_> = roles.map(|role| plan::Literal(role.as_str()).to_string()).collect();
    let rows = fetch_rows(session, QUERY.replace("ROLES", &roles.join(", "))).await.unwrap();
    let mut objects = Objects::default();
    let rows = rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default));
    let rows: Vec<[String; 5]> = rows.map(|row| row.collect::<Vec<_>>().try_into().unwrap()).collect();
    // The order of the rows has schemas before what is said of them, but for creators and PUBLIC.
    for [about, schema, owner, ..] in rows.iter().filter(|row| row[0] == "schema") {
        assert_eq!(about, "schema");
        let (public, creators) = Default::default();
        objects.schemas.insert(schema.clone(), Schema { owner: owner.clone(), public, creators });
    }
    for [about, first, second, third, fourth] in rows {
        match about.as_str() {
            "role" => _ = objects.roles.insert(first),
            "schema" => (),
            "public" => _ = objects.schemas.get_mut(&first).unwrap().public.insert(second),
            "creator" => _ = objects.schemas.get_mut(&first).unwrap().creators.insert(second),
            "relation" => {
                let kind = third.chars().next().unwrap();
                let is_part = third.ends_with("part");
                objects.relations.push(Relation {
                    schema: first,
                    name: second,
                    kind,
                    owner: fourth,
                    is_part,
                });
            }
            "option" => objects.options.push([first, second, third, fourth]),
            "owner" => objects.owner = first,
            "database" => _ = objects.public.insert(first),
            "definer" => objects.definers.push((first, second)),
            other => unreachable!("{other}"),
        }
    }
    objects
}
