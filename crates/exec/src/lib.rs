//! Talks to PostgreSQL: reads catalogs, applies plans, computes and checks passwords.
//!
//! This is the only crate that opens connections to a server. It decides nothing: what is to be done stands in
//! the [`plan::Plan`], in this order and no other. It knows no Kubernetes.
//!
//! Every session is opened with settings that whoever owns a database cannot override, is verified by its first
//! statement, has deadlines on the client's side, and ends when it is dropped.

mod apply;
mod connect;
mod error;
mod facts;
mod introspect;
mod login;
mod password;
pub mod scram;
mod server;
mod session;
mod sessions;
mod statement;
mod verify;

pub use apply::{Applied, End};
pub use error::{Class, Error};
pub use login::try_login;
pub use password::{Password, PasswordError, check_usable, random_password};
pub use server::{Server, SslMode, Tls, UnknownSslMode};
pub use sessions::Sessions;
pub use verify::{Stored, Verify};
