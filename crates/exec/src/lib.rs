//! Talks to PostgreSQL: reads catalogs, applies plans, computes and checks passwords.
//!
//! This is the only crate that opens connections to a server. It decides nothing: what is to be done stands in
//! the [`plan::Plan`], in this order and no other. It knows no Kubernetes.
//!
//! Every session is opened with settings that whoever owns a database cannot override, is verified by its first
//! statement, has deadlines on the client's side, and ends when it is dropped.
//!
//! ```no_run
//! use postgres_provisioner_exec::{End, Error, Server, Sessions, Verify};
//!
//! /// Brings a server closer to `desired`; whether something was left to do.
//! async fn round(server: &Server, desired: &mut plan::Desired, passwords: &impl Verify) -> Result<bool, Error> {
//!     let mut sessions = Sessions::new(server, passwords);
//!     let catalog = sessions.read(desired).await?;
//!     let plan = plan::plan(desired, &catalog);
//!     if !plan.is_empty() {
//!         match sessions.apply(desired, &plan).await?.end {
//!             End::Complete | End::Stale => (),
//!             // The next plan leaves these out, and says so.
//!             End::Busy(relations) => desired.busy.extend(relations),
//!             End::Refused(refused) => desired.refused.push(refused),
//!             End::NotConverged(left) => panic!("without effect: {left:?}"),
//!         }
//!     }
//!     sessions.close().await;
//!     Ok(!plan.is_empty())
//! }
//! ```
//!
//! `examples/provision.rs` is a whole program: it reads, plans, prints, and applies when asked to.

mod apply;
#[cfg(test)]
mod canary;
mod connect;
mod error;
mod facts;
mod introspect;
mod learned;
mod licence;
mod line;
mod lock;
mod login;
mod md5;
mod password;
pub mod scram;
mod server;
mod session;
mod sessions;
mod statement;
mod tls;
mod usage;
mod verify;

pub use apply::{Applied, End};
pub use error::{Class, Error};
pub use learned::Learned;
pub use licence::{Licence, Unlimited};
pub use login::try_login;
pub use password::{Password, PasswordError, check_usable, new_password, random_password};
pub use server::{PasswordMode, Server, UnknownPasswordMode};
pub use sessions::Sessions;
pub use tls::{Part, SslMode, Tls, UnknownSslMode, Unusable};
pub use usage::Usage;
pub use verify::{Stored, Verify};
