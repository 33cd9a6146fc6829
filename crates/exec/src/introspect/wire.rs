//! The rows of the queries as they come.

use plan::{Acl, AclItem, EventTrigger, Ident, Oid, Privilege, Privileges, TriggerEvent};
use serde::Deserialize;

/// The answer to `roles.sql`.
#[derive(Deserialize)]
pub(super) struct RolesReply {
    pub(super) admin: Option<u32>,
    pub(super) system_identifier: Option<String>,
    pub(super) roles: Option<Vec<RoleRow>>,
    pub(super) asked: Option<Vec<AskedRow>>,
    pub(super) memberships: Option<Vec<MembershipRow>>,
    pub(super) database: Option<DatabaseRow>,
}

/// The answer to `contents.sql`.
#[derive(Deserialize)]
pub(super) struct ContentsReply {
    pub(super) schemas: Option<Vec<SchemaRow>>,
    pub(super) relations: Option<Vec<RelationRow>>,
    /// Of extensions.
    pub(super) extensions: Option<Vec<RelationRow>>,
    pub(super) acls: Option<Vec<Option<AclRows>>>,
    pub(super) columns: Option<Vec<ColumnRow>>,
    pub(super) defaults: Option<Vec<DefaultRow>>,
    pub(super) owners: Option<Vec<u32>>,
    pub(super) event_triggers: Option<Vec<EventTriggerRow>>,
    pub(super) roles: Option<Vec<RoleRow>>,
    pub(super) memberships: Option<Vec<MembershipRow>>,
}

/// The answer to `owned.sql`.
#[derive(Deserialize)]
pub(super) struct OwnedReply {
    pub(super) definer_routines: Option<Vec<RoutineRow>>,
    pub(super) subscriptions: Option<Vec<String>>,
    pub(super) routine_schemas: Option<Vec<String>>,
    pub(super) definer_views: Option<Vec<ViewRow>>,
    pub(super) armed_relations: Option<Vec<ViewRow>>,
    pub(super) lent_relations: Option<Vec<ViewRow>>,
    pub(super) temporary_relations: Option<Vec<ViewRow>>,
    pub(super) overreaching_views: Option<Vec<ViewRow>>,
    pub(super) exposed_views: Option<Vec<(ViewRow, u32)>>,
    pub(super) event_triggers: Option<Vec<EventTriggerRow>>,
    pub(super) roles: Option<Vec<RoleRow>>,
}

/// A row of `dependencies.sql`: role, whether on shared objects, database, whether it can be entered, its owner's
/// number and name, whether the role owns something there, whether something else names it there.
pub(super) type DependencyRow = (u32, bool, String, bool, Option<(u32, String)>, bool, bool);

/// Number, name, owner, and place of the list.
pub(super) type SchemaRow = (u32, String, u32, usize);

/// Schema, kind, owner, place of the list, and the names of all that share these.
pub(super) type RelationRow = (u32, char, u32, usize, Vec<String>);

/// Schema, relation, its kind and owner, column, and who may do what.
pub(super) type ColumnRow = (u32, String, char, u32, String, AclRow);

/// Creator, schema or 0, kind of objects, and the list.
pub(super) type DefaultRow = (u32, u32, char, Option<AclRows>);

/// Grantee, grantor, and key words of privileges, with an asterisk where they may be passed on.
pub(super) type AclRow = (u32, u32, String);
pub(super) type AclRows = Vec<AclRow>;

/// Role, member, grantor, `admin_option`, and from version 16 on `inherit_option` and `set_option`.
pub(super) type MembershipRow = (u32, u32, u32, bool, Option<bool>, Option<bool>);

/// Schema, name, and schema and name of the types of the arguments.
pub(super) type RoutineRow = (String, String, Option<Vec<(String, String)>>);

/// Name, owner, event, tags, function and its owner.
pub(super) type EventTriggerRow = (String, u32, String, Option<Vec<String>>, String, u32);

/// Schema, name and kind.
pub(super) type ViewRow = (String, String, char);

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of pg_roles")]
pub(super) struct RoleRow {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) superuser: bool,
    pub(super) inherit: bool,
    pub(super) create_role: bool,
    pub(super) create_db: bool,
    pub(super) login: bool,
    pub(super) replication: bool,
    pub(super) bypass_rls: bool,
    pub(super) expires: bool,
}

/// What is read for the roles asked for only. It may hold a verifier: no `Debug`.
#[derive(Deserialize)]
pub(super) struct AskedRow {
    pub(super) oid: u32,
    pub(super) comment: Option<String>,
    pub(super) verifier: Option<String>,
    pub(super) sessions: u32,
    pub(super) owned_databases: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct DatabaseRow {
    pub(super) oid: u32,
    pub(super) owner: u32,
    pub(super) allow_connections: bool,
    pub(super) invalid: bool,
    pub(super) comment: Option<String>,
    pub(super) acl: Option<AclRows>,
}

/// The name, unless it is one that cannot be written: a database with another encoding can hold names of more
/// than 63 bytes in ours.
pub(super) fn ident(name: &str) -> Option<Ident> {
    name.parse().inspect_err(|error| tracing::warn!(%error, "this name is left out")).ok()
}

pub(super) fn event_triggers(rows: Option<&Vec<EventTriggerRow>>) -> Vec<EventTrigger> {
    let trigger = |(name, owner, event, tags, function, function_owner): &EventTriggerRow| EventTrigger {
        name: name.clone(),
        owner: Oid(*owner),
        event: TriggerEvent::of(event),
        tags: tags.iter().flatten().cloned().collect(),
        function: function.clone(),
        function_owner: Oid(*function_owner),
    };
    rows.into_iter().flatten().map(trigger).collect()
}

pub(super) fn acl(rows: Option<AclRows>) -> Acl {
    let mut items: Vec<_> = rows.unwrap_or_default().iter().map(acl_item).collect();
    items.sort_unstable();
    Acl(items)
}

pub(super) fn acl_item((grantee, grantor, keywords): &AclRow) -> AclItem {
    let mut item = AclItem {
        grantee: Oid(*grantee),
        grantor: Oid(*grantor),
        privileges: Privileges::NONE,
        grantable: Privileges::NONE,
    };
    for keyword in keywords.split(',') {
        // A privilege of a later version is nobody's business here.
        let Some(privilege) = Privilege::from_keyword(keyword.trim_end_matches('*')) else { continue };
        let one = Privileges::of(&[privilege]);
        item.privileges = item.privileges.union(one);
        if keyword.ends_with('*') {
            item.grantable = item.grantable.union(one);
        }
    }
    item
}
