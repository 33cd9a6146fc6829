//! Which resources are changed again and again. A status tells how often drift was found and when it was found last; when
//! that was before follows from when its count was seen to grow.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::api::told::LastDrift;

/// So often within [`WINDOW`] is again and again.
const OFTEN: usize = 3;
const WINDOW: Duration = Duration::from_hours(1);

/// What was seen of each resource, by uid.
#[derive(Default)]
pub(super) struct Repeats {
    seen: BTreeMap<String, Seen>,
    /// What a look that is not over has seen.
    seeing: BTreeMap<String, Seen>,
    /// When all were looked at before.
    looked: Option<Timestamp>,
}

struct Seen {
    count: u32,
    /// When drift was found the last few times, at the earliest; the last of them last.
    times: Vec<Timestamp>,
}

impl Repeats {
    /// Looks at one resource: whether drift was found on it again and again.
    pub(super) fn is_repeated(&mut self, uid: &str, last: Option<&LastDrift>, now: Timestamp) -> bool {
        let count = last.map_or(0, |last| last.count);
        let mut seen = match self.seen.remove(uid) {
            Some(seen) if seen.count <= count => seen,
            // Nobody knows when all but the last were found.
            Some(_) | None => Seen { count: count.saturating_sub(1), times: Vec::new() },
        };
        if let Some(last) = last.filter(|last| last.count > seen.count) {
            let unseen = usize::try_from(count - seen.count - 1).unwrap_or(usize::MAX).min(OFTEN);
            seen.times.extend(self.looked.into_iter().cycle().take(unseen));
            seen.times.push(last.time.0);
            seen.times.drain(..seen.times.len().saturating_sub(OFTEN));
            seen.count = count;
        }
        let is_repeated =
            seen.times.len() == OFTEN && now.duration_since(seen.times[0]).unsigned_abs() < WINDOW;
        self.seeing.insert(uid.to_owned(), seen);
        is_repeated
    }

    /// All were looked at: what is known of others is forgotten.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.seen = mem::take(&mut self.seeing);
        self.looked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    /// What is said in each of these minutes of a resource on which drift was found so often, the last time in a minute.
    fn said(looks: &[(i64, Option<(u32, i64)>)]) -> Vec<bool> {
        let mut repeats = Repeats::default();
        let look = |(now, drift): &(i64, Option<(u32, i64)>)| {
            let last = drift.map(|(count, found)| LastDrift {
                time: Time(minute(found)),
                repaired: None,
                changes: 1,
                objects: Vec::new(),
                count,
            });
            let is_repeated = repeats.is_repeated("uid", last.as_ref(), minute(*now));
            repeats.end(minute(*now));
            is_repeated
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn the_third_time_within_an_hour_is_once_too_often() {
        let looks =
            [(0, None), (1, Some((1, 0))), (20, Some((2, 20))), (59, Some((3, 58))), (61, Some((3, 58)))];
        assert_eq!(said(&looks), [false, false, false, true, false]);
    }

    #[test]
    fn three_times_in_two_hours_are_not() {
        let looks = [(0, None), (1, Some((1, 1))), (60, Some((2, 60))), (120, Some((3, 120)))];
        assert_eq!(said(&looks), [false; 4]);
    }

    #[test]
    fn what_was_found_before_anybody_looked_may_be_old() {
        assert_eq!(
            said(&[(0, Some((99, 0))), (10, Some((100, 10))), (20, Some((101, 20)))]),
            [false, false, true]
        );
    }

    #[test]
    fn what_was_found_between_two_looks_was_found_after_the_first() {
        assert_eq!(said(&[(0, None), (1, Some((3, 1)))]), [false, true]);
        assert_eq!(said(&[(0, None), (90, Some((9, 90)))]), [false, false]);
    }

    #[test]
    fn a_count_that_began_anew_is_somebody_elses() {
        assert_eq!(said(&[(0, Some((7, 0))), (1, Some((9, 1))), (2, Some((3, 2)))]), [false, true, false]);
    }

    #[test]
    fn one_resource_is_not_another() {
        let mut repeats = Repeats::default();
        let once =
            LastDrift { time: Time(minute(1)), repaired: None, changes: 9, objects: Vec::new(), count: 1 };
        for now in 0..2 {
            for uid in ["a", "b", "c", "d"] {
                assert!(!repeats.is_repeated(uid, (now == 1).then_some(&once), minute(now)));
            }
            repeats.end(minute(now));
        }
        repeats.end(minute(2));
        assert!(repeats.seen.is_empty(), "those that are gone are forgotten");
    }
}
