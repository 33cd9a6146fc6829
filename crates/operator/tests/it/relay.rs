//! A way to the API server that can be cut.

use std::sync::Arc;

use kube::config::Kubeconfig;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Leads to the API server until it is cut: then nothing arrives any more and nobody is told, as when a cable is
/// pulled. Dropping it ends its connections.
pub(crate) struct Relay {
    /// How the API server is reached through it.
    pub(crate) kubeconfig: Kubeconfig,
    is_cut: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(to: &Kubeconfig) -> Self {
        let mut kubeconfig = to.clone();
        let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
        let server = cluster.server.as_mut().unwrap();
        let target = server.strip_prefix("https://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *server = format!("https://{}", listener.local_addr().unwrap());
        let is_cut = Arc::new(watch::Sender::new(false));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, is_cut.clone()));
        Self { kubeconfig, is_cut, _tasks: tasks }
    }

    /// Nothing arrives any more.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// New connections arrive again; what was open before is lost.
    pub(crate) fn heal(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn accept(listener: TcpListener, target: String, is_cut: Arc<watch::Sender<bool>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(client, target.clone(), is_cut.subscribe()));
    }
}

/// Carries what is said until the cut, and keeps the line open until that is healed.
async fn connect(mut client: TcpStream, target: String, mut is_cut: watch::Receiver<bool>) {
    let carry = async {
        let mut server = TcpStream::connect(target).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        biased;
        _ = is_cut.wait_for(|is_cut| *is_cut) => (),
        // Whatever ends a connection is for its two sides to see.
        _ = carry => return,
    }
    _ = is_cut.wait_for(|is_cut| !*is_cut).await;
}
