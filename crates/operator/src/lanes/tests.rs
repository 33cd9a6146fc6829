use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::pass::gather::Clock;
use crate::passes::Urgency;
use crate::resource::ObjectName;
use crate::servers::{Address, Servers};

/// Databases of the operator's server, and of one server each that resources name.
fn keys(database: &str, count: usize, is_named: bool) -> Vec<DatabaseKey> {
    let secret = ObjectName { namespace: "team".into(), name: "admin".into() };
    let server = |number: usize| match is_named {
        true => ServerKey::Named { host: format!("host{number}"), secret: secret.clone() },
        false => ServerKey::Configured,
    };
    let key = |number| DatabaseKey { server: server(number), database: format!("{database}{number}") };
    (0..count).map(key).collect()
}

/// Starts a pass that takes so long; in which second it ended, and whether it was let.
fn start(lanes: &Arc<Lanes>, lane: &Arc<Lane>, key: &DatabaseKey, time: Duration) -> JoinHandle<(u64, bool)> {
    start_as((lanes, lane), key, time, Urgency::Pressing)
}

fn start_as(
    (lanes, lane): (&Arc<Lanes>, &Arc<Lane>),
    key: &DatabaseKey,
    time: Duration,
    urgency: Urgency,
) -> JoinHandle<(u64, bool)> {
    let (lanes, lane, key, begin) = (lanes.clone(), lane.clone(), key.clone(), Instant::now());
    tokio::spawn(async move {
        let pressure = Pressure::new(urgency);
        let turn = Turn { key: &key, lane: &lane, pressure: &pressure, is_suspect: false };
        let done = lanes.run(turn, || sleep(time)).await;
        (begin.elapsed().as_secs(), done.is_some())
    })
}

const MOMENT: Duration = Duration::from_millis(10);
const FOR_EVER: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn slow_passes_hold_up_each_other_and_nobody_else() {
    let (lanes, lane) =
        (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
    let slow: Vec<_> =
        keys("slow", 10, false).iter().map(|key| start(&lanes, &lane, key, FOR_EVER)).collect();
    sleep(MOMENT).await;
    // Those who are slow for the first time have all places for as long as it takes to know.
    let key = &keys("app", 1, false)[0];
    let (end, _) = start(&lanes, &lane, key, MOMENT).await.unwrap();
    assert!((29..=30).contains(&end), "it ended in second {end}");
    // From then on they have one.
    for _ in 0..100 {
        assert_eq!(start(&lanes, &lane, key, MOMENT).await.unwrap(), (0, true));
    }
    for (number, pass) in slow.into_iter().enumerate() {
        let (end, is_done) = pass.await.unwrap();
        assert!(!is_done && end <= 40 + 300 * (number as u64 + 1), "{number} ended in second {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_pass_goes_on_where_it_is() {
    let (lanes, lane) =
        (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
    let key = &keys("slow", 1, false)[0];
    assert_eq!(start(&lanes, &lane, key, Duration::from_mins(1)).await.unwrap(), (60, true));
    assert!(lanes.is(key, Weight::Slow));
    sleep(MEMORY).await;
    assert!(!lanes.is(key, Weight::Slow));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_does_not_end_is_given_up() {
    let (lanes, lane) =
        (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
    let key = &keys("slow", 1, false)[0];
    let (end, is_done) = start(&lanes, &lane, key, FOR_EVER).await.unwrap();
    assert_eq!((end, is_done), ((QUICK_LIMIT + SLOW_LIMIT).as_secs(), false));
}

#[tokio::test(start_paused = true)]
async fn servers_that_resources_name_hold_up_each_other_and_not_the_operators_own() {
    let (lanes, own) =
        (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
    let hostile = |key| start(&lanes, &Arc::new(Lane::of(Budget::default().server)), key, FOR_EVER);
    let slow: Vec<_> = keys("slow", 100, true).iter().map(hostile).collect();
    sleep(MOMENT).await;
    let key = &keys("app", 1, false)[0];
    assert_eq!(start(&lanes, &own, key, MOMENT).await.unwrap(), (0, true));
    let other = &keys("other", 1, true)[0];
    let (end, _) = start(&lanes, &Arc::new(Lane::of(Budget::default().server)), other, MOMENT).await.unwrap();
    assert!(end <= 70, "it ended in second {end}");
    slow.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn who_names_the_operators_own_server_holds_up_nobody_there() {
    let (servers, own) =
        (Servers::new(Budget::default(), Clock::default()), Address { host: "own".into(), port: 5432 });
    let lanes = Arc::new(Lanes::new(Budget::default()));
    let begin = |key: &DatabaseKey, address: &Address, time| {
        let gate = servers.gate(address, &key.server);
        let (lanes, key) = (lanes.clone(), key.clone());
        tokio::spawn(async move {
            let pressure = Pressure::new(Urgency::Routine);
            let turn = Turn { key: &key, lane: &gate.lane, pressure: &pressure, is_suspect: false };
            lanes.run(turn, || sleep(time)).await
        })
    };
    let mut hostile = Vec::new();
    for (number, key) in keys("slow", 100, true).iter().enumerate() {
        hostile.push(begin(key, &Address { host: format!("host{number}"), port: 5432 }, FOR_EVER));
    }
    sleep(MOMENT).await;
    hostile.extend(keys("other", 4, true).iter().map(|key| begin(key, &own, FOR_EVER)));
    sleep(MOMENT).await;
    let before = Instant::now();
    begin(&keys("app", 1, false)[0], &own, MOMENT).await.unwrap();
    assert!(before.elapsed() < QUICK_LIMIT, "{:?}", before.elapsed());
    hostile.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_does_not_wait_for_regular_checks() {
    let (lanes, lane) =
        (Arc::new(Lanes::new(Budget::default())), Arc::new(Lane::of(Budget::default().server)));
    let second = Duration::from_secs(1);
    let routine = |key| start_as((&lanes, &lane), key, second, Urgency::Routine);
    let checks: Vec<_> = keys("checked", 100, false).iter().map(routine).collect();
    sleep(MOMENT).await;
    let key = &keys("changed", 1, false)[0];
    assert_eq!(start(&lanes, &lane, key, MOMENT).await.unwrap(), (0, true));
    let mut last = 0;
    for check in checks {
        last = last.max(check.await.unwrap().0);
    }
    assert_eq!(last, 50, "two regular checks at a time");
}

#[tokio::test(start_paused = true)]
async fn what_is_large_is_read_one_after_the_other() {
    let lanes = Arc::new(Lanes::new(Budget::default()));
    let second = Duration::from_secs(1);
    let large = keys("large", 3, true);
    for key in &large {
        lanes.note(key, Weight::Large);
    }
    let passes: Vec<_> = large
        .iter()
        .map(|key| start(&lanes, &Arc::new(Lane::of(Budget::default().server)), key, second))
        .collect();
    let mut ends = Vec::new();
    for pass in passes {
        ends.push(pass.await.unwrap().0);
    }
    assert_eq!(ends, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_large_database_of_the_operators_own_server_does_not_wait_for_those_of_others() {
    let lanes = Arc::new(Lanes::new(Budget::default()));
    let lane = || Arc::new(Lane::of(Budget::default().server));
    let (named, own) = (keys("large", 1, true).remove(0), keys("large", 1, false).remove(0));
    for key in [&named, &own] {
        lanes.note(key, Weight::Large);
    }
    let stalls = start(&lanes, &lane(), &named, FOR_EVER);
    sleep(MOMENT).await;
    assert_eq!(start(&lanes, &lane(), &own, MOMENT).await.unwrap(), (0, true));
    stalls.abort();
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_down_hold_up_each_other_only() {
    let lanes = Arc::new(Lanes::new(Budget::default()));
    let lane = || Arc::new(Lane::of(Budget::default().server));
    let mut tries = Vec::new();
    for key in keys("down", 100, true) {
        let (lanes, lane) = (lanes.clone(), lane());
        tries.push(tokio::spawn(async move {
            let pressure = Pressure::new(Urgency::Pressing);
            let turn = Turn { key: &key, lane: &lane, pressure: &pressure, is_suspect: true };
            lanes.run(turn, || sleep(Duration::from_secs(5))).await
        }));
    }
    sleep(MOMENT).await;
    for key in keys("up", 100, true) {
        assert_eq!(start(&lanes, &lane(), &key, MOMENT).await.unwrap(), (0, true));
    }
    for one in tries {
        assert!(one.await.unwrap().is_some());
    }
}
