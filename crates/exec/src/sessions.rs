//! The connections of one pass over one database.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Action, Catalog, Desired, Ident, Oid, Plan};

use crate::{
    Applied, Error, Licence, Server, Unlimited, Verify, apply,
    introspect::{self, Concerned, Inside, Others, Parts, Passwords, Shared},
    session::Session,
};

/// The longest document that is read unless somebody says otherwise: what is made of it takes up to fifteen times as
/// much memory.
const LIMIT: u32 = 4 << 20;

/// At most one connection per database and [`Sessions::MOST`] in all, opened on demand and reused for reading and
/// applying. Dropping it closes them, and with them every lock and transaction.
pub struct Sessions<'a> {
    pub(crate) server: &'a Server,
    verify: &'a dyn Verify,
    /// Whether anything may take effect.
    pub(crate) licence: &'a dyn Licence,
    /// How many bytes a reading may have.
    pub(crate) limit: u32,
    open: BTreeMap<Ident, Session>,
    /// The database that was read last.
    own: Option<Ident>,
    /// What was read last.
    pub(crate) parts: Option<Parts>,
    /// Roles that were given their verifier in this pass.
    pub(crate) set: BTreeSet<Ident>,
    /// Actions that failed because something moved: the second time it is no coincidence.
    pub(crate) moved: Vec<Action>,
}

impl<'a> Sessions<'a> {
    /// The most connections at a time: to the database, to the maintenance database, and to one other in which a role
    /// has something, or to try a login.
    pub const MOST: u32 = 3;

    /// No connection yet.
    pub fn new(server: &'a Server, verify: &'a dyn Verify) -> Self {
        Self {
            server,
            verify,
            licence: &Unlimited,
            limit: LIMIT,
            open: BTreeMap::new(),
            own: None,
            parts: None,
            set: BTreeSet::new(),
            moved: Vec::new(),
        }
    }

    /// Reads documents of up to so many bytes; a longer one is [`Error::TooLarge`].
    #[must_use]
    pub fn with_limit(self, bytes: u32) -> Self {
        Self { limit: bytes, ..self }
    }

    /// Works only as long as this holds; afterwards everything is [`Error::Superseded`].
    #[must_use]
    pub fn with_licence(self, licence: &'a dyn Licence) -> Self {
        Self { licence, ..self }
    }

    /// Reads what the server has of `desired`: without leaving roles three statements on one connection, the first
    /// of which is for new connections only.
    ///
    /// A database that is missing or cannot be entered has no contents.
    ///
    /// # Errors
    ///
    /// When the server does not answer, is a standby or read-only, or is none that is supported, or when the licence
    /// is over. Connections are closed then.
    pub async fn read(&mut self, desired: &Desired) -> Result<Catalog, Error> {
        let parts = self.read_parts(desired).await;
        if parts.is_err() {
            self.open.clear();
        }
        let parts = parts?;
        let catalog = parts.catalog();
        self.parts = Some(parts);
        Ok(catalog)
    }

    /// Does what `plan` says, which was made from `desired` and the catalog read last.
    ///
    /// Each step is read and planned again under a lock before it is done, and once more before it is committed.
    ///
    /// # Errors
    ///
    /// When the server or a connection is in trouble, or the licence is over. The steps that were done stay done, the one in progress is
    /// undone; connections are closed.
    pub async fn apply(&mut self, desired: &Desired, plan: &Plan) -> Result<Applied, Error> {
        let applied = apply::apply(self, desired, plan).await;
        if applied.is_err() {
            self.open.clear();
        }
        applied
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        for session in self.open.into_values() {
            session.close().await;
        }
    }

    /// Works with this session from now on.
    #[cfg(test)]
    pub(crate) fn use_session(&mut self, database: &Ident, session: Session) {
        self.open.insert(database.clone(), session);
    }

    /// The session in this database, settled or about to read what settles it.
    pub(crate) async fn session(&mut self, database: &Ident) -> Result<&mut Session, Error> {
        if !self.open.contains_key(database) {
            self.leave_others(database).await;
            let session = Session::open(self.server, database, self.licence.silence()).await?;
            self.open.insert(database.clone(), session);
        }
        Ok(self.open.get_mut(database).expect("it was opened above"))
    }

    /// Closes what is open to databases other than this one, its own and the maintenance database.
    async fn leave_others(&mut self, database: &Ident) {
        let own = self.own.as_ref();
        let maintenance = &self.server.maintenance;
        let is_needed = |name: &Ident| name == database || name == maintenance || own == Some(name);
        let others: Vec<_> = self.open.keys().filter(|name| !is_needed(name)).cloned().collect();
        for session in others.iter().filter_map(|name| self.open.remove(name)) {
            session.close().await;
        }
    }

    /// An error once the licence is over.
    pub(crate) fn check_licence(&self) -> Result<(), Error> {
        if self.licence.is_valid() { Ok(()) } else { Err(Error::Superseded) }
    }

    async fn read_parts(&mut self, desired: &Desired) -> Result<Parts, Error> {
        self.check_licence()?;
        self.own = Some(desired.database.clone());
        let is_inside = self.enter(&desired.database).await?;
        let database = if is_inside { desired.database.clone() } else { self.server.maintenance.clone() };
        let shared = self.shared(desired, &database).await?;
        let inside = if is_inside { Some(self.inside(desired).await?) } else { None };
        let others = self.others(desired, &shared, inside.as_ref()).await?;
        Ok(Parts { shared, inside, others })
    }

    /// Opens a session in this database; false where it is missing or lets nobody in.
    async fn enter(&mut self, database: &Ident) -> Result<bool, Error> {
        match self.session(database).await {
            Ok(_) => Ok(true),
            Err(Error::Login { code, .. }) if is_closed_door(&code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn shared(&mut self, desired: &Desired, database: &Ident) -> Result<Shared, Error> {
        let (verify, set) = (self.verify, self.set.clone());
        let limit = self.limit;
        let session = self.session(database).await?;
        introspect::shared(session, desired, (Passwords { verify, set: &set }, limit)).await
    }

    pub(crate) async fn inside(&mut self, desired: &Desired) -> Result<Inside, Error> {
        let limit = self.limit;
        let session = self.session(&desired.database).await?;
        introspect::contents(session, desired, limit).await
    }

    async fn others(
        &mut self,
        desired: &Desired,
        shared: &Shared,
        inside: Option<&Inside>,
    ) -> Result<Others, Error> {
        let concerned = introspect::concerned(desired, shared, inside);
        let from = if inside.is_some() { desired.database.clone() } else { self.server.maintenance.clone() };
        let mut others = self.dependencies(desired, &concerned, &from).await?;
        let mut known = BTreeMap::new();
        for (role, databases) in &mut others.dependencies {
            for (database, found) in databases {
                if !found.allow_connections {
                    continue;
                }
                if self.enter(database).await? {
                    let limit = self.limit;
                    let session = self.session(database).await?;
                    // Event triggers may be turned off only now.
                    session.settle().await?;
                    known.extend(introspect::owned(session, (*role, limit), found).await?);
                } else {
                    found.allow_connections = false;
                }
            }
        }
        others.roles = known;
        // A place is kept for a login that is tried.
        self.leave_others(&desired.database).await;
        Ok(others)
    }

    /// What the roles have in this database, read in it.
    pub(crate) async fn others_in(
        &mut self,
        concerned: &BTreeMap<Oid, Concerned>,
        desired: &Desired,
        database: &Ident,
    ) -> Result<Others, Error> {
        let mut others = self.dependencies(desired, concerned, database).await?;
        let mut known = BTreeMap::new();
        let limit = self.limit;
        let session = self.session(database).await?;
        for (role, databases) in &mut others.dependencies {
            if let Some(found) = databases.get_mut(database) {
                known.extend(introspect::owned(session, (*role, limit), found).await?);
            }
        }
        others.roles = known;
        Ok(others)
    }

    async fn dependencies(
        &mut self,
        desired: &Desired,
        concerned: &BTreeMap<Oid, Concerned>,
        from: &Ident,
    ) -> Result<Others, Error> {
        if concerned.is_empty() {
            return Ok(Others::default());
        }
        let maintenance = &self.server.maintenance;
        let session = self.session(from).await?;
        let dependencies =
            introspect::dependencies(session, concerned, (maintenance, &desired.database)).await?;
        Ok(Others { dependencies, ..Others::default() })
    }
}

/// No such database, one that accepts no connections or is invalid, or one whose owner lets us not in.
fn is_closed_door(code: &str) -> bool {
    matches!(code, "3D000" | "55000" | "42501")
}
