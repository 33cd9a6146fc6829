//! What GRANT, REVOKE and ALTER DEFAULT PRIVILEGES do to a catalog.

use super::lists::{give, item, owned, take, take_from};
use super::simulate::{contents_mut, database_mut, recipient, schema_oids};
use crate::{
    Acl, AclId, AclItem, Catalog, Contents, DefaultAcl, DefaultChange, DefaultObject, Oid, Privilege,
    Privileges, Recipient, Relation, RelationGroup, RelationKind, Taken, Target,
};

/// Calls `change` for every list of the target and every recipient, with the owner.
pub(super) fn each_acl(
    catalog: &mut Catalog,
    target: &Target,
    change: &dyn Fn(&mut Acl, Oid, Oid),
    recipients: &[Recipient],
) {
    let grantees: Vec<_> = recipients.iter().map(|to| recipient(catalog, to)).collect();
    let apply = |acl: &mut Acl, owner: Oid| {
        for grantee in &grantees {
            change(acl, owner, *grantee);
        }
        acl.0.sort_unstable();
    };
    match target {
        Target::Database => {
            let database = database_mut(catalog);
            apply(&mut database.acl, database.owner);
        }
        Target::Schemas(names) => {
            for oid in schema_oids(catalog, names).into_iter().flatten() {
                let contents = contents_mut(catalog);
                let schema = contents.schemas[&oid].clone();
                let mut acl = contents.acl(schema.acl).clone();
                apply(&mut acl, schema.owner);
                let id = intern(contents, acl);
                contents.schemas.get_mut(&oid).expect("just read").acl = id;
            }
        }
        Target::Tables(relations) | Target::Sequences(relations) => {
            for relation in relations {
                let (group, contents, is_extensions) = take_out(catalog, relation);
                let mut acl = contents.acl(group.acl).clone();
                apply(&mut acl, group.owner);
                let acl = intern(contents, acl);
                let groups = if is_extensions { &mut contents.extensions } else { &mut contents.relations };
                put_in(groups, RelationGroup { acl, ..group });
            }
        }
        Target::Columns(..) => (),
    }
}

/// Gives privileges on one relation, and the right to pass some of them on.
pub(super) fn give_with_options(
    catalog: &mut Catalog,
    relation: &Relation,
    (grantor, grantee): (Oid, Oid),
    (privileges, grantable): (Privileges, Privileges),
) {
    let (group, contents, is_extensions) = take_out(catalog, relation);
    let mut acl = contents.acl(group.acl).clone();
    give(&mut acl, grantor, grantee, privileges);
    let is_it = |item: &&mut AclItem| (item.grantor, item.grantee) == (grantor, grantee);
    let given = acl.0.iter_mut().find(is_it).expect("just given");
    given.grantable = given.grantable.union(grantable);
    acl.0.sort_unstable();
    let acl = intern(contents, acl);
    let groups = if is_extensions { &mut contents.extensions } else { &mut contents.relations };
    put_in(groups, RelationGroup { acl, ..group });
}

/// What REVOKE takes of columns: of those it names, and of all columns of the tables it names.
pub(super) fn take_columns(
    contents: Option<&mut Contents>,
    target: &Target,
    (grantor, grantees): (Option<Oid>, &[Oid]),
    (privileges, taken): (Privileges, Taken),
) {
    let Some(contents) = contents else { return };
    for found in &mut contents.columns {
        let is_meant = match target {
            Target::Tables(relations) => relations.iter().any(|one| one.name == found.relation.name),
            Target::Columns(relation, columns) => {
                relation.name == found.relation.name && columns.contains(&found.column)
            }
            Target::Database | Target::Schemas(_) | Target::Sequences(_) => false,
        };
        if is_meant
            && grantees.contains(&found.item.grantee)
            && found.item.grantor == grantor.unwrap_or(found.owner)
        {
            take_from(&mut found.item, privileges, taken);
        }
    }
    contents.columns.retain(|found| !found.item.privileges.is_empty());
}

/// REVOKE ALL … CASCADE, by the owner.
pub(super) fn close_view(catalog: &mut Catalog, view: &Relation, grantee: Oid) {
    let (group, contents, _) = take_out(catalog, view);
    let all = Privilege::ALL.into_iter().collect();
    let mut acl = contents.acl(group.acl).clone();
    take(&mut acl, group.owner, (group.owner, grantee), (all, Taken::WithDependents));
    let target = Target::Tables(vec![view.clone()]);
    take_columns(Some(contents), &target, (None, &[grantee]), (all, Taken::WithDependents));
    let acl = intern(contents, acl);
    put_in(&mut contents.relations, RelationGroup { acl, ..group });
}

/// The relation alone, and whether it is an extension's.
fn take_out<'a>(catalog: &'a mut Catalog, relation: &Relation) -> (RelationGroup, &'a mut Contents, bool) {
    let schema = schema_oids(catalog, std::slice::from_ref(&relation.name.schema))[0];
    let contents = contents_mut(catalog);
    let is_sequence = relation.kind == RelationKind::Sequence;
    let is_it = |group: &RelationGroup| {
        Some(group.schema) == schema
            && (group.kind == RelationKind::Sequence) == is_sequence
            && group.names.contains(&relation.name.name)
    };
    let is_extensions = contents.extensions.iter().any(is_it);
    let groups = if is_extensions { &mut contents.extensions } else { &mut contents.relations };
    let group = groups
        .iter_mut()
        .find(|group| is_it(group))
        .unwrap_or_else(|| panic!("relation {relation} does not exist"));
    group.names.retain(|name| *name != relation.name.name);
    let taken = RelationGroup { names: vec![relation.name.name.clone()], ..group.clone() };
    groups.retain(|group| !group.names.is_empty());
    (taken, contents, is_extensions)
}

fn put_in(groups: &mut Vec<RelationGroup>, group: RelationGroup) {
    let alike = |present: &&mut RelationGroup| {
        (present.schema, present.kind, present.owner, present.acl)
            == (group.schema, group.kind, group.owner, group.acl)
    };
    match groups.iter_mut().find(alike) {
        Some(present) => present.names.extend(group.names),
        None => groups.push(group),
    }
}

pub(super) fn intern(contents: &mut Contents, acl: Acl) -> AclId {
    let present = contents.acls.iter().position(|present| *present == acl);
    AclId(present.unwrap_or_else(|| {
        contents.acls.push(acl);
        contents.acls.len() - 1
    }))
}

pub(super) fn alter_default(
    catalog: &mut Catalog,
    (creator, schema, object): (Oid, Option<Oid>, DefaultObject),
    change: DefaultChange,
    grantee: Oid,
    privileges: Privileges,
) {
    let version = catalog.server.version;
    let contents = contents_mut(catalog);
    let is_row = |row: &DefaultAcl| (row.creator, row.schema, row.object) == (creator, schema, object);
    if !contents.defaults.iter().any(is_row) {
        // A global entry replaces the built-in default, and begins as that.
        let own = item(creator, creator, owned(object, version));
        let acl = Acl(schema.is_none().then_some(own).into_iter().collect());
        contents.defaults.push(DefaultAcl { creator, schema, object, acl });
    }
    let row = contents.defaults.iter_mut().find(|row| is_row(row)).expect("just made");
    match change {
        DefaultChange::Grant => give(&mut row.acl, creator, grantee, privileges),
        DefaultChange::Revoke => {
            take(&mut row.acl, creator, (creator, grantee), (privileges, Taken::WithDependents));
        }
        DefaultChange::RevokeGrantOption => {
            take(&mut row.acl, creator, (creator, grantee), (privileges, Taken::GrantOption));
        }
    }
    contents.defaults.retain(|row| row.acl.0.iter().any(|item| item.grantee != row.creator));
}
