//! The line to a server, on which only so much is let through at a time: the driver holds in memory whatever a server
//! sends, and resources can name any server.

use std::{
    io, process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpStream, UnixListener, UnixStream},
    sync::oneshot,
    time::sleep,
};

use crate::{Error, Server, usage::Open};

/// For the handshake and for each statement, besides the documents that some ask for.
const ALLOWANCE: u64 = 512 << 10;

/// How long the line lasts when the driver has said goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A line; it ends when it is dropped.
pub(crate) struct Line {
    /// Where the driver finds it, as the directory of a socket; nowhere when it is to go by itself.
    pub(crate) directory: Option<String>,
    left: Arc<AtomicU64>,
    open: Open,
    /// The other end learns when this is gone.
    _alive: oneshot::Sender<()>,
}

impl Line {
    /// Connects to the server. The driver is let in by a name in the abstract namespace that nobody can guess, so that
    /// it can go on to agree on encryption with the server itself. Only Linux has such names; and whoever listens on a
    /// socket of this machine is trusted.
    pub(crate) async fn open(server: &Server, nonce: &str) -> io::Result<Self> {
        let left = Arc::new(AtomicU64::new(ALLOWANCE));
        let (alive, gone) = oneshot::channel();
        if !cfg!(target_os = "linux") || server.host.starts_with('/') {
            return Ok(Self { directory: None, left, open: server.learned.usage().begin(), _alive: alive });
        }
        let remote = TcpStream::connect((server.host.as_str(), server.port)).await?;
        let open = server.learned.usage().begin();
        remote.set_nodelay(true)?;
        let directory = format!("\0postgres-provisioner-{nonce}");
        let door = UnixListener::bind(format!("{directory}/.s.PGSQL.{}", server.port))?;
        let line = carry(door, remote, left.clone());
        tokio::spawn(async move {
            // Whatever ends a connection is for its two sides to see.
            tokio::select! {
                _ = line => (),
                () = async { drop(gone.await); sleep(GOODBYE).await } => (),
            }
        });
        Ok(Self { directory: Some(directory), left, open, _alive: alive })
    }

    /// Lets so many bytes through for a statement, and what every one needs.
    pub(crate) fn allow(&self, bytes: u64) {
        self.open.request();
        self.left.store(ALLOWANCE + bytes, Ordering::Relaxed);
    }

    /// The error, or what caused it if the line was cut.
    pub(crate) fn explain(&self, address: &str, error: Error) -> Error {
        match self.left.load(Ordering::Relaxed) {
            0 => Error::Flood { address: address.to_owned() },
            _ => error,
        }
    }
}

async fn carry(door: UnixListener, mut remote: TcpStream, left: Arc<AtomicU64>) -> io::Result<()> {
    let mut driver = let_in(&door).await?;
    drop(door);
    let (mut from_driver, mut to_driver) = driver.split();
    let (mut from_server, mut to_server) = remote.split();
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 || !spend(&left, length as u64) {
                return io::Result::Ok(());
            }
            to_driver.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        done = copy(&mut from_driver, &mut to_server) => done.map(|_| ()),
        done = down => done,
    }
}

/// This process and no other.
async fn let_in(door: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (driver, _) = door.accept().await?;
        if driver.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok()) == Some(process::id()) {
            return Ok(driver);
        }
    }
}

/// Whether there was more left than that.
fn spend(left: &AtomicU64, bytes: u64) -> bool {
    let spend = |left: u64| Some(left.saturating_sub(bytes));
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok_and(|left| left > bytes)
}
