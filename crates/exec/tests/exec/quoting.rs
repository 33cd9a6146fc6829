//! What is written into statements comes back from servers as it was.

use std::collections::{BTreeMap, BTreeSet};

use exec::Sessions;
use plan::{
    AclItem, Action, Catalog, Cause, Contents, DefaultChange, DefaultObject, Desired, Ident, Literal,
    Privilege, Privileges, QualifiedName, Recipient, Relation, RelationKind, Taken, Target,
    testing::{claim, ident, login},
};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use sqlx::PgConnection;
use testbed::{
    Postgres,
    postgres::{fetch_rows, run},
    unique,
};

use crate::support::{Admin, Place, Secrets, leave, place, server};

#[path = "../../../plan/tests/cases/mod.rs"]
mod cases;
#[path = "../../../plan/tests/hostile/mod.rs"]
mod hostile;

/// How many names of each kind are sent at once.
const NAMES: usize = 250;

/// How many columns a query has: a server takes 1,664.
const COLUMNS: usize = 1_000;

/// How many names and strings a server reads, unless the environment asks for others.
const CASES: u32 = 5_000;

/// One of everything that has a name, with a string.
#[derive(Clone, Debug)]
struct Sample {
    role: Ident,
    comment: String,
    schema: Ident,
    table: Ident,
    column: Ident,
}

/// Names of roles and of schemas are different from each other.
fn samples() -> Vec<Sample> {
    let words = hostile::WORDS.map(ident).into_iter();
    let (mut roles, mut schemas) = (BTreeSet::new(), BTreeSet::new());
    let mut runner = TestRunner::new(cases::config(CASES));
    let mut any = move || (hostile::name(), hostile::text()).new_tree(&mut runner).unwrap().current();
    for name in words.chain(std::iter::repeat_with(|| any().0)) {
        // What a server keeps for itself.
        if !name.as_str().starts_with("pg_") && !["public", "none", "postgres"].contains(&name.as_str()) {
            roles.insert(name.clone());
            schemas.insert(name);
        }
        if roles.len() == NAMES {
            break;
        }
    }
    let mut runner = TestRunner::new(cases::config(CASES));
    let rest = (hostile::text(), hostile::name(), hostile::name());
    let pairs = roles.into_iter().zip(schemas.into_iter().rev());
    pairs
        .map(|(role, schema)| {
            let (comment, table, column) = rest.new_tree(&mut runner).unwrap().current();
            Sample { role, comment, schema, table, column }
        })
        .collect()
}

/// Sends statements all at once: one that is not what it should be spoils the next ones too.
async fn send(session: &mut PgConnection, statements: impl IntoIterator<Item = String>) {
    let text = statements.into_iter().collect::<Vec<_>>().join(";\n");
    run(session, &*text).await.unwrap_or_else(|error| panic!("{error}\n{text}"));
}

impl Sample {
    fn relation(&self) -> Relation {
        let name = QualifiedName { schema: self.schema.clone(), name: self.table.clone() };
        Relation { name, kind: RelationKind::Table }
    }

    fn grantee(&self) -> Recipient {
        Recipient::Role(self.role.clone())
    }

    /// Statements of every form with names in it, made by nobody before.
    fn made(&self) -> [String; 6] {
        let Self { schema, column, role, .. } = self;
        let grant = |target, privilege| Action::Grant {
            database: ident("app"),
            target,
            privileges: Privileges::of(&[privilege]),
            to: vec![self.grantee()],
            grantor: None,
            cause: Cause::Missing,
        };
        let by_default = Action::AlterDefaultPrivileges {
            database: ident("app"),
            creators: vec![role.clone()],
            schemas: vec![schema.clone()],
            object: DefaultObject::Tables,
            change: DefaultChange::Grant,
            privileges: Privileges::READ,
            recipients: vec![Recipient::Role(ident("postgres"))],
            cause: Cause::Missing,
        };
        [
            format!("CREATE SCHEMA {schema}"),
            format!("CREATE TABLE {} ({column} int)", self.relation()),
            format!("GRANT UPDATE ({column}) ON {} TO {role}", self.relation()),
            grant(Target::Tables(vec![self.relation()]), Privilege::Select).statement(),
            grant(Target::Schemas(vec![schema.clone()]), Privilege::Create).statement(),
            by_default.statement(),
        ]
    }

    /// What takes all of it away again.
    fn undone(&self) -> [String; 5] {
        let Self { column, role, .. } = self;
        let (role, database) = (role.clone(), ident("app"));
        let columns = Action::Revoke {
            database: database.clone(),
            target: Target::Columns(self.relation(), vec![column.clone()]),
            privileges: Privileges::of(&[Privilege::Update]),
            taken: Taken::Privilege,
            from: vec![self.grantee()],
            grantor: None,
        };
        [
            columns,
            Action::TerminateSessions { role: role.clone() },
            Action::ReassignOwned { database: database.clone(), role: role.clone(), to: ident("postgres") },
            Action::DropOwned { database, role: role.clone() },
            Action::DropRole { role },
        ]
        .map(|action| action.statement())
    }

    #[track_caller]
    fn check(&self, catalog: &Catalog, contents: &Contents) {
        let oid = catalog.role_oid(&self.role).unwrap_or_else(|| panic!("{self:?} has no role"));
        assert_eq!(catalog.roles[&oid].comment.as_ref(), Some(&self.comment));
        let schema = contents.schemas.iter().find(|(_, schema)| schema.name == self.schema);
        let (number, schema) = schema.unwrap_or_else(|| panic!("{self:?} has no schema"));
        assert_eq!(contents.acl(schema.acl).of(oid), Privileges::of(&[Privilege::Create]), "{self:?}");
        let tables: Vec<_> = contents.relations.iter().filter(|group| group.schema == *number).collect();
        assert_eq!(tables.len(), 1, "{self:?}");
        assert_eq!(tables[0].names.as_slice(), std::slice::from_ref(&self.table));
        assert_eq!(contents.acl(tables[0].acl).of(oid), Privileges::READ, "{self:?}");
        let column = contents.columns.iter().find(|found| found.relation == self.relation());
        let column = column.unwrap_or_else(|| panic!("{self:?} has no column"));
        let item = AclItem { grantee: oid, privileges: Privileges::of(&[Privilege::Update]), ..column.item };
        assert_eq!((&column.column, column.item), (&self.column, item));
        let by_default = contents.defaults.iter().find(|row| row.creator == oid).unwrap();
        assert_eq!(by_default.schema, Some(*number), "{self:?}");
    }
}

async fn read(postgres: &Postgres, samples: &[Sample]) -> Catalog {
    let mut desired = Desired::new(ident("app"));
    desired.logins = samples.iter().map(|sample| (sample.role.clone(), login("x"))).collect();
    let (server, secrets) = (server(postgres), Secrets::default());
    let mut sessions = Sessions::new(&server, &secrets);
    let catalog = sessions.read(&desired).await.unwrap();
    sessions.close().await;
    catalog
}

/// A query whose columns have these names and hold these strings.
fn query(pairs: &[(Ident, String)]) -> String {
    let columns: Vec<_> = pairs.iter().map(|(name, text)| format!("{} AS {name}", Literal(text))).collect();
    format!(
        "SELECT key, value FROM json_each_text((SELECT to_json(r.*) FROM (SELECT {}) r))",
        columns.join(", ")
    )
}

/// Whether the server gives back what it was sent.
async fn is_read(session: &mut PgConnection, pairs: &[(Ident, String)]) -> bool {
    let found = fetch_rows(session, query(pairs)).await.unwrap_or_default();
    let wanted = pairs.iter().map(|(name, text)| vec![Some(name.as_str().to_owned()), Some(text.clone())]);
    found.into_iter().eq(wanted)
}

/// The pairs that do not come back as they are.
async fn misread(session: &mut PgConnection, pairs: &[(Ident, String)]) -> Vec<(Ident, String)> {
    let mut misread = Vec::new();
    if is_read(session, pairs).await {
        return misread;
    }
    for pair in pairs.chunks(1) {
        if !is_read(session, pair).await {
            misread.extend_from_slice(pair);
        }
    }
    assert!(!misread.is_empty(), "together they are misread, alone they are not");
    misread
}

#[tokio::test]
async fn a_server_reads_every_name_and_string_as_it_was_meant() {
    let config = cases::config(CASES);
    let count = usize::try_from(config.cases).unwrap();
    let mut runner = TestRunner::new(config);
    let any = (hostile::name(), hostile::text());
    let pairs: Vec<_> = (0..count).map(|_| any.new_tree(&mut runner).unwrap().current()).collect();
    for major in [13, 18] {
        for conforming in ["on", "off"] {
            let mut session = Postgres::shared(major).await.admin("postgres").await;
            let settings = format!(
                "SET standard_conforming_strings = {conforming}; SET escape_string_warning = off; \
                 SET log_statement = none"
            );
            run(&mut session, settings).await.unwrap();
            for pairs in pairs.chunks(COLUMNS) {
                assert_eq!(misread(&mut session, pairs).await, [], "{major}, {conforming}");
            }
        }
    }
}

#[tokio::test]
async fn names_and_strings_of_every_kind_come_back_as_they_were_sent() {
    for major in [13, 18] {
        // Of its own: any name may be taken, and databases may be looked at from all sides.
        let postgres = Postgres::start(major).await;
        run(&mut postgres.admin("postgres").await, "CREATE DATABASE app").await.unwrap();
        let mut session = postgres.admin("app").await;
        let samples = samples();
        send(
            &mut session,
            samples.iter().map(|sample| Action::CreateRole { role: sample.role.clone() }.statement()),
        )
        .await;
        let comments = samples.iter().map(|sample| {
            let Sample { role, comment, .. } = sample.clone();
            Action::CommentOnRole { role, comment }.statement()
        });
        send(&mut session, comments.clone()).await;
        send(&mut session, samples.iter().flat_map(Sample::made)).await;
        let catalog = read(&postgres, &samples).await;
        let contents = catalog.contents.as_ref().unwrap();
        assert_eq!(contents.schemas.len(), samples.len() + 1, "more than `public` is there");
        for sample in &samples {
            sample.check(&catalog, contents);
        }

        // Whatever the server thinks of backslashes.
        let doubtful = "SET standard_conforming_strings = off; SET escape_string_warning = off".to_owned();
        send(&mut session, [doubtful].into_iter().chain(comments)).await;
        assert_eq!(read(&postgres, &samples).await, catalog);

        send(&mut session, samples.iter().flat_map(Sample::undone)).await;
        let catalog = read(&postgres, &samples).await;
        let roles: Vec<_> = catalog.roles.values().map(|role| role.name.as_str()).collect();
        assert!(samples.iter().all(|sample| !roles.contains(&sample.role.as_str())), "{roles:?}");
        assert_eq!(catalog.contents.unwrap().columns, []);
    }
}

/// As much of it as fits into a name.
fn cut(mut text: String) -> Ident {
    text.truncate(text.floor_char_boundary(63));
    ident(&text)
}

/// A place whose names all end like this.
async fn hostile_place(major: u16, end: &str) -> Place {
    let place = place(major, Admin::Superuser).await;
    let named = |prefix: &str| cut(format!("{}{end}", unique(prefix)));
    let [owner, reader, writer] = ["o", "r", "w"].map(named);
    let secrets = [&owner, &reader, &writer].map(|role| (role.clone(), exec::random_password()));
    Place { database: named("d"), owner, reader, writer, secrets: Secrets(secrets.into()), ..place }
}

/// The place's wanted state, with markers that hold none of its names.
fn desired(place: &Place) -> Desired {
    let mut desired = place.desired();
    let names = [(&place.owner, "owner"), (&place.reader, "reader"), (&place.writer, "writer")];
    let names: BTreeMap<_, _> = names.into();
    for (name, login) in &mut desired.logins {
        login.claim = claim(&format!("{}-{}", names[name], place.postgres.port()));
    }
    if let plan::Managed::Yes { claim: found, .. } = &mut desired.managed {
        *found = claim("database");
    }
    desired
}

/// Statements of one of the roles, which the superuser becomes: the driver lets no name log in that
/// `SASLprep` forbids.
async fn as_role(place: &Place, role: &Ident, text: &str) -> Result<u64, sqlx::Error> {
    let mut session = place.postgres.admin(place.database.as_str()).await;
    run(&mut session, format!("SET ROLE {role}")).await?;
    run(&mut session, text).await
}

#[tokio::test]
async fn a_pass_does_not_stumble_over_names() {
    for major in [13, 18] {
        for end in ["\"'; DROP ROLE x; --\\\n\t$user %s .PG,*", &"é".repeat(31)] {
            let place = hostile_place(major, end).await;
            let mut desired = desired(&place);
            place.converge(&desired).await;
            let schema = cut(end.to_owned());
            let name = QualifiedName { schema: schema.clone(), name: cut(end.to_owned()) };
            let function = QualifiedName { schema: schema.clone(), name: cut(format!("f{end}")) };
            let kind = QualifiedName { schema: schema.clone(), name: cut(format!("t{end}")) };
            as_role(&place, &place.owner, &format!("CREATE SCHEMA {schema}; CREATE TABLE {name} ()"))
                .await
                .unwrap();
            let catalog = place.converge(&desired).await;
            assert!(catalog.contents.unwrap().schemas.values().any(|found| found.name == schema));
            as_role(&place, &place.reader, &format!("SELECT FROM {name}")).await.unwrap();
            as_role(&place, &place.reader, &format!("INSERT INTO {name} DEFAULT VALUES")).await.unwrap_err();
            let made = format!(
                "CREATE TYPE {kind} AS ENUM ({}); \
                 CREATE FUNCTION {function}({kind}) RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'; \
                 CREATE VIEW {function} AS SELECT FROM {name}",
                Literal(end)
            );
            as_role(&place, &place.writer, &made).await.unwrap();
            leave(&mut desired, &place.writer);
            assert_eq!(place.converge(&desired).await.role(&place.writer), None);
            let definers = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                            WHERE n.nspname !~ '^(pg_|information_schema)' AND p.prosecdef";
            assert_eq!(place.ask(definers).await.as_deref(), Some("0"));
        }
    }
}
