//! What goes over the connections to a server: a relay that counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use testbed::Postgres;
use tokio::net::{TcpListener, TcpStream};
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
    task: JoinHandle<()>,
}

impl Meter {
    /// Begins to listen.
    pub(super) async fn start(postgres: &Postgres) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (port, server) = (listener.local_addr()?.port(), (postgres.host(), postgres.port()));
        let sessions: Ended = Arc::default();
        let ended = sessions.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, ended.clone()));
            }
        });
        Ok(Self { port, sessions, task })
    }

    /// The connections that have ended so far.
    pub(super) fn sessions(&self) -> Vec<Session> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(mut client: TcpStream, server: (&'static str, u16), ended: Ended) {
    let start = Instant::now();
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // Without it, the relay would wait for more to send at once.
        _ = stream.set_nodelay(true);
    }
    let Ok((up, down)) = tokio::io::copy_bidirectional(&mut client, &mut server).await else { return };
    let session = Session { duration: start.elapsed(), bytes: up + down };
    ended.lock().unwrap_or_else(PoisonError::into_inner).push(session);
}
