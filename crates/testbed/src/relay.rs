//! Lines to servers that break, count and lie when they are told to.

pub mod kubernetes;
pub mod postgres;

use tokio::net::TcpListener;

/// A port of 127.0.0.1 that somebody listens on.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a free port");
    let port = listener.local_addr().expect("a listener has an address").port();
    (listener, port)
}
