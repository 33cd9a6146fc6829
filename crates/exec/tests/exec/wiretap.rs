//! Somebody in the middle who notes what a client sends, and may answer in the server's place.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What a client says first where the session is to be encrypted.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What happens to the question whether the session may be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes to the server, like all that follows.
    Servers,
    /// This, and then nothing but what the server says.
    Instead(&'static [u8]),
    /// The server's, followed by this.
    Followed(&'static [u8]),
}

/// A port that leads to a server.
pub(crate) struct Wiretap {
    pub(crate) port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Wiretap {
    pub(crate) async fn start(server: u16, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent = Arc::new(Mutex::default());
        let noted = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                // Whatever ends a connection is for its two sides to see.
                tokio::spawn(async move { connect(client, server, answer, &noted).await });
            }
        });
        Self { port, sent }
    }

    /// All that clients have sent so far.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kinds and lengths of the TLS records that the client sent after its request; panics where there is something
    /// else.
    pub(crate) fn records(&self) -> Vec<(u8, usize)> {
        let sent = self.sent();
        let mut rest = sent.strip_prefix(&SSL_REQUEST).expect("encryption is asked for");
        let mut records = Vec::new();
        while let [kind, 3, _, high, low, body @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            records.push((*kind, length));
            rest = &body[length..];
        }
        assert!(rest.is_empty(), "more than TLS was sent: {rest:?}");
        records
    }
}

async fn connect(mut client: TcpStream, port: u16, answer: Answer, noted: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    note(noted, &request);
    match answer {
        Answer::Servers => server.write_all(&request).await?,
        Answer::Instead(bytes) => client.write_all(bytes).await?,
        Answer::Followed(bytes) => {
            server.write_all(&request).await?;
            let mut said = vec![server.read_u8().await?];
            said.extend_from_slice(bytes);
            client.write_all(&said).await?;
        }
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let listen = async {
        let mut bytes = [0; 4096];
        loop {
            let count = from_client.read(&mut bytes).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            note(noted, &bytes[..count]);
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    let (listened, answered) = tokio::join!(listen, io::copy(&mut from_server, &mut to_client));
    listened.and(answered.map(|_| ()))
}

fn note(noted: &Mutex<Vec<u8>>, bytes: &[u8]) {
    noted.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
}
