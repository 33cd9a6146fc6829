//! Whether the password in a Secret is the role's. CPU; logins only where verifiers cannot be read.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use exec::{Password, Server, Stored, Verify, try_login};
use plan::{Catalog, Ident, PasswordState};

use crate::caches::Version;
use crate::context::Context;
use crate::lock::lock;
use crate::resource::ObjectName;
use crate::servers::Address;

/// How long the answer to a login counts.
const LOGIN: Duration = Duration::from_hours(1);

/// The passwords that roles should have, and where they are.
#[derive(Clone)]
pub struct Expected {
    /// The Secret.
    pub secret: ObjectName,
    /// Its version.
    pub version: Version,
    /// The password in it.
    pub password: Password,
}

impl Expected {
    /// Which version of which Secret it is in.
    pub const fn place(&self) -> (&ObjectName, &Version) {
        (&self.secret, &self.version)
    }
}

/// Compares stored verifiers with expected passwords; each pair once.
pub struct Verifier<'a> {
    context: &'a Context,
    address: Address,
    // Passwords are made during a pass, while its sessions hold on to this.
    expected: Mutex<BTreeMap<Ident, Expected>>,
}

impl<'a> Verifier<'a> {
    /// Knows no password of the server at this address yet.
    pub fn new(context: &'a Context, address: Address) -> Self {
        Self { context, address, expected: Mutex::default() }
    }

    /// Learns the passwords as they are now.
    pub fn expect(&self, expected: &BTreeMap<Ident, Expected>) {
        lock(&self.expected).clone_from(expected);
    }
}

impl Verify for Verifier<'_> {
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState {
        let expected = lock(&self.expected).get(role).cloned();
        match (stored, &expected) {
            (Stored::Absent, _) => PasswordState::Absent,
            (Stored::Md5(_) | Stored::Other, Some(expected)) => stored.compare(role, &expected.password),
            (Stored::Unreadable, Some(expected)) => {
                let login = self.context.vault.login(expected.place(), (&self.address, role));
                login
                    .filter(|(when, _)| when.elapsed() < LOGIN)
                    .map_or(PasswordState::Unknown, |(_, state)| state)
            }
            (Stored::Verifier(verifier), Some(expected)) => {
                let memory = &self.context.memory;
                let known = memory.compared(&expected.secret, &expected.version, verifier);
                known.unwrap_or_else(|| {
                    let state = stored.compare(role, &expected.password);
                    memory.set_compared(&expected.secret, &expected.version, verifier, state);
                    state
                })
            }
            (Stored::Unreadable | Stored::Md5(_) | Stored::Other | Stored::Verifier(_), None) => {
                PasswordState::Unknown
            }
        }
    }
}

/// Tries the passwords that could not be compared, and notes the answers in the catalog.
pub async fn try_unknown(
    context: &Context,
    server: &Server,
    expected: &BTreeMap<Ident, Expected>,
    catalog: &mut Catalog,
) -> Result<(), exec::Error> {
    let address = Address::of(server);
    for (role, expected) in expected {
        let Some(oid) = catalog.role_oid(role) else { continue };
        let is_unknown = catalog.roles[&oid].password == PasswordState::Unknown;
        let was_tried = context.vault.login(expected.place(), (&address, role));
        if !is_unknown || was_tried.is_some_and(|(when, _)| when.elapsed() < LOGIN) {
            continue;
        }
        let state = try_login(server, role, &expected.password).await?;
        context.vault.set_login(expected.place(), (&address, role), state);
        if let Some(found) = catalog.roles.get_mut(&oid) {
            found.password = state;
        }
    }
    Ok(())
}
