//! The API server is in trouble while there is something to do: the program goes on asking, ever less often, and does
//! what it has to once that is over. It is the same process all the time.
//!
//! What is asked of a server in trouble is bounded for each watch, and for each resource that has something to be
//! written: a request after 1, 2, 4 … seconds, at most two in a minute in the end, each repeated up to four times when
//! the answer was that there is no time.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::DeleteParams;
use testbed::relay::kubernetes::{Asked, Trouble};
use testbed::{Cluster, eventually};

use crate::stage::{PATIENCE, Stage};

const USERS: [&str; 4] = ["one", "two", "three", "four"];
/// How many markers come and go while nothing else is asked for.
const MARKERS: usize = 10;
const ACCESS: [&str; 2] = ["read", "readwrite"];

/// A stage with a program and a database that is Ready.
async fn provisioned() -> Stage {
    let stage = Stage::new().await;
    stage.start();
    stage.database("").await;
    stage.wait_for(&["db"]).await;
    stage.settle().await;
    stage
}

/// Everything can be done, and was not begun anew.
async fn goes_on(stage: &Stage) {
    stage.api.recover();
    stage.user("afterwards", ", access: read").await;
    stage.wait_for(&["db", "afterwards"]).await;
    comes_to_rest(stage).await;
    assert!(stage.sequence.lives(), "{}", stage.log());
    assert_eq!(stage.log().matches("postgres-provisioner starts").count(), 1, "{}", stage.log());
}

/// Whether it is about a marker of [`Stage::settle`].
fn is_of_marker(asked: &Asked) -> bool {
    asked.path.contains("/marker") || asked.body.contains("marker")
}

/// Waits until nothing is asked for any more besides what each marker is worth: its finalizer, its status, its event.
/// Whoever goes on asking never gets there.
async fn comes_to_rest(stage: &Stage) {
    eventually("rest", PATIENCE, async || {
        let before = stage.api.asked().len();
        for _ in 0..MARKERS {
            stage.settle().await;
        }
        let asked = stage.api.asked().split_off(before);
        let (markers, others): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| is_of_marker(asked));
        match others.is_empty() && markers.len() <= 3 * MARKERS {
            true => Ok(()),
            false => Err(format!("{} for markers, and {:?}", markers.len(), kinds(others))),
        }
    })
    .await;
}

/// How often each thing was asked for.
fn kinds<'a>(asked: impl IntoIterator<Item = &'a Asked>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for asked in asked {
        let verb = if asked.is_watch() { "WATCH" } else { asked.method.as_str() };
        *kinds.entry(format!("{verb} {}", asked.path)).or_default() += 1;
    }
    kinds
}

/// Waits until so many requests of a kind have come, and tells how long that took from the first to the last.
async fn time_of(stage: &Stage, count: usize, is_wanted: impl Fn(&Asked) -> bool) -> Duration {
    let before = stage.api.asked().len();
    let found = eventually("requests", PATIENCE, async || {
        let found: Vec<_> = stage.api.asked().split_off(before).into_iter().filter(&is_wanted).collect();
        if found.len() >= count { Ok(found) } else { Err(format!("{} of {count}", found.len())) }
    })
    .await;
    Duration::try_from(found[count - 1].time.duration_since(found[0].time)).unwrap_or_default()
}

#[tokio::test]
async fn watches_that_expire_or_break_lose_nothing() {
    let stage = provisioned().await;
    for user in USERS {
        stage.api.expire_watches();
        stage.user(user, ", access: read").await;
        stage.api.break_watches();
        stage.wait_for(&[user]).await;
    }
    goes_on(&stage).await;
}

#[tokio::test]
async fn lists_that_are_refused_are_asked_for_ever_less_often() {
    for (code, reason) in [(410, "Expired"), (403, "Forbidden")] {
        let stage = provisioned().await;
        stage.api.trouble(move |asked| asked.is_read().then_some(Trouble::refused(code, reason)));
        stage.api.expire_watches();
        stage.user(&format!("while{code}"), ", access: read").await;
        // The definitions are read one by one.
        let is_list = |asked: &Asked| asked.is_read() && !asked.path.contains("/customresourcedefinitions");
        // Five watches: 15 lists within 5.6 s, and the next only after 11.
        let took = time_of(&stage, 16, is_list).await;
        assert!(took > Duration::from_secs(9), "16 lists in {took:?}");
        goes_on(&stage).await;
        stage.wait_for(&[&format!("while{code}")]).await;
    }
}

#[tokio::test]
async fn what_goes_while_no_watch_holds_is_missed() {
    let stage = provisioned().await;
    stage.api.trouble(|asked| asked.is_read().then_some(Trouble::refused(410, "Expired")));
    stage.api.expire_watches();
    time_of(&stage, 4, Asked::is_read).await;
    stage.secrets().delete("db", &DeleteParams::default()).await.unwrap();
    stage.api.recover();
    // No list has it, and nothing else has anybody look at the database.
    let made =
        eventually("the Secret", PATIENCE, async || stage.secrets().get_opt("db").await.unwrap()).await;
    stage.wait_for(&["db"]).await;
    eventually("its password", PATIENCE, async || stage.login(&made).await.map(|_| ())).await;
    goes_on(&stage).await;
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_begun_once_a_second() {
    let stage = provisioned().await;
    stage.api.trouble(|asked| asked.is_watch().then_some(Trouble::Ended));
    stage.api.break_watches();
    // Seven watches: both kinds, Secrets, Namespaces, the ledger and the two definitions.
    let took = time_of(&stage, 42, Asked::is_watch).await;
    assert!(took > Duration::from_secs(4), "42 watches in {took:?}");
    goes_on(&stage).await;
}

#[tokio::test]
async fn what_may_not_be_written_is_tried_ever_less_often() {
    let stage = provisioned().await;
    let is_patch = |asked: &Asked| asked.method == "PATCH" && asked.path.contains("/postgresusers/");
    stage.api.trouble(move |asked| is_patch(asked).then_some(Trouble::refused(403, "Forbidden")));
    for user in USERS {
        stage.user(user, ", access: read").await;
        // Each change wakes whoever puts the finalizer on.
        for access in ["readwrite", "read"] {
            stage.patch(user, serde_json::json!({ "access": access })).await;
        }
    }
    // Four resources: 16 within 3.5 s, and the next only after 7.5.
    let took = time_of(&stage, 17, is_patch).await;
    assert!(took > Duration::from_secs(5), "17 requests in {took:?}");
    goes_on(&stage).await;
    stage.wait_for(&USERS).await;
}

#[tokio::test]
async fn a_pass_that_cannot_report_is_run_ever_less_often() {
    let stage = provisioned().await;
    let is_report = |asked: &Asked| asked.path.ends_with("/status");
    stage.api.trouble(move |asked| is_report(asked).then_some(Trouble::refused(403, "Forbidden")));
    stage.user("one", ", access: read").await;
    // One or two at once, and then after 1, 2 and 4 s.
    let took = time_of(&stage, 5, is_report).await;
    assert!(took > Duration::from_secs(6), "5 requests in {took:?}");
    goes_on(&stage).await;
    stage.wait_for(&["one"]).await;
}

#[tokio::test]
async fn credentials_that_move_twice_while_no_status_can_be_written_stay_what_they_are() {
    let stage = provisioned().await;
    let password = async |name: &str| {
        let found = stage.secrets().get_opt(name).await.unwrap()?;
        found.data?.remove("password").map(|value| value.0)
    };
    let before = password("db").await.unwrap();
    stage.api.trouble(|asked| asked.path.ends_with("/status").then_some(Trouble::refused(403, "Forbidden")));
    for secret in ["db-2", "db-3"] {
        stage.patch("db", serde_json::json!({ "secretName": secret })).await;
        let found = eventually("the Secret", PATIENCE, async || password(secret).await).await;
        assert!(found == before, "{secret} has another password");
    }
    goes_on(&stage).await;
    eventually("the first Secret to be gone", PATIENCE, async || match password("db").await {
        None => Ok(()),
        Some(_) => Err(stage.log()),
    })
    .await;
    for secret in stage.all_secrets().await {
        stage.login(&secret).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[tokio::test]
async fn conflicts_are_tried_again() {
    let stage = provisioned().await;
    let relay = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    stage.api.trouble(move |asked| {
        let mut seen = relay.lock().unwrap();
        let count = seen.entry(format!("{} {}", asked.method, asked.path)).or_default();
        *count += 1;
        (!asked.is_read() && *count <= 2).then_some(Trouble::refused(409, "Conflict"))
    });
    for user in USERS {
        stage.user(user, ", access: read").await;
    }
    stage.wait_for(&USERS).await;
    goes_on(&stage).await;
}

#[tokio::test]
async fn who_is_told_when_to_come_back_does() {
    let stage = provisioned().await;
    let refused = Trouble::Refused { code: 429, reason: "TooManyRequests", retry_after: Some(2) };
    stage.api.trouble(move |asked| (!asked.is_read()).then_some(refused.clone()));
    stage.user("throttled", ", access: read").await;
    let is_patch = |asked: &Asked| asked.path.ends_with("/postgresusers/throttled");
    let took = time_of(&stage, 3, is_patch).await;
    assert!(took >= Duration::from_millis(3_900), "3 requests in {took:?}");
    goes_on(&stage).await;
    stage.wait_for(&["throttled"]).await;
}

#[tokio::test]
async fn slow_answers_and_refused_events_hold_up_nothing() {
    let stage = provisioned().await;
    stage.api.trouble(|asked| match asked.path.ends_with("/events") {
        true => Some(Trouble::refused(403, "Forbidden")),
        false => Some(Trouble::Slow(Duration::from_millis(300))),
    });
    for user in USERS {
        stage.user(user, ", access: read").await;
    }
    stage.wait_for(&USERS).await;
    stage.api.trouble(|asked| asked.path.contains("/events").then_some(Trouble::Silent));
    stage.delete("one").await;
    eventually("a user to go", PATIENCE, async || match stage.get("one").await {
        None => Ok(()),
        Some(found) => Err(found.data["status"].to_string()),
    })
    .await;
    goes_on(&stage).await;
}

#[tokio::test]
async fn a_start_in_the_middle_of_an_outage_is_no_end() {
    for (code, reason) in [(503, "ServiceUnavailable"), (403, "Forbidden")] {
        let stage = Stage::new().await;
        // The definitions are waited for anyway.
        let is_refused = move |asked: &Asked| code == 503 || asked.path.ends_with("/namespaces/kube-system");
        stage.api.trouble(move |asked| is_refused(asked).then_some(Trouble::refused(code, reason)));
        stage.start();
        stage.database("").await;
        // After 0.25, 0.5 and 1 s at least, or after 1, 2 and 4.
        let took = time_of(&stage, 4, is_refused).await;
        let least = if code == 503 { 1_700 } else { 6_900 };
        assert!(took > Duration::from_millis(least), "4 requests in {took:?}");
        goes_on(&stage).await;
    }
}

#[tokio::test]
async fn an_api_server_that_restarts_three_times_during_a_load_loses_nothing() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let stage = Stage::on(cluster).await;
    stage.start();
    stage.database("").await;
    for user in USERS {
        stage.user(user, ", access: read").await;
    }
    for restart in 1..=3 {
        let load = async {
            for (number, user) in USERS.into_iter().enumerate() {
                stage.insist(user, serde_json::json!({ "access": ACCESS[(number + restart) % 2] })).await;
            }
            let secret = format!("db-{restart}");
            stage.insist("db", serde_json::json!({ "secretName": secret })).await;
        };
        tokio::join!(cluster.restart_api_server(), load);
    }
    stage.wait_for(&["db"]).await;
    stage.wait_for(&USERS).await;
    goes_on(&stage).await;
    for secret in stage.all_secrets().await {
        stage.login(&secret).await.unwrap_or_else(|error| panic!("{error}"));
    }
    // Besides what there was to do: four watches that came back three times, and whoever failed meanwhile.
    let asked = stage.api.asked();
    let kinds = kinds(asked.iter().filter(|asked| !is_of_marker(asked)));
    let total: usize = kinds.values().sum();
    // What there was to do, and all that came back three times, within half a minute.
    assert!(total <= 300 && kinds.values().all(|count| *count <= 45), "{total}: {kinds:#?}");
}
