//! Login roles: whose they are, their attributes, marker and password.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::view::{Authority, View};
use crate::marker::{Foreign, Ownership, adoption_hint, comment_with};
use crate::{
    Action, Catalog, Desired, Ident, Login, NewPassword, Oid, Origin, PasswordState, Refusal, Role, Withheld,
    is_reserved,
};

/// Which of the wanted logins may be made or changed. What may not is withheld.
pub(super) fn judge<'a>(
    desired: &'a Desired,
    catalog: &Catalog,
    plan: &mut Plan,
) -> BTreeMap<&'a Ident, Origin> {
    let mut owned = BTreeMap::new();
    for (name, login) in &desired.logins {
        match judge_login(name, login, catalog) {
            Ok(origin) => _ = owned.insert(name, origin),
            Err((refusal, hint)) => plan.withheld.push(Withheld::Role { role: name.clone(), refusal, hint }),
        }
    }
    owned
}

fn judge_login(name: &Ident, login: &Login, catalog: &Catalog) -> Result<Origin, (Refusal, String)> {
    if is_reserved(name) {
        return Err((Refusal::Reserved, "the name is reserved".into()));
    }
    let Some(oid) = catalog.role_oid(name) else {
        return if Authority::of(catalog, &BTreeSet::new()).can_create_roles() {
            Ok(Origin::Created)
        } else {
            Err((Refusal::InsufficientPrivilege, lacks(catalog, "CREATEROLE")))
        };
    };
    let role = &catalog.roles[&oid];
    if let Some(reason) = untouchable(oid, role, catalog) {
        return Err((Refusal::Reserved, reason.into()));
    }
    match login.claim.judge(role.comment.as_deref()) {
        Ownership::Ours(origin) => Ok(origin),
        Ownership::Adoptable => Ok(Origin::Adopted),
        Ownership::Foreign(foreign) => match login.recorded.as_ref().filter(|it| it.is(oid, &catalog.server))
        {
            Some(recorded) if foreign.yields_to_record() => Ok(recorded.origin),
            _ if foreign == Foreign::Unmarked && is_proof(role.password) => Ok(Origin::Adopted),
            _ => Err((Refusal::NotOurs, reason(foreign, name, login))),
        },
    }
}

/// Whether the Secret holds the role's password.
pub(super) const fn is_proof(password: PasswordState) -> bool {
    match password {
        PasswordState::Matches | PasswordState::Outdated => true,
        PasswordState::Unknown | PasswordState::Absent | PasswordState::Differs => false,
    }
}

fn reason(foreign: Foreign, name: &Ident, login: &Login) -> String {
    match foreign {
        Foreign::Unmarked => format!("{}; {}", foreign.as_str(), adoption_hint(name, &login.claim)),
        _ => foreign.as_str().to_owned(),
    }
}

/// Why a role is never adopted, altered or dropped, whatever its marker says.
pub(super) fn untouchable(oid: Oid, role: &Role, catalog: &Catalog) -> Option<&'static str> {
    if oid == catalog.server.admin {
        Some("it is the role that the operator itself works as")
    } else if role.superuser {
        Some("it is a superuser")
    } else if role.is_elevated() {
        Some("it has CREATEROLE, REPLICATION or BYPASSRLS")
    } else {
        None
    }
}

/// What to say when the admin role lacks an attribute.
pub(super) fn lacks(catalog: &Catalog, attribute: &str) -> String {
    let admin = &catalog.roles[&catalog.server.admin].name;
    format!("the admin role {admin} needs {attribute}: ALTER ROLE {admin} {attribute}")
}

/// What to say when the admin role may not alter a role.
pub(super) fn not_administered(view: &View<'_>, role: &Ident) -> String {
    let admin = view.name(view.catalog.server.admin);
    if view.catalog.server.version.major() <= 15
        || !view.catalog.roles[&view.catalog.server.admin].create_role
    {
        return lacks(view.catalog, "CREATEROLE");
    }
    format!("the admin role {admin} needs the ADMIN option on it: GRANT {role} TO {admin} WITH ADMIN OPTION")
}

/// Makes the logins and keeps marker, attributes and password right.
pub(super) fn push_logins(view: &View<'_>, plan: &mut Plan) {
    for (name, origin) in &view.logins {
        let login = &view.desired.logins[*name];
        match view.catalog.role_oid(name) {
            None => push_new_login(view, name, login, plan),
            Some(oid) if view.can_administer(oid) => push_present_login(view, oid, login, *origin, plan),
            Some(oid) => {
                let mut missed = Plan::default();
                push_present_login(view, oid, login, *origin, &mut missed);
                if !missed.is_empty() {
                    let (role, hint) = ((*name).clone(), not_administered(view, name));
                    let refusal = Refusal::InsufficientPrivilege;
                    plan.withheld.push(Withheld::Role { role, refusal, hint });
                }
            }
        }
    }
}

fn push_new_login(view: &View<'_>, name: &Ident, login: &Login, plan: &mut Plan) {
    let comment = login.claim.marker_for(Origin::Created).to_string();
    plan.actions.push(Action::CreateRole { role: name.clone() });
    plan.actions.push(Action::CommentOnRole { role: name.clone(), comment });
    push_membership(view, name, plan);
    if let Some(password) = &login.password {
        plan.actions.push(Action::SetPassword { role: name.clone(), password: password.clone() });
        plan.actions.push(Action::GrantLogin { role: name.clone() });
    }
}

fn push_present_login(view: &View<'_>, oid: Oid, login: &Login, origin: Origin, plan: &mut Plan) {
    let found = &view.catalog.roles[&oid];
    let role = found.name.clone();
    let comment = comment_with(&login.claim.marker_for(origin), found.comment.as_deref());
    if found.comment.as_deref() != Some(&comment) && !login.claim.is_marked(found.comment.as_deref(), origin)
    {
        plan.actions.push(Action::CommentOnRole { role: role.clone(), comment });
    }
    if view.needs_membership(oid) {
        push_membership(view, &role, plan);
    }
    if origin == Origin::Created && found.create_db {
        plan.actions.push(Action::RevokeCreateDb { role: role.clone() });
    }
    if origin == Origin::Created && found.expires {
        plan.actions.push(Action::ClearExpiry { role: role.clone() });
    }
    let Some(password) = &login.password else { return };
    match (found.password, password) {
        (PasswordState::Absent | PasswordState::Differs, _)
        | (PasswordState::Outdated, NewPassword::Verifier(_)) => {
            plan.actions.push(Action::SetPassword { role: role.clone(), password: password.clone() });
        }
        // A server that makes md5 hashes of what it gets in clear would make another one.
        (PasswordState::Outdated, NewPassword::Plain(_))
        | (PasswordState::Matches | PasswordState::Unknown, _) => (),
    }
    if !found.login {
        plan.actions.push(Action::GrantLogin { role });
    }
}

/// Without superuser, the admin role acts for the role by being a member of it.
pub(super) fn push_membership(view: &View<'_>, role: &Ident, plan: &mut Plan) {
    if view.admin_is_superuser() {
        return;
    }
    plan.actions.push(Action::GrantMembership {
        role: role.clone(),
        member: view.name(view.catalog.server.admin).clone(),
        options: view.catalog.server.version.major() >= 16,
    });
}
