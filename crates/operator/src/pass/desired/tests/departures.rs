//! What is left of resources that are gone.

use super::*;
use crate::conditions::{Finding, Reason};

/// What is left to do for this resource.
fn left(resource: &Resource) -> Arc<Entry> {
    let down = Finding { reason: Reason::ServerUnavailable, message: String::new() };
    let address = Address { host: "db".into(), port: 5432 };
    Arc::new(Entry::of(resource, "i", Some(&address), &down))
}

#[test]
fn the_role_of_a_user_that_is_gone_is_dropped_if_it_carries_its_uid() {
    let gone = user("reader", "app", &leaving());
    let wanted = wanted_after(&[database("app", "owner", &json!({}))], &[left(&gone)]);
    assert_eq!(dispositions(&wanted), [("reader", Disposition::Drop)]);
    let leaving = wanted.leaving.into_values().next().unwrap();
    assert_eq!(leaving.recorded, None);
    // By its uid and by nothing else: a namesake has the same digest.
    assert_eq!(leaving.claim.uids, ["reader".to_owned()].into());
    assert_eq!(leaving.claim.marker.resource, "reader");
}

#[test]
fn whoever_names_a_role_by_now_keeps_it_and_may_take_it_over() {
    let entry = left(&user("reader", "app", &json!({ "uid": "before" })));
    let namesake = user("reader", "app", &json!({}));
    let wanted = wanted_after(&[namesake], std::slice::from_ref(&entry));
    assert_eq!(dispositions(&wanted), []);
    let claim = wanted.logins.into_values().next().unwrap().claim;
    assert_eq!(claim.uids, ["before".to_owned(), "reader".to_owned()].into());
    // In another database: it loses what it has in this one.
    let elsewhere = database("shop", "reader", &json!({}));
    assert_eq!(dispositions(&wanted_after(&[elsewhere], &[entry])), [("reader", Disposition::Detach)]);
}

#[test]
fn a_resource_of_another_namespace_takes_nothing_over() {
    let entry = left(&user("reader", "app", &json!({ "namespace": "bank", "uid": "before" })));
    let wanted = wanted_after(&[user("reader", "app", &json!({}))], &[entry]);
    let claim = wanted.logins.into_values().next().unwrap().claim;
    assert_eq!(claim.uids, ["reader".to_owned()].into());
}

#[test]
fn a_database_that_is_gone_is_released_unless_it_has_a_resource_again() {
    let entry = left(&database("app", "owner", &leaving()));
    let released = wanted_after(&[], std::slice::from_ref(&entry));
    assert!(matches!(released.managed, Managed::Released { .. }));
    assert_eq!(dispositions(&released), [("owner", Disposition::Release)]);
    let again = wanted_after(&[database("app", "owner", &json!({ "uid": "again" }))], &[entry]);
    assert!(matches!(again.managed, Managed::Yes { .. }));
    assert_eq!(dispositions(&again), []);
}

#[test]
fn what_is_left_of_a_database_has_the_marker_of_its_resource() {
    let gone = database("app", "owner", &leaving());
    let of = |managed: Managed| match managed {
        Managed::Released { claim } => claim.marker,
        Managed::Yes { .. } | Managed::No => panic!("{managed:?}"),
    };
    let entry = left(&gone);
    assert_eq!(of(wanted_after(&[], &[entry]).managed), of(wanted(&[gone]).managed));
}
