//! What a server has: the typed snapshot that [`plan`](crate::plan()) compares with what is wanted.
//!
//! Objects refer to roles and schemas by [`Oid`], as the server does; names are looked up in [`Catalog::roles`].
//! Access control lists are shared: every distinct one stands once in [`Contents::acls`], so that memory and
//! time follow the distinct lists, not the number of objects times users.

use std::collections::{BTreeMap, BTreeSet};

use crate::{DefaultObject, EventTrigger, Ident, Privileges, QualifiedName};

/// The number of a catalog object. Zero as a grantee is PUBLIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub u32);

impl Oid {
    /// The grantee that stands for every role.
    pub const PUBLIC: Self = Self(0);
}

/// `server_version_num`, such as 170005.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub u32);

impl ServerVersion {
    /// The major version, such as 17.
    pub const fn major(self) -> u32 {
        self.0 / 10_000
    }
}

/// One server as seen from one database of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Facts about the server and the session.
    pub server: Server,
    /// Every role that the rest refers to: the roles asked for, the admin role, owners, grantees, grantors, and
    /// members of those.
    pub roles: BTreeMap<Oid, Role>,
    /// Memberships among [`Self::roles`].
    pub memberships: Vec<Membership>,
    /// The database; `None` while the server lacks it.
    pub database: Option<Database>,
    /// What is in the database; `None` when it is missing or cannot be entered.
    pub contents: Option<Contents>,
    /// What leaving roles, and readers that own something, have: by role, then by database.
    pub dependencies: BTreeMap<Oid, BTreeMap<Ident, Dependencies>>,
}

/// Facts about the server and the session that read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its version.
    pub version: ServerVersion,
    /// `pg_control_system()`'s identifier, which tells servers apart; `None` where it may not be read.
    pub system_identifier: Option<String>,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether sessions start read-only although it is no standby.
    pub read_only: bool,
    /// Whether the session is encrypted.
    pub encrypted: bool,
    /// The role that runs our statements.
    pub admin: Oid,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of pg_roles")]
pub struct Role {
    /// Its name.
    pub name: Ident,
    /// `rolsuper`.
    pub superuser: bool,
    /// `rolinherit`.
    pub inherit: bool,
    /// `rolcreaterole`.
    pub create_role: bool,
    /// `rolcreatedb`.
    pub create_db: bool,
    /// `rolcanlogin`.
    pub login: bool,
    /// `rolreplication`.
    pub replication: bool,
    /// `rolbypassrls`.
    pub bypass_rls: bool,
    /// Whether `rolvaliduntil` is set to a finite time: the password then stops working.
    pub expires: bool,
    /// Its comment, which may be a [`Marker`](crate::Marker). Read for the roles asked for only.
    pub comment: Option<String>,
    /// What is known of its password. Read for the roles asked for only.
    pub password: PasswordState,
    /// Sessions of a leaving role; 0 for others.
    pub sessions: u32,
    /// Databases that the role owns. Read for the roles asked for only.
    pub owned_databases: BTreeSet<Ident>,
}

impl Role {
    /// Whether the role has an attribute that a provisioned role never gets.
    pub const fn is_elevated(&self) -> bool {
        self.superuser || self.create_role || self.replication || self.bypass_rls
    }
}

/// What the caller found out about a role's password before planning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordState {
    /// It could not be compared: nothing is changed on account of it.
    #[default]
    Unknown,
    /// The role has none.
    Absent,
    /// The server accepts the password of the Secret. For a role without marker this is the proof of adoption.
    Matches,
    /// It is the password of the Secret, stored as an md5 hash: proof as well, and to be replaced by a verifier.
    Outdated,
    /// The server has another one.
    Differs,
}

/// A row of `pg_auth_members`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Membership {
    /// The role that is granted.
    pub role: Oid,
    /// The role it is granted to.
    pub member: Oid,
    /// Who granted it.
    pub grantor: Oid,
    /// `admin_option`.
    pub admin: bool,
    /// `inherit_option`; up to version 15 the member's `rolinherit`.
    pub inherit: bool,
    /// `set_option`; up to version 15 always true.
    pub set: bool,
}

/// A row of `pg_database`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its number, which a re-created database does not share.
    pub oid: Oid,
    /// Its owner.
    pub owner: Oid,
    /// Who may connect, create schemas and temporary tables.
    pub acl: Acl,
    /// `datallowconn`.
    pub allow_connections: bool,
    /// Whether an interrupted DROP left it unusable (`datconnlimit` = -2): its data is gone.
    pub invalid: bool,
    /// Its comment, which may be a [`Marker`](crate::Marker).
    pub comment: Option<String>,
}

/// An access control list, never NULL: the built-in default is filled in where the catalog has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl(pub Vec<AclItem>);

/// One grantee's privileges from one grantor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclItem {
    /// Who may; [`Oid::PUBLIC`] for everyone.
    pub grantee: Oid,
    /// Who allowed it.
    pub grantor: Oid,
    /// What is allowed.
    pub privileges: Privileges,
    /// The part of it that may be passed on.
    pub grantable: Privileges,
}

impl Acl {
    /// What this grantee was given directly, by any grantor.
    pub fn of(&self, grantee: Oid) -> Privileges {
        self.items_of(grantee).fold(Privileges::NONE, |all, item| all.union(item.privileges))
    }

    /// What this role may pass on.
    pub fn grantable_by(&self, role: Oid) -> Privileges {
        self.items_of(role).fold(Privileges::NONE, |all, item| all.union(item.grantable))
    }

    /// The items of this grantee.
    pub fn items_of(&self, grantee: Oid) -> impl Iterator<Item = &AclItem> {
        self.0.iter().filter(move |item| item.grantee == grantee)
    }
}

/// An index into [`Contents::acls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclId(pub usize);

/// What is in one database. Members of extensions are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The user schemas (not `pg_*`, not `information_schema`).
    pub schemas: BTreeMap<Oid, Schema>,
    /// The relations of those schemas.
    pub relations: Vec<RelationGroup>,
    /// Every distinct access control list of schemas and relations.
    pub acls: Vec<Acl>,
    /// Relations of extensions on which the roles asked for have something. They are nobody's to grant on, but
    /// default privileges of whoever installs an extension reach them.
    pub extensions: Vec<RelationGroup>,
    /// Column privileges of the roles asked for.
    pub columns: Vec<ColumnGrant>,
    /// `pg_default_acl`.
    pub defaults: Vec<DefaultAcl>,
    /// Which of the roles asked for own anything here, of any kind.
    pub owners: BTreeSet<Oid>,
    /// The event triggers that fire in our sessions.
    pub event_triggers: Vec<EventTrigger>,
}

impl Contents {
    /// The list behind an id.
    pub fn acl(&self, id: AclId) -> &Acl {
        &self.acls[id.0]
    }
}

/// A row of `pg_namespace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: Ident,
    /// Its owner; `pg_database_owner` stands as itself.
    pub owner: Oid,
    /// Who may use it and create in it.
    pub acl: AclId,
}

/// Relations that share schema, kind, owner and access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationGroup {
    /// The schema that holds them.
    pub schema: Oid,
    /// What they are.
    pub kind: RelationKind,
    /// Who owns them.
    pub owner: Oid,
    /// Who may do what.
    pub acl: AclId,
    /// Their names.
    pub names: Vec<Ident>,
}

/// `pg_class.relkind` of what GRANT … ON TABLE and ON SEQUENCE reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelationKind {
    /// `r`
    Table,
    /// `p`
    PartitionedTable,
    /// `v`
    View,
    /// `m`
    MaterializedView,
    /// `f`
    ForeignTable,
    /// `S`
    Sequence,
}

impl RelationKind {
    /// The kind of this `relkind`; `None` for indexes, composite types and what later versions bring.
    pub const fn from_char(relkind: char) -> Option<Self> {
        match relkind {
            'r' => Some(Self::Table),
            'p' => Some(Self::PartitionedTable),
            'v' => Some(Self::View),
            'm' => Some(Self::MaterializedView),
            'f' => Some(Self::ForeignTable),
            'S' => Some(Self::Sequence),
            _ => None,
        }
    }

    /// Whether `LOCK TABLE` on it is allowed, and means this relation alone. On a view it checks the rights of the
    /// view's owner on what is below.
    pub const fn is_lockable(self) -> bool {
        matches!(self, Self::Table | Self::PartitionedTable)
    }
}

/// One relation by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relation {
    /// Schema and name.
    pub name: QualifiedName,
    /// What it is.
    pub kind: RelationKind,
}

/// A privilege on one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnGrant {
    /// The relation.
    pub relation: Relation,
    /// Its owner.
    pub owner: Oid,
    /// The column.
    pub column: Ident,
    /// Who may do what.
    pub item: AclItem,
}

/// A row of `pg_default_acl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultAcl {
    /// For objects that this role creates.
    pub creator: Oid,
    /// In this schema; `None` is the global entry, which replaces the built-in default.
    pub schema: Option<Oid>,
    /// For objects of this kind.
    pub object: DefaultObject,
    /// What they get.
    pub acl: Acl,
}

/// What one role has in one database, beyond what [`Contents`] tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact as it was read")]
pub struct Dependencies {
    /// Whether the database accepts connections.
    pub allow_connections: bool,
    /// Owner of that database, who need not be one of [`Catalog::roles`].
    pub database_owner: Option<(Oid, Ident)>,
    /// Whether the role owns anything in it.
    pub owns: bool,
    /// Whether anything else names the role there: privileges, default privileges, policies.
    pub named: bool,
    /// Its SECURITY DEFINER routines: after REASSIGN they would run with the heir's rights.
    pub definer_routines: Vec<Routine>,
    /// The schemas of all its routines.
    pub routine_schemas: BTreeSet<Ident>,
    /// Its views without `security_invoker`: they would read with the heir's rights.
    pub definer_views: Vec<Relation>,
    /// Its relations that run a tenant's functions with the rights of their owner: by rules, when somebody writes; by
    /// indexes, statistics and materialized views, whenever they are maintained; by what follows from a foreign key.
    pub armed_relations: Vec<Relation>,
    /// Its tables that others may refer to or put triggers on, and so run functions with the rights of their owner.
    pub lent_relations: Vec<Relation>,
    /// Its subscriptions, as they stand in SQL: what they receive is written with the rights of their owner.
    pub subscriptions: Vec<String>,
    /// Its temporary relations that read or write others: views, and tables with rules.
    pub temporary_relations: Vec<Relation>,
    /// Its views and materialized views over something that it may not read, or of which it may not read every row.
    /// With the heir's rights they would.
    pub overreaching_views: Vec<Relation>,
    /// Its views and materialized views that others were given something on.
    pub exposed: Vec<ExposedView>,
    /// Whether something of it has a name that cannot be written, and is missing here.
    pub unnameable: bool,
    /// The event triggers of the database that fire in our sessions.
    pub event_triggers: Vec<EventTrigger>,
}

/// A function or procedure by signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routine {
    /// Schema and name.
    pub name: QualifiedName,
    /// The types of its input arguments.
    pub arguments: Vec<QualifiedName>,
}

/// A view of a leaving role and who else may use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExposedView {
    /// The view or materialized view.
    pub view: Relation,
    /// Who was given something on it.
    pub grantee: Oid,
}

impl Catalog {
    /// The number of the role with this name.
    pub fn role_oid(&self, name: &Ident) -> Option<Oid> {
        self.roles.iter().find(|(_, role)| role.name == *name).map(|(oid, _)| *oid)
    }

    /// The role with this name.
    pub fn role(&self, name: &Ident) -> Option<&Role> {
        self.roles.values().find(|role| role.name == *name)
    }
}
