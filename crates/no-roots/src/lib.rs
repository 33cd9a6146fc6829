//! An empty list of certificate authorities, in place of Mozilla's.
//!
//! The PostgreSQL driver adds the list of the crate `webpki-roots` to whatever authority it is told to trust, and has
//! no switch for that. With this crate in its place (`[patch]` in the workspace's `Cargo.toml`), the authority that it
//! is told is the only one.

use rustls_pki_types::TrustAnchor;

/// Nobody.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
