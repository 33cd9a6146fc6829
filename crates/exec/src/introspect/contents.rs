//! What is in one database.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    asked, memberships, roles,
    wire::{
        AclRows, ColumnRow, ContentsReply, DefaultRow, RelationRow, SchemaRow, acl, acl_item, event_triggers,
        ident,
    },
};
use crate::{Error, session::Session};
use plan::{
    Acl, AclId, ColumnGrant, Contents, DefaultAcl, DefaultObject, Desired, Ident, Membership, Oid,
    QualifiedName, Relation, RelationGroup, RelationKind, Role, Schema,
};

const QUERY: &str = bounded!(
    "What is in a database",
    "$2",
    "WITH RECURSIVE ",
    include_str!("event_triggers.sql"),
    include_str!("contents.sql"),
);

/// The part of a catalog that is read in the database itself.
#[derive(Clone, Debug)]
pub(crate) struct Inside {
    pub(crate) contents: Contents,
    pub(crate) roles: BTreeMap<Oid, Role>,
    pub(crate) memberships: Vec<Membership>,
}

/// Reads it.
pub(crate) async fn contents(session: &mut Session, desired: &Desired, limit: u32) -> Result<Inside, Error> {
    let asked = asked(desired);
    let query = sqlx::query_as(QUERY).bind(asked.iter().map(Ident::as_str).collect::<Vec<_>>());
    decode(session.document(limit, query).await?)
}

pub(super) fn decode(reply: ContentsReply) -> Result<Inside, Error> {
    check_places(&reply)?;
    let (acls, places) = acls(reply.acls.unwrap_or_default());
    // The server counts from 1.
    let place = |number: usize| AclId(places[number - 1]);
    let schema = |(oid, name, owner, number): SchemaRow| {
        Some((Oid(oid), Schema { name: ident(&name)?, owner: Oid(owner), acl: place(number) }))
    };
    let schemas: BTreeMap<_, _> = reply.schemas.into_iter().flatten().filter_map(schema).collect();
    let group = |(schema, kind, owner, number, names): RelationRow| {
        let mut names: Vec<_> = names.iter().filter_map(|name| ident(name)).collect();
        names.sort_unstable();
        let kind = RelationKind::from_char(kind)?;
        let schema = Oid(schema);
        let is_known = schemas.contains_key(&schema) && !names.is_empty();
        is_known.then(|| RelationGroup { schema, kind, owner: Oid(owner), acl: place(number), names })
    };
    let groups = |rows: Option<Vec<RelationRow>>| {
        let mut groups: Vec<_> = rows.into_iter().flatten().filter_map(group).collect();
        groups.sort_unstable_by(|a, b| {
            let key = |group: &RelationGroup| (group.schema, group.kind, group.owner, group.acl);
            key(a).cmp(&key(b)).then_with(|| a.names.cmp(&b.names))
        });
        groups
    };
    let (relations, extensions) = (groups(reply.relations), groups(reply.extensions));
    let columns = reply.columns.into_iter().flatten().filter_map(|row| column(row, &schemas)).collect();
    let defaults = reply.defaults.into_iter().flatten().filter_map(default).collect();
    let owners: BTreeSet<_> = reply.owners.into_iter().flatten().map(Oid).collect();
    let roles = roles(reply.roles.as_ref());
    Ok(Inside {
        contents: Contents {
            schemas,
            relations,
            extensions,
            acls,
            columns: sorted(columns),
            defaults: ordered(defaults),
            owners,
            event_triggers: event_triggers(reply.event_triggers.as_ref()),
        },
        memberships: memberships(reply.memberships, &roles),
        roles,
    })
}

/// Whether the lists are there that the rows speak of.
fn check_places(reply: &ContentsReply) -> Result<(), Error> {
    let schemas = reply.schemas.iter().flatten().map(|(.., number)| *number);
    let relations = reply.relations.iter().chain(&reply.extensions).flatten().map(|(.., number, _)| *number);
    let lists = reply.acls.as_ref().map_or(0, Vec::len);
    match schemas.chain(relations).all(|number| (1..=lists).contains(&number)) {
        true => Ok(()),
        false => Err(Error::Bug("the server's answer lacks a list that it speaks of".to_owned())),
    }
}

/// The lists in an order of their own, so that two readings of the same are equal, and where each one went.
fn acls(rows: Vec<Option<AclRows>>) -> (Vec<Acl>, Vec<usize>) {
    let found: Vec<_> = rows.into_iter().map(acl).collect();
    let mut order: Vec<_> = (0..found.len()).collect();
    order.sort_by(|a, b| found[*a].cmp(&found[*b]));
    let mut places = vec![0; found.len()];
    for (place, number) in order.iter().enumerate() {
        places[*number] = place;
    }
    let mut acls = found;
    acls.sort_unstable();
    (acls, places)
}

fn column(
    (schema, relation, kind, owner, name, item): ColumnRow,
    schemas: &BTreeMap<Oid, Schema>,
) -> Option<ColumnGrant> {
    let schema = schemas.get(&Oid(schema))?.name.clone();
    let name_of_relation = QualifiedName { schema, name: ident(&relation)? };
    Some(ColumnGrant {
        relation: Relation { name: name_of_relation, kind: RelationKind::from_char(kind)? },
        owner: Oid(owner),
        column: ident(&name)?,
        item: acl_item(&item),
    })
}

fn default((creator, schema, kind, rows): DefaultRow) -> Option<DefaultAcl> {
    let schema = (schema != 0).then_some(Oid(schema));
    Some(DefaultAcl {
        creator: Oid(creator),
        schema,
        object: DefaultObject::from_char(kind)?,
        acl: acl(rows),
    })
}

fn sorted(mut columns: Vec<ColumnGrant>) -> Vec<ColumnGrant> {
    columns.sort_by(|a, b| (&a.relation, &a.column, a.item).cmp(&(&b.relation, &b.column, b.item)));
    columns
}

fn ordered(mut defaults: Vec<DefaultAcl>) -> Vec<DefaultAcl> {
    defaults.sort_by_key(|default| (default.creator, default.schema, default.object));
    defaults
}
