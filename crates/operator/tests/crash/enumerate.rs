//! One run for each effect that there is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use testbed::eventually;
use tokio::task::{JoinSet, LocalSet};

use crate::passwords::{password, value};
use crate::sequence::Kill;
use crate::stage::{PATIENCE, Stage};
use crate::work::Work;

/// How many runs of one piece of work go on at the same time.
const AT_ONCE: usize = 3;
/// A piece of work is never as long.
const MOST: usize = 500;

/// What became of the program.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was killed after this effect.
    Killed(String),
    /// It has done all this, and there was nothing more to do.
    Lived(Vec<String>),
}

/// What was there when the program was killed.
struct Before {
    numbers: BTreeMap<String, String>,
    /// The roles that could log in with a password.
    logins: Vec<String>,
    secrets: Vec<Secret>,
}

/// Kills the program after its first effect, after its second, and so on, until there is none of this number.
pub(crate) async fn kill_everywhere(work: Work) {
    Box::pin(LocalSet::new().run_until(kill_each(work))).await;
}

async fn kill_each(work: Work) {
    let start = Instant::now();
    let (mut kills, mut last) = (Vec::new(), None);
    let mut numbers = 1..MOST;
    let mut running = JoinSet::new();
    loop {
        while last.is_none() && running.len() < AT_ONCE {
            let number = numbers.next().unwrap_or_else(|| panic!("{work:?} does not end"));
            running.spawn_local(kill_at(work, Kill::Nth(number)));
        }
        let Some(done) = running.join_next().await else { break };
        match done.unwrap() {
            End::Killed(effect) => kills.push(effect),
            End::Lived(effects) => last = last.max(Some(effects)),
        }
    }
    let mut effects = last.unwrap_or_default();
    // What goes on at the same time comes in another order each time, and not all of it each time: in the end there is
    // one whole run of whose effects none is without a kill.
    while let Some(missed) = effects.iter().find(|effect| !kills.contains(effect)).cloned() {
        numbers.next().unwrap_or_else(|| panic!("{work:?} is never the same"));
        match kill_at(work, Kill::First(missed)).await {
            End::Killed(effect) => kills.push(effect),
            End::Lived(others) => effects = others,
        }
    }
    say(work, start, &kills, &effects);
}

/// Kills the program after this effect and sees that the next one finishes the work.
async fn kill_at(work: Work, kill: Kill) -> End {
    let stage = Stage::new().await;
    stage.start();
    work.prepare(&stage).await;
    stage.sequence.arm(kill.clone());
    work.act(&stage).await;
    let what = format!("{work:?} to be done or killed, {kill:?}");
    eventually(&what, PATIENCE, async || match stage.sequence.killed() {
        Some(_) => Ok(()),
        None => work.is_done(&stage).await.map_err(|error| format!("{error}\n{}", stage.log())),
    })
    .await;
    if stage.sequence.killed().is_none() {
        // Or else it waits for a process that was killed meanwhile.
        tokio::select! {
            () = stage.settle() => (),
            _ = eventually("a kill", PATIENCE, async || stage.sequence.killed()) => (),
        }
    }
    stage.sequence.disarm();
    let end = match stage.sequence.killed() {
        Some(effect) => End::Killed(effect),
        None => End::Lived(stage.sequence.effects()),
    };
    let at = format!("{work:?}, {kill:?}: {end:?}");
    let before = match end {
        End::Killed(_) => Some(go_on(work, &stage, &at).await),
        End::Lived(_) => None,
    };
    stage.settle().await;
    work.verify(&stage, &at).await;
    check(work, &stage, before.as_ref(), &at).await;
    end
}

/// Another program finishes the work; what it found.
async fn go_on(work: Work, stage: &Stage, at: &str) -> Before {
    let before = Before::look(stage).await;
    has_its_secrets(work, stage, &before, at).await;
    if before.numbers.contains_key("app") {
        work.holds_always(stage, at).await;
    }
    stage.start();
    eventually(at, PATIENCE, async || {
        work.is_done(stage).await.map_err(|error| format!("{error}\n{}", stage.log()))
    })
    .await;
    before
}

impl Before {
    async fn look(stage: &Stage) -> Self {
        let (numbers, logins) = (stage.numbers().await.into_iter().collect(), stage.logins().await);
        Self { numbers, logins, secrets: stage.all_secrets().await }
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.name_any() == name)
    }
}

/// Whoever can log in finds the password in a Secret, and the Secrets that resources name are there: also while nobody is
/// there to put it right.
async fn has_its_secrets(work: Work, stage: &Stage, before: &Before, at: &str) {
    // A person has deleted one, or has it deleted.
    if let Work::Rotation | Work::Deletion = work {
        return;
    }
    for role in &before.logins {
        let is_of_role = |secret: &&Secret| value(secret, "username").as_ref() == Some(role);
        let secrets: Vec<_> = before.secrets.iter().filter(is_of_role).collect();
        assert!(!secrets.is_empty(), "{role} has a password that nobody knows: {at}");
        for secret in secrets {
            stage.login(secret).await.unwrap_or_else(|error| panic!("{error}: {at}"));
        }
    }
    for name in ["db", "reader", "writer"] {
        let resource = stage.get(name).await.filter(|found| found.metadata.deletion_timestamp.is_none());
        let told = resource
            .and_then(|found| Some(found.data["status"]["provisioned"]["secretName"].as_str()?.to_owned()));
        assert!(told.is_none_or(|told| before.secret(&told).is_some()), "the Secret of {name} is gone: {at}");
    }
}

/// Nothing is there twice or anew, and the passwords are those that the Secrets held.
async fn check(work: Work, stage: &Stage, before: Option<&Before>, at: &str) {
    let numbers = stage.numbers().await;
    let names: Vec<_> = numbers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, work.names(), "{at}");
    for (name, number) in &numbers {
        let was = before.and_then(|before| before.numbers.get(name));
        assert!(was.is_none_or(|was| was == number), "{name} was made twice: {at}");
    }
    let wanted = work.secrets();
    // One that a resource has left goes once its status tells of the next.
    let secrets = eventually(at, PATIENCE, async || {
        let secrets = stage.all_secrets().await;
        let mut found: Vec<_> = secrets.iter().map(kube::ResourceExt::name_any).collect();
        found.sort();
        match found.iter().eq(wanted.iter().map(|holds| holds.secret)) {
            true => Ok(secrets),
            false => Err(format!("Secrets: {found:?}")),
        }
    })
    .await;
    for holds in wanted {
        let secret = secrets.iter().find(|secret| secret.name_any() == holds.secret).unwrap();
        let now = password(secret).unwrap();
        stage.login(secret).await.unwrap_or_else(|error| panic!("{error}: {at}"));
        let ever = stage.passwords.of(secret).await;
        assert_eq!(ever.len(), holds.passwords, "passwords in {}: {ever:?}, {at}", holds.secret);
        let Some(before) = before else { continue };
        if let Some(was) = before.secret(holds.secret) {
            assert_eq!(was.metadata.uid, secret.metadata.uid, "{} was made twice: {at}", holds.secret);
            assert_eq!(password(was).as_deref(), Some(now.as_str()), "{}: {at}", holds.secret);
        }
        if let Some(was) = holds.moved_from.and_then(|from| before.secret(from)) {
            assert_eq!(password(was).as_deref(), Some(now.as_str()), "{}: {at}", holds.secret);
        }
    }
}

/// Tells how many there were, also when nothing failed.
fn say(work: Work, start: Instant, kills: &[String], effects: &[String]) {
    let (kills, count, seconds) = (kills.len(), effects.len(), start.elapsed().as_secs());
    let mut text = format!("{work:?}: {kills} kills, {count} effects, 0 failures, {seconds} s\n");
    for (number, effect) in (1..).zip(effects) {
        _ = writeln!(text, "  {number:3} {effect}");
    }
    // Not captured by the test runner.
    _ = std::io::stderr().write_all(text.as_bytes());
}
