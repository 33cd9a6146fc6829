//! Roles on their way out, and readers that still own something.

use super::Plan;
use super::database::Verdict;
use super::roles::{is_proof, untouchable};
use super::view::View;
use crate::marker::{Foreign, Ownership, comment_with};
use crate::{
    Action, Catalog, Dependencies, Desired, Disposition, ExposedView, Ident, Leaving, Marker, Oid, Origin,
    Privilege, Privileges, Recipient, Refusal, Relation, RelationKind, Role, Schema, Withheld,
};

/// The role, if it is there and ours to let go.
pub(super) fn judge<'a>(view: &View<'a>, name: &Ident, leaving: &Leaving) -> Option<(Oid, &'a Role, Origin)> {
    let oid = view.catalog.role_oid(name)?;
    let role = &view.catalog.roles[&oid];
    if untouchable(oid, role, view.catalog).is_some() {
        return None;
    }
    match leaving.claim.judge(role.comment.as_deref()) {
        Ownership::Ours(origin) => Some((oid, role, origin)),
        // As if it had been adopted before it was let go.
        Ownership::Foreign(Foreign::Unmarked) if is_proof(role.password) => {
            Some((oid, role, Origin::Adopted))
        }
        Ownership::Foreign(foreign) if foreign.yields_to_record() => {
            let recorded = leaving.recorded.as_ref().filter(|it| it.is(oid, &view.catalog.server))?;
            Some((oid, role, recorded.origin))
        }
        Ownership::Adoptable | Ownership::Foreign(_) => None,
    }
}

/// Whether a role by this name may be changed: a login or a leaving role of ours.
pub(super) fn is_ours(view: &View<'_>, name: &Ident) -> bool {
    let leaves =
        || view.desired.leaving.get(name).is_some_and(|leaving| judge(view, name, leaving).is_some());
    view.logins.contains_key(name) || leaves()
}

/// Whether the role stays on the server without what it has in this database.
pub(super) const fn detaches(disposition: Disposition, origin: Origin) -> bool {
    match (disposition, origin) {
        (Disposition::Detach, _) | (Disposition::DropIfCreated, Origin::Adopted) => true,
        (Disposition::DropIfCreated, Origin::Created) | (Disposition::Drop | Disposition::Release, _) => {
            false
        }
    }
}

/// Whether the role is dropped.
pub(super) const fn drops(disposition: Disposition, origin: Origin) -> bool {
    match (disposition, origin) {
        (Disposition::Drop, _) | (Disposition::DropIfCreated, Origin::Created) => true,
        (Disposition::DropIfCreated, Origin::Adopted) | (Disposition::Detach | Disposition::Release, _) => {
            false
        }
    }
}

/// A database that REASSIGN would move away from the role although nobody asked for that.
pub(super) fn foreign_database<'a>(view: &View<'_>, role: &'a Role) -> Option<&'a Ident> {
    let changes_owner = view.database_owner().is_some_and(|owner| *owner != role.name);
    role.owned_databases.iter().find(|database| **database != view.desired.database || !changes_owner)
}

/// What every leaving role still needs.
pub(super) fn push_leaving(view: &View<'_>, plan: &mut Plan) {
    let is_replaced = matches!(view.verdict, Verdict::Ours(_));
    for (name, leaving) in &view.desired.leaving {
        match judge(view, name, leaving) {
            // Its successor may not be used: it stays the owner.
            _ if leaving.disposition == Disposition::DropIfCreated && !is_replaced => (),
            Some((_, role, origin)) if leaving.disposition == Disposition::Release => {
                push_release(role, leaving, origin, plan);
            }
            Some((_, _, origin)) if detaches(leaving.disposition, origin) => (),
            Some((oid, role, _)) => push_drop(view, oid, role, plan),
            None if view.catalog.role_oid(name).is_some() => {
                let hint = "it is not ours to drop".to_owned();
                plan.withheld.push(Withheld::Role { role: name.clone(), refusal: Refusal::NotOurs, hint });
            }
            None => (),
        }
    }
}

fn push_release(role: &Role, leaving: &Leaving, origin: Origin, plan: &mut Plan) {
    let marker = Marker { released: true, ..leaving.claim.marker_for(origin) };
    let comment = comment_with(&marker, role.comment.as_deref());
    if role.comment.as_deref() != Some(&comment) {
        plan.actions.push(Action::CommentOnRole { role: role.name.clone(), comment });
    }
}

fn push_drop(view: &View<'_>, oid: Oid, found: &Role, plan: &mut Plan) {
    let role = found.name.clone();
    if !view.can_administer(oid) {
        plan.withheld
            .push(Withheld::CannotLeave { role, reason: super::roles::not_administered(view, &found.name) });
        return;
    }
    if found.login {
        plan.actions.push(Action::RevokeLogin { role: role.clone() });
    }
    if view.needs_membership(oid) {
        super::roles::push_membership(view, &role, plan);
    }
    if found.sessions > 0 {
        plan.actions.push(Action::TerminateSessions { role: role.clone() });
    }
    if let Some(database) = foreign_database(view, found) {
        let reason = format!(
            "it owns database {database}; give that to another role: ALTER DATABASE {database} OWNER TO …"
        );
        plan.withheld.push(Withheld::CannotLeave { role, reason });
        return;
    }
    super::database::push_departure(view, oid, &role, plan);
    let mut can_go = true;
    for (database, dependencies) in view.catalog.dependencies.get(&oid).into_iter().flatten() {
        let Some(obstacle) = obstacle(view, &role, (database, dependencies)) else {
            push_departure(view, &role, database, dependencies, plan);
            continue;
        };
        can_go = false;
        let reason = format!("it has something in database {database}, {obstacle}");
        plan.withheld.push(Withheld::CannotLeave { role: role.clone(), reason });
    }
    if can_go {
        plan.actions.push(Action::DropRole { role });
    }
}

/// Why what the role has in this database cannot be given away.
pub(super) fn obstacle(
    view: &View<'_>,
    role: &Ident,
    (database, found): (&Ident, &Dependencies),
) -> Option<String> {
    if !found.allow_connections {
        return Some("which does not accept connections".to_owned());
    }
    if found.unnameable {
        return Some("with a name that is too long in UTF-8: rename it".to_owned());
    }
    if let Some(danger) = super::triggers::obstacle(view, &found.event_triggers) {
        return Some(format!("whose {danger}"));
    }
    hazard(view, (role, heir(view, database, found)), (database, found))
}

/// What of it nobody can be given, because it would do with the new owner's rights what others want.
fn hazard(
    view: &View<'_>,
    (role, heir): (&Ident, &Ident),
    (database, found): (&Ident, &Dependencies),
) -> Option<String> {
    if let Some(temporary) = found.temporary_relations.first() {
        return Some(format!(
            "{temporary}, which is temporary and would read or write with the new owner's rights: drop it, or end the \
             session that has it"
        ));
    }
    // What a database's owner made is its successor's to run, as far as it is in that database.
    let is_replaced =
        view.desired.leaving.get(role).is_some_and(|it| it.disposition == Disposition::DropIfCreated);
    if let Some(working) =
        works_as_owner(found).filter(|_| !is_replaced || *database != view.desired.database)
    {
        return Some(working);
    }
    if let Some(lent) = found.lent_relations.first().filter(|_| is_powerful(view, heir)) {
        return Some(format!(
            "{lent}, on which others have REFERENCES or TRIGGER, and so could run functions with the new owner's rights: \
             revoke these, or drop it"
        ));
    }
    // From 15 on a view can be made to run with the rights of its caller, a materialized view never.
    let keeps_rights = |relation: &&Relation| {
        view.catalog.server.version.major() < 15 || relation.kind == RelationKind::MaterializedView
    };
    let overreaching = found.overreaching_views.iter().find(keeps_rights)?;
    Some(format!(
        "{overreaching}, which would read with the new owner's rights what its owner may not: drop it"
    ))
}

/// Who gets what the role owns in this database.
fn heir<'a>(view: &View<'a>, database: &Ident, found: &'a Dependencies) -> &'a Ident {
    match view.database_owner() {
        Some(owner) if *database == view.desired.database => owner,
        _ => match &found.database_owner {
            // One that the catalog does not know is nobody that the plan makes.
            Some((oid, name))
                if view.admin_is_superuser()
                    || view.catalog.roles.contains_key(oid) && view.can_act_as(*oid) =>
            {
                name
            }
            Some(_) | None => view.name(view.catalog.server.admin),
        },
    }
}

/// Whether what others do in the name of this heir is done with rights that nobody should gain.
fn is_powerful(view: &View<'_>, heir: &Ident) -> bool {
    let is_ours = view.logins.contains_key(heir);
    !is_ours && view.catalog.role(heir).is_none_or(Role::is_elevated)
}

/// What does something as its owner, whoever that is by then.
fn works_as_owner(found: &Dependencies) -> Option<String> {
    if let Some(subscription) = found.subscriptions.first() {
        return Some(format!(
            "subscription {subscription}, which would write with the new owner's rights what it receives: drop it"
        ));
    }
    let armed = found.armed_relations.first()?;
    Some(format!(
        "{armed}, where others could run functions with the new owner's rights: drop its rules, the triggers behind its \
         cascading foreign keys, and indexes and statistics that call functions"
    ))
}

/// Whether something of `found`, which the role had a moment ago and its heir has now, would run with the heir's rights:
/// it was made or changed after `catalog` was read, from which the plan disarms what the role has.
pub fn is_laundered(
    desired: &Desired,
    catalog: &Catalog,
    (role, heir): (&Ident, &Ident),
    (database, found): (&Ident, &Dependencies),
) -> bool {
    let view = View::new(desired, catalog, &mut Plan::default());
    let has_invoker_views = catalog.server.version.major() >= 15;
    found.unnameable
        || !found.definer_routines.is_empty()
        || (has_invoker_views && !found.definer_views.is_empty())
        || hazard(&view, (role, heir), (database, found)).is_some()
}

/// Empties one database of the role: what it owns goes to the database's owner, then its privileges go.
fn push_departure(view: &View<'_>, role: &Ident, database: &Ident, found: &Dependencies, plan: &mut Plan) {
    if found.owns {
        let owner = heir(view, database, found);
        push_disarm(view, role, database, found, plan);
        if *database == view.desired.database {
            push_admission(view, role, owner, found, plan);
        }
        plan.actions.push(Action::ReassignOwned {
            database: database.clone(),
            role: role.clone(),
            to: owner.clone(),
        });
    }
    if found.owns || found.named {
        plan.actions.push(Action::DropOwned { database: database.clone(), role: role.clone() });
    }
}

/// Readers, and roles that stay on the server, give what they own here to the database's owner.
pub(super) fn push_downgrades(view: &View<'_>, plan: &mut Plan) {
    for (oid, heir) in &view.heirs {
        let role = view.name(*oid);
        let stays = view.subjects.iter().any(|subject| subject.oid == Some(*oid));
        let found = view.catalog.dependencies.get(oid).and_then(|found| found.get(&view.desired.database));
        let (true, Some(found)) = (stays, found) else { continue };
        push_disarm(view, role, &view.desired.database, found, plan);
        let to = view.name(*heir).clone();
        push_admission(view, role, &to, found, plan);
        plan.actions.push(Action::ReassignOwned {
            database: view.desired.database.clone(),
            role: role.clone(),
            to,
        });
    }
}

/// Unless a superuser gives it away, a routine goes only to who may create in its schema, and REASSIGN may come to it
/// before it comes to the schema. Relations are not asked for that.
fn push_admission(view: &View<'_>, role: &Ident, heir: &Ident, found: &Dependencies, plan: &mut Plan) {
    let Some(contents) = view.contents().filter(|_| !view.admin_is_superuser()) else { return };
    let create = Privileges::of(&[Privilege::Create]);
    let heir_oid = view.catalog.role_oid(heir);
    let is_concerned = |schema: &&Schema| found.routine_schemas.contains(&schema.name);
    for schema in contents.schemas.values().filter(is_concerned) {
        let acl = contents.acl(schema.acl);
        let may_create = heir_oid == Some(view.stands_for(schema.owner))
            || acl.of(Oid::PUBLIC).contains(create)
            || heir_oid.is_some_and(|heir| acl.of(heir).contains(create));
        if !may_create && view.can_act_as(schema.owner) {
            plan.actions.push(Action::AdmitHeir {
                database: view.desired.database.clone(),
                role: role.clone(),
                schema: schema.name.clone(),
                heir: heir.clone(),
            });
        }
    }
}

/// What runs with its owner's rights must not gain those of the heir: routines and, where the version can, views
/// run with the caller's from now on; what cannot be changed so is closed to all that no resource gives access.
fn push_disarm(view: &View<'_>, role: &Ident, database: &Ident, found: &Dependencies, plan: &mut Plan) {
    let (here, role) = (|| database.clone(), || role.clone());
    for routine in found.definer_routines.iter().cloned() {
        plan.actions.push(Action::SetRoutineInvoker { database: here(), role: role(), routine });
    }
    let has_invoker_views = view.catalog.server.version.major() >= 15;
    for relation in found.definer_views.iter().filter(|_| has_invoker_views).cloned() {
        plan.actions.push(Action::SetViewInvoker { database: here(), role: role(), view: relation });
    }
    for ExposedView { view: relation, grantee } in &found.exposed {
        let is_disarmed = has_invoker_views && relation.kind == RelationKind::View;
        if is_disarmed || is_entitled(view, *grantee, database, relation) {
            continue;
        }
        let from = if *grantee == Oid::PUBLIC {
            Recipient::Public
        } else {
            Recipient::Role(view.name(*grantee).clone())
        };
        plan.actions.push(Action::CloseView { database: here(), role: role(), view: relation.clone(), from });
    }
}

/// Whether a resource gives the role access to whatever is in this schema, or somebody else answers for it.
fn is_entitled(view: &View<'_>, grantee: Oid, database: &Ident, relation: &Relation) -> bool {
    view.is_spared(grantee)
        || *database == view.desired.database
            && view.subjects.iter().any(|subject| {
                subject.oid == Some(grantee)
                    && subject.access.is_some()
                    && subject.schemas.includes(&relation.name.schema)
            })
}
