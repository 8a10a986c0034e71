//! One host's machine behind its gateway on a loopback port, and the clients of these tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use aldis::doors::Door;
use aldis::net::admin::Admin;
use aldis::net::gateway::{Gateway, GatewayConfig, Timing, bind};
use aldis::net::hub::Hub;
use aldis::net::metrics::{self, Metrics};
use aldis::net::places::{MappingFacts, Places};
use aldis::relay::io::MappingProtocol;
use aldis::relay::{Settings, Setup};
use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network};
use aldis_wire::seal::SealingKey;
use ed25519_dalek::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often these hosts look at their certificate's files.
pub(crate) const CERTIFICATE_LOOKED_AT: Duration = Duration::from_millis(50);

/// A host without links.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) hub: Arc<Hub>,
    pub(crate) takes_edges: Arc<AtomicBool>,
    pub(crate) network: Network,
    pub(crate) host: HostId,
    timer: JoinHandle<()>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl House {
    pub(crate) fn start() -> Self {
        Self::with(|_, _| ())
    }

    /// A host whose gateway and machine are changed first.
    pub(crate) fn with(change: impl FnOnce(&mut GatewayConfig, &mut Settings)) -> Self {
        let identity = SigningKey::from_bytes(&[7; 32]);
        let host = HostId::new(identity.verifying_key().to_bytes());
        let network = Network::new(&Genesis::open("gateway-test").unwrap());
        let mut settings = Settings { dht: false, register: false, ..Settings::default() };
        let mut config = GatewayConfig {
            host,
            network: network.clone(),
            doors: Door::ALL.to_vec(),
            peerjs_discovery: false,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            ice_servers: vec![serde_json::json!({ "urls": "stun:stun.example:3478" })],
            tls: None,
            grace: settings.grace,
            timing: Timing { certificate: CERTIFICATE_LOOKED_AT, ..Timing::default() },
        };
        change(&mut config, &mut settings);
        let setup = Setup {
            network: network.clone(),
            identity,
            sealing: SealingKey::new([8; 32]),
            seed: [9; 32],
            epoch: 1,
            cache: Vec::new(),
            unix: Duration::ZERO,
            marks: Vec::new(),
            settings,
        };
        let metrics = Arc::new(Metrics::default());
        let counts = metrics.clone();
        let hub = Hub::new(setup, Box::new(move |note| counts.note(note)));
        let timer = tokio::spawn({
            let hub = hub.clone();
            async move { hub.run_timer().await }
        });
        let takes_edges = Arc::new(AtomicBool::new(true));
        let admin = Admin {
            places: tokio::sync::watch::channel(behind_a_router()).1,
            hub: hub.clone(),
            network: network.clone(),
            software: "aldis test".to_owned(),
            gateways: vec!["ws://localhost:1/v1".to_owned()],
            takes_edges: takes_edges.clone(),
        };
        let others = admin.router().merge(metrics::router(metrics, hub.clone()));
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let gateway = Gateway::start(config, hub.clone(), listener, others, takes_edges.clone()).unwrap();
        Self { gateway, hub, takes_edges, network, host, timer }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// Status line, headers and body of the answer to `GET path`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    /// The answer to any bytes.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
        Answer::new(&answer)
    }

    /// The value of a line of `/metrics`; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let body = self.get("/metrics").await.body;
        let line = body.lines().find(|line| line.split(' ').next() == Some(name));
        line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn has_header(&self, line: &str) -> bool {
        self.head.lines().any(|found| found.starts_with(line))
    }

    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// The headers with which a WebSocket begins, without the empty line at the end.
pub(crate) const UPGRADE: &str = "GET /v1 HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                           sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Lets this process open some thousand sockets: the usual limit is 1,024.
pub(crate) fn allow_many_sockets() {
    let process = std::process::id().to_string();
    let status = std::process::Command::new("prlimit").args(["--pid", &process, "--nofile=8192:"]).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit cannot raise the number of open files to 8,192");
}

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("in vain: {what}"),
    }
}

/// Looks again and again until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a host knows of its place that was told by its router why it is not let in.
fn behind_a_router() -> Places {
    let problems = vec![(MappingProtocol::Upnp, "no answer".to_owned())];
    let facts = MappingFacts { router: "192.168.7.1".parse().ok(), problems, ..MappingFacts::default() };
    Places { mapping: vec![facts], ..Places::default() }
}
