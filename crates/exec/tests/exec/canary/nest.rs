//! A server of one's own, a database with tricks in it, and what its canaries sang.

use std::collections::BTreeSet;

use exec::Learned;
use plan::Ident;
use sqlx::PgConnection;
use testbed::{Postgres, postgres::run, unique};

use crate::support::{Admin, Place, own_superuser, place_on, sql};

pub(super) const CANARY: &str = include_str!("canary.sql");

/// A place whose tenants play tricks.
pub(super) struct Nest {
    pub(super) place: Place,
    /// A session of the owner, with temporary objects of all kinds.
    pub(super) tenant: Option<PgConnection>,
}

/// A trick that was caught: in whose session it ran, with whose rights, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Song {
    pub(super) session: String,
    pub(super) current: String,
    pub(super) trick: String,
}

impl Nest {
    /// A server that no other test works on; nobody but the operator logs in as its superuser.
    pub(super) async fn new(major: u16, admin: Admin) -> Self {
        // Servers end with the process.
        let postgres: &'static Postgres = Box::leak(Box::new(Postgres::start(major).await));
        let mut place = own_superuser(place_on(postgres, admin).await).await;
        // Its maintenance database is a tenant's too.
        let maintenance = plan::testing::ident(&unique("maintenance"));
        place.server.maintenance = maintenance;
        Self { place, tenant: None }
    }

    /// What the server's sessions learned is learned again.
    pub(super) fn forget(&mut self) {
        self.place.server.learned = Learned::default();
    }

    /// Statements of the superuser that the operator does not work as, in a database of this server.
    pub(super) async fn sql_in(&self, database: &Ident, text: impl Into<String>) {
        let text = text.into();
        let mut session = self.place.postgres.admin(database.as_str()).await;
        let done = run(&mut session, format!("SET search_path = ''; {text}")).await;
        done.unwrap_or_else(|error| panic!("{text}: {error}"));
    }

    /// The same in the database of the tests.
    pub(super) async fn sql(&self, text: impl Into<String>) {
        self.sql_in(&self.place.database.clone(), text).await;
    }

    /// Statements of a tenant.
    pub(super) async fn sql_as(&self, role: &Ident, text: impl Into<String>) {
        let text = text.into();
        let done = self.place.sql_as(role, format!("SET search_path = ''; {text}")).await;
        done.unwrap_or_else(|error| panic!("{text}: {error} on {}", self.place.postgres));
    }

    /// A file of tricks, played by this role in this schema.
    pub(super) fn filled(&self, file: &str, author: &Ident, schema: &str) -> String {
        let place = &self.place;
        // Longer names first: one may begin like another.
        file.replace(":database", &place.database.to_string())
            .replace(":author", author.as_str())
            .replace(":schema", schema)
            .replace(":owner", &place.owner.to_string())
            .replace(":reader", &place.reader.to_string())
            .replace(":writer", &place.writer.to_string())
    }

    /// The maintenance database, which the operator connects to and a tenant owns.
    pub(super) async fn make_maintenance(&self) {
        let (postgres, database) = (self.place.postgres, &self.place.server.maintenance);
        sql(postgres, "postgres", "CREATE ROLE squatter").await;
        sql(postgres, "postgres", format!("CREATE DATABASE {database} OWNER squatter")).await;
        let made = format!("GRANT ALL ON SCHEMA public TO squatter; SET ROLE squatter; {CANARY}");
        self.sql_in(database, made).await;
    }

    /// Everything that was sung so far, once.
    pub(super) fn songs(&self) -> BTreeSet<Song> {
        let song = |line: &str| {
            let (_, song) = line.split_once("LOG:  canary: ")?;
            let mut words = song.splitn(3, " / ").map(ToOwned::to_owned);
            Some(Song { session: words.next()?, current: words.next()?, trick: words.next()? })
        };
        self.place.postgres.log().lines().filter_map(song).collect()
    }

    /// Nothing of a tenant ran in a session of the operator, nor anywhere with its rights.
    #[track_caller]
    pub(super) fn assert_silent(&self, after: &str) {
        let admin = &self.place.server.user;
        let heard: Vec<_> = self
            .songs()
            .into_iter()
            .filter(|song| song.session == *admin || song.current == *admin)
            .collect();
        assert_eq!(heard, [], "after {after} on {} as {admin}", self.place.postgres);
    }
}
