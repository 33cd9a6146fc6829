//! The database itself: whose it is, its owner, who may enter.

use std::collections::BTreeMap;

use super::Plan;
use super::roles;
use super::surplus::{self, Object, Way};
use super::view::{Subject, View};
use crate::marker::{Foreign, Ownership, comment_with};
use crate::{
    Acl, AclItem, Action, Catalog, Cause, Claim, Database, Desired, Ident, Managed, Oid, Origin, Privilege,
    Privileges, Recipient, Recorded, Refusal, Target, Withheld, is_reserved,
};

/// What a database's owner has on it.
const OWNER: Privileges = Privileges::of(&[Privilege::Create, Privilege::Connect, Privilege::Temporary]);
/// What PUBLIC has on a new database, and what every grantee gets.
const ENTER: Privileges = Privileges::of(&[Privilege::Connect, Privilege::Temporary]);
/// Stands for a role that the plan makes and that has no number yet.
const TO_BE_MADE: Oid = Oid(u32::MAX);

/// What may be done to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ours, or about to be.
    Ours(Origin),
    /// It is there, somebody else's, and its users are wanted.
    Expected,
    /// It is missing, or not ours: nothing is done to it or in it.
    Unusable,
}

impl Verdict {
    pub(super) const fn is_usable(self) -> bool {
        !matches!(self, Self::Unusable)
    }
}

/// Whose the database is. What keeps it from being used is withheld.
pub(super) fn judge(
    desired: &Desired,
    catalog: &Catalog,
    owned: &BTreeMap<&Ident, Origin>,
    plan: &mut Plan,
) -> Verdict {
    let found = catalog.database.as_ref();
    let (claim, recorded, wanted_owner) = match &desired.managed {
        Managed::Yes { claim, recorded, owner, .. } => (claim, recorded.as_ref(), owner),
        Managed::Released { .. } | Managed::No => return judge_expected(desired, found, plan),
    };
    let withhold = |refusal, hint: &str| Withheld::Database {
        database: desired.database.clone(),
        refusal,
        hint: hint.to_owned(),
    };
    if is_reserved(&desired.database) {
        plan.withheld.push(withhold(Refusal::Reserved, "the name is reserved"));
        return Verdict::Unusable;
    }
    let Some(owner_origin) = owned.get(wanted_owner).copied() else {
        plan.withheld.push(withhold(Refusal::NotOurs, "its owner role may not be used"));
        return Verdict::Unusable;
    };
    let Some(found) = found else {
        if can_create(catalog) {
            return Verdict::Ours(Origin::Created);
        }
        plan.withheld.push(withhold(Refusal::InsufficientPrivilege, &roles::lacks(catalog, "CREATEDB")));
        return Verdict::Unusable;
    };
    let proof = Proof { desired, catalog, owner: wanted_owner, owner_origin };
    match proof.judge(claim, recorded, found) {
        Ok(origin) => Verdict::Ours(origin),
        Err(reason) => {
            plan.withheld.push(withhold(Refusal::NotOurs, reason));
            Verdict::Unusable
        }
    }
}

fn can_create(catalog: &Catalog) -> bool {
    let admin = &catalog.roles[&catalog.server.admin];
    admin.superuser || admin.create_db
}

fn judge_expected(desired: &Desired, found: Option<&Database>, plan: &mut Plan) -> Verdict {
    let is_wanted = !desired.grantees.is_empty();
    match found {
        Some(database) if !database.invalid => Verdict::Expected,
        _ if is_wanted => {
            plan.withheld.push(Withheld::DatabaseMissing { database: desired.database.clone() });
            Verdict::Unusable
        }
        _ => Verdict::Unusable,
    }
}

/// What is known when a database that is already there is judged. Its comment proves nothing alone: its owner
/// can write it.
struct Proof<'a> {
    desired: &'a Desired,
    catalog: &'a Catalog,
    owner: &'a Ident,
    owner_origin: Origin,
}

impl Proof<'_> {
    fn judge(
        &self,
        claim: &Claim,
        recorded: Option<&Recorded>,
        found: &Database,
    ) -> Result<Origin, &'static str> {
        let recorded = recorded.filter(|recorded| recorded.is(found.oid, &self.catalog.server));
        match claim.judge(found.comment.as_deref()) {
            Ownership::Ours(origin) if recorded.is_some() || self.is_trusted(found.owner) => Ok(origin),
            Ownership::Ours(_) => Err("its marker is ours, but its owner is not"),
            Ownership::Adoptable | Ownership::Foreign(_) if recorded.is_some() => {
                Ok(recorded.map_or(Origin::Adopted, |recorded| recorded.origin))
            }
            Ownership::Foreign(Foreign::Unmarked) | Ownership::Adoptable if self.is_owner(found.owner) => {
                Ok(self.origin_of_unmarked(found))
            }
            Ownership::Foreign(Foreign::Unmarked) | Ownership::Adoptable => {
                Err("it was there before, and its owner is another role")
            }
            Ownership::Foreign(foreign) => Err(foreign.as_str()),
        }
    }

    /// A closed database of an owner that we made is one that we were about to finish.
    fn origin_of_unmarked(&self, found: &Database) -> Origin {
        if found.allow_connections { Origin::Adopted } else { self.owner_origin }
    }

    fn is_owner(&self, oid: Oid) -> bool {
        self.catalog.role_oid(self.owner) == Some(oid)
    }

    /// The wanted owner or, while it changes, the one before.
    fn is_trusted(&self, oid: Oid) -> bool {
        let leaving = self.desired.leaving.iter().any(|(name, leaving)| {
            self.catalog.role_oid(name) == Some(oid)
                && matches!(
                    leaving.claim.judge(self.catalog.roles[&oid].comment.as_deref()),
                    Ownership::Ours(_)
                )
        });
        self.is_owner(oid) || leaving
    }
}

/// Makes the database and keeps owner, marker and access right.
pub(super) fn push_database(view: &View<'_>, plan: &mut Plan) {
    match (&view.desired.managed, view.verdict) {
        (_, Verdict::Unusable) => (),
        (Managed::Yes { owner, template, claim, prune, .. }, Verdict::Ours(origin)) => {
            let found = push_creation(view, owner, template, plan);
            push_owner_and_marker(view, owner, &claim.marker_for(origin), found, plan);
            let acl = found.map_or_else(|| new_acl(view), |found| transferred(view, found));
            push_public(view, &acl, prune.is_exact(origin), plan);
            push_owner_access(view, owner, &acl, found, plan);
            push_subjects(view, &acl, plan);
            if found.is_none_or(|found| !found.allow_connections) {
                plan.actions.push(Action::AllowConnections { database: view.desired.database.clone() });
            }
        }
        (Managed::Released { claim }, _) => push_release(view, claim, plan),
        (Managed::Yes { .. } | Managed::No, _) => {
            if let Some(found) = &view.catalog.database {
                push_subjects(view, &found.acl, plan);
            }
        }
    }
}

/// The database if it is there and usable, else the statements that make it.
fn push_creation<'a>(
    view: &View<'a>,
    owner: &Ident,
    template: &Ident,
    plan: &mut Plan,
) -> Option<&'a Database> {
    let database = view.desired.database.clone();
    match &view.catalog.database {
        Some(found) if !found.invalid => return Some(found),
        Some(_) => plan.actions.push(Action::DropInvalidDatabase { database: database.clone() }),
        None => (),
    }
    plan.actions.push(Action::CreateDatabase { database, owner: owner.clone(), template: template.clone() });
    None
}

fn push_owner_and_marker(
    view: &View<'_>,
    owner: &Ident,
    marker: &crate::Marker,
    found: Option<&Database>,
    plan: &mut Plan,
) {
    let database = view.desired.database.clone();
    if found.is_some_and(|found| view.name(found.owner) != owner) {
        plan.actions.push(Action::AlterDatabaseOwner { database: database.clone(), owner: owner.clone() });
    }
    let present = found.and_then(|found| found.comment.as_deref());
    let comment = comment_with(marker, present);
    if present != Some(&comment) {
        plan.actions.push(Action::CommentOnDatabase { database, comment });
    }
}

fn push_release(view: &View<'_>, claim: &Claim, plan: &mut Plan) {
    let Some(found) = &view.catalog.database else { return };
    let Ownership::Ours(origin) = claim.judge(found.comment.as_deref()) else { return };
    let marker = crate::Marker { released: true, ..claim.marker_for(origin) };
    let comment = comment_with(&marker, found.comment.as_deref());
    if found.comment.as_deref() != Some(&comment) {
        plan.actions.push(Action::CommentOnDatabase { database: view.desired.database.clone(), comment });
    }
}

/// PUBLIC has no access to a database of ours.
fn push_public(view: &View<'_>, acl: &Acl, exact: bool, plan: &mut Plan) {
    let found = acl.of(Oid::PUBLIC);
    if !exact && !found.is_empty() {
        plan.withheld.push(kept(view, None, found, Privileges::NONE));
    }
    if exact {
        let object = Object { acl, owner: owner_oid(view), schema: None };
        let remaining = surplus::remaining(view, object, &wanted);
        push_losses(view, object, &remaining, (Oid::PUBLIC, &Recipient::Public, Privileges::NONE), plan);
    }
}

fn push_owner_access(view: &View<'_>, owner: &Ident, acl: &Acl, found: Option<&Database>, plan: &mut Plan) {
    let held = match (found, view.catalog.role_oid(owner)) {
        (Some(_), Some(oid)) => acl.of(oid),
        // A new database gives its owner everything.
        _ => OWNER,
    };
    push_grant(view, acl, (owner, OWNER.without(held)), plan);
}

/// What a subject has on the database.
pub(super) fn wanted(subject: &Subject<'_>) -> Privileges {
    if subject.access.is_some() { ENTER } else { Privileges::NONE }
}

fn push_subjects(view: &View<'_>, acl: &Acl, plan: &mut Plan) {
    let object = Object { acl, owner: owner_oid(view), schema: None };
    let remaining = surplus::remaining(view, object, &wanted);
    for subject in &view.subjects {
        let wanted = wanted(subject);
        let found = |acl: &Acl| subject.oid.map_or(Privileges::NONE, |oid| acl.of(oid));
        push_grant(view, acl, (subject.name, wanted.without(found(&remaining))), plan);
        let Some(oid) = subject.oid else { continue };
        let recipient = Recipient::Role(subject.name.clone());
        if subject.exact {
            push_losses(view, object, &remaining, (oid, &recipient, wanted), plan);
            continue;
        }
        let (surplus, grantable) = (found(acl).without(wanted), acl.grantable_by(oid));
        if !surplus.union(grantable).is_empty() {
            plan.withheld.push(kept(view, Some(subject.name), surplus, grantable));
        }
    }
}

/// Takes what somebody has beyond what is wanted.
fn push_losses(
    view: &View<'_>,
    object: Object<'_>,
    remaining: &Acl,
    (grantee, recipient, wanted): (Oid, &Recipient, Privileges),
    plan: &mut Plan,
) {
    for item in object.acl.items_of(grantee) {
        for loss in surplus::losses(view, object, remaining, item, wanted) {
            let (from, grantor) = match loss.way {
                Way::As(grantor) => (recipient.clone(), grantor),
                Way::From { giver, by } => (Recipient::Role(giver), by),
                Way::Kept => {
                    let object = format!("database {}", view.desired.database);
                    plan.withheld.push(super::schemas::borne(recipient, &object, loss.privileges));
                    continue;
                }
                Way::Barred(giver) => {
                    let object = format!("database {}, given by {giver}", view.desired.database);
                    let (role, privileges) = (recipient.role().cloned(), loss.privileges);
                    plan.withheld.push(Withheld::NotPermitted { role, object, privileges });
                    continue;
                }
            };
            plan.actions.push(Action::Revoke {
                database: view.desired.database.clone(),
                target: Target::Database,
                privileges: loss.privileges,
                taken: loss.taken,
                from: vec![from],
                grantor,
            });
        }
    }
}

/// A role that is dropped loses its access to the database.
pub(super) fn push_departure(view: &View<'_>, oid: Oid, name: &Ident, plan: &mut Plan) {
    let Some(found) = &view.catalog.database else { return };
    let acl = transferred(view, found);
    let object = Object { acl: &acl, owner: owner_oid(view), schema: None };
    // What the admin role may not take, DROP OWNED does, or DROP ROLE says so.
    let mut departure = Plan::default();
    let recipient = Recipient::Role(name.clone());
    push_losses(view, object, &acl, (oid, &recipient, Privileges::NONE), &mut departure);
    plan.actions.append(&mut departure.actions);
}

fn push_grant(view: &View<'_>, acl: &Acl, (to, privileges): (&Ident, Privileges), plan: &mut Plan) {
    if privileges.is_empty() {
        return;
    }
    if !view.can_act_as(owner_oid(view)) {
        let object = format!("database {}", view.desired.database);
        plan.withheld.push(Withheld::NotPermitted { role: Some(to.clone()), object, privileges });
        return;
    }
    let object = Object { acl, owner: owner_oid(view), schema: None };
    plan.actions.push(Action::Grant {
        database: view.desired.database.clone(),
        target: Target::Database,
        privileges,
        to: vec![Recipient::Role(to.clone())],
        grantor: surplus::owner_by_name(view, object, privileges),
        cause: Cause::Missing,
    });
}

fn kept(view: &View<'_>, role: Option<&Ident>, privileges: Privileges, grantable: Privileges) -> Withheld {
    Withheld::PrivilegesKept {
        role: role.cloned(),
        object: format!("database {}", view.desired.database),
        privileges,
        grantable,
    }
}

/// The number of the owner that the database has or is about to get.
fn owner_oid(view: &View<'_>) -> Oid {
    view.database_owner().and_then(|owner| view.catalog.role_oid(owner)).unwrap_or(TO_BE_MADE)
}

/// The built-in ACL of a database that the plan makes. Its owner's part is left out: it always has it.
fn new_acl(view: &View<'_>) -> Acl {
    let grantor = owner_oid(view);
    Acl(vec![AclItem { grantee: Oid::PUBLIC, grantor, privileges: ENTER, grantable: Privileges::NONE }])
}

/// The ACL after a change of owner: what the old one had and gave, the new one has and gave.
fn transferred(view: &View<'_>, found: &Database) -> Acl {
    let owner = owner_oid(view);
    let moved = |oid| if oid == found.owner { owner } else { oid };
    let items = found.acl.0.iter();
    Acl(items
        .map(|item| AclItem { grantee: moved(item.grantee), grantor: moved(item.grantor), ..*item })
        .collect())
}
