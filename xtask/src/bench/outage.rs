//! One server is down for a minute: what that costs it, and those who are on another one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::jiff::civil::DateTime;
use k8s_openapi::jiff::tz::TimeZone;
use testbed::{Postgres, eventually, kubernetes};

use super::fleet::{create, named, ready, superuser_secret, wait_until_ready};
use super::meter::Meter;
use super::operator::{Ground, Operator, manifests};
use super::server_log::Tail;
use super::{Figure, seconds};

/// Databases of the server that goes down, and of the other one; each has two users.
const FAR: usize = 100;
const NEAR: usize = 10;
const USERS: usize = 2;
/// Seconds between two checks: often enough to have some to compare.
const RESYNC: u32 = 5;
/// How long each is watched: before, and while the server is down.
const WATCHED: Duration = Duration::from_mins(1);
/// The first pauses between two tries of a server that is down, in seconds; then the last one again and again.
const PAUSES: [u64; 4] = [1, 2, 4, 6];
/// Passes that were under way when the first of them failed had begun before: they are no tries of their own. And
/// whoever counts may be late.
const TOGETHER: Duration = Duration::from_millis(300);

/// A check of a database of the other server: when it began and was over, in milliseconds.
struct Check {
    database: String,
    begin: i64,
    end: i64,
}

pub(super) async fn figures(
    ground: Ground<'_>,
    near: &Postgres,
    far: &Postgres,
) -> anyhow::Result<Vec<Figure>> {
    let door = Meter::start(far).await?;
    let operator = Operator::start(ground, near, near.port(), RESYNC).await?;
    let (client, namespace) = (ground.cluster.client(), operator.namespace.clone());
    kubernetes::apply(&client, &superuser_secret(&namespace, 1, (far, door.port)), "default").await?;
    let of_near = (0..NEAR).map(|database| manifests(&namespace, database, USERS));
    let of_far =
        (NEAR..NEAR + FAR).map(|database| named(&manifests(&namespace, database, USERS), &namespace, 1));
    create(&client, &of_near.chain(of_far).collect::<Vec<_>>()).await?;
    let (all, here) = ((NEAR + FAR) * (1 + USERS), NEAR * (1 + USERS));
    wait_until_ready(&client, &namespace, all).await;
    println!("provisioned");

    let mut tail = Tail::of(near)?;
    tokio::time::sleep(WATCHED).await;
    let before = checks(&tail.lines()?);
    door.set_open(false);
    eventually("everybody to know that it is down", WATCHED, async || {
        match ready(&client, &namespace).await?.len() {
            count if count == here => anyhow::Ok(()),
            count => anyhow::bail!("{count} are Ready"),
        }
    })
    .await;
    let first = *door.refused().first().context("nobody tried")?;
    tokio::time::sleep_until((first + WATCHED).into()).await;
    let meanwhile = checks(&tail.lines()?);
    let tries = door.refused();
    door.set_open(true);
    let start = Instant::now();
    wait_until_ready(&client, &namespace, all).await;
    let back = start.elapsed();

    let beats = beats(&before);
    let late = |checks: &[Check]| late(checks, &beats).context("no check was seen");
    let (usual, late, count) = (late(&before)?, late(&meanwhile)?, meanwhile.len());
    let figure = |what: &str, value, aim| Figure {
        what: format!(
            "{} resources on a server that is down for 60 s, {here} on another: {what}",
            all - here
        ),
        value,
        aim,
    };
    let (steps, most) = in_steps(&tries);
    Ok(vec![
        figure("tries", format!("{} in {steps} steps", tries.len()), "1 a step"),
        figure("the most tries in one step after the first", most.to_string(), "1"),
        figure(
            "the others' checks, from when they are due until they are over, p99, before",
            format!("{usual} ms"),
            "–",
        ),
        figure("the same meanwhile", format!("{late} ms ({count} checks)"), "2 × of before"),
        figure("all Ready after its return", seconds(back), "15 s"),
    ])
}

/// In how many steps somebody tried, and the most tries in one of them but the first, in which there can be some that
/// began together. A step begins with a try and lasts for its pause.
fn in_steps(tries: &[Instant]) -> (usize, usize) {
    let mut pauses = PAUSES.into_iter().chain(std::iter::repeat(6));
    let (mut steps, mut end): (Vec<usize>, _) = (Vec::new(), None);
    for at in tries {
        match (end, steps.last_mut()) {
            (Some(end), Some(count)) if *at + TOGETHER < end => *count += 1,
            _ => {
                steps.push(1);
                end = pauses.next().map(|pause| *at + Duration::from_secs(pause));
            }
        }
    }
    (steps.len(), steps.iter().skip(1).copied().max().unwrap_or_default())
}

/// Every check is one session of the operator, and the server logs its end and how long it was.
fn checks(lines: &[String]) -> Vec<Check> {
    let check = |line: &String| {
        let (_, said) = line.split_once("disconnection: session time: ")?;
        let (time, said) = said.split_once(' ')?;
        let database = said.split_once("database=bench")?.1.split(' ').next()?.to_owned();
        let [hours, minutes, seconds] = time.split(':').collect::<Vec<_>>().try_into().ok()?;
        let (hours, minutes): (f64, f64) = (hours.parse().ok()?, minutes.parse().ok()?);
        let duration = (hours * 60.0 + minutes) * 60.0 + seconds.parse::<f64>().ok()?;
        let end: DateTime = line.get(..23)?.parse().ok()?;
        let end = end.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let duration = i64::try_from(Duration::try_from_secs_f64(duration).ok()?.as_millis()).ok()?;
        Some(Check { database, begin: end - duration, end })
    };
    let is_ours = |line: &&String| line.contains("/postgres-provisioner ");
    lines.iter().filter(is_ours).filter_map(check).collect()
}

/// When the checks of each database are due, in milliseconds of a period: as early as the earliest.
fn beats(checks: &[Check]) -> BTreeMap<&str, i64> {
    let mut beats = BTreeMap::new();
    for Check { database, begin, .. } in checks {
        let beat = beats.entry(database.as_str()).or_insert(*begin);
        *beat += after(*begin, *beat).min(0);
    }
    beats
}

/// How long after the nearest beat, in milliseconds: half a period before it to half a period after it.
fn after(at: i64, beat: i64) -> i64 {
    let period = i64::from(RESYNC) * 1_000;
    (at - beat + period / 2).rem_euclid(period) - period / 2
}

/// When 99 of 100 checks are over at the latest, in milliseconds after they are due.
fn late(checks: &[Check], beats: &BTreeMap<&str, i64>) -> Option<i64> {
    let late = checks.iter().filter_map(|check| Some(after(check.end, *beats.get(check.database.as_str())?)));
    let mut late: Vec<_> = late.collect();
    late.sort_unstable();
    late.get((late.len() * 99).div_ceil(100).checked_sub(1)?).copied()
}
