//! Somebody who passes himself off as a PostgreSQL server and remembers every word he is told.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// `SSLRequest`, after its length.
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// What it asks for, one after the other: the password itself, a digest of it, nothing.
const ANSWERS: [&[u8]; 3] =
    [b"R\0\0\0\x08\0\0\0\x03", b"R\0\0\0\x0c\0\0\0\x05salt", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"];

/// A listener that plays a server until it is dropped.
pub(crate) struct Impostor {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    _listening: JoinSet<()>,
}

impl Impostor {
    /// Listens at this address.
    pub(crate) async fn listen(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind((host, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::default();
        let mut listening = JoinSet::new();
        listening.spawn(serve(listener, Arc::clone(&heard)));
        Self { port, heard, _listening: listening }
    }

    /// Everything it was told so far.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

async fn serve(listener: TcpListener, heard: Arc<Mutex<Vec<u8>>>) {
    let mut talks = JoinSet::new();
    for answer in ANSWERS.iter().cycle() {
        let (stream, _) = listener.accept().await.unwrap();
        talks.spawn(talk(stream, answer, heard.clone()));
    }
}

/// One connection: no encryption, the question, and then whatever comes.
async fn talk(mut stream: TcpStream, answer: &'static [u8], heard: Arc<Mutex<Vec<u8>>>) {
    let mut is_asked = false;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let message = &buffer[..length];
        heard.lock().unwrap().extend_from_slice(message);
        let reply: &[u8] = match message.get(4..8) {
            Some(code) if code == SSL_REQUEST => b"N",
            _ if !is_asked => {
                is_asked = true;
                answer
            }
            _ => &[],
        };
        if stream.write_all(reply).await.is_err() || (is_asked && reply.is_empty()) {
            return;
        }
    }
}
