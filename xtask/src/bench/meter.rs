//! What goes over the connections to a server: a relay that counts, and lets nobody through when it is told so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use testbed::Postgres;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One connection, from its begin to its end.
#[derive(Clone, Copy)]
pub(super) struct Session {
    pub(super) duration: Duration,
    /// In both directions.
    pub(super) bytes: u64,
}

type Ended = Arc<Mutex<Vec<Session>>>;

/// A relay to a server; dropping it ends it.
pub(super) struct Meter {
    /// Where it listens.
    pub(super) port: u16,
    sessions: Ended,
    is_open: watch::Sender<bool>,
    refused: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

impl Meter {
    /// Begins to listen.
    pub(super) async fn start(postgres: &Postgres) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, server) = (listener.local_addr()?.port(), (postgres.host(), postgres.port()));
        let sessions: Ended = Arc::default();
        let (is_open, open) = watch::channel(true);
        let refused: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let (ended, tries) = (sessions.clone(), refused.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *open.borrow() {
                    tokio::spawn(relay(client, server, open.clone(), ended.clone()));
                } else {
                    tries.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            }
        });
        Ok(Self { port, sessions, is_open, refused, task })
    }

    /// The connections that have ended so far.
    pub(super) fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Breaks all connections and hangs up on whoever comes, or no longer does.
    pub(super) fn set_open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }

    /// When somebody came in vain.
    pub(super) fn refused(&self) -> Vec<Instant> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    mut client: TcpStream,
    server: (&'static str, u16),
    mut open: watch::Receiver<bool>,
    ended: Ended,
) {
    let start = Instant::now();
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // Without it, the relay would wait for more to send at once.
        _ = stream.set_nodelay(true);
    }
    let copied = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut server) => copied,
        _ = open.wait_for(|open| !open) => return,
    };
    let Ok((up, down)) = copied else { return };
    let session = Session { duration: start.elapsed(), bytes: up + down };
    ended.lock().unwrap_or_else(PoisonError::into_inner).push(session);
}
