//! What is taken from a role on one object, and by whom: only who gave a privilege takes it back (PostgreSQL manual,
//! "REVOKE").

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::view::{Subject, View};
use crate::{Acl, AclItem, Ident, Oid, Privilege, Privileges, Schema, Taken};

/// An object and who may do what with it.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) acl: &'a Acl,
    /// Its owner before the plan.
    pub(super) owner: Oid,
    /// The schema that holds it: whoever revokes must get there.
    pub(super) schema: Option<(&'a Schema, &'a Acl)>,
}

/// Something to take from a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) privileges: Privileges,
    pub(super) taken: Taken,
    pub(super) way: Way,
}

/// How a privilege can be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the one who gave it; `None` is the owner, where the server takes the admin role to stand for it.
    As(Option<Ident>),
    /// Its giver loses the right to pass it on, and with it everything passed on: only the roles that should not
    /// have it.
    From { giver: Ident, by: Option<Ident> },
    /// Not by us.
    Barred(Ident),
    /// Not now: a role that is to be spared has something from there.
    Kept,
}

/// The list once the plan has taken what is too much: what was passed on goes with the right to do so. `wanted` says
/// what a subject keeps.
pub(super) fn remaining<'a>(
    view: &View<'_>,
    object: Object<'a>,
    wanted: &dyn Fn(&Subject<'_>) -> Privileges,
) -> Cow<'a, Acl> {
    let keeps = |oid: Oid| {
        let is_subject = |subject: &&Subject<'_>| subject.exact && subject.oid == Some(oid);
        let subject = view.subjects.iter().find(is_subject).map(wanted);
        subject.or_else(|| view.leavers.contains(&oid).then_some(Privileges::NONE))
    };
    let passes_on = |item: &&AclItem| item.grantee != object.owner && !item.grantable.is_empty();
    if !object.acl.0.iter().filter(passes_on).any(|item| keeps(item.grantee).is_some()) {
        return Cow::Borrowed(object.acl);
    }
    let mut acl = object.acl.clone();
    for item in acl.0.iter_mut().filter(|item| item.grantee != object.owner) {
        if let Some(kept) = keeps(item.grantee) {
            item.privileges = item.privileges.intersection(kept);
            item.grantable = Privileges::NONE;
        }
    }
    // Who lost the right to pass on may have given that right to others.
    loop {
        let before = acl.clone();
        for item in acl.0.iter_mut().filter(|item| item.grantor != object.owner) {
            let given = before.grantable_by(item.grantor);
            item.privileges = item.privileges.intersection(given);
            item.grantable = item.grantable.intersection(given);
        }
        if acl == before {
            break;
        }
    }
    acl.0.retain(|item| !item.privileges.is_empty());
    Cow::Owned(acl)
}

/// What has to be taken of one entry so that no more than `wanted` is left of it. What goes by itself, with the right
/// of who gave it, is left out.
pub(super) fn losses(
    view: &View<'_>,
    object: Object<'_>,
    remaining: &Acl,
    item: &AclItem,
    wanted: Privileges,
) -> Vec<Loss> {
    let stays =
        if item.grantor == object.owner { item.privileges } else { remaining.grantable_by(item.grantor) };
    let surplus = item.privileges.without(wanted).intersection(stays);
    let parts = [
        (Taken::Privilege, surplus.without(item.grantable)),
        (Taken::WithDependents, surplus.intersection(item.grantable)),
        (Taken::GrantOption, item.grantable.intersection(wanted).intersection(stays)),
    ];
    let loss = |(taken, privileges): (Taken, Privileges)| {
        let is_borne = taken != Taken::Privilege && costs_spared(object, item, privileges, view);
        let way = if is_borne { Way::Kept } else { way(view, object, item, privileges) };
        // What its giver loses is the right to give it.
        let taken = if matches!(way, Way::From { .. }) { Taken::GrantOption } else { taken };
        Loss { privileges, taken, way }
    };
    parts.into_iter().filter(|(_, privileges)| !privileges.is_empty()).map(loss).collect()
}

fn way(view: &View<'_>, object: Object<'_>, item: &AclItem, privileges: Privileges) -> Way {
    let giver = || view.name(item.grantor).clone();
    let owner_can = view.can_act_as(object.owner);
    if item.grantor == object.owner {
        let by = || owner_by_name(view, object, privileges);
        return if owner_can { Way::As(by()) } else { Way::Barred(giver()) };
    }
    // What a superuser takes, it takes as the owner, whatever it gave before it was one.
    let is_itself = !view.is_superuser(item.grantor);
    if is_itself && view.can_become(item.grantor) && reaches(view, object, item.grantor) {
        return Way::As(Some(giver()));
    }
    let from_owner = object
        .acl
        .items_of(item.grantor)
        .all(|held| held.grantor == object.owner || held.grantable.intersection(privileges).is_empty());
    let costs_others = object.acl.0.iter().any(|other| {
        other.grantor == item.grantor
            && other.grantee != item.grantee
            && !other.privileges.intersection(privileges).is_empty()
    });
    if owner_can && from_owner && !costs_others && !view.is_spared(item.grantor) {
        Way::From { giver: giver(), by: owner_by_name(view, object, privileges) }
    } else {
        Way::Barred(giver())
    }
}

/// Whether a role that is to be spared has something that this one passed on, or that came from there.
fn costs_spared(object: Object<'_>, item: &AclItem, privileges: Privileges, view: &View<'_>) -> bool {
    if view.desired.spared.is_empty() {
        return false;
    }
    let mut givers = BTreeSet::from([item.grantee]);
    loop {
        let passed_on = |other: &&AclItem| {
            givers.contains(&other.grantor) && !other.privileges.intersection(privileges).is_empty()
        };
        let recipients: BTreeSet<_> =
            object.acl.0.iter().filter(passed_on).map(|other| other.grantee).collect();
        if recipients.iter().any(|oid| view.is_spared(*oid)) {
            return true;
        }
        let before = givers.len();
        givers.extend(recipients);
        if givers.len() == before {
            return false;
        }
    }
}

/// Whether DROP OWNED leaves the entry to its grantee: it takes what the owner gave, or whoever the server takes to
/// stand for the owner.
pub(super) fn outlasts_drop_owned(view: &View<'_>, object: Object<'_>, item: &AclItem) -> bool {
    item.grantor != object.owner || owner_by_name(view, object, item.privileges).is_some()
}

/// The owner, where it takes its name to give or take in its place. A superuser stands for every owner. Of the roles
/// that another admin role acts for, the server takes the first it finds that may pass the privileges on.
pub(super) fn owner_by_name(view: &View<'_>, object: Object<'_>, privileges: Privileges) -> Option<Ident> {
    // Whoever owns the database stands for `pg_database_owner`, and is a rival of it all the same.
    let owner = view.owner_after(object.owner);
    let is_rival = |item: &AclItem| {
        ![object.owner, owner].contains(&item.grantee)
            && view.can_act_as(item.grantee)
            && !item.grantable.intersection(privileges).is_empty()
    };
    if view.admin_is_superuser() || !object.acl.0.iter().any(is_rival) {
        return None;
    }
    let can_become = view.can_become(view.stands_for(owner)) && reaches(view, object, view.stands_for(owner));
    // An owner that the plan makes has no number yet.
    let name = view.catalog.roles.get(&owner).map(|role| &role.name).or_else(|| view.database_owner());
    name.filter(|_| can_become).cloned()
}

/// Whether the role may use the schema, without which it cannot name what is in it.
fn reaches(view: &View<'_>, object: Object<'_>, role: Oid) -> bool {
    let Some((schema, acl)) = object.schema else { return true };
    let usage = Privileges::of(&[Privilege::Usage]);
    let owner = view.stands_for(view.owner_after(schema.owner));
    view.is_superuser(role)
        || acl.of(Oid::PUBLIC).contains(usage)
        || view.acts_for(role).iter().any(|oid| *oid == owner || acl.of(*oid).contains(usage))
}
