//! What sessions cost, as they count it themselves.

use std::sync::Arc;

use exec::{Learned, Password, Server, Sessions, Usage};

use crate::support::{Admin, place};

fn counts(usage: &Usage) -> [u64; 4] {
    [usage.attempts(), usage.failures(), usage.open(), usage.requests()]
}

#[tokio::test]
async fn connections_failures_and_statements_are_counted_once_each() {
    let place = place(17, Admin::Superuser).await;
    let desired = place.desired();
    place.converge(&desired).await;

    // As many as the server logs.
    let usage = Arc::new(Usage::default());
    let server = Server { learned: Learned::counted(usage.clone()), ..place.server.clone() };
    let mut sessions = Sessions::new(&server, &place.secrets);
    sessions.read(&desired).await.unwrap();
    assert_eq!(counts(&usage), [1, 0, 1, 3]);
    sessions.read(&desired).await.unwrap();
    assert_eq!(counts(&usage), [1, 0, 1, 5]);
    drop(sessions);
    assert_eq!(counts(&usage), [1, 0, 0, 5]);

    // A refused login is an answer, no answer is a failure.
    let stranger = Server { password: Password::new("wrong"), ..server.clone() };
    Sessions::new(&stranger, &place.secrets).read(&desired).await.unwrap_err();
    assert_eq!(counts(&usage), [2, 0, 0, 5]);
    let nobody = Server { port: 1, ..server };
    Sessions::new(&nobody, &place.secrets).read(&desired).await.unwrap_err();
    assert_eq!(counts(&usage), [3, 1, 0, 5]);
}
