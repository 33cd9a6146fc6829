//! A load of changes from a seed, and what must be there after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use testbed::postgres::fetch_rows;
use testbed::unique;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::resources::{database, user};
use crate::world::World;

/// How many changes there are in a second.
const PACE: Duration = Duration::from_millis(200);
/// How long everything may take to be done in the end.
const SETTLE: Duration = Duration::from_mins(1);
/// How much there may be at a time.
const DATABASES: usize = 8;
const USERS: usize = 4;

/// Numbers from a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One that is smaller than `end` (splitmix64).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % end as u64).unwrap()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { list.get(self.below(list.len())) }
    }
}

/// What was asked for so far.
pub(crate) struct Load<'w> {
    world: &'w World,
    random: Random,
    /// Databases with their users and their access.
    databases: BTreeMap<String, BTreeMap<String, &'static str>>,
    /// Kind and name of what was deleted.
    gone: BTreeSet<(&'static str, String)>,
    /// How many changes there were.
    pub(crate) changes: usize,
}

impl<'w> Load<'w> {
    pub(crate) fn new(world: &'w World, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { world, random, databases: BTreeMap::new(), gone: BTreeSet::new(), changes: 0 }
    }

    /// Changes things until then, whoever leads.
    pub(crate) async fn run(&mut self, end: Instant) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while Instant::now() < end {
            pace.tick().await;
            self.change().await;
            self.changes += 1;
        }
    }

    /// Every name of a role or database that was ever asked for.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let users = self.databases.values().flat_map(BTreeMap::keys).cloned();
        let gone = self.gone.iter().map(|(_, name)| name.clone());
        let databases: Vec<_> = self.databases.keys().cloned().chain(gone).collect();
        let owners: Vec<_> = databases.iter().map(|name| owner(name)).collect();
        users.chain(databases).chain(owners).collect()
    }

    async fn change(&mut self) {
        let names: Vec<_> = self.databases.keys().cloned().collect();
        let Some(name) = self.random.of(&names).cloned() else { return self.create_database().await };
        match self.random.below(100) {
            0..20 if names.len() < DATABASES => self.create_database().await,
            0..50 if self.databases[&name].len() < USERS => self.create_user(&name).await,
            0..80 => self.change_access(&name).await,
            80..96 => self.delete_user(&name).await,
            _ => self.delete_database(&name).await,
        }
    }

    async fn create_database(&mut self) {
        let name = unique("load");
        self.world.apply(&database(&self.world.namespace, &name, &owner(&name), "")).await;
        self.databases.insert(name, BTreeMap::new());
    }

    async fn create_user(&mut self, database: &str) {
        let (name, access) = (unique("user"), self.access());
        let more = format!(", access: {access}");
        self.world.apply(&user(&self.world.namespace, &name, database, &more)).await;
        self.users(database).insert(name, access);
    }

    async fn change_access(&mut self, database: &str) {
        let (Some(name), access) = (self.a_user(database), self.access()) else { return };
        self.world.patch("pguser", &name, json!({ "spec": { "access": access } })).await;
        self.users(database).insert(name, access);
    }

    async fn delete_user(&mut self, database: &str) {
        let Some(name) = self.a_user(database) else { return };
        self.world.delete("pguser", &name).await;
        self.users(database).remove(&name);
        self.gone.insert(("pguser", name));
    }

    /// Its users go first: one that was made a moment ago may not know yet that it goes with it.
    async fn delete_database(&mut self, name: &str) {
        for user in self.databases.remove(name).unwrap_or_default().into_keys() {
            self.world.delete_with("pguser", &user, &DeleteParams::default()).await;
            self.gone.insert(("pguser", user));
        }
        self.world.delete("pgdb", name).await;
        self.gone.insert(("pgdb", name.to_owned()));
    }

    fn access(&mut self) -> &'static str {
        ["read", "readwrite"][self.random.below(2)]
    }

    fn a_user(&mut self, database: &str) -> Option<String> {
        let users: Vec<_> = self.databases[database].keys().cloned().collect();
        self.random.of(&users).cloned()
    }

    fn users(&mut self, database: &str) -> &mut BTreeMap<String, &'static str> {
        self.databases.get_mut(database).unwrap()
    }

    /// Waits until everything is as it was asked for last, in the cluster and on the server.
    pub(crate) async fn settled(&self) {
        for (kind, name) in &self.gone {
            self.world.gone_in(SETTLE, kind, name).await;
        }
        for (name, users) in &self.databases {
            self.world.ready_in(SETTLE, "pgdb", name).await;
            for user in users.keys() {
                self.world.ready_in(SETTLE, "pguser", user).await;
            }
            self.check(name, users).await;
        }
        for (kind, name) in &self.gone {
            assert_eq!(self.world.find_secret(&self.world.namespace, name).await, None, "{kind} {name}");
            assert!(*kind == "pgdb" || !self.world.has_role(name).await, "{name} is still there");
        }
    }

    /// The server has these users and no others, with this access, and their Secrets log in.
    async fn check(&self, database: &str, users: &BTreeMap<String, &'static str>) {
        let sql = "SELECT a.grantee::regrole::text, bool_or(a.privilege_type = 'INSERT')::text
            FROM pg_default_acl d, aclexplode(d.defaclacl) a
            WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole GROUP BY 1 ORDER BY 1";
        let rows = fetch_rows(&mut self.world.postgres.admin(database).await, sql).await.unwrap();
        let rows = rows.into_iter().map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" "));
        let wanted = users.iter().map(|(user, access)| format!("{user} {}", *access == "readwrite"));
        assert_eq!(rows.collect::<Vec<_>>(), wanted.collect::<Vec<_>>(), "in {database}");
        for name in users.keys().map(String::as_str).chain([database]) {
            self.world.login(&self.world.secret(&self.world.namespace, name).await).await;
        }
    }
}

fn owner(database: &str) -> String {
    format!("{database}_owner")
}
