//! What a plan says, without a server: the wanted state and what the server has are both written in code. This is
//! how a tool of your own would test what it asks for.
//!
//! ```sh
//! cargo run --package postgres-provisioner-plan --example review
//! ```

use std::io::{self, Write};

use plan::{
    Access, Claim, Desired, Grantee, Ident, Login, Managed, Prune, Schemas, plan,
    testing::{Builder, ident, simulate, verifier},
};
use postgres_provisioner_plan as plan;

fn main() -> io::Result<()> {
    run(&mut io::stdout())
}

/// Yesterday the database had an owner. Today a reader of everything, a writer of two schemas and a role that is
/// somebody else's are wanted as well.
pub(crate) fn run(out: &mut impl Write) -> io::Result<()> {
    let yesterday = desired();
    let mut today = desired();
    want(&mut today, "reader", Access::Read, Schemas::All);
    let schemas = ["shop", "audit"].map(ident).into();
    want(&mut today, "writer", Access::ReadWrite, Schemas::Listed(schemas));
    want(&mut today, "reporting", Access::Read, Schemas::All);

    let builder = Builder::provisioned(17, &yesterday)
        .schema("shop", "owner")
        .table("shop", "orders", "owner")
        .table("shop", "items", "owner")
        .role("reporting");
    let mut catalog = builder.catalog;

    let found = plan(&today, &catalog);
    for action in &found.actions {
        writeln!(out, "{action};")?;
    }
    for withheld in &found.withheld {
        writeln!(out, "-- withheld: {withheld}")?;
    }
    for action in &found.actions {
        simulate(&mut catalog, &today.database, action);
    }
    let left = plan(&today, &catalog).actions.len();
    writeln!(out, "-- {} statements, and {left} when planned again", found.actions.len())
}

/// A database with an owner.
fn desired() -> Desired {
    let mut desired = Desired::new(ident("app"));
    let owner = ident("owner");
    desired.logins.insert(owner.clone(), login(&owner));
    desired.managed = Managed::Yes {
        owner,
        template: ident("template0"),
        claim: Claim::new("example", "app"),
        recorded: None,
        prune: Prune::IfCreated,
    };
    desired
}

/// Adds a role with access to what is in the database.
fn want(desired: &mut Desired, role: &str, access: Access, schemas: Schemas) {
    let role = ident(role);
    desired.logins.insert(role.clone(), login(&role));
    desired.grantees.insert(role, Grantee { access, schemas, prune: Prune::IfCreated });
}

fn login(role: &Ident) -> Login {
    // Of no particular password. `exec::scram::verifier` makes one from a password.
    Login { claim: Claim::new("example", role.as_str()), recorded: None, password: Some(verifier().into()) }
}
