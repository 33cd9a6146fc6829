//! A line to an API server that counts what is asked, tells what was done, and makes the trouble that API servers make.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures::{Stream, StreamExt as _, stream};
use hyper_util::{
    client::legacy::{Client, ResponseFuture},
    rt::TokioExecutor,
};
use jiff::Timestamp;
use kube::{
    Config,
    client::ConfigExt as _,
    config::{Kubeconfig, NamedCluster},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::listener;
use crate::tls;

/// How often a held request looks whether it may go on.
const LOOK: Duration = Duration::from_millis(10);

/// A request as the relay saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came.
    pub time: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query; empty without one.
    pub query: String,
    /// What came with it, as text.
    pub body: String,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The API server is not asked; this is the answer.
    Refused {
        /// The HTTP status.
        code: u16,
        /// The reason as Kubernetes spells it, such as `Forbidden`.
        reason: &'static str,
        /// When to come back, in seconds.
        retry_after: Option<u32>,
    },
    /// The API server is not asked, and no answer comes as long as this trouble lasts.
    Silent,
    /// It is asked, and its answer is passed on so much later.
    Slow(Duration),
    /// A watch begins and ends at once.
    Ended,
}

/// Is told of each change once the API server has answered, before the client learns that.
pub type Done = Arc<dyn Fn(&Asked, u16) + Send + Sync>;

type Makes = Box<dyn Fn(&Asked) -> Option<Trouble> + Send + Sync>;
type Forward = Box<dyn Fn(Request) -> ResponseFuture + Send + Sync>;

/// A port that leads to an API server, without encryption. It ends when it is dropped.
pub struct Relay {
    /// The port on 127.0.0.1.
    pub port: u16,
    line: Arc<Line>,
    _tasks: JoinSet<()>,
}

struct Line {
    /// The API server.
    server: Uri,
    forward: Forward,
    done: Done,
    trouble: Mutex<Option<Makes>>,
    asked: Mutex<Vec<Asked>>,
    /// What watches say before they end; the number counts the times.
    last_words: watch::Sender<(usize, Bytes)>,
}

impl Asked {
    /// Whether it only looks.
    pub fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    /// Whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.split('&').any(|part| part == "watch=true" || part == "watch=1")
    }
}

impl Trouble {
    /// A refusal with this status and reason.
    pub const fn refused(code: u16, reason: &'static str) -> Self {
        Self::Refused { code, reason, retry_after: None }
    }
}

impl Relay {
    /// Leads to the API server of this configuration.
    pub async fn start(config: &Config) -> Self {
        Self::observed(config, Arc::new(|_, _| ())).await
    }

    /// The same, and tells what was done.
    pub async fn observed(config: &Config, done: Done) -> Self {
        tls::install_provider();
        let connector = config.rustls_https_connector().expect("the certificates are the cluster's own");
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
        let line = Arc::new(Line {
            server: config.cluster_url.clone(),
            forward: Box::new(move |request| client.request(request)),
            done,
            trouble: Mutex::default(),
            asked: Mutex::default(),
            last_words: watch::Sender::new((0, Bytes::new())),
        });
        let (listener, port) = listener().await;
        let router = Router::new().fallback(relay).with_state(line.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("the relay serves for ever") });
        Self { port, line, _tasks: tasks }
    }

    /// The way to the API server through this relay, for who has this one.
    pub fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.cluster_url = self.url().parse().expect("an address is a URL");
        config
    }

    /// The same for a program.
    pub fn kubeconfig(&self, kubeconfig: &Kubeconfig) -> Kubeconfig {
        let mut kubeconfig = kubeconfig.clone();
        for NamedCluster { cluster, .. } in &mut kubeconfig.clusters {
            if let Some(cluster) = cluster {
                cluster.server = Some(self.url());
            }
        }
        kubeconfig
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.line.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this decides what becomes of a request.
    pub fn trouble(&self, makes: impl Fn(&Asked) -> Option<Trouble> + Send + Sync + 'static) {
        *self.line.trouble() = Some(Box::new(makes));
    }

    /// Ends all trouble.
    pub fn recover(&self) {
        *self.line.trouble() = None;
    }

    /// Ends every watch as an API server does that has forgotten where it began.
    pub fn expire_watches(&self) {
        let error = json!({ "type": "ERROR", "object": status(410, "Expired", "too old resource version") });
        self.end_watches(format!("{error}\n"));
    }

    /// Ends every watch in the middle.
    pub fn break_watches(&self) {
        self.end_watches(String::new());
    }

    fn end_watches(&self, last: String) {
        self.line.last_words.send_modify(|words| *words = (words.0 + 1, last.into()));
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn relay(State(line): State<Arc<Line>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { hang_up() };
    let asked = Asked {
        time: Timestamp::now(),
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    line.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let delay = match line.meet(&asked).await {
        Ok(delay) => delay,
        Err(answer) => return answer,
    };
    parts.uri = line.uri(&parts.uri);
    parts.headers.remove(header::HOST);
    let answer = (line.forward)(Request::from_parts(parts, Body::from(body))).await;
    tokio::time::sleep(delay).await;
    match answer {
        Err(_) => hang_up(),
        Ok(answer) if asked.is_watch() => line.watched(answer.map(Body::new)),
        Ok(answer) => line.answered(&asked, answer.map(Body::new)).await,
    }
}

impl Line {
    /// Meets the trouble there is; how long its answer is delayed, or the answer at once.
    async fn meet(&self, asked: &Asked) -> Result<Duration, Response> {
        loop {
            let trouble = self.trouble().as_ref().and_then(|makes| makes(asked));
            match trouble {
                None => return Ok(Duration::ZERO),
                Some(Trouble::Slow(delay)) => return Ok(delay),
                Some(Trouble::Ended) => return Err(Body::empty().into_response()),
                Some(Trouble::Refused { code, reason, retry_after }) => {
                    return Err(refusal(code, reason, retry_after));
                }
                Some(Trouble::Silent) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<Makes>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uri(&self, asked: &Uri) -> Uri {
        let mut parts = self.server.clone().into_parts();
        parts.path_and_query = asked.path_and_query().cloned();
        Uri::from_parts(parts).expect("a path on a server is a URL")
    }

    async fn answered(&self, asked: &Asked, answer: Response) -> Response {
        let (mut parts, body) = answer.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else { hang_up() };
        // It comes in one piece now.
        parts.headers.remove(header::TRANSFER_ENCODING);
        if !asked.is_read() {
            (self.done)(asked, parts.status.as_u16());
        }
        Response::from_parts(parts, Body::from(body))
    }

    fn watched(&self, answer: Response) -> Response {
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(header::TRANSFER_ENCODING);
        Response::from_parts(parts, Body::from_stream(self.until_last_words(body)))
    }

    /// What the API server says, until the watches are ended.
    fn until_last_words(
        &self,
        body: Body,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static + use<> {
        let mut words = self.last_words.subscribe();
        let last = words.clone();
        // A connection that breaks ends the answer.
        let said = body.into_data_stream().take_while(|part| std::future::ready(part.is_ok()));
        let said = said.filter_map(|part| std::future::ready(part.ok())).map(Ok);
        let until = async move { drop(words.changed().await) };
        let last = stream::once(async move {
            let is_ended = last.has_changed().unwrap_or_default();
            Ok(if is_ended { last.borrow().1.clone() } else { Bytes::new() })
        });
        said.take_until(until).chain(last)
    }
}

/// Closes the connection without an answer: ends its task, without the noise of a panic.
fn hang_up() -> ! {
    std::panic::resume_unwind(Box::new("the connection is closed"))
}

fn refusal(code: u16, reason: &str, retry_after: Option<u32>) -> Response {
    let status_code = StatusCode::from_u16(code).expect("tests name statuses that there are");
    let mut answer = (status_code, status(code, reason, "the relay says no").to_string()).into_response();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

fn status(code: u16, reason: &str, message: &str) -> serde_json::Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}
