//! What the tests have in common: a database with users on a server, an admin role, a pass.

use std::collections::{BTreeMap, BTreeSet};

use exec::{
    Applied, End, Error, Learned, Password, PasswordMode, Server, Sessions, SslMode, Stored, Tls, Verify,
    scram,
};
use plan::{
    Access, Catalog, Desired, Disposition, Grantee, Ident, Leaving, Managed, PasswordState, Plan, Prune,
    Schemas, Withheld,
    testing::{claim, ident, login},
};
use testbed::{
    Postgres,
    postgres::{SUPERUSER, fetch_text, run},
    unique,
};

/// The majors whose differences matter here.
pub(crate) const MAJORS: [u16; 4] = [13, 15, 17, 18];

/// Who administers a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admin {
    Superuser,
    /// CREATEDB CREATEROLE, as on managed services.
    Limited,
}

/// A database to be, with names of its own.
pub(crate) struct Place {
    pub(crate) postgres: &'static Postgres,
    pub(crate) server: Server,
    pub(crate) database: Ident,
    pub(crate) owner: Ident,
    pub(crate) reader: Ident,
    pub(crate) writer: Ident,
    pub(crate) secrets: Secrets,
}

/// The passwords of the roles.
#[derive(Default)]
pub(crate) struct Secrets(pub(crate) BTreeMap<Ident, Password>);

impl Verify for Secrets {
    fn state(&self, role: &Ident, stored: Stored<'_>) -> PasswordState {
        match (stored, self.0.get(role)) {
            (Stored::Absent, None) => PasswordState::Absent,
            (Stored::Unreadable, _) | (_, None) => PasswordState::Differs,
            (stored, Some(password)) => stored.compare(role, password),
        }
    }
}

/// A server as its superuser.
pub(crate) fn server(postgres: &Postgres) -> Server {
    Server {
        host: postgres.host().to_owned(),
        port: postgres.port(),
        user: SUPERUSER.to_owned(),
        password: Password::new(postgres.password()),
        maintenance: ident("postgres"),
        tls: Tls { mode: SslMode::Prefer, ..Tls::default() },
        passwords: PasswordMode::Verifier,
        learned: Learned::default(),
    }
}

/// Names on the shared server of this major, and an admin role.
pub(crate) async fn place(major: u16, admin: Admin) -> Place {
    place_on(Postgres::shared(major).await, admin).await
}

/// The same on this server.
pub(crate) async fn place_on(postgres: &'static Postgres, admin: Admin) -> Place {
    let mut server = server(postgres);
    if admin == Admin::Limited {
        let (name, password) = (unique("admin"), "limited");
        sql(
            postgres,
            "postgres",
            format!("CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'"),
        )
        .await;
        server = Server { user: name, password: Password::new(password), ..server };
    }
    let [database, owner, reader, writer] =
        ["app", "owner", "reader", "writer"].map(|name| ident(&unique(name)));
    let password = |role: &Ident| (role.clone(), Password::new(format!("password of {role}")));
    let secrets = Secrets([&owner, &reader, &writer].map(password).into());
    Place { postgres, server, database, owner, reader, writer, secrets }
}

/// With a superuser that nobody else logs in as.
pub(crate) async fn own_superuser(place: Place) -> Place {
    if place.server.user != SUPERUSER {
        return place;
    }
    let (user, password) = (unique("root"), "unlimited");
    let made = format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{password}'");
    sql(place.postgres, "postgres", made).await;
    Place { server: Server { user, password: Password::new(password), ..place.server }, ..place }
}

impl Place {
    /// One more role that can log in.
    pub(crate) fn another(&mut self, desired: &mut Desired, name: &str) -> Ident {
        let role = ident(&unique(name));
        let password = Password::new(format!("password of {role}"));
        let verifier = Some(scram::verifier(&password).unwrap().into());
        desired.logins.insert(role.clone(), plan::Login { password: verifier, ..login(role.as_str()) });
        self.secrets.0.insert(role.clone(), password);
        role
    }

    /// The database, its owner, a reader and a writer of everything.
    pub(crate) fn desired(&self) -> Desired {
        let login = |role: &Ident| {
            let verifier = scram::verifier(&self.secrets.0[role]).unwrap();
            (role.clone(), plan::Login { password: Some(verifier.into()), ..login(role.as_str()) })
        };
        let grantee = |role: &Ident, access| {
            (role.clone(), Grantee { access, schemas: Schemas::All, prune: Prune::IfCreated })
        };
        Desired {
            database: self.database.clone(),
            managed: Managed::Yes {
                owner: self.owner.clone(),
                template: ident("template0"),
                claim: claim(self.database.as_str()),
                recorded: None,
                prune: Prune::IfCreated,
            },
            logins: [&self.owner, &self.reader, &self.writer].map(login).into(),
            grantees: [grantee(&self.reader, Access::Read), grantee(&self.writer, Access::ReadWrite)].into(),
            leaving: BTreeMap::new(),
            refused: Vec::new(),
            busy: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    pub(crate) fn sessions(&self) -> Sessions<'_> {
        Sessions::new(&self.server, &self.secrets)
    }

    /// Passes until there is nothing left to do; what was there last.
    pub(crate) async fn converge(&self, desired: &Desired) -> Catalog {
        let mut sessions = self.sessions();
        for _ in 0..4 {
            let catalog = sessions.read(desired).await.unwrap();
            let plan = plan::plan(desired, &catalog);
            // Up to 14 the schema `public` is the bootstrap superuser's.
            let is_ours = |withheld: &&Withheld| !withheld.to_string().contains("schema \"public\"");
            assert_eq!(plan.withheld.iter().find(is_ours), None, "on {}", self.postgres);
            if plan.is_empty() {
                sessions.close().await;
                return catalog;
            }
            let applied = sessions.apply(desired, &plan).await.unwrap();
            assert_eq!(applied, Applied { done: plan.actions, end: End::Complete }, "on {}", self.postgres);
        }
        panic!("there is always something left to do on {}", self.postgres);
    }

    /// Statements of the superuser in the database.
    pub(crate) async fn sql(&self, text: impl Into<String>) {
        sql(self.postgres, self.database.as_str(), text).await;
    }

    /// A value, asked for by the superuser in the database.
    pub(crate) async fn ask(&self, text: impl Into<String>) -> Option<String> {
        let mut admin = self.postgres.admin(self.database.as_str()).await;
        fetch_text(&mut admin, text).await.unwrap()
    }

    /// Statements of one of the roles in the database.
    pub(crate) async fn sql_as(&self, role: &Ident, text: impl Into<String>) -> Result<(), String> {
        let password = self.secrets.0[role].expose();
        let session = self.postgres.connect(self.database.as_str(), role.as_str(), password).await;
        run(&mut session.unwrap(), text).await.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Statements of the superuser.
pub(crate) async fn sql(postgres: &Postgres, database: &str, text: impl Into<String>) {
    let text = text.into();
    let done = run(&mut postgres.admin(database).await, &*text).await;
    done.unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// The role is wanted no more.
pub(crate) fn leave(desired: &mut Desired, role: &Ident) {
    let login = desired.logins.remove(role).unwrap();
    desired.grantees.remove(role);
    let leaving = Leaving { claim: login.claim, recorded: None, disposition: Disposition::Drop };
    desired.leaving.insert(role.clone(), leaving);
}

/// Rounds until nothing is left but what is withheld, as the operator takes them.
pub(crate) async fn rounds(sessions: &mut Sessions<'_>, desired: &Desired) -> Result<Plan, Error> {
    let mut desired = desired.clone();
    for number in 1..=8 {
        let catalog = sessions.read(&desired).await?;
        let plan = plan::plan(&desired, &catalog);
        if plan.is_empty() {
            return Ok(plan);
        }
        let applied = sessions.apply(&desired, &plan).await?;
        match applied.end {
            End::Busy(busy) if number > 3 => desired.busy.extend(busy),
            End::Complete | End::Stale | End::Busy(_) => (),
            End::Refused(_) | End::NotConverged(_) => panic!("{applied:?}"),
        }
    }
    panic!("there is always something left to do")
}

/// A plan made by hand.
pub(crate) fn by_hand(actions: impl Into<Vec<plan::Action>>) -> Plan {
    Plan { actions: actions.into(), withheld: Vec::new() }
}

/// The catalog, with connections of its own.
pub(crate) async fn read(place: &Place, desired: &Desired) -> Result<Catalog, Error> {
    let mut sessions = place.sessions();
    let catalog = sessions.read(desired).await;
    sessions.close().await;
    catalog
}
