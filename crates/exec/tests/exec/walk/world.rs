//! What the resources say at this moment of the walk.

use std::collections::{BTreeMap, BTreeSet};

use exec::{Password, Stored, Verify, scram, try_login};
use plan::{
    Access, Catalog, Claim, Desired, Disposition, Grantee, Ident, Leaving, Login, Managed, Origin,
    PasswordState, Prune, Recorded, Schemas,
    testing::{claim, ident},
};
use testbed::unique;

use super::random::Random;
use crate::support::{Admin, Place, place, sql};

/// The schemas that come and go; `public` is there from the start.
pub(super) const SCHEMAS: [&str; 4] = ["public", "s1", "s2", "S \"3\""];

/// The resources, and what they may become.
pub(super) struct World {
    pub(super) place: Place,
    pub(super) admin: Admin,
    pub(super) major: u16,
    /// Who may own the database; one of them does.
    pub(super) owners: Vec<Ident>,
    pub(super) owner: Ident,
    /// Who may be a user of it.
    pub(super) names: Vec<Ident>,
    pub(super) users: BTreeMap<Ident, Grantee>,
    /// Roles that the next pass has to remove.
    pub(super) leaving: BTreeMap<Ident, Leaving>,
    /// Roles that no resource names.
    pub(super) strangers: Vec<Ident>,
    /// Whether PUBLIC's access to the database is revoked.
    pub(super) prune: Prune,
    pub(super) random: Random,
    /// Who made the routines and views that run with their owner's rights.
    pub(super) made: BTreeMap<String, String>,
    /// Roles that somebody has locked out since the last pass.
    pub(super) locked_out: BTreeSet<String>,
    /// Number of the next thing that needs a name of its own.
    pub(super) next: u32,
    verifiers: BTreeMap<Ident, plan::Verifier>,
    recorded: BTreeMap<Ident, Recorded>,
    database: Option<Recorded>,
}

impl World {
    /// Nothing but an owner and a reader of everything.
    pub(super) async fn new(major: u16, admin: Admin, random: Random) -> Self {
        let mut place = place(major, admin).await;
        let more = ["cid", "D \"d"].map(|name| ident(&unique(name)));
        let names: Vec<_> = [place.reader.clone(), place.writer.clone()].into_iter().chain(more).collect();
        let owners = vec![place.owner.clone(), ident(&unique("owner"))];
        let strangers: Vec<_> = ["stranger", "stranger"].map(|name| ident(&unique(name))).into();
        for role in names.iter().chain(&owners).chain(&strangers) {
            place.secrets.0.insert(role.clone(), Password::new(format!("password of {role}")));
        }
        for role in &strangers {
            let made = format!("CREATE ROLE {role} LOGIN PASSWORD 'password of {role}'");
            sql(place.postgres, "postgres", made).await;
        }
        let verifier =
            |(role, password): (&Ident, &Password)| (role.clone(), scram::verifier(password).unwrap());
        let verifiers = place.secrets.0.iter().map(verifier).collect();
        let reader = Grantee { access: Access::Read, schemas: Schemas::All, prune: Prune::IfCreated };
        Self {
            admin,
            major,
            owner: place.owner.clone(),
            users: [(place.reader.clone(), reader)].into(),
            leaving: BTreeMap::new(),
            prune: Prune::IfCreated,
            recorded: BTreeMap::new(),
            database: None,
            made: BTreeMap::new(),
            locked_out: BTreeSet::new(),
            next: 0,
            place,
            owners,
            names,
            strangers,
            random,
            verifiers,
        }
    }

    /// What a pass is asked for.
    pub(super) fn desired(&self) -> Desired {
        let login = |role: &Ident| {
            let password = Some(self.verifiers[role].clone().into());
            let recorded = self.recorded.get(role).cloned();
            (role.clone(), Login { claim: claim_of(role), recorded, password })
        };
        Desired {
            database: self.place.database.clone(),
            managed: Managed::Yes {
                owner: self.owner.clone(),
                template: ident("template0"),
                claim: claim(self.place.database.as_str()),
                recorded: self.database.clone(),
                prune: self.prune,
            },
            logins: self.users.keys().chain([&self.owner]).map(login).collect(),
            grantees: self.users.clone(),
            leaving: self.leaving.clone(),
            refused: Vec::new(),
            busy: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    /// Takes down what a pass has made, as a status does: a comment that somebody removes proves nothing then.
    pub(super) fn record(&mut self, catalog: &Catalog) {
        self.leaving.clear();
        self.locked_out.clear();
        let made = |oid| Recorded { system_identifier: None, oid, origin: Origin::Created };
        self.database = catalog.database.as_ref().map(|database| made(database.oid));
        let named = self.users.keys().chain([&self.owner]);
        self.recorded =
            named.filter_map(|role| Some((role.clone(), made(catalog.role_oid(role)?)))).collect();
    }

    /// The resource of this role is deleted, or names another.
    pub(super) fn leave(&mut self, role: &Ident, disposition: Disposition) {
        let recorded = self.recorded.get(role).cloned();
        self.leaving.insert(role.clone(), Leaving { claim: claim_of(role), recorded, disposition });
    }

    /// Whether the admin role may change what this role owns.
    pub(super) fn can_act_as(&self, role: &str) -> bool {
        let is_ours = |ours: &Ident| ours.as_str() == role;
        self.admin == Admin::Superuser || self.names.iter().chain(&self.owners).any(is_ours)
    }

    /// Up to 14 only a superuser may change what PUBLIC has on `public`.
    pub(super) fn is_public_open(&self) -> bool {
        self.major <= 14 && self.admin == Admin::Limited
    }

    /// Whether any surplus is kept.
    pub(super) fn keeps_surplus(&self) -> bool {
        self.prune == Prune::Never || self.users.values().any(|user| user.prune == Prune::Never)
    }

    /// Those of the names that exist.
    pub(super) fn present<'a>(&self, roles: &'a BTreeSet<String>) -> impl Iterator<Item = &'a String> {
        roles.iter().filter(|role| self.names.iter().any(|name| name.as_str() == role.as_str()))
    }

    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

/// Uids and digests have no quotes in them.
fn claim_of(role: &Ident) -> Claim {
    claim(&role.as_str().replace('"', ""))
}

/// What is known of the passwords before a pass. Who may not read verifiers tries them.
pub(super) struct Known {
    states: BTreeMap<Ident, PasswordState>,
    verifiers: BTreeMap<Ident, plan::Verifier>,
}

impl Known {
    pub(super) async fn of(world: &World) -> Self {
        let mut states = BTreeMap::new();
        if world.admin == Admin::Limited {
            for role in world.users.keys().chain([&world.owner]) {
                let password = &world.place.secrets.0[role];
                let state = try_login(&world.place.server, role, password).await.unwrap();
                states.insert(role.clone(), state);
            }
        }
        Self { states, verifiers: world.verifiers.clone() }
    }
}

impl Verify for Known {
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState {
        match stored {
            Stored::Absent => PasswordState::Absent,
            Stored::Unreadable => self.states.get(role).copied().unwrap_or_default(),
            // The walk has one verifier for each password.
            Stored::Verifier(found) if self.verifiers[role].expose() == found => PasswordState::Matches,
            Stored::Verifier(_) | Stored::Md5(_) | Stored::Other => PasswordState::Differs,
        }
    }
}
