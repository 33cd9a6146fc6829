//! What is wanted of one database: validated, free of Kubernetes, in PostgreSQL's words.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Action, Claim, Ident, Marker, NewPassword, Oid, Origin, QualifiedName, Server};

/// The wanted state of one database and of the roles that have to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The database's name.
    pub database: Ident,
    /// Whether the database is ours to make.
    pub managed: Managed,
    /// Roles that must exist: the owner and every grantee.
    pub logins: BTreeMap<Ident, Login>,
    /// Who gets which access to the contents.
    pub grantees: BTreeMap<Ident, Grantee>,
    /// Roles that have to go, or to let go of this database.
    pub leaving: BTreeMap<Ident, Leaving>,
    /// Statements that the server refused in an earlier round: they are withheld.
    pub refused: Vec<Refused>,
    /// Relations that somebody else is at work on: what they lack is withheld for now, so that one of them does not
    /// hold up the others.
    pub busy: BTreeSet<QualifiedName>,
    /// Roles that are somebody's to look after, and not to be changed for now: nothing is given to them or taken from
    /// them, also not in passing.
    pub spared: BTreeSet<Ident>,
}

/// What is wanted of the database itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Managed {
    /// It must exist, with this owner and marker.
    Yes {
        /// The owner; also one of [`Desired::logins`].
        owner: Ident,
        /// The template to make it from; `template0` unless the administrator names another.
        template: Ident,
        /// Who it belongs to.
        claim: Claim,
        /// What was provisioned before.
        recorded: Option<Recorded>,
        /// Whether surplus access of PUBLIC is revoked.
        prune: Prune,
    },
    /// It is let go: the data stays, the marker says that its next namesake may take it.
    Released {
        /// Who it belonged to.
        claim: Claim,
    },
    /// Somebody else's: it is expected to exist and is not touched.
    No,
}

/// What an earlier pass reported as provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The identifier of the server then, if it could be read: on another server the number says nothing.
    pub system_identifier: Option<String>,
    /// The object's number then: the same name with another number is another object.
    pub oid: Oid,
    /// Whether we made it.
    pub origin: Origin,
}

impl Recorded {
    /// Whether this object of the server is the one that was reported.
    pub(crate) fn is(&self, oid: Oid, server: &Server) -> bool {
        let is_same_server = match (&self.system_identifier, &server.system_identifier) {
            (Some(recorded), Some(found)) => recorded == found,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        is_same_server && self.oid == oid
    }
}

/// A role that must exist and be able to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it belongs to.
    pub claim: Claim,
    /// What was provisioned before.
    pub recorded: Option<Recorded>,
    /// What its password must become where it differs. `None` while the password is in no Secret yet: the role
    /// is then made without LOGIN.
    pub password: Option<NewPassword>,
}

/// A role and its access to the contents of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grantee {
    /// What it may do.
    pub access: Access,
    /// Where.
    pub schemas: Schemas,
    /// Whether what it has beyond that is revoked.
    pub prune: Prune,
}

/// What a grantee may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// SELECT.
    Read,
    /// SELECT, INSERT, UPDATE, DELETE, sequences, and CREATE in the schemas.
    ReadWrite,
}

/// Where a grantee has its access.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Schemas {
    /// Every user schema, present and future.
    All,
    /// These; one that does not exist yet is pending.
    Listed(BTreeSet<Ident>),
}

impl Schemas {
    /// Whether the schema is among them.
    pub fn includes(&self, schema: &Ident) -> bool {
        match self {
            Self::All => true,
            Self::Listed(schemas) => schemas.contains(schema),
        }
    }
}

/// What happens to privileges that nobody asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prune {
    /// Revoked from what we made, reported on what we adopted.
    #[default]
    IfCreated,
    /// Revoked.
    Always,
    /// Reported.
    Never,
}

impl Prune {
    /// Whether surplus is revoked from an object of this origin.
    pub const fn is_exact(self, origin: Origin) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::IfCreated => matches!(origin, Origin::Created),
        }
    }
}

/// A role on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Who it belonged to; a role of somebody else is left alone.
    pub claim: Claim,
    /// What was provisioned before.
    pub recorded: Option<Recorded>,
    /// How far it goes.
    pub disposition: Disposition,
}

/// How far a leaving role goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Sessions end, what it owns goes to the owner of the database it is in, the role is dropped.
    Drop,
    /// As `Drop` if we made the role, else as `Detach`: a former owner.
    DropIfCreated,
    /// It loses what it has in this database and stays: something else still names it.
    Detach,
    /// It stays as it is; its marker says that its next namesake may take it.
    Release,
}

/// A statement that the server refused, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The statement.
    pub action: Action,
    /// The server's message, without secrets.
    pub message: String,
}

impl Desired {
    /// Nothing is wanted of this database yet, and it is somebody else's.
    pub const fn new(database: Ident) -> Self {
        Self {
            database,
            managed: Managed::No,
            logins: BTreeMap::new(),
            grantees: BTreeMap::new(),
            leaving: BTreeMap::new(),
            refused: Vec::new(),
            busy: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    /// The marker that the role of this name should carry, wherever it is named.
    pub fn claim(&self, role: &Ident) -> Option<&Claim> {
        let login = self.logins.get(role).map(|login| &login.claim);
        login.or_else(|| self.leaving.get(role).map(|leaving| &leaving.claim))
    }

    /// The markers that are to be written, for callers that show what an installation claims.
    pub fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.logins.values().map(|login| &login.claim.marker)
    }
}
