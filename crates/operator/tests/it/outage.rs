//! A server that is down for some time: asked for once per step, and nobody else's trouble.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use testbed::{Postgres, eventually, unique};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::resources::{database, user};
use crate::world::World;

/// How many databases are on the server, each with two users.
const DATABASES: usize = 8;
/// So much less is measured by whoever accepts late.
const LATE: Duration = Duration::from_millis(300);
/// What the operator pauses for, in seconds, until it is the longest.
const STEPS: [u64; 5] = [1, 2, 4, 6, 6];
/// When everything is Ready again, at the latest, after the server's return.
const BACK: Duration = Duration::from_secs(15);
/// How long a server that has just started lets the first wait who comes: longer than it takes for all the others to come.
const START: Duration = Duration::from_millis(1_200);

/// A way to a server that can be closed, and then only counts who comes. Opened again, it lets the first one wait.
struct Door {
    port: u16,
    is_open: watch::Sender<bool>,
    refused: Arc<Mutex<Vec<Instant>>>,
    _tasks: JoinSet<()>,
}

impl Door {
    async fn to(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), (server.host(), server.port()));
        let (is_open, open) = watch::channel(true);
        let refused = Arc::new(Mutex::new(Vec::new()));
        let (log, mut tasks) = (refused.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut passing = JoinSet::new();
            let mut delay = Duration::ZERO;
            while let Ok((client, _)) = listener.accept().await {
                if *open.borrow() {
                    passing.spawn(pass(client, server, (open.clone(), std::mem::take(&mut delay))));
                } else {
                    delay = START;
                    log.lock().unwrap().push(Instant::now());
                }
            }
        });
        Self { port, is_open, refused, _tasks: tasks }
    }

    fn refused(&self) -> Vec<Instant> {
        self.refused.lock().unwrap().clone()
    }

    /// Those that did not come with the first: passes that had begun before it failed count as one try.
    fn later(&self) -> Vec<Instant> {
        let mut tries = self.refused();
        let first = tries.first().copied();
        tries.retain(|one| first.is_some_and(|first| *one > first + LATE));
        tries
    }
}

async fn pass(
    mut client: TcpStream,
    server: (&'static str, u16),
    (mut open, delay): (watch::Receiver<bool>, Duration),
) {
    sleep(delay).await;
    let mut server = TcpStream::connect(server).await.unwrap();
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => (),
        _ = open.wait_for(|open| !open) => (),
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_once_per_step_and_costs_the_others_nothing() {
    let world = World::new().await;
    let elsewhere = Postgres::start(15).await;
    let door = Door::to(&elsewhere).await;
    let (here, port, password) = (&world.namespace, door.port, elsewhere.password());
    world
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: far, namespace: {here} }}\n\
             stringData: {{ username: postgres, password: {password:?}, port: '{port}' }}\n"
        ))
        .await;
    let more = format!(", host: 127.0.0.1, superuserSecret: {{ name: far, namespace: {here} }}");
    let mut names = Vec::new();
    for _ in 0..DATABASES {
        let far = unique("far");
        world.apply(&database(here, &far, &format!("{far}_owner"), &more)).await;
        names.push(("pgdb", far.clone()));
        for number in 0..2 {
            let reader = format!("{far}u{number}");
            world.apply(&user(here, &reader, &far, &format!(", access: read{more}"))).await;
            names.push(("pguser", reader));
        }
    }
    for (kind, name) in &names {
        world.ready(kind, name).await;
    }
    let near = App::provision(&world).await;

    door.is_open.send_replace(false);
    for (kind, name) in &names {
        let found = world.condition(kind, name, ("Ready", "False", "ServerUnavailable")).await;
        let said = found.data["status"]["conditions"].to_string();
        assert!(said.contains("(since 20"), "{said}");
    }
    world.checks(&near.name, 3).await;
    let enough = async || (door.later().len() >= STEPS.len()).then_some(());
    eventually("some tries", Duration::from_mins(1), enough).await;
    // Directly after a try: nobody comes so soon again.
    let (tries, later) = (door.refused(), door.later());
    door.is_open.send_replace(true);
    // Those who came while the first of them waited need not wait for another try.
    world.all_ready_in(BACK).await;

    assert!(tries.len() - later.len() <= 4, "{tries:?}");
    let mut last = tries[0];
    for (try_, step) in later.iter().zip(STEPS) {
        assert!(*try_ - last + LATE >= Duration::from_secs(step), "after {:?} of {step} s", *try_ - last);
        last = *try_;
    }
}
