//! Several replicas: one works, another takes over, and never do two.

use std::fs;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use operator::election::Timing;
use serde_json::json;
use testbed::postgres::{fetch_rows, fetch_text};
use testbed::{eventually, unique};
use tokio::time::{Instant, interval, timeout};

use crate::load::{Load, Random};
use crate::relay::Relay;
use crate::replica::{Installation, Replica, TAKEOVER, Term, leader};
use crate::resources::{database, user};
use crate::server_log;
use crate::world::PATIENCE;

/// For how long things change while leaders die, unless `HA_SECONDS` says otherwise.
const LOAD: u64 = 60;
/// How much a server may log, at most, from one takeover to the next death: some seconds of work.
const LIFE: usize = 400_000;

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Leaders that die, and those who take over.
struct Deaths<'i> {
    installation: &'i Installation,
    replicas: Vec<Replica>,
    random: Random,
    /// How long nobody led.
    takeovers: Vec<Duration>,
    /// When those led that are dead.
    terms: Vec<Term>,
}

impl Deaths<'_> {
    /// The leader's end, at a random point of its work.
    async fn next(&mut self) {
        let size = || fs::metadata(self.installation.world.postgres.log_path()).unwrap().len();
        let (leading, _) = leader(&self.replicas, Instant::now()).await;
        let target = size() + self.random.below(LIFE) as u64;
        let work = eventually("work", PATIENCE, async || (size() >= target).then_some(()));
        // The load may have come to its end.
        _ = timeout(Duration::from_secs(5), work).await;
        let mut old = self.replicas.swap_remove(leading);
        let start = Instant::now();
        if self.random.below(3) == 0 {
            old.end("STOP");
            self.takeovers.push(leader(&self.replicas, start).await.1);
            old.program.signal("CONT");
            old.follows().await;
            self.replicas.push(old);
            return;
        }
        old.end("KILL");
        self.terms.extend(old.terms());
        self.replicas.push(self.installation.start());
        self.takeovers.push(leader(&self.replicas, start).await.1);
    }

    /// When somebody led, in order.
    fn terms(&self) -> Vec<Term> {
        let living = self.replicas.iter().flat_map(Replica::terms);
        let mut terms: Vec<_> = self.terms.iter().copied().chain(living).collect();
        terms.sort();
        terms
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_that_die_anywhere_in_a_load_of_changes_make_nothing_twice_and_lose_nothing() {
    let seconds = number("HA_SECONDS", LOAD);
    let seed = number("HA_SEED", Timestamp::now().as_millisecond().unsigned_abs());
    eprintln!("HA_SEED={seed} HA_SECONDS={seconds}");
    let installation = Installation::new().await;
    let replicas = vec![installation.start(), installation.start()];
    let random = Random::new(seed + 1);
    let (takeovers, terms) = (Vec::new(), Vec::new());
    let mut deaths = Deaths { installation: &installation, replicas, random, takeovers, terms };
    let mut load = Load::new(&installation.world, seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    tokio::join!(load.run(end), async {
        while Instant::now() < end {
            deaths.next().await;
        }
    });
    let takeovers = &deaths.takeovers;
    eprintln!("{} changes, takeovers after {takeovers:.1?}", load.changes);
    load.settled().await;
    assert!(takeovers.len() > 1 && takeovers.iter().all(|took| *took <= TAKEOVER), "{takeovers:?}");

    let terms = deaths.terms();
    assert!(terms.len() > takeovers.len(), "{terms:?}");
    assert!(terms.windows(2).all(|terms| terms[0].1 < terms[1].0), "two led at a time: {terms:?}");
    let creations = server_log::creations(&installation.world.postgres.log());
    let names = load.names();
    let twice: Vec<_> = creations.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(creations.len() > 5 && creations.keys().all(|name| names.contains(name)), "{creations:?}");
    installation.assert_allowed();
}

/// Sessions of operators that have changed something and are about to say whether for good.
async fn undecided(installation: &Installation) -> Vec<String> {
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'postgres-provisioner'
        AND state = 'idle in transaction' AND backend_xid IS NOT NULL";
    let rows = fetch_rows(&mut installation.world.postgres.admin("postgres").await, sql).await.unwrap();
    rows.into_iter().flatten().flatten().collect()
}

/// Stops the replica while a transaction of it is open that has changed something; the session's process.
async fn stop_in_a_transaction(installation: &Installation, replica: &Replica) -> String {
    let world = &installation.world;
    let mut admin = world.postgres.admin("postgres").await;
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'postgres-provisioner'
        AND backend_xid IS NOT NULL AND state LIKE '%transaction%'";
    for _ in 0..50 {
        let name = unique("stopped");
        world.apply(&database(&world.namespace, &name, &format!("{name}_owner"), "")).await;
        let caught = eventually("a transaction, or the end of the work", PATIENCE, async || {
            if fetch_text(&mut admin, sql).await.unwrap().is_some() {
                replica.program.signal("STOP");
                return Ok(true);
            }
            let found = world.get("pgdb", &name).await.map_err(|error| error.to_string())?;
            let status = found.data["status"]["conditions"].to_string();
            if status.contains("Provisioned") { Ok(false) } else { Err(status) }
        })
        .await;
        if caught {
            if let Some(process) = undecided(installation).await.first() {
                return process.clone();
            }
            replica.program.signal("CONT");
        }
        world.ready("pgdb", &name).await;
    }
    panic!("it was never stopped in a transaction")
}

#[tokio::test]
async fn a_leader_that_is_stopped_in_a_transaction_and_goes_on_later_writes_nothing() {
    let installation = Installation::new().await;
    let world = &installation.world;
    let (app, reader, leaving) = (unique("app"), unique("reader"), unique("leaving"));
    let old = installation.start();
    leader(std::slice::from_ref(&old), Instant::now()).await;
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: readwrite")).await;
    world.apply(&user(&world.namespace, &leaving, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    world.ready("pguser", &leaving).await;
    let new = installation.start();
    new.follows().await;

    let process = stop_in_a_transaction(&installation, &old).await;
    // What it knows is not true any more.
    world.patch("pguser", &reader, json!({ "spec": { "access": "read" } })).await;
    world.delete("pguser", &leaving).await;
    let replicas = [new];
    let (_, took) = leader(&replicas, Instant::now()).await;
    assert!(took <= TAKEOVER, "{took:?}");
    assert!(!undecided(&installation).await.contains(&process), "its transaction is still open");
    let [new] = replicas;
    for kind in ["pgdb", "pguser"] {
        let names = crate::world::resources(world.admin.clone(), kind, &world.namespace);
        for resource in names.list(&kube::api::ListParams::default()).await.unwrap() {
            let name = resource.metadata.name.unwrap();
            if name != leaving {
                world.ready(kind, &name).await;
            }
        }
    }
    world.gone("pguser", &leaving).await;

    let (log, writes) = (world.postgres.log().len(), installation.writes().len());
    old.program.signal("CONT");
    old.program.wait_for_line("this operator leads no more").await;
    old.follows().await;
    let said = world.postgres.log().split_off(log);
    let changes: Vec<_> =
        server_log::statements(&said).filter(|(_, statement)| server_log::is_change(statement)).collect();
    assert_eq!(changes, [], "{}", old.program.log());
    assert_eq!(installation.writes()[writes..], [""; 0]);
    assert!(new.leads().await.unwrap() && !world.has_role(&leaving).await);
    world.ready("pguser", &reader).await;
    installation.assert_allowed();
}

#[tokio::test]
async fn a_leader_that_cannot_reach_the_api_stops_before_its_lease_ends() {
    let installation = Installation::new().await;
    let world = &installation.world;
    let relay = Relay::start(&world.identity.kubeconfig).await;
    let old = installation.start_by(&relay.kubeconfig);
    leader(std::slice::from_ref(&old), Instant::now()).await;
    let app = unique("app");
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.ready("pgdb", &app).await;
    let new = installation.start();
    new.follows().await;

    relay.cut();
    let cut = Instant::now();
    // It looks after what it made, but nobody can tell it what is wanted now.
    world.sql("postgres", &format!("ALTER ROLE {app}_owner NOLOGIN")).await;
    old.program.wait_for_line("this operator leads no more").await;
    assert!(cut.elapsed() < Timing::default().lease(), "{:?}", cut.elapsed());
    new.program.wait_for_line("this operator leads now").await;
    assert!(cut.elapsed() <= TAKEOVER, "{:?}", cut.elapsed());
    assert!(old.time_of("this operator leads no more") < new.time_of("this operator leads now"));

    relay.heal();
    old.follows().await;
    let reader = unique("reader");
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    world.ready("pguser", &reader).await;
    assert!(new.leads().await.unwrap());
    // And back again.
    drop(new);
    let (_, took) = leader(std::slice::from_ref(&old), Instant::now()).await;
    assert!(took <= TAKEOVER, "{took:?}");
    world.remove("pguser", &reader).await;
    installation.assert_allowed();
}

#[tokio::test]
async fn a_follower_is_ready_and_writes_nothing_until_it_leads() {
    let installation = Installation::new().await;
    let world = &installation.world;
    let lease = |time: Timestamp| {
        json!({
            "metadata": { "name": installation.lease },
            "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 10, "renewTime": format!("{time:.6}") },
        })
    };
    let made = serde_json::from_value(lease(Timestamp::now())).unwrap();
    installation.leases().create(&PostParams::default(), &made).await.unwrap();
    let renewals = tokio::spawn({
        let (leases, name, lease) =
            (installation.leases(), installation.lease.clone(), lease(Timestamp::now()));
        async move {
            let mut beat = interval(Duration::from_secs(1));
            for count in 0.. {
                beat.tick().await;
                let mut lease = lease.clone();
                lease["spec"]["leaseTransitions"] = json!(count);
                leases.patch(&name, &PatchParams::default(), &Patch::Merge(lease)).await.unwrap();
            }
        }
    });
    let mut follower = installation.start();
    follower.follows().await;
    follower.program.wait_for_status("/readyz", 200).await;
    let (app, reader) = (unique("app"), unique("reader"));
    world.apply(&database(&world.namespace, &app, &format!("{app}_owner"), "")).await;
    world.apply(&user(&world.namespace, &reader, &app, ", access: read")).await;
    // It looks at the Lease again and again, and sees the resources.
    let looks = || world.requests(|entry| entry.resource == "leases").len();
    let before = looks();
    eventually("some looks at the Lease", PATIENCE, async || (looks() >= before + 2).then_some(())).await;
    assert_eq!(installation.writes(), [""; 0]);
    assert_eq!(world.requests(|entry| entry.resource == "leases" && entry.verb != "get"), [""; 0]);
    assert!(!world.postgres.log().contains("application_name=postgres-provisioner"));
    assert_eq!(world.get("pgdb", &app).await.unwrap().metadata.finalizers, None);
    assert_eq!(follower.program.lines("somebody else leads").len(), 1, "{}", follower.program.log());

    renewals.abort();
    world.ready_in(TAKEOVER + PATIENCE, "pguser", &reader).await;
    assert!(follower.leads().await.unwrap());
    let spec = installation.lease().await;
    assert!(spec.holder_identity.unwrap().starts_with(&format!("{}_", follower.name)));
    assert!(follower.program.terminate().await.success());
    assert_eq!(installation.lease().await.holder_identity, None, "{}", follower.program.log());

    // Nobody has to wait for a Lease that was given back.
    let next = installation.start();
    let start = Instant::now();
    leader(std::slice::from_ref(&next), start).await;
    assert!(start.elapsed() < Timing::default().lease(), "{:?}", start.elapsed());
    installation.assert_allowed();
}
