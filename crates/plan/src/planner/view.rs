//! The catalog as the rules look at it: whose the roles and the database are, and who may change what.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::database::{self, Verdict};
use super::roles;
use crate::{
    Access, Catalog, Contents, Desired, Disposition, Ident, Managed, Membership, Oid, Origin, Privileges,
    Schemas, Withheld,
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
    /// Roles that leave the server: what they gave goes with them.
    pub(super) leavers: BTreeSet<Oid>,
    /// What the admin role may do as things stand.
    standing: Authority,
    /// What it may do with the memberships that the plan gives it.
    authority: Authority,
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
        let owned = roles::judge(desired, catalog, plan);
        let verdict = database::judge(desired, catalog, &owned, plan);
        let logins = if verdict.is_usable() { owned } else { BTreeMap::new() };
        let mut view = Self {
            desired,
            catalog,
            logins,
            verdict,
            subjects: Vec::new(),
            heirs: BTreeMap::new(),
            leavers: BTreeSet::new(),
            standing: Authority::of(catalog, &BTreeSet::new()),
            authority: Authority::of(catalog, &BTreeSet::new()),
        };
        view.leavers = view.list_leavers();
        view.authority = Authority::of(catalog, &view.list_lent());
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

    /// Whether the role is not to be changed for now.
    pub(super) fn is_spared(&self, oid: Oid) -> bool {
        !self.desired.spared.is_empty()
            && self.catalog.roles.get(&oid).is_some_and(|role| self.desired.spared.contains(&role.name))
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

    /// The role itself, or who it stands for in this database.
    pub(super) fn stands_for(&self, oid: Oid) -> Oid {
        match &self.catalog.database {
            Some(database) if self.is_pg_database_owner(oid) => database.owner,
            _ => oid,
        }
    }

    /// Whether the admin role may change privileges on what this role owns, and its default privileges.
    pub(super) fn can_act_as(&self, oid: Oid) -> bool {
        let stands_for = self.stands_for(oid);
        // A role that the plan makes is one that the admin role becomes a member of.
        let is_new = !self.catalog.roles.contains_key(&stands_for);
        self.admin_is_superuser() || is_new || self.authority.inherits.contains(&stands_for)
    }

    /// Whether the admin role may become this role (`SET ROLE`), and make it an owner.
    pub(super) fn can_become(&self, oid: Oid) -> bool {
        // As above: a role that the plan makes.
        let is_new = !self.catalog.roles.contains_key(&oid);
        self.admin_is_superuser() || is_new || self.authority.becomes.contains(&oid)
    }

    /// Whether the admin role may alter and drop the role, and grant it (PostgreSQL manual, "Role Attributes").
    pub(super) fn can_administer(&self, oid: Oid) -> bool {
        self.standing.can_administer(self.catalog, oid)
    }

    /// Whether the admin role lacks a membership that it needs to act in the role's name.
    pub(super) fn needs_membership(&self, oid: Oid) -> bool {
        let now = &self.standing;
        let is_member = now.inherits.contains(&oid) && now.becomes.contains(&oid);
        !now.superuser && !is_member
    }

    /// The role and those whose rights it has, as far as the catalog tells.
    pub(super) fn acts_for(&self, role: Oid) -> BTreeSet<Oid> {
        closure(self.catalog, role, |membership| membership.inherit)
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
        subject.oid == Some(self.stands_for(self.owner_after(owner)))
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

    /// Roles of ours that are dropped.
    fn list_leavers(&self) -> BTreeSet<Oid> {
        let leaver = |(name, leaving): (&'a Ident, &'a crate::Leaving)| {
            let (oid, _, origin) = super::leaving::judge(self, name, leaving)?;
            super::leaving::drops(leaving.disposition, origin).then_some(oid)
        };
        self.desired.leaving.iter().filter_map(leaver).collect()
    }

    /// The same as those who lose everything here.
    pub(super) fn departing(&self) -> impl Iterator<Item = Subject<'a>> {
        let subject = |oid: &Oid| Subject {
            name: self.name(*oid),
            oid: Some(*oid),
            access: None,
            schemas: &Schemas::All,
            exact: true,
        };
        self.leavers.iter().map(subject)
    }

    /// Roles that the plan makes the admin role a member of.
    fn list_lent(&self) -> BTreeSet<Oid> {
        let logins = self.logins.keys().filter_map(|name| self.catalog.role_oid(name));
        logins.chain(self.leavers.iter().copied()).filter(|oid| self.can_administer(*oid)).collect()
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
            if !moves || !super::leaving::is_ours(self, &role.name) || self.is_refused(&role.name) {
                continue;
            }
            if let Some(obstacle) = self.obstacle(oid) {
                // What keeps a role that is dropped is said with the rest of it.
                if !self.leavers.contains(&oid) {
                    let reason =
                        format!("it has something in database {}, {obstacle}", self.desired.database);
                    plan.withheld.push(Withheld::CannotLeave { role: role.name.clone(), reason });
                }
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
    /// Why what the role owns here cannot be given away.
    fn obstacle(&self, oid: Oid) -> Option<String> {
        let here = self.catalog.dependencies.get(&oid)?.get(&self.desired.database)?;
        super::leaving::obstacle(self, self.name(oid), (&self.desired.database, here))
    }

    /// Whether the server refused a part of giving it away.
    fn is_refused(&self, name: &Ident) -> bool {
        self.desired.refused.iter().any(|refused| refused.action.departing_role() == Some(name))
    }
}

/// What the admin role may do in the name of others.
pub(super) struct Authority {
    pub(super) superuser: bool,
    create_role: bool,
    /// Roles whose rights it has.
    inherits: BTreeSet<Oid>,
    /// Roles that it may become.
    becomes: BTreeSet<Oid>,
}

impl Authority {
    /// With the memberships that are there and, directly, in these.
    pub(super) fn of(catalog: &Catalog, lent: &BTreeSet<Oid>) -> Self {
        let admin = catalog.server.admin;
        let role = catalog.roles.get(&admin);
        let reach = |by: fn(&Membership) -> bool| {
            let starts = lent.iter().copied().chain([admin]);
            starts.flat_map(|start| closure(catalog, start, by)).collect()
        };
        Self {
            superuser: role.is_some_and(|role| role.superuser),
            create_role: role.is_some_and(|role| role.create_role),
            inherits: reach(|membership| membership.inherit),
            becomes: reach(|membership| membership.set),
        }
    }

    /// Up to 15 CREATEROLE is enough for whoever is no superuser; since then it takes the ADMIN option, directly or
    /// by a membership of any kind.
    pub(super) fn can_administer(&self, catalog: &Catalog, oid: Oid) -> bool {
        if self.superuser {
            return true;
        }
        let has_option = || {
            let members = closure(catalog, catalog.server.admin, |_| true);
            let grants = catalog.memberships.iter().filter(|found| found.role == oid && found.admin);
            grants.into_iter().any(|found| members.contains(&found.member))
        };
        let is_superuser = catalog.roles.get(&oid).is_some_and(|role| role.superuser);
        self.create_role && !is_superuser && (catalog.server.version.major() <= 15 || has_option())
    }

    /// Whether the admin role may make roles.
    pub(super) const fn can_create_roles(&self) -> bool {
        self.superuser || self.create_role
    }
}

/// The role and every role that it is a member of in this way, directly or not.
fn closure(catalog: &Catalog, start: Oid, by: fn(&Membership) -> bool) -> BTreeSet<Oid> {
    let mut of_member: BTreeMap<Oid, Vec<Oid>> = BTreeMap::new();
    for membership in catalog.memberships.iter().filter(|found| by(found)) {
        of_member.entry(membership.member).or_default().push(membership.role);
    }
    let mut reached = BTreeSet::from([start]);
    let mut pending = vec![start];
    while let Some(member) = pending.pop() {
        let above = of_member.get(&member).into_iter().flatten().copied();
        pending.extend(above.filter(|role| reached.insert(*role)));
    }
    reached
}
