use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;

fn second(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn finding(reason: Reason, message: &str) -> Finding {
    Finding { reason, message: message.to_owned() }
}

#[test]
fn a_message_that_names_too_much_is_cut() {
    let mut conditions = Vec::new();
    set(&mut conditions, finding(Reason::DriftRepaired, &"table\n".repeat(9_999)), Some(1), second(1));
    assert!(conditions[0].message.len() <= LONGEST_MESSAGE && !conditions[0].message.contains('\n'));
}

#[test]
fn the_transition_time_stays_while_the_status_does() {
    let mut conditions = Vec::new();
    set(&mut conditions, finding(Reason::ServerUnavailable, "no answer"), Some(1), second(1));
    set(&mut conditions, finding(Reason::Conflict, "app-db/older has it"), Some(2), second(2));

    let ready = find(&conditions, ConditionType::Ready).unwrap();
    assert_eq!(ready.last_transition_time, second(1));
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Conflict"));
    assert_eq!(ready.observed_generation, Some(2));

    set(&mut conditions, finding(Reason::Provisioned, ""), Some(2), second(3));
    assert_eq!(find(&conditions, ConditionType::Ready).unwrap().last_transition_time, second(3));
    assert_eq!(conditions.len(), 1);
}

#[test]
fn a_repeated_finding_changes_nothing() {
    let mut conditions = Vec::new();
    set(&mut conditions, finding(Reason::InSync, ""), Some(1), second(1));
    let before = conditions.clone();
    set(&mut conditions, finding(Reason::InSync, ""), Some(1), second(9));
    assert_eq!(conditions, before);
}

#[test]
fn each_type_has_one_condition_and_others_are_left_alone() {
    let mut conditions = vec![Condition {
        type_: "SomebodyElses".to_owned(),
        status: "True".to_owned(),
        reason: "Because".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: second(0),
    }];
    for reason in Reason::ALL {
        set(&mut conditions, finding(*reason, ""), Some(1), second(1));
    }
    let types: Vec<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["SomebodyElses", "Ready", "Drifted", "Withheld", "Suspended"]);
}

#[test]
fn no_word_means_two_things() {
    let words = Reason::ALL.iter().map(|reason| reason.as_str());
    let words: Vec<&str> = words.chain(Notice::ALL.iter().map(|notice| notice.as_str())).collect();
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
}

#[test]
fn whoever_is_needed_is_told_what_to_do() {
    for reason in Reason::ALL.iter().filter(|reason| reason.class() == Class::NeedsPerson) {
        assert!(!reason.advice().is_empty(), "{reason:?} has no advice");
        assert_eq!(EventKind::from(*reason).event_type, EventType::Warning);
    }
}
