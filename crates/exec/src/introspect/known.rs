//! Leaves out of a catalog what refers to roles that are not in it.
//!
//! A role can be missing because it came or went between two queries, because an entry outlived it, because its name
//! cannot be written here, or because the server makes things up. Nothing can be said to such a role.

use std::collections::BTreeMap;

use plan::{Acl, AclItem, Catalog, Contents, Dependencies, Ident, Oid, Role};

/// Who is known by name.
struct Known<'a>(&'a BTreeMap<Oid, Role>);

/// Leaves out what belongs to, was made by, or was given by or to a role that is not in the catalog.
pub(super) fn keep_known(catalog: &mut Catalog) {
    let known = Known(&catalog.roles);
    if let Some(database) = &mut catalog.database {
        known.clear(&mut database.acl);
    }
    if let Some(contents) = &mut catalog.contents {
        known.clear_contents(contents);
    }
    catalog.dependencies.retain(|role, _| known.has(*role));
    catalog.dependencies.values_mut().for_each(|found| known.clear_dependencies(found));
}

impl Known<'_> {
    fn has(&self, role: Oid) -> bool {
        self.0.contains_key(&role)
    }

    fn has_both(&self, item: &AclItem) -> bool {
        (item.grantee == Oid::PUBLIC || self.has(item.grantee)) && self.has(item.grantor)
    }

    fn clear(&self, acl: &mut Acl) {
        acl.0.retain(|item| self.has_both(item));
    }

    fn clear_contents(&self, contents: &mut Contents) {
        contents.owners.retain(|role| self.has(*role));
        contents.schemas.retain(|_, schema| self.has(schema.owner));
        let schemas = &contents.schemas;
        for groups in [&mut contents.relations, &mut contents.extensions] {
            groups.retain(|group| self.has(group.owner) && schemas.contains_key(&group.schema));
        }
        contents.columns.retain(|column| self.has(column.owner) && self.has_both(&column.item));
        contents.defaults.retain(|default| self.has(default.creator));
        let lists = contents.acls.iter_mut();
        lists
            .chain(contents.defaults.iter_mut().map(|default| &mut default.acl))
            .for_each(|acl| self.clear(acl));
    }

    /// What somebody may use who cannot be named cannot be closed to that role, so that it is not given away.
    fn clear_dependencies(&self, databases: &mut BTreeMap<Ident, Dependencies>) {
        for found in databases.values_mut() {
            let all = found.exposed.len();
            found.exposed.retain(|view| view.grantee == Oid::PUBLIC || self.has(view.grantee));
            found.unnameable |= found.exposed.len() < all;
        }
    }
}
