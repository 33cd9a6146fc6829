//! Every condition type, condition reason and event reason, with what it means: one table, from which
//! `docs/conditions.md` is generated. Nothing else in the operator spells one of these words.

use std::mem;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::EventType;

use crate::events::presentable;

/// The longest message of a condition, in bytes: many objects may have to be named, and the API server takes only so
/// much of all.
pub const LONGEST_MESSAGE: usize = 4096;

/// The conditions of both kinds, in the order in which they stand in the status.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// All that can be done is done, and the credentials work: the last plan was empty.
    Ready,
    /// The server was found changed although the resource was not.
    Drifted,
    /// Something that was asked for is not done, or not yet.
    Withheld,
    /// The resource is left alone, and the others tell of the time before. Only there while that is so.
    Suspended,
}

impl ConditionType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Drifted, Self::Withheld, Self::Suspended];

    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Drifted => "Drifted",
            Self::Withheld => "Withheld",
            Self::Suspended => "Suspended",
        }
    }
}

/// What a reason says about the resource.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// `Ready=True`.
    Ready,
    /// `Ready=False`, and it ends by itself.
    Waits,
    /// `Ready=False` until a person does something.
    NeedsPerson,
    /// `Ready=False`, because the resource is merely observed.
    Planned,
    /// `Drifted=False`.
    InSync,
    /// `Drifted=True`.
    Drifted,
    /// `Withheld=False`.
    Complete,
    /// `Withheld=True`.
    Withheld,
    /// `Suspended=True`.
    Suspended,
}

impl Class {
    /// The condition that such a reason belongs to, and its status.
    pub fn condition(self) -> (ConditionType, &'static str) {
        match self {
            Self::Ready => (ConditionType::Ready, "True"),
            Self::Waits | Self::NeedsPerson | Self::Planned => (ConditionType::Ready, "False"),
            Self::InSync => (ConditionType::Drifted, "False"),
            Self::Drifted => (ConditionType::Drifted, "True"),
            Self::Complete => (ConditionType::Withheld, "False"),
            Self::Withheld => (ConditionType::Withheld, "True"),
            Self::Suspended => (ConditionType::Suspended, "True"),
        }
    }

    fn event_type(self) -> EventType {
        match self {
            Self::Ready | Self::InSync | Self::Complete | Self::Suspended => EventType::Normal,
            Self::Waits | Self::NeedsPerson | Self::Planned | Self::Drifted | Self::Withheld => {
                EventType::Warning
            }
        }
    }
}

/// Declares an enum of reasons, each with its sort, what it means and what to do about it.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident: $sort:ty, $sort_name:ident;
     $($reason:ident, $value:expr, $meaning:literal, $advice:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $(#[doc = $meaning] $reason,)*
        }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$reason,)*];

            /// The word in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$reason => stringify!($reason),)* }
            }

            #[doc = concat!("Its ", stringify!($sort_name), ".")]
            pub fn $sort_name(self) -> $sort {
                match self { $(Self::$reason => $value,)* }
            }

            /// What it means, for a user.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$reason => $meaning,)* }
            }

            /// What to do about it, for a user; empty when there is nothing to do.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$reason => $advice,)* }
            }
        }
    };
}

reasons! {
    /// Why a condition is as it is. The reason settles which condition that is and its status.
    Reason: Class, class;

    Provisioned, Class::Ready,
        "All that can be done is done, and the credentials in the Secret work.",
        "`Withheld` says whether something that was asked for is missing.";

    DatabaseMissing, Class::Waits,
        "The server does not have the database that the user is for.",
        "Apply its `PostgresDatabase`, or correct `dbName`. The user follows within seconds.";
    ServerUnavailable, Class::Waits,
        "The server cannot be reached or does not answer in time.",
        "Look at the server and the network. The operator tries again, with growing pauses.";
    ServerReadOnly, Class::Waits,
        "The server accepts connections but no writes.",
        "Look for `default_transaction_read_only` and for a full disk or a switchover under way.";
    ServerIsStandby, Class::Waits,
        "The address leads to a standby, which cannot be written to.",
        "Name the primary, or wait for the failover to end.";
    TemplateBusy, Class::Waits,
        "The template of the new database has sessions and cannot be copied.",
        "End the sessions in the template database, or configure `template0`.";
    TooSlow, Class::Waits,
        "The pass over this database took longer than it may and was given up.",
        "Look in `pg_stat_activity` and `pg_locks` for sessions that hold it up. It is tried again, with growing pauses.";
    SecretNamespaceMissing, Class::Waits,
        "The namespace that the Secret belongs in is not there, or is being deleted.",
        "Create the namespace, or correct `secretNamespace`.";
    Deleting, Class::Waits,
        "The resource is being deleted; the message says what that waits for.",
        "";

    NotAllowed, Class::NeedsPerson,
        "The resource reaches into another namespace, which has not consented, or for a server that it may not name.",
        "The message says which consent is missing: an annotation of the namespace, or `allowUsersFrom`.";
    Conflict, Class::NeedsPerson,
        "Another resource has the same role, database or Secret, or is older and claims it.",
        "Delete one of the two, or choose another name. Nothing was changed on the server.";
    NotOurs, Class::NeedsPerson,
        "The role or database exists, and nothing proves that this resource may have it.",
        "Put its password into the Secret, or let the server's administrator mark it for adoption.";
    Reserved, Class::NeedsPerson,
        "The name belongs to PostgreSQL, to the administrator or to a role with powers of its own.",
        "Choose another name.";
    InsufficientPrivilege, Class::NeedsPerson,
        "The admin role may not make or change the role or database: it lacks an attribute or an option.",
        "The message has the statement that gives it.";
    SecretConflict, Class::NeedsPerson,
        "The Secret exists and is somebody else's. It was not touched.",
        "Choose another `secretName`, or delete the Secret.";
    SecretRefused, Class::NeedsPerson,
        "The API server does not take the Secret: its name, a quota, a policy, or it is immutable.",
        "The message has the API server's answer. Choose another `secretName`, or change what is in the way.";
    InvalidPassword, Class::NeedsPerson,
        "The password in the Secret cannot be used.",
        "Set another, or remove the key `password` to have one made. The message says what is wrong with it.";
    InvalidCredentials, Class::NeedsPerson,
        "The admin credentials are missing, incomplete or refused by the server.",
        "Put the Secret with the admin credentials right. One that a resource names is seen at once; those of the operator's own server are in its environment, and count after `kubectl rollout restart` of its Deployment.";
    TlsError, Class::NeedsPerson,
        "The encrypted connection cannot be established as configured.",
        "Check `sslmode`, the CA and the name in the server's certificate. Nothing was sent unencrypted.";
    PoolerDetected, Class::NeedsPerson,
        "The address leads to a connection pooler, which drops session settings.",
        "Name the server itself, or a pool in session mode that passes startup options on.";
    CatalogTooLarge, Class::NeedsPerson,
        "There is more in the database, or more lists of privileges that differ, than the operator may hold in memory.",
        "Drop what is not needed, or raise `CATALOG_LIMIT_MIB` and fifteen times that of memory. The message has the size.";
    UnsupportedServer, Class::NeedsPerson,
        "The server is not a PostgreSQL of version 13 or later.",
        "Upgrade it.";
    NotConverged, Class::NeedsPerson,
        "The server is not as it should be after all statements were run.",
        "Something changes it at the same time. The message names what is left; look for another operator or a job.";

    ChangesPlanned, Class::Planned,
        "The resource is merely observed, and something would be changed for it.",
        "`status.planned` has the SQL. Run it yourself, or set `mode: Reconcile` (or start the operator without `--observe`).";

    InSync, Class::InSync,
        "The server is as the resource asks.",
        "";
    NoDrift, Class::InSync,
        "The resource is merely observed; the server is not as it asks because it is new or was changed.",
        "";
    DriftFound, Class::Drifted,
        "The server was changed by somebody else, and the resource is merely observed.",
        "The message names the objects, `status.planned` has the SQL that puts them right.";
    DriftRepaired, Class::Drifted,
        "The server had been changed by somebody else and was put right. `False` again after the next clean check.",
        "The message names the objects. Find out who changed them.";
    DriftRemains, Class::Drifted,
        "The server was changed by somebody else and cannot be put right.",
        "The message names the objects, `Withheld` or `Ready` why.";

    NothingWithheld, Class::Complete,
        "Everything that was asked for is done.",
        "";
    SchemaPending, Class::Withheld,
        "A listed schema does not exist yet. It is granted when it appears.",
        "Create the schema, or correct `schemas`.";
    NotPermitted, Class::Withheld,
        "The admin role may not do what is needed.",
        "The message names the object and the right that is missing.";
    PrivilegesKept, Class::Withheld,
        "More is granted than was asked for, and left so because the operator found it like that.",
        "Set `prune: true` to have it revoked, or revoke it yourself.";
    UnsafeEventTrigger, Class::Withheld,
        "An event trigger in the database would run code with the operator's rights that is no superuser's. Nothing is done that fires it; logins still come and go.",
        "Give the trigger and its function to a superuser, or disable the trigger; the message names them. With PostgreSQL 17 and later the operator as superuser is not held up.";
    RelationBusy, Class::Withheld,
        "Another session has a relation for itself, such as an ALTER TABLE that is not committed. The rest was done.",
        "It is tried again within seconds. Look in pg_locks if it does not end.";
    MembershipKept, Class::Withheld,
        "The role is a member of another one that gives it more than was asked for. Memberships are not revoked.",
        "Revoke the membership if it is not wanted; the message has the statement.";
    ListIsFull, Class::Withheld,
        "So many roles have privileges on an object that PostgreSQL cannot store more (about 2,000).",
        "Delete users that are no longer needed, or let several applications share one.";
    OverrideIgnored, Class::Withheld,
        "`host` without `superuserSecret`, or the other way round: neither counts.",
        "Give both, or none.";
    StatementFailed, Class::Withheld,
        "A statement failed on the server. The rest was done.",
        "The message has the statement and the server's answer. It is tried again at the next check.";

    Suspended, Class::Suspended,
        "`spec.suspend` is true: nothing is looked at or changed, and the other conditions tell of the time before.",
        "Remove `suspend` to go on.";
}

reasons! {
    /// What is worth an event but is no state that lasts.
    Notice: EventType, event_type;

    Created, EventType::Normal,
        "A role or a database was created.", "";
    Adopted, EventType::Normal,
        "A role or a database that was there already was taken over.", "";
    DatabaseRecreated, EventType::Warning,
        "The database had vanished from its server and was created again, empty.",
        "If that was not intended, restore its contents.";
    Extended, EventType::Normal,
        "Privileges were granted on objects that appeared since, such as those of a new creator.", "";
    AccessChanged, EventType::Normal,
        "Privileges were changed because the resource was.", "";
    OwnerChanged, EventType::Normal,
        "The database and its objects were given to the new owner.", "";
    PasswordSet, EventType::Normal,
        "The role was given the password that is in the Secret.", "";
    SecretWritten, EventType::Normal,
        "The Secret was created or put right.", "";
    SecretDeleted, EventType::Normal,
        "A Secret that is no longer needed was deleted.", "";
    SecretKept, EventType::Warning,
        "A Secret that is no longer needed stays: its namespace is not watched any more, or the API server refuses to delete it.",
        "Delete it. The message has the API server's answer, if there was one.";
    RightsDisarmed, EventType::Warning,
        "Functions or views of a leaving role would have run with the new owner's rights: they run as their caller, or others lost access to them.",
        "The message names them. Grant again what is still wanted.";
    UserDeleted, EventType::Normal,
        "The role was dropped; what it owned belongs to the database's owner.", "";
    RoleKept, EventType::Normal,
        "The resource is gone; the role stays, because another resource names it or because it was not the operator's.",
        "";
    DatabaseKept, EventType::Normal,
        "The resource is gone; the database, its data and the owner role stay on the server.",
        "A new resource of the same name takes them over.";
    LeftInPlace, EventType::Warning,
        "The resource was deleted while it was observed or suspended: what it has on the server stays as it is.",
        "Remove by hand what is not wanted. A new resource of the same namespace and name finds it again.";
    DeletionDeferred, EventType::Warning,
        "The resource was let go although its server could not be cleaned up in time; a `ConfigMap` in the operator's namespace keeps what is left to do.",
        "Nothing, if the server comes back: the operator does it then. If it never will, delete the `ConfigMap`.";
    DeletionCompleted, EventType::Normal,
        "What was left to do on a server for a deleted resource is done. The event is about the `ConfigMap` that kept it.",
        "";
    DeletionGivenUp, EventType::Warning,
        "There are more deleted resources of one namespace whose servers cannot be cleaned up than are kept: the oldest was given up.",
        "The message says what stays on which server: remove it there.";
    ServerLeft, EventType::Warning,
        "The resource moved to another server; the message names what stays on the old one.",
        "Remove it there when it is no longer needed.";
}

/// The reason and the type of an event.
#[derive(Clone, Copy, Debug)]
pub struct EventKind {
    /// The word in the API.
    pub reason: &'static str,
    /// `Normal` or `Warning`.
    pub event_type: EventType,
}

impl From<Reason> for EventKind {
    fn from(reason: Reason) -> Self {
        Self { reason: reason.as_str(), event_type: reason.class().event_type() }
    }
}

impl From<Notice> for EventKind {
    fn from(notice: Notice) -> Self {
        Self { reason: notice.as_str(), event_type: notice.event_type() }
    }
}

/// One condition as a pass found it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Settles the condition and its status.
    pub reason: Reason,
    /// For a person: names the objects and what to do.
    pub message: String,
}

/// Puts a finding into the conditions of an object of this generation. A message that is too long is cut.
///
/// `lastTransitionTime` becomes `now` only when the status changes, so that a repeated finding leaves the
/// conditions equal to what they were.
pub fn set(conditions: &mut Vec<Condition>, finding: Finding, generation: Option<i64>, now: Time) {
    let Finding { reason, message } = finding;
    let (condition_type, status) = reason.class().condition();
    let mut new = Condition {
        type_: condition_type.as_str().to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: presentable(&message, LONGEST_MESSAGE),
        observed_generation: generation,
        last_transition_time: now,
    };
    match conditions.iter_mut().find(|found| found.type_ == new.type_) {
        Some(found) => {
            if found.status == new.status {
                mem::swap(&mut new.last_transition_time, &mut found.last_transition_time);
            }
            *found = new;
        }
        None => conditions.push(new),
    }
}

/// Takes out the condition of this type.
pub fn unset(conditions: &mut Vec<Condition>, condition_type: ConditionType) {
    conditions.retain(|condition| condition.type_ != condition_type.as_str());
}

/// The condition of this type, if there is one.
pub fn find(conditions: &[Condition], condition_type: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == condition_type.as_str())
}

#[cfg(test)]
mod tests;
