//! Whose a role is, by its mark, by what the status remembers, and by what it has become.

use super::*;
use crate::{Plan, Recorded, Refusal, Withheld};

/// What a role is that carries another's mark, or none.
const MARKS: [(&str, bool); 7] = [
    ("", true),
    ("nightly reports", true),
    (r#"{"postgres-provisioner":"v1","installation":"test","resource":"digest-x","uid":"uid-x"}"#, true),
    (
        r#"{"postgres-provisioner":"v1","installation":"another","resource":"digest-reader","uid":"uid-reader"}"#,
        false,
    ),
    (r#"{"postgres-provisioner":"adopt","ns":"bank","name":"reader"}"#, false),
    (r#"{"postgres-provisioner":"v2"}"#, false),
    (r#"{"postgres-provisioner":"v1"}"#, false),
];

fn refusal(plan: &Plan, name: &str) -> Option<Refusal> {
    plan.withheld.iter().find_map(|withheld| match withheld {
        Withheld::Role { role, refusal, .. } if role.as_str() == name => Some(*refusal),
        _ => None,
    })
}

/// Whether something is done to the role.
fn is_touched(plan: &Plan, name: &str) -> bool {
    plan.actions.iter().any(|action| action.roles().contains(&&ident(name)))
}

/// A reader whose password is to change.
fn reader_with(mark: &str) -> (Desired, Builder) {
    let wanted = desired(&["reader read"]);
    let builder = Builder::provisioned(17, &wanted).with_role("reader", |role| {
        role.comment = Some(mark.to_owned()).filter(|mark| !mark.is_empty());
        role.password = PasswordState::Differs;
    });
    (wanted, builder)
}

#[test]
fn a_mark_that_is_lost_or_anothers_yields_to_the_number_that_the_status_remembers() {
    for (mark, yields) in MARKS {
        let (mut wanted, builder) = reader_with(mark);
        let found = plan(&wanted, &builder.catalog);
        assert_eq!(
            (refusal(&found, "reader"), is_touched(&found, "reader")),
            (Some(Refusal::NotOurs), false),
            "{mark}"
        );
        let oid = builder.oid("reader");
        for (identifier, oid, is_it) in [
            (Some("1"), oid, true),
            (None, oid, true),
            (Some("2"), oid, false),
            (Some("1"), Oid(oid.0 + 1), false),
        ] {
            let system_identifier = identifier.map(str::to_owned);
            wanted.logins.get_mut(&ident("reader")).unwrap().recorded =
                Some(Recorded { system_identifier, oid, origin: Origin::Created });
            let found = plan(&wanted, &builder.catalog);
            assert_eq!(is_touched(&found, "reader"), yields && is_it, "{mark} {identifier:?} {oid:?}");
            assert_eq!(refusal(&found, "reader").is_none(), yields && is_it, "{mark}");
        }
    }
}

#[test]
fn no_mark_and_no_memory_outweighs_what_a_role_has_become() {
    let elevations: [fn(&mut crate::Role); 4] = [
        |role| role.superuser = true,
        |role| role.create_role = true,
        |role| role.replication = true,
        |role| role.bypass_rls = true,
    ];
    for elevate in elevations {
        let (mut wanted, builder) = reader_with(&claim("reader").marker.to_string());
        assert!(is_touched(&plan(&wanted, &builder.catalog), "reader"));
        let builder = builder.with_role("reader", elevate);
        let recorded =
            Some(Recorded { system_identifier: None, oid: builder.oid("reader"), origin: Origin::Created });
        wanted.logins.get_mut(&ident("reader")).unwrap().recorded.clone_from(&recorded);
        let found = plan(&wanted, &builder.catalog);
        assert_eq!(
            (refusal(&found, "reader"), is_touched(&found, "reader")),
            (Some(Refusal::Reserved), false)
        );
        let mut leaves = desired(&[]);
        let leaving = Leaving { recorded, ..leaving(Disposition::Drop, "reader") };
        leaves.leaving.insert(ident("reader"), leaving);
        let found = plan(&leaves, &builder.catalog);
        assert_eq!(
            (refusal(&found, "reader"), is_touched(&found, "reader")),
            (Some(Refusal::NotOurs), false)
        );
    }
}

#[test]
fn a_new_refusal_is_told_from_one_that_was_there_before() {
    let (wanted, builder) = reader_with(&claim("reader").marker.to_string());
    let before = plan(&wanted, &builder.catalog);
    let after = plan(&wanted, &builder.with_role("reader", |role| role.superuser = true).catalog);
    assert!(after.refuses_more_than(&before) && !after.refuses_more_than(&after));
    assert!(!before.refuses_more_than(&after));
}
