//! Drift and plans as a status shows them: cut to a size that etcd, and a reader, can bear. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::shared::Status;
use crate::api::told::{LastDrift, Planned};
use crate::events::presentable;

/// How many lines there are, and how long one and all of them may be, in bytes.
struct Size {
    lines: usize,
    one: usize,
    all: usize,
}

/// Drift is said in few words.
const DRIFT: Size = Size { lines: 10, one: 256, all: 2_048 };
/// One statement may name five hundred objects.
const PLAN: Size = Size { lines: 25, one: 1_024, all: 8_192 };

/// What is to be done, as the status shows it; `None` when there is nothing.
pub(crate) fn planned(lines: &[String]) -> Option<Planned> {
    if lines.is_empty() {
        return None;
    }
    let statements = first(lines, &PLAN);
    let left_out = lines.len() - statements.len();
    let left_out = (left_out > 0).then(|| number(left_out));
    Some(Planned { changes: number(lines.len()), statements, left_out })
}

/// What became of drift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// It was undone.
    Done,
    /// It is still there.
    Missing,
}

/// Notes drift that was found. False when it is what was found before and is still there: that is no news, and nothing
/// is written for it.
pub(crate) fn note_drift(status: &mut Status, sentences: &[String], repair: Repair, now: &Time) -> bool {
    let (changes, objects) = (number(sentences.len()), first(sentences, &DRIFT));
    let before = status.last_drift.as_ref();
    let known = before
        .filter(|last| last.repaired.is_none() && last.changes == changes && last.objects == objects)
        .cloned();
    let repaired = match repair {
        Repair::Done => Some(now.clone()),
        Repair::Missing if known.is_some() => return false,
        Repair::Missing => None,
    };
    let count = before.map_or(0, |last| last.count).saturating_add(1);
    let new = LastDrift { time: now.clone(), repaired: None, changes, objects, count };
    status.last_drift = Some(LastDrift { repaired, ..known.unwrap_or(new) });
    true
}

/// Notes that the server is as the resource asks.
pub(crate) fn note_repair(status: &mut Status, now: &Time) {
    if let Some(last) = &mut status.last_drift {
        last.repaired.get_or_insert_with(|| now.clone());
    }
}

/// The lines that fit. One that is too long is cut, and cannot be run then.
fn first(lines: &[String], size: &Size) -> Vec<String> {
    let mut left = size.all;
    let mut shown = Vec::new();
    for line in lines.iter().take(size.lines) {
        let line = presentable(line, size.one);
        let Some(rest) = left.checked_sub(line.len()) else { break };
        left = rest;
        shown.push(line);
    }
    shown
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn second(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn sentences(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_plan_that_is_too_long_is_cut_and_what_is_left_out_is_counted() {
        assert_eq!(planned(&[]), None);
        let short = planned(&sentences(&["GRANT", "REVOKE"])).unwrap();
        assert_eq!((short.changes, short.statements.len(), short.left_out), (2, 2, None));
        let many = planned(&vec!["x".to_owned(); 100]).unwrap();
        assert_eq!((many.changes, many.statements.len(), many.left_out), (100, 25, Some(75)));
        let long = planned(&vec!["ä".repeat(9_999); 20]).unwrap();
        assert!(long.statements.iter().all(|line| line.len() <= 1_024), "one is too long");
        assert_eq!((long.statements.len(), long.left_out), (8, Some(12)));
    }

    #[test]
    fn a_name_from_a_tenant_breaks_no_line() {
        let shown = planned(&sentences(&["GRANT SELECT ON \"a\nb\u{1b}[2J\" TO c"])).unwrap().statements;
        assert_eq!(shown, ["GRANT SELECT ON \"a\\nb\\u{1b}[2J\" TO c"]);
    }

    #[test]
    fn drift_that_is_found_again_is_no_news_and_keeps_its_time() {
        let mut status = Status::default();
        assert!(note_drift(&mut status, &sentences(&["a"]), Repair::Missing, &second(1)));
        let before = status.clone();
        assert!(!note_drift(&mut status, &sentences(&["a"]), Repair::Missing, &second(2)));
        assert_eq!(status, before);
        assert!(note_drift(&mut status, &sentences(&["a", "b"]), Repair::Missing, &second(3)));
        note_repair(&mut status, &second(4));
        note_repair(&mut status, &second(5));
        let last = status.last_drift.clone().unwrap();
        assert_eq!((last.time, last.repaired, last.changes, last.count), (second(3), Some(second(4)), 2, 2));
        assert!(note_drift(&mut status, &sentences(&["a", "b"]), Repair::Done, &second(6)));
        assert_eq!(status.last_drift.map(|last| (last.time, last.count)), Some((second(6), 3)));
    }

    #[test]
    fn drift_that_is_repaired_in_the_end_was_one() {
        let mut status = Status::default();
        note_drift(&mut status, &sentences(&["a"]), Repair::Missing, &second(1));
        assert!(note_drift(&mut status, &sentences(&["a"]), Repair::Done, &second(9)));
        let last = status.last_drift.unwrap();
        assert_eq!((last.time, last.repaired, last.count), (second(1), Some(second(9)), 1));
    }
}
