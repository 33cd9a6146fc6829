//! What GRANT, REVOKE and ALTER … OWNER do to an access control list.

use crate::{Acl, AclItem, DefaultObject, Oid, Privilege, Privileges};

/// What ALTER … OWNER does to a list: the former owner's entries become the new one's.
pub(super) fn hand_over(acl: &mut Acl, before: Oid, after: Oid) {
    let moved = |oid: Oid| if oid == before { after } else { oid };
    let items = std::mem::take(&mut acl.0);
    for found in items {
        give(acl, moved(found.grantor), moved(found.grantee), found.privileges);
    }
    acl.0.sort_unstable();
}

pub(super) fn give(acl: &mut Acl, grantor: Oid, grantee: Oid, privileges: Privileges) {
    match acl.0.iter_mut().find(|item| (item.grantor, item.grantee) == (grantor, grantee)) {
        Some(present) => present.privileges = present.privileges.union(privileges),
        None => acl.0.push(item(grantee, grantor, privileges)),
    }
}

pub(super) fn take(acl: &mut Acl, grantor: Oid, grantee: Oid, privileges: Privileges) {
    for item in acl.0.iter_mut().filter(|item| (item.grantor, item.grantee) == (grantor, grantee)) {
        item.privileges = item.privileges.without(privileges);
        item.grantable = item.grantable.without(privileges);
    }
    acl.0.retain(|item| !item.privileges.is_empty());
}

pub(super) fn item(grantee: Oid, grantor: Oid, privileges: Privileges) -> AclItem {
    AclItem { grantee, grantor, privileges, grantable: Privileges::NONE }
}

/// What an owner has on its objects.
pub(super) fn owned(object: DefaultObject) -> Privileges {
    match object {
        DefaultObject::Tables => Privileges::READ_WRITE.union(Privileges::of(&[
            Privilege::Truncate,
            Privilege::References,
            Privilege::Trigger,
        ])),
        DefaultObject::Sequences => Privileges::of(&[Privilege::Select, Privilege::Update, Privilege::Usage]),
        DefaultObject::Schemas => Privileges::of(&[Privilege::Create, Privilege::Usage]),
        DefaultObject::Routines => Privileges::of(&[Privilege::Execute]),
        DefaultObject::Types => Privileges::of(&[Privilege::Usage]),
        DefaultObject::LargeObjects => Privileges::of(&[Privilege::Select, Privilege::Update]),
    }
}
