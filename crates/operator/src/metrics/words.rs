//! The values of labels. Each is one of ours: what a tenant chose cannot become one, and there are only so many.

use axum::http::StatusCode;
use exec::Class;
use plan::Action;

use crate::conditions::{self, Reason};
use crate::resource::ServerKey;

/// Gives each variant of an enum a word, and the list of all words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $all:ident: $of:ty; $($variant:pat => $word:literal,)*) => {
        $(#[$doc])*
        pub(crate) const fn $name(value: &$of) -> &'static str {
            match value { $($variant => $word,)* }
        }

        /// All of these words.
        pub(crate) const $all: &[&str] = &[$($word,)*];
    };
}

words! {
    /// What a statement does.
    action, ACTIONS: Action;
    Action::RevokeLogin { .. } => "revoke_login",
    Action::TerminateSessions { .. } => "terminate_sessions",
    Action::CreateRole { .. } => "create_role",
    Action::CommentOnRole { .. } => "comment_on_role",
    Action::GrantMembership { .. } => "grant_membership",
    Action::RevokeCreateDb { .. } => "revoke_create_db",
    Action::ClearExpiry { .. } => "clear_expiry",
    Action::CreateDatabase { .. } => "create_database",
    Action::DropInvalidDatabase { .. } => "drop_invalid_database",
    Action::AlterDatabaseOwner { .. } => "alter_database_owner",
    Action::CommentOnDatabase { .. } => "comment_on_database",
    Action::AllowConnections { .. } => "allow_connections",
    Action::Grant { .. } => "grant",
    Action::Revoke { .. } => "revoke",
    Action::AlterDefaultPrivileges { .. } => "alter_default_privileges",
    Action::SetRoutineInvoker { .. } => "set_routine_invoker",
    Action::SetViewInvoker { .. } => "set_view_invoker",
    Action::CloseView { .. } => "close_view",
    Action::AdmitHeir { .. } => "admit_heir",
    Action::ReassignOwned { .. } => "reassign_owned",
    Action::DropOwned { .. } => "drop_owned",
    Action::SetPassword { .. } => "set_password",
    Action::GrantLogin { .. } => "grant_login",
    Action::DropRole { .. } => "drop_role",
}

words! {
    /// What kind of trouble a server is in.
    trouble, TROUBLES: Class;
    Class::Transient => "transient",
    Class::Unavailable => "unavailable",
    Class::Forbidden => "forbidden",
    Class::InvalidCredentials => "invalid_credentials",
    Class::Tls => "tls",
    Class::Pooler => "pooler",
    Class::Standby => "standby",
    Class::ReadOnly => "read_only",
    Class::TemplateBusy => "template_busy",
    Class::Unsupported => "unsupported",
    Class::TooManyConnections => "too_many_connections",
    Class::TooLarge => "too_large",
    Class::Slow => "slow",
    Class::Refused => "refused",
    Class::Superseded => "superseded",
    Class::Bug => "bug",
}

words! {
    /// Whose server it is.
    server, SERVERS: ServerKey;
    ServerKey::Configured => "configured",
    ServerKey::Named { .. } => "named",
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It came to its end, and nothing is left to do before the next regular check.
    Done,
    /// It came to its end, and the database is looked at again sooner: something is missing, or the server is in
    /// trouble.
    Waits,
    /// It did not come to its end.
    Failed,
    /// There is nothing left of the database.
    Gone,
    /// A bug ended it.
    Panicked,
}

words! {
    /// How a pass ended.
    ending, ENDINGS: Ending;
    Ending::Done => "done",
    Ending::Waits => "waits",
    Ending::Failed => "failed",
    Ending::Gone => "gone",
    Ending::Panicked => "panicked",
}

/// What became of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect.
    Done,
    /// The server refused it.
    Refused,
}

words! {
    /// What became of a statement.
    fate, FATES: Fate;
    Fate::Done => "done",
    Fate::Refused => "refused",
}

/// What was done to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// It is new.
    Created,
    /// It was put right.
    Patched,
    /// It is gone.
    Deleted,
}

words! {
    /// What was done to a Secret.
    secret_write, SECRET_WRITES: SecretWrite;
    SecretWrite::Created => "create",
    SecretWrite::Patched => "patch",
    SecretWrite::Deleted => "delete",
}

/// Whether this process is the one that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It is, or there is no election.
    Leads,
    /// Another one is.
    Follows,
}

/// What a reason says about a resource.
pub(crate) fn state(reason: Reason) -> &'static str {
    match reason.class() {
        conditions::Class::Ready => "ready",
        conditions::Class::Waits => "waits",
        conditions::Class::NeedsPerson => "needs_person",
        conditions::Class::Planned => "planned",
        conditions::Class::Suspended => "suspended",
        conditions::Class::InSync | conditions::Class::Complete => "fine",
        conditions::Class::Drifted | conditions::Class::Withheld => "not_fine",
    }
}

/// What the API server was asked for.
pub(crate) fn verb(method: &axum::http::Method, query: Option<&str>) -> &'static str {
    let is_watch = query.is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    match method.as_str() {
        "GET" if is_watch => "watch",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

/// That the namespace is being deleted, in which something was to be made: no right is missing.
pub(crate) const TERMINATING: &str = "terminating";

/// What it answered: those codes by themselves that mean something to an operator.
pub(crate) fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        422 => "422",
        429 => "429",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    }
}
