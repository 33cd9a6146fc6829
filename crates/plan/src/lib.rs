//! Decides which SQL statements lie between what is wanted and what a PostgreSQL server has.
//!
//! [`plan`] is a total, pure function: it reads no clock, environment or randomness, talks to no server and
//! logs nothing. Its input is a [`Desired`] state of one database and the [`Catalog`] that was read from the
//! server; its output is a [`Plan`]: [`Action`]s in the order in which they must run, and what was [`Withheld`]
//! and why. Applying a plan and planning again gives an empty plan.
//!
//! Names enter SQL only as [`Ident`], strings only as [`Literal`]; both quote themselves.
//!
//! The crate `postgres-provisioner-exec` reads catalogs and applies plans. Without a server, [`testing`] has a
//! catalog to build and to apply plans to:
//!
//! ```
//! use postgres_provisioner_plan::{plan, testing::{Builder, desired, simulate}};
//!
//! let mut catalog = Builder::provisioned(17, &desired(&[]))
//!     .schema("shop", "owner")
//!     .table("shop", "orders", "owner")
//!     .catalog;
//! let wanted = desired(&["reader read shop"]);
//! let found = plan(&wanted, &catalog);
//! let statements: Vec<_> = found.actions.iter().map(ToString::to_string).collect();
//! assert!(statements.contains(&r#"GRANT SELECT ON TABLE "shop"."orders" TO "reader""#.to_owned()));
//!
//! for action in &found.actions {
//!     simulate(&mut catalog, &wanted.database, action);
//! }
//! assert!(plan(&wanted, &catalog).is_empty());
//! ```
//!
//! `examples/review.rs` is a whole program: a wanted state written in code, its plan, and what is withheld.

mod action;
mod catalog;
mod desired;
mod event_trigger;
mod ident;
mod marker;
mod password;
mod phase;
mod planner;
mod privilege;
mod reserved;
mod statement;
mod target;
pub mod testing;
mod verifier;
mod withheld;

pub use action::{Action, Site};
pub use catalog::{
    Acl, AclId, AclItem, Catalog, ColumnGrant, Contents, Database, DefaultAcl, Dependencies, ExposedView,
    Membership, Oid, PasswordState, Relation, RelationGroup, RelationKind, Role, Routine, Schema, Server,
    ServerVersion,
};
pub use desired::{
    Access, Desired, Disposition, Grantee, Leaving, Login, Managed, Prune, Recorded, Refused, Schemas,
};
pub use event_trigger::{EventTrigger, TriggerEvent};
pub use ident::{Ident, IdentError, Literal, QualifiedName};
pub use marker::{Claim, Marker, Origin};
pub use password::{NewPassword, PlainPassword, PlainPasswordError};
pub use phase::Phase;
pub use planner::{MOST_RELATIONS, Plan, is_laundered, plan};
pub use privilege::{Privilege, Privileges};
pub use reserved::is_reserved;
pub use target::{Cause, DefaultChange, DefaultObject, Recipient, Taken, Target};
pub use verifier::{Verifier, VerifierError};
pub use withheld::{MOST_ENTRIES, Refusal, Withheld};
