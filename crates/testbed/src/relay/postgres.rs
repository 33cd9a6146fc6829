//! A line to a PostgreSQL server that breaks when it is told to, loses what it was told, or tells what was done.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::listener;

/// When a line breaks: all its connections at once, and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It holds.
    Never,
    /// When the server has this statement, counted from 1: it runs, and its answer is lost.
    Sent(usize),
    /// When this statement was answered.
    Answered(usize),
}

/// Is told of each statement once the server has done it, before the client learns that.
pub type Done = Arc<dyn Fn(&str) + Send + Sync>;

/// A port that leads to a server. It understands as much of the protocol as it takes to count statements; sessions
/// must not be encrypted.
pub struct Relay {
    /// The port on 127.0.0.1.
    pub port: u16,
    line: Arc<Line>,
}

/// What the connections have in common.
struct Line {
    cut: Cut,
    done: Done,
    statements: Mutex<Vec<String>>,
    is_broken: watch::Sender<bool>,
}

/// What one connection is about to learn.
#[derive(Default)]
struct Talk {
    /// The text that was parsed last.
    parsed: String,
    /// The statement that was sent and not answered yet, and its text.
    open: Option<(usize, String)>,
}

/// A message: its type and what follows its length.
struct Message {
    kind: u8,
    body: Vec<u8>,
}

impl Relay {
    /// Leads to this port of this machine until the cut.
    pub async fn start(port: u16, cut: Cut) -> Self {
        Self::listen(port, (cut, Arc::new(|_| ())), |startup| startup).await
    }

    /// A pooler that drops the settings of its sessions.
    pub async fn forgetful(port: u16) -> Self {
        Self::listen(port, (Cut::Never, Arc::new(|_| ())), |startup| without_options(&startup)).await
    }

    /// Leads to this port, and tells what was done.
    pub async fn observed(port: u16, done: Done) -> Self {
        Self::listen(port, (Cut::Never, done), |startup| startup).await
    }

    /// The statements that were sent so far, in order.
    pub fn statements(&self) -> Vec<String> {
        self.line.statements.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn listen(server: u16, (cut, done): (Cut, Done), startup: fn(Vec<u8>) -> Vec<u8>) -> Self {
        let (listener, port) = listener().await;
        let line =
            Arc::new(Line { cut, done, statements: Mutex::default(), is_broken: watch::Sender::new(false) });
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
                return talk.number();
            }
            b'Q' => message.text(0),
            b'E' => talk.parsed.clone(),
            _ => return talk.number(),
        };
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        statements.push(text.clone());
        talk.open = Some((statements.len(), text));
        talk.number()
    }

    async fn answer(
        &self,
        server: &mut OwnedReadHalf,
        client: &mut OwnedWriteHalf,
        talk: &Mutex<Talk>,
    ) -> io::Result<()> {
        let mut held = Vec::new();
        loop {
            let message = Message::read(server).await?;
            // A statement is done once the server is ready for the next: the client learns of neither before.
            let (is_complete, is_ready) = (message.kind == b'C', message.kind == b'Z');
            if is_complete || !held.is_empty() {
                held.push(message);
            } else {
                message.write(client).await?;
            }
            if !is_ready {
                continue;
            }
            let open = talk.lock().unwrap_or_else(PoisonError::into_inner).open.take();
            let is_last = open.as_ref().is_some_and(|(number, _)| self.cut == Cut::Answered(*number));
            if let Some((_, text)) = open.filter(|_| !held.is_empty()) {
                (self.done)(&text);
            }
            if is_last {
                // Before the client can say more.
                self.is_broken.send_replace(true);
            }
            for message in held.drain(..) {
                message.write(client).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }
}

impl Talk {
    fn number(&self) -> Option<usize> {
        self.open.as_ref().map(|(number, _)| *number)
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
    u32::try_from(body.len() + 4).expect("the length came as a u32")
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
