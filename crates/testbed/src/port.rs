//! Ports that are free, and stay so while a server restarts.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use rand::RngExt as _;

/// Below the ports that systems give to outgoing connections, which would take the port of a server
/// that is down for a moment.
const PORTS: Range<u16> = 15_000..32_000;

/// A port of 127.0.0.1 that is free now and was never given out before in this process.
///
/// Another process can still take it first: whoever starts a server must be ready to ask again.
pub(crate) fn free() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut random = rand::rng();
    (0..1000)
        .map(|_| random.random_range(PORTS))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("one of a thousand ports of 127.0.0.1 is free")
}
