//! A line to a server that breaks when it is told to, or loses what it was told.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// When a line breaks: all its connections at once, and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It holds.
    Never,
    /// When the server has this statement, counted from 1: it runs, and its answer is lost.
    Sent(usize),
    /// When this statement was answered.
    Answered(usize),
}

/// A port that leads to a server. It understands as much of the protocol as it takes to count statements; sessions
/// must not be encrypted.
pub(crate) struct Relay {
    pub(crate) port: u16,
    line: Arc<Line>,
}

/// What the connections have in common.
struct Line {
    cut: Cut,
    statements: Mutex<Vec<String>>,
    is_broken: watch::Sender<bool>,
}

/// What one connection is about to learn.
#[derive(Default)]
struct Talk {
    /// The text that was parsed last.
    parsed: String,
    /// The statement that was sent and not answered yet.
    open: Option<usize>,
}

/// A message: its type and what follows its length.
struct Message {
    kind: u8,
    body: Vec<u8>,
}

impl Relay {
    /// Leads to this port of this machine until the cut.
    pub(crate) async fn start(port: u16, cut: Cut) -> Self {
        Self::listen(port, cut, |startup| startup).await
    }

    /// A pooler that drops the settings of its sessions.
    pub(crate) async fn forgetful(port: u16) -> Self {
        Self::listen(port, Cut::Never, |startup| without_options(&startup)).await
    }

    /// The statements that were sent so far, in order.
    pub(crate) fn statements(&self) -> Vec<String> {
        self.line.statements.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn listen(server: u16, cut: Cut, startup: fn(Vec<u8>) -> Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Arc::new(Line { cut, statements: Mutex::default(), is_broken: watch::Sender::new(false) });
        let shared = Arc::clone(&line);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *shared.is_broken.borrow() {
                    continue;
                }
                let line = Arc::clone(&shared);
                // Whatever ends a connection is for its two sides to see.
                tokio::spawn(async move { line.connect(client, server, startup).await });
            }
        });
        Self { port, line }
    }
}

impl Line {
    async fn connect(
        &self,
        mut client: TcpStream,
        port: u16,
        startup: fn(Vec<u8>) -> Vec<u8>,
    ) -> io::Result<()> {
        let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
        // Or else each message waits until the one before was acknowledged.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let length = client.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        client.read_exact(&mut body).await?;
        let body = startup(body);
        server.write_u32(length_of(&body)).await?;
        server.write_all(&body).await?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let talk = Mutex::new(Talk::default());
        let mut is_broken = self.is_broken.subscribe();
        tokio::select! {
            _ = self.ask(&mut from_client, &mut to_server, &talk) => (),
            _ = self.answer(&mut from_server, &mut to_client, &talk) => (),
            _ = is_broken.wait_for(|is_broken| *is_broken) => (),
        }
        drop((from_client, to_client));
        // The server does what it was asked, and then learns that nobody is there.
        to_server.shutdown().await?;
        io::copy(&mut from_server, &mut io::sink()).await?;
        Ok(())
    }

    async fn ask(
        &self,
        client: &mut OwnedReadHalf,
        server: &mut OwnedWriteHalf,
        talk: &Mutex<Talk>,
    ) -> io::Result<()> {
        loop {
            let message = Message::read(client).await?;
            let open = self.note(&message, talk);
            message.write(server).await?;
            // What is executed is complete with its Sync.
            let is_complete = matches!(message.kind, b'Q' | b'S');
            if is_complete && open.is_some_and(|number| self.cut == Cut::Sent(number)) {
                self.is_broken.send_replace(true);
                return Ok(());
            }
        }
    }

    /// The statement that is open now.
    fn note(&self, message: &Message, talk: &Mutex<Talk>) -> Option<usize> {
        let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match message.kind {
            b'P' => {
                talk.parsed = message.text(1);
                return talk.open;
            }
            b'Q' => message.text(0),
            b'E' => talk.parsed.clone(),
            _ => return talk.open,
        };
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.push(text);
        talk.open = Some(statements.len());
        talk.open
    }

    async fn answer(
        &self,
        server: &mut OwnedReadHalf,
        client: &mut OwnedWriteHalf,
        talk: &Mutex<Talk>,
    ) -> io::Result<()> {
        loop {
            let message = Message::read(server).await?;
            let is_ready = message.kind == b'Z';
            let open = || talk.lock().unwrap_or_else(PoisonError::into_inner).open.take();
            let is_last = is_ready && open().is_some_and(|number| self.cut == Cut::Answered(number));
            if is_last {
                // Before the client can say more.
                self.is_broken.send_replace(true);
            }
            message.write(client).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Message {
    async fn read(from: &mut OwnedReadHalf) -> io::Result<Self> {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        from.read_exact(&mut body).await?;
        Ok(Self { kind, body })
    }

    async fn write(&self, to: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut bytes = vec![self.kind];
        bytes.extend(length_of(&self.body).to_be_bytes());
        bytes.extend(&self.body);
        to.write_all(&bytes).await
    }

    /// The text at this place; each ends with a NUL.
    fn text(&self, place: usize) -> String {
        let text = self.body.split(|byte| *byte == 0).nth(place).unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }
}

/// The length of a message, which counts itself.
fn length_of(body: &[u8]) -> u32 {
    u32::try_from(body.len() + 4).unwrap()
}

/// The version, then names and values, each with a NUL at its end, then one more.
fn without_options(startup: &[u8]) -> Vec<u8> {
    let mut kept = startup[..4].to_vec();
    let words: Vec<_> = startup[4..].split(|byte| *byte == 0).collect();
    for pair in words.chunks(2).filter(|pair| pair.len() == 2 && !pair[0].is_empty() && pair[0] != b"options")
    {
        for word in pair {
            kept.extend_from_slice(word);
            kept.push(0);
        }
    }
    kept.push(0);
    kept
}
