//! The catalog as the rules look at it: whose the roles and the database are, and who may change what.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::database::{self, Verdict};
use super::roles;
use crate::{
    Access, Catalog, Contents, Desired, Disposition, Ident, Managed, Oid, Origin, Privileges, Prune, Schemas,
    Withheld,
};

/// Desired and catalog, with every question of ownership decided.
pub(super) struct View<'a> {
    pub(super) desired: &'a Desired,
    pub(super) catalog: &'a Catalog,
    /// The logins that may be made or changed, with their origin.
    pub(super) logins: BTreeMap<&'a Ident, Origin>,
    /// What may be done to the database.
    pub(super) verdict: Verdict,
    /// The roles whose privileges are brought to what they should be.
    pub(super) subjects: Vec<Subject<'a>>,
    /// Who gets what these roles own in this database.
    pub(super) heirs: BTreeMap<Oid, Oid>,
    /// Roles whose rights the admin role has.
    acts_as: BTreeSet<Oid>,
}

/// A role whose privileges in the database are ours to keep right.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    pub(super) name: &'a Ident,
    /// `None` while the role is still to be made.
    pub(super) oid: Option<Oid>,
    /// `None` for a role that loses all it has here.
    pub(super) access: Option<Access>,
    pub(super) schemas: &'a Schemas,
    /// Whether surplus is revoked rather than reported.
    pub(super) exact: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(desired: &'a Desired, catalog: &'a Catalog, plan: &mut Plan) -> Self {
        let acts_as = closure(catalog);
        let owned = roles::judge(desired, catalog, plan);
        let verdict = database::judge(desired, catalog, &owned, plan);
        let logins = if verdict.is_usable() { owned } else { BTreeMap::new() };
        let mut view =
            Self { desired, catalog, logins, verdict, subjects: Vec::new(), heirs: BTreeMap::new(), acts_as };
        view.subjects = view.list_subjects();
        view.heirs = view.list_heirs(plan);
        view
    }

    /// What is in the database, if it is there and ours to work in.
    pub(super) fn contents(&self) -> Option<&'a Contents> {
        self.catalog.contents.as_ref().filter(|_| self.verdict.is_usable())
    }

    /// The owner that the database has or is about to get.
    pub(super) fn database_owner(&self) -> Option<&'a Ident> {
        match (&self.desired.managed, self.verdict) {
            (Managed::Yes { owner, .. }, Verdict::Ours(_)) => Some(owner),
            (Managed::Yes { .. } | Managed::Released { .. } | Managed::No, _) => {
                self.catalog.database.as_ref().map(|database| self.name(database.owner))
            }
        }
    }

    /// The name of a role in the catalog.
    pub(super) fn name(&self, oid: Oid) -> &'a Ident {
        &self.catalog.roles.get(&oid).expect("introspection names every role it refers to").name
    }

    pub(super) fn is_superuser(&self, oid: Oid) -> bool {
        self.catalog.roles.get(&oid).is_some_and(|role| role.superuser)
    }

    /// Whether this is the role that stands for the owner of whichever database one looks from (14 and later).
    pub(super) fn is_pg_database_owner(&self, oid: Oid) -> bool {
        self.catalog.roles.get(&oid).is_some_and(|role| role.name.as_str() == "pg_database_owner")
    }

    /// Whether the admin role may change privileges on what this role owns, and its default privileges.
    pub(super) fn can_act_as(&self, oid: Oid) -> bool {
        let stands_for = match &self.catalog.database {
            Some(database) if self.is_pg_database_owner(oid) => database.owner,
            _ => oid,
        };
        self.admin_is_superuser() || self.acts_as.contains(&stands_for)
    }

    pub(super) fn admin_is_superuser(&self) -> bool {
        self.is_superuser(self.catalog.server.admin)
    }

    /// Who owns, after the plan's REASSIGN, what this role owns now.
    pub(super) fn owner_after(&self, owner: Oid) -> Oid {
        self.heirs.get(&owner).copied().unwrap_or(owner)
    }

    /// What the subject will own is not granted to it.
    pub(super) fn owns(&self, subject: &Subject<'_>, owner: Oid) -> bool {
        let after = self.owner_after(owner);
        let stands_for = match &self.catalog.database {
            Some(database) if self.is_pg_database_owner(after) => database.owner,
            _ => after,
        };
        subject.oid == Some(stands_for)
    }

    /// What an item gives the subject once ownership has moved: an owner's own entry moves with it.
    pub(super) fn held(&self, subject: &Subject<'_>, owner: Oid, found: Privileges) -> Privileges {
        let moves_away = subject.oid == Some(owner) && self.heirs.contains_key(&owner);
        if moves_away { Privileges::NONE } else { found }
    }

    /// The roles that leave this server or database.
    pub(super) fn is_leaving(&self, name: &Ident) -> bool {
        self.desired.leaving.get(name).is_some_and(|leaving| leaving.disposition != Disposition::Release)
    }

    fn list_subjects(&self) -> Vec<Subject<'a>> {
        let mut subjects: Vec<_> = self
            .desired
            .grantees
            .iter()
            .filter_map(|(name, grantee)| {
                let origin = *self.logins.get(name)?;
                Some(Subject {
                    name,
                    oid: self.catalog.role_oid(name),
                    access: Some(grantee.access),
                    schemas: &grantee.schemas,
                    exact: grantee.prune.is_exact(origin),
                })
            })
            .collect();
        let detached = self.desired.leaving.iter().filter_map(|(name, leaving)| {
            let (oid, _, origin) = super::leaving::judge(self, name, leaving)?;
            let detaches = super::leaving::detaches(leaving.disposition, origin);
            detaches.then_some(Subject {
                name,
                oid: Some(oid),
                access: None,
                schemas: &Schemas::All,
                exact: true,
            })
        });
        subjects.extend(detached);
        subjects
    }

    /// Leaving roles and readers own nothing in the end.
    fn list_heirs(&self, plan: &mut Plan) -> BTreeMap<Oid, Oid> {
        let Some(contents) = self.contents() else { return BTreeMap::new() };
        let Some(heir) = self.database_owner().and_then(|owner| self.catalog.role_oid(owner)) else {
            return BTreeMap::new();
        };
        let mut heirs = BTreeMap::new();
        for oid in contents.owners.iter().copied().filter(|oid| *oid != heir) {
            let role = &self.catalog.roles[&oid];
            let moves = self.is_leaving(&role.name)
                || self.subjects.iter().any(|subject| {
                    subject.oid == Some(oid) && subject.exact && subject.access == Some(Access::Read)
                });
            if !moves || !super::leaving::is_ours(self, &role.name) || self.is_held(oid) {
                continue;
            }
            match super::leaving::foreign_database(self, role) {
                None => _ = heirs.insert(oid, heir),
                Some(database) => plan.withheld.push(Withheld::CannotLeave {
                    role: role.name.clone(),
                    reason: format!("it owns database {database}, which would move with what it owns here"),
                }),
            }
        }
        heirs
    }
}

impl View<'_> {
    /// Whether what the role owns here cannot be given away, or the server refused a part of that.
    fn is_held(&self, oid: Oid) -> bool {
        let here = self.catalog.dependencies.get(&oid).and_then(|found| found.get(&self.desired.database));
        let name = &self.catalog.roles[&oid].name;
        here.is_some_and(|found| super::leaving::obstacle(found).is_some())
            || self.desired.refused.iter().any(|refused| refused.action.departing_role() == Some(name))
    }
}

impl Prune {
    /// Whether surplus is revoked from an object of this origin.
    pub(super) const fn is_exact(self, origin: Origin) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::IfCreated => matches!(origin, Origin::Created),
        }
    }
}

/// The admin role and every role whose privileges it inherits.
fn closure(catalog: &Catalog) -> BTreeSet<Oid> {
    let mut reached = BTreeSet::from([catalog.server.admin]);
    let mut pending = vec![catalog.server.admin];
    while let Some(member) = pending.pop() {
        for membership in catalog.memberships.iter().filter(|found| found.member == member && found.inherit) {
            if reached.insert(membership.role) {
                pending.push(membership.role);
            }
        }
    }
    reached
}
