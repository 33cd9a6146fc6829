//! Short ways to write states down.

use std::collections::{BTreeMap, BTreeSet};

use super::privileges::give_with_options;
use super::simulate;
use crate::{
    Access, Acl, AclId, AclItem, Action, Catalog, Claim, ColumnGrant, Contents, Desired, EventTrigger,
    Grantee, Ident, Login, Managed, Marker, Membership, Oid, Origin, PasswordState, Privilege, Privileges,
    Prune, QualifiedName, Relation, RelationGroup, RelationKind, Role, Schema, Schemas, Server,
    ServerVersion, TriggerEvent, Verifier,
};

/// A name.
///
/// # Panics
///
/// If it is no valid [`Ident`].
#[track_caller]
pub fn ident(name: &str) -> Ident {
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// The claim of the only resource called like the role or database.
pub fn claim(name: &str) -> Claim {
    let uid = format!("uid-{name}");
    let marker = Marker {
        installation: "test".into(),
        resource: format!("digest-{name}"),
        uid: uid.clone(),
        origin: Origin::Created,
        released: false,
    };
    Claim { marker, uids: [uid].into(), names: [("shop".into(), name.into())].into() }
}

/// A well-formed verifier of no particular password.
pub fn verifier() -> Verifier {
    let key = format!("{}=", "A".repeat(43));
    format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}").parse().expect("well-formed")
}

/// A login by this name with its password in its Secret.
pub fn login(name: &str) -> Login {
    Login { claim: claim(name), recorded: None, password: Some(verifier().into()) }
}

/// The database `app`, owned by `owner`, with these grantees: `"reader read"`, `"writer readwrite public,audit"`.
///
/// # Panics
///
/// If a grantee is not written like that.
#[track_caller]
pub fn desired(grantees: &[&str]) -> Desired {
    let mut desired = Desired {
        database: ident("app"),
        managed: Managed::Yes {
            owner: ident("owner"),
            template: ident("template0"),
            claim: claim("app"),
            recorded: None,
            prune: Prune::IfCreated,
        },
        logins: [(ident("owner"), login("owner"))].into(),
        grantees: BTreeMap::new(),
        leaving: BTreeMap::new(),
        refused: Vec::new(),
        busy: BTreeSet::new(),
        spared: BTreeSet::new(),
    };
    for text in grantees {
        let words: Vec<_> = text.split(' ').collect();
        let access = match words[1] {
            "read" => Access::Read,
            "readwrite" => Access::ReadWrite,
            other => panic!("`{other}` is no access"),
        };
        let schemas = words
            .get(2)
            .map_or(Schemas::All, |listed| Schemas::Listed(listed.split(',').map(ident).collect()));
        desired.logins.insert(ident(words[0]), login(words[0]));
        desired.grantees.insert(ident(words[0]), Grantee { access, schemas, prune: Prune::IfCreated });
    }
    desired
}

/// Builds a catalog step by step.
#[derive(Clone, Debug)]
pub struct Builder {
    /// What was built so far.
    pub catalog: Catalog,
}

impl Builder {
    /// A server of this major version without the database, with the superuser `postgres` as admin role.
    pub fn server(major: u32) -> Self {
        let admin = Oid(10);
        let server = Server {
            version: ServerVersion(major * 10_000),
            system_identifier: Some("1".into()),
            in_recovery: false,
            read_only: false,
            encrypted: false,
            admin,
        };
        let postgres = Role { superuser: true, ..role("postgres") };
        let catalog = Catalog {
            server,
            roles: [(admin, postgres)].into(),
            memberships: Vec::new(),
            database: None,
            contents: None,
            dependencies: BTreeMap::new(),
        };
        Self { catalog }
    }

    /// A server on which this was provisioned.
    #[track_caller]
    pub fn provisioned(major: u32, desired: &Desired) -> Self {
        let mut builder = Self::server(major);
        super::converge(desired, &mut builder.catalog);
        builder
    }

    /// Adds a role that is none of ours.
    #[must_use]
    pub fn role(mut self, name: &str) -> Self {
        simulate(&mut self.catalog, &ident("app"), &Action::CreateRole { role: ident(name) });
        self
    }

    /// Changes a role.
    ///
    /// # Panics
    ///
    /// If there is no such role.
    #[must_use]
    #[track_caller]
    pub fn with_role(mut self, name: &str, change: impl FnOnce(&mut Role)) -> Self {
        let oid = self.oid(name);
        change(self.catalog.roles.get_mut(&oid).expect("just found"));
        self
    }

    /// Adds a schema.
    #[must_use]
    #[track_caller]
    pub fn schema(mut self, name: &str, owner: &str) -> Self {
        let owner = self.oid(owner);
        let usage = Privileges::of(&[Privilege::Usage, Privilege::Create]);
        let acl = self.acl_with_defaults(owner, usage, (owner, None, crate::DefaultObject::Schemas));
        let contents = self.contents();
        let oid = contents.schemas.keys().max().map_or(Oid(2200), |highest| Oid(highest.0 + 1));
        contents.schemas.insert(oid, Schema { name: ident(name), owner, acl });
        contents.owners.insert(owner);
        self
    }

    /// Adds a table, made by its owner: default privileges apply.
    #[must_use]
    #[track_caller]
    pub fn table(self, schema: &str, name: &str, owner: &str) -> Self {
        self.relation(schema, name, owner, RelationKind::Table)
    }

    /// Adds a relation, made by its owner: default privileges apply.
    ///
    /// # Panics
    ///
    /// If there is no such schema or role.
    #[must_use]
    #[track_caller]
    pub fn relation(mut self, schema: &str, name: &str, owner: &str, kind: RelationKind) -> Self {
        let (owner, schema) = (self.oid(owner), self.schema_oid(schema));
        let object = match kind {
            RelationKind::Sequence => crate::DefaultObject::Sequences,
            _ => crate::DefaultObject::Tables,
        };
        let all = Privileges::READ_WRITE.union(Privileges::of(&[Privilege::Truncate, Privilege::References]));
        let acl = self.acl_with_defaults(owner, all, (owner, Some(schema), object));
        let contents = self.contents();
        contents.relations.push(RelationGroup { schema, kind, owner, acl, names: vec![ident(name)] });
        contents.owners.insert(owner);
        self
    }

    /// The admin role becomes one with CREATEDB and CREATEROLE only; the bootstrap superuser is another.
    ///
    /// # Panics
    ///
    /// If something belongs to the admin role already.
    #[must_use]
    pub fn limited(mut self) -> Self {
        let admin = Oid(16_380);
        self.catalog.roles.insert(admin, Role { create_role: true, create_db: true, ..role("admin") });
        self.catalog.server.admin = admin;
        self
    }

    /// Makes a role a member of another, as a superuser does.
    #[must_use]
    #[track_caller]
    pub fn member(mut self, member: &str, role: &str) -> Self {
        let (member, role) = (self.oid(member), self.oid(role));
        self.catalog.memberships.push(Membership {
            role,
            member,
            grantor: Oid(10),
            admin: false,
            inherit: true,
            set: true,
        });
        self
    }

    /// Adds privileges on a relation, WITH GRANT OPTION where `grantable` says so, given by `by`.
    ///
    /// # Panics
    ///
    /// If there is no such relation or role.
    #[must_use]
    #[track_caller]
    pub fn given(mut self, on: (&str, &str), by: &str, to: &str, item: (Privileges, Privileges)) -> Self {
        let schema = self.schema_oid(on.0);
        let contents = self.contents();
        let groups = contents.relations.iter().chain(&contents.extensions);
        let is_it = |group: &&RelationGroup| group.schema == schema && group.names.contains(&ident(on.1));
        let kind = groups.clone().find(is_it).unwrap_or_else(|| panic!("no relation {}", on.1)).kind;
        let name = QualifiedName { schema: ident(on.0), name: ident(on.1) };
        let (grantor, grantee) = (self.oid(by), self.oid(to));
        give_with_options(&mut self.catalog, &Relation { name, kind }, (grantor, grantee), item);
        self
    }

    /// Adds privileges on a column, given by `by`.
    ///
    /// # Panics
    ///
    /// If there is no such relation or role.
    #[must_use]
    #[track_caller]
    pub fn given_on_column(mut self, on: (&str, &str), by: &str, to: &str, privileges: Privileges) -> Self {
        let schema = self.schema_oid(on.0);
        let (grantor, grantee) = (self.oid(by), self.oid(to));
        let contents = self.contents();
        let is_it = |group: &&RelationGroup| group.schema == schema && group.names.contains(&ident(on.1));
        let group = contents.relations.iter().find(is_it).unwrap_or_else(|| panic!("no relation {}", on.1));
        let name = QualifiedName { schema: ident(on.0), name: ident(on.1) };
        let relation = Relation { name, kind: group.kind };
        let item = AclItem { grantee, grantor, privileges, grantable: Privileges::NONE };
        let found = ColumnGrant { relation, owner: group.owner, column: ident("note"), item };
        let is_same = |one: &ColumnGrant| {
            (&one.relation, one.item.grantor, one.item.grantee) == (&found.relation, grantor, grantee)
        };
        match contents.columns.iter_mut().find(|one| is_same(one)) {
            Some(present) => present.item.privileges = present.item.privileges.union(privileges),
            None => contents.columns.push(found),
        }
        self
    }

    /// Makes a relation one of an extension.
    #[must_use]
    pub fn of_extension(mut self, schema: &str, name: &str) -> Self {
        let schema = self.schema_oid(schema);
        let contents = self.contents();
        let is_it = |group: &mut RelationGroup| group.schema == schema && group.names == [ident(name)];
        let moved: Vec<_> = contents.relations.extract_if(.., is_it).collect();
        contents.extensions.extend(moved);
        self
    }

    /// Adds an event trigger of this owner that calls a function of another, at commands with these tags (none: all).
    #[must_use]
    #[track_caller]
    pub fn event_trigger(mut self, owner: &str, function_owner: &str, tags: &[&str]) -> Self {
        let trigger = EventTrigger {
            name: "watch".to_owned(),
            owner: self.oid(owner),
            event: TriggerEvent::Command,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            function: "public.note".to_owned(),
            function_owner: self.oid(function_owner),
        };
        self.contents().event_triggers.push(trigger);
        self
    }

    /// Runs an action on the catalog, as somebody else might.
    #[must_use]
    pub fn run(mut self, action: &Action) -> Self {
        simulate(&mut self.catalog, &ident("app"), action);
        self
    }

    /// The number of a role.
    ///
    /// # Panics
    ///
    /// If there is no such role.
    #[track_caller]
    pub fn oid(&self, role: &str) -> Oid {
        self.catalog.role_oid(&ident(role)).unwrap_or_else(|| panic!("no role {role}"))
    }

    fn schema_oid(&mut self, name: &str) -> Oid {
        let found = self.contents().schemas.iter().find(|(_, schema)| schema.name.as_str() == name);
        *found.unwrap_or_else(|| panic!("no schema {name}")).0
    }

    fn contents(&mut self) -> &mut Contents {
        self.catalog.contents.as_mut().expect("the database can be entered")
    }

    fn acl_with_defaults(
        &mut self,
        owner: Oid,
        own: Privileges,
        (creator, schema, object): (Oid, Option<Oid>, crate::DefaultObject),
    ) -> AclId {
        let item = |grantee, privileges| AclItem {
            grantee,
            grantor: owner,
            privileges,
            grantable: Privileges::NONE,
        };
        let contents = self.contents();
        let rows = contents.defaults.iter().filter(|row| {
            row.creator == creator && row.object == object && (row.schema.is_none() || row.schema == schema)
        });
        let mut given: BTreeMap<Oid, Privileges> = [(owner, own)].into();
        for found in rows.flat_map(|row| &row.acl.0) {
            let present = given.entry(found.grantee).or_default();
            *present = present.union(found.privileges);
        }
        contents
            .acls
            .push(Acl(given.into_iter().map(|(grantee, privileges)| item(grantee, privileges)).collect()));
        AclId(contents.acls.len() - 1)
    }
}

fn role(name: &str) -> Role {
    Role {
        name: ident(name),
        superuser: false,
        inherit: true,
        create_role: false,
        create_db: false,
        login: true,
        replication: false,
        bypass_rls: false,
        expires: false,
        comment: None,
        password: PasswordState::Unknown,
        sessions: 0,
        owned_databases: BTreeSet::new(),
    }
}
