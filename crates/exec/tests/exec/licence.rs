//! Whoever may not work any more changes nothing.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use exec::{Class, Error, Licence};
use plan::{Access, Catalog, Desired};
use testbed::{Postgres, eventually};
use tokio::{runtime::Handle, task::block_in_place};

use crate::support::{Admin, Place, place, place_on, read, rounds};

/// What a server does to a transaction whose owner is silent.
const ENDED: &str = "terminating connection due to idle-in-transaction timeout";

/// One that is over after so many questions.
struct Limited {
    questions: usize,
    asked: AtomicUsize,
}

impl Limited {
    fn new(questions: usize) -> Self {
        Self { questions, asked: AtomicUsize::new(0) }
    }
}

impl Licence for Limited {
    fn is_valid(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst) < self.questions
    }

    fn silence(&self) -> Duration {
        Duration::from_secs(3)
    }
}

/// The first plan for a database that lacks an access: one transaction.
async fn one_transaction(place: &Place) -> (Desired, Catalog, plan::Plan) {
    let mut desired = place.desired();
    place.converge(&desired).await;
    desired.grantees.get_mut(&place.reader).unwrap().access = Access::ReadWrite;
    let catalog = read(place, &desired).await.unwrap();
    let plan = plan::plan(&desired, &catalog);
    assert_eq!(plan.steps().count(), 1, "{plan:?}");
    (desired, catalog, plan)
}

#[tokio::test]
async fn a_licence_that_is_over_before_the_commit_leaves_everything_as_it_was() {
    let place = place(17, Admin::Superuser).await;
    let (desired, catalog, plan) = one_transaction(&place).await;
    // Reading, the lock, the commit.
    for questions in 0..3 {
        let licence = Limited::new(questions);
        let mut sessions = place.sessions().with_licence(&licence);
        let error = async {
            sessions.read(&desired).await?;
            sessions.apply(&desired, &plan).await
        };
        let error = error.await.unwrap_err();
        assert_eq!((&error, error.class()), (&Error::Superseded, Class::Superseded), "{questions}");
        assert_eq!(licence.asked.load(Ordering::SeqCst), questions + 1);
        drop(sessions);
        assert_eq!(read(&place, &desired).await.unwrap(), catalog, "{questions}");
    }
    let licence = Limited::new(3);
    let mut sessions = place.sessions().with_licence(&licence);
    sessions.read(&desired).await.unwrap();
    sessions.apply(&desired, &plan).await.unwrap();
    place.converge(&desired).await;
}

#[tokio::test]
async fn a_creation_whose_licence_is_over_anywhere_is_finished_by_the_next_one() {
    for major in [13, 18] {
        let mut questions = 0;
        loop {
            let place = place(major, Admin::Superuser).await;
            let desired = place.desired();
            let licence = Limited::new(questions);
            let mut sessions = place.sessions().with_licence(&licence);
            let before = read(&place, &desired).await.unwrap();
            let ended = rounds(&mut sessions, &desired).await;
            drop(sessions);
            if ended.is_ok() {
                break;
            }
            assert_eq!(ended.unwrap_err(), Error::Superseded);
            if questions < 3 {
                assert_eq!(read(&place, &desired).await.unwrap(), before, "{questions} on {major}");
            }
            place.converge(&desired).await;
            questions += 1;
        }
        assert!(questions > 6, "{questions}");
    }
}

/// One whose owner is stopped in the moment after the answer, until the server has ended the transaction.
struct Stopped<'p> {
    postgres: &'p Postgres,
    asked: AtomicUsize,
}

impl Licence for Stopped<'_> {
    fn is_valid(&self) -> bool {
        if self.asked.fetch_add(1, Ordering::SeqCst) == 2 {
            // Nothing of this pass goes on meanwhile, as after SIGSTOP.
            let look = async || self.postgres.log().contains(ENDED).then_some(());
            block_in_place(|| Handle::current().block_on(eventually(ENDED, Duration::from_secs(20), look)));
        }
        true
    }

    fn silence(&self) -> Duration {
        Duration::from_millis(300)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_stopped_between_the_last_question_and_the_commit_changes_nothing() {
    for major in [13, 18] {
        let postgres: &'static Postgres = Box::leak(Box::new(Postgres::start(major).await));
        let place = place_on(postgres, Admin::Superuser).await;
        let (desired, catalog, plan) = one_transaction(&place).await;
        let licence = Stopped { postgres, asked: AtomicUsize::new(0) };
        let mut sessions = place.sessions().with_licence(&licence);
        sessions.read(&desired).await.unwrap();
        let error = sessions.apply(&desired, &plan).await.unwrap_err();
        assert!(matches!(error.class(), Class::Transient | Class::Unavailable), "{error}");
        drop(sessions);
        assert_eq!(read(&place, &desired).await.unwrap(), catalog);
        place.converge(&desired).await;
    }
}
