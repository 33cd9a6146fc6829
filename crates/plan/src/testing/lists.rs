//! What GRANT, REVOKE and ALTER … OWNER do to an access control list.

use crate::{Acl, AclItem, DefaultObject, Oid, Privilege, Privileges, ServerVersion, Taken};

/// What ALTER … OWNER does to a list: the former owner's entries become the new one's.
pub(super) fn hand_over(acl: &mut Acl, before: Oid, after: Oid) {
    let moved = |oid| moved(oid, before, after);
    let items = std::mem::take(&mut acl.0);
    for found in items {
        let (grantor, grantee) = (moved(found.grantor), moved(found.grantee));
        give(acl, grantor, grantee, found.privileges);
        let present = acl.0.iter_mut().find(|item| (item.grantor, item.grantee) == (grantor, grantee));
        let present = present.expect("just given");
        present.grantable = present.grantable.union(found.grantable);
    }
    acl.0.sort_unstable();
}

/// What stands for the former owner stands for the new one.
pub(super) fn moved(oid: Oid, before: Oid, after: Oid) -> Oid {
    if oid == before { after } else { oid }
}

pub(super) fn give(acl: &mut Acl, grantor: Oid, grantee: Oid, privileges: Privileges) {
    match acl.0.iter_mut().find(|item| (item.grantor, item.grantee) == (grantor, grantee)) {
        Some(present) => present.privileges = present.privileges.union(privileges),
        None => acl.0.push(item(grantee, grantor, privileges)),
    }
}

/// Takes from one entry; what its grantee passed on goes with the right to pass on.
///
/// # Panics
///
/// If somebody depends on the privilege and it is not taken with CASCADE: a server refuses that.
pub(super) fn take(
    acl: &mut Acl,
    owner: Oid,
    (grantor, grantee): (Oid, Oid),
    (privileges, taken): (Privileges, Taken),
) {
    for item in acl.0.iter_mut().filter(|item| (item.grantor, item.grantee) == (grantor, grantee)) {
        take_from(item, privileges, taken);
    }
    acl.0.retain(|item| !item.privileges.is_empty());
    assert!(taken != Taken::Privilege || orphan(acl, owner).is_none(), "dependent privileges exist: {acl:?}");
    drop_orphans(acl, owner);
}

/// What the owner gave a role and, with it, what the role gave.
///
/// # Panics
///
/// If somebody else gave it something: DROP OWNED leaves that, and the role cannot be dropped.
pub(super) fn forget(acl: &mut Acl, owner: Oid, role: Oid) {
    acl.0.retain(|item| (item.grantee, item.grantor) != (role, owner));
    drop_orphans(acl, owner);
    assert!(acl.0.iter().all(|item| item.grantee != role), "a third role gave it something: {acl:?}");
}

fn drop_orphans(acl: &mut Acl, owner: Oid) {
    while let Some(orphan) = orphan(acl, owner) {
        let given = acl.grantable_by(acl.0[orphan].grantor);
        let item = &mut acl.0[orphan];
        item.privileges = item.privileges.intersection(given);
        item.grantable = item.grantable.intersection(given);
        acl.0.retain(|item| !item.privileges.is_empty());
    }
}

/// What REVOKE does to the entry that it names.
pub(super) fn take_from(item: &mut AclItem, privileges: Privileges, taken: Taken) {
    item.grantable = item.grantable.without(privileges);
    if taken != Taken::GrantOption {
        item.privileges = item.privileges.without(privileges);
    }
}

/// An entry whose grantor may not pass all of it on.
fn orphan(acl: &Acl, owner: Oid) -> Option<usize> {
    let is_orphan =
        |item: &AclItem| item.grantor != owner && !acl.grantable_by(item.grantor).contains(item.privileges);
    acl.0.iter().position(is_orphan)
}

pub(super) fn item(grantee: Oid, grantor: Oid, privileges: Privileges) -> AclItem {
    AclItem { grantee, grantor, privileges, grantable: Privileges::NONE }
}

/// What an owner has on its objects.
pub(super) fn owned(object: DefaultObject, version: ServerVersion) -> Privileges {
    match object {
        DefaultObject::Tables => {
            let rest = [Privilege::Truncate, Privilege::References, Privilege::Trigger];
            let maintain = if version.major() >= 17 { &[Privilege::Maintain][..] } else { &[] };
            Privileges::READ_WRITE.union(Privileges::of(&rest)).union(Privileges::of(maintain))
        }
        DefaultObject::Sequences => Privileges::of(&[Privilege::Select, Privilege::Update, Privilege::Usage]),
        DefaultObject::Schemas => Privileges::of(&[Privilege::Create, Privilege::Usage]),
        DefaultObject::Routines => Privileges::of(&[Privilege::Execute]),
        DefaultObject::Types => Privileges::of(&[Privilege::Usage]),
        DefaultObject::LargeObjects => Privileges::of(&[Privilege::Select, Privilege::Update]),
    }
}
