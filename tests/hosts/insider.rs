//! A host of our own making that speaks the protocol by hand, so that it can break it at any point.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aldis::net::driver::Host;
use aldis::net::tls::{self, Tls};
use aldis_wire::announcement::{Head, Op, SignedHead, encode_ops, ops_hash};
use aldis_wire::codec;
use aldis_wire::digest::{self, Trie};
use aldis_wire::host::{
    Announcement, Channel, EXPORTER_LABEL, Frame, GoodbyeReason, Hello, Nat, Role, admission_proof,
};
use aldis_wire::id::HostId;
use aldis_wire::limits::FRAME_BYTES;
use aldis_wire::network::Network;
use aldis_wire::record::{HostRecord, SignedRecord};
use bytes::{Bytes, BytesMut};
use ed25519_dalek::SigningKey;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportErrorCode};
use tokio::time::timeout;

use crate::harness::{DEADLINE, config};

/// Its end of a connection to a real host.
pub(crate) struct Insider {
    pub(crate) key: SigningKey,
    pub(crate) network: Network,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) roster: Trie,
    connection: Connection,
    control: SendStream,
    heard: RecvStream,
    buffer: BytesMut,
    streams: BTreeMap<u8, SendStream>,
    _endpoint: Endpoint,
}

static ADDRESSES: AtomicU8 = AtomicU8::new(0);

/// Which host, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) host: HostId,
    pub(crate) address: SocketAddr,
}

impl From<&Host> for Target {
    fn from(host: &Host) -> Self {
        Self { host: host.id(), address: host.quic_address() }
    }
}

/// Connects; again and again while the host turns everybody away, which it does for seconds after a flood.
async fn welcomed(endpoint: &Endpoint, config: &ClientConfig, to: Target) -> Connection {
    loop {
        match endpoint.connect_with(config.clone(), to.address, tls::server_name()).unwrap().await {
            Ok(connection) => return connection,
            Err(ConnectionError::ConnectionClosed(close))
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Insider {
    /// Through TLS, and nothing said yet.
    pub(crate) async fn connect(to: impl Into<Target>, seed: u8) -> Self {
        let to = to.into();
        let network = Network::new(&config(0).genesis);
        let key = SigningKey::from_bytes(&[seed; 32]);
        let crypto = Tls::new(&key, network.alpn()).unwrap().dialler(Some(to.host)).unwrap();
        // Each from an address of its own, as they would come; one address has only some of the places for newcomers.
        let place = ADDRESSES.fetch_add(1, Ordering::Relaxed) % 200 + 10;
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, place], 0))).unwrap();
        let config = ClientConfig::new(Arc::new(crypto));
        let connection = timeout(DEADLINE, welcomed(&endpoint, &config, to)).await.unwrap();
        let (control, heard) = timeout(DEADLINE, connection.open_bi()).await.unwrap().unwrap();
        let (roster, streams, buffer) = (Trie::default(), BTreeMap::new(), BytesMut::new());
        let (epoch, seq) = (1_000, 0);
        Self { key, network, epoch, seq, roster, connection, control, heard, buffer, streams, _endpoint: endpoint }
    }

    /// Admitted both ways.
    pub(crate) async fn admitted(to: impl Into<Target>, seed: u8) -> Self {
        let to = to.into();
        let mut insider = Self::connect(to, seed).await;
        let hello = insider.hello(to);
        insider.say(&Frame::Hello(hello)).await;
        insider.say(&Frame::Admitted).await;
        insider.hear(|frame| matches!(frame, Frame::Admitted)).await;
        insider
    }

    pub(crate) fn id(&self) -> HostId {
        HostId::new(self.key.verifying_key().to_bytes())
    }

    /// A Hello as it should be.
    pub(crate) fn hello(&self, to: impl Into<Target>) -> Hello {
        let to = to.into();
        let mut exporter = [0; 32];
        self.connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
        let proof = admission_proof(&self.network.admission_key, Role::Dialler, &exporter, self.id(), to.host);
        let (record, observed) = (self.record(), to.address);
        Hello { proof: *proof.as_bytes(), epoch: self.epoch, record, observed, lost: Vec::new() }
    }

    pub(crate) fn record(&self) -> SignedRecord {
        let (addresses, gateways) = (Vec::new(), Vec::new());
        let software = "insider".to_owned();
        let record = HostRecord {
            revision: 1,
            sealing: [9; 32],
            addresses,
            gateways,
            software,
            neighbours: Vec::new(),
            nat: Nat::Unknown,
            candidates: Vec::new(),
            stun: Vec::new(),
        };
        SignedRecord::make(&self.key, self.network.tag, &record).unwrap()
    }

    /// Says something on control.
    pub(crate) async fn say(&mut self, frame: &Frame) {
        self.say_bytes(&frame.encode().unwrap()).await;
    }

    /// The same, of any bytes. That the host has closed by now is not this side's business.
    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.control.write_all(bytes).await;
    }

    /// Says something on another channel.
    pub(crate) async fn say_on(&mut self, channel: Channel, frame: &Frame) {
        if !self.streams.contains_key(&channel.number()) {
            let mut stream = timeout(DEADLINE, self.connection.open_uni()).await.unwrap().unwrap();
            stream.write_all(&[channel.number()]).await.unwrap();
            self.streams.insert(channel.number(), stream);
        }
        let stream = self.streams.get_mut(&channel.number()).unwrap();
        let _ = stream.write_all(&frame.encode().unwrap()).await;
    }

    /// Waits for a frame on control.
    pub(crate) async fn hear(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let hearing = async {
            loop {
                while let Some((kind, body)) = codec::cut(&mut self.buffer, FRAME_BYTES).unwrap() {
                    if let Some(frame) = Frame::decode(kind, &body).unwrap().filter(|frame| wanted(frame)) {
                        return frame;
                    }
                }
                let chunk = self.heard.read_chunk(64 << 10, true).await.expect("the host has closed").unwrap();
                self.buffer.extend_from_slice(&chunk.bytes);
            }
        };
        timeout(DEADLINE, hearing).await.expect("it was never said")
    }

    /// The next announcement of its own roster, as it should be. `digest` and signature can be spoilt afterwards.
    pub(crate) fn next_head(&mut self, ops: &[Op]) -> (Head, Bytes) {
        self.seq += 1;
        for op in ops {
            let key = match op {
                Op::Record(_) => digest::RECORD_KEY,
                Op::Present { peer, .. } => digest::presence_key(*peer),
                Op::Join { topic, peer, .. } => digest::membership_key(*topic, *peer),
                _ => continue,
            };
            self.roster.insert(key, digest::entry_hash(&encode_ops(std::slice::from_ref(op)).unwrap()));
        }
        let bytes = encode_ops(ops).unwrap();
        let head = Head {
            origin: self.id(),
            epoch: self.epoch,
            seq: self.seq,
            ops_hash: ops_hash(&bytes),
            digest: self.roster.digest(),
            interval_ms: 3_000,
        };
        (head, bytes)
    }

    pub(crate) fn signed(&self, head: &Head, ops: Bytes) -> Announcement {
        let head = SignedHead::make(&self.key, self.network.tag, head).unwrap();
        Announcement { age_ms: 0, head, ops: Some(ops) }
    }

    /// Announces ops as it should.
    pub(crate) async fn announce(&mut self, ops: &[Op]) -> Announcement {
        let (head, bytes) = self.next_head(ops);
        let announcement = self.signed(&head, bytes);
        self.say_on(Channel::Announce, &Frame::Announcement(announcement.clone())).await;
        announcement
    }

    /// Announces its record and these ops, as the first thing it says, and waits until the host shows it.
    pub(crate) async fn appear(&mut self, at: &Host, more: &[Op]) -> Announcement {
        let ops = [&[Op::Record(self.record())], more].concat();
        let announcement = self.announce(&ops).await;
        let id = self.id();
        crate::harness::until(at, "the insider's roster", |view| {
            view.hosts.iter().any(|host| host.host == id && host.live)
        })
        .await;
        announcement
    }

    /// Opens streams whose first byte means nothing, until the host has enough of it.
    #[allow(dead_code, reason = "only the measurement of memory does it")]
    pub(crate) async fn open_unknown_streams(&self, count: usize) {
        for _ in 0..count {
            match timeout(DEADLINE, self.connection.open_uni()).await.unwrap() {
                Ok(mut stream) => drop(stream.write_all(&[200; 1_000]).await),
                Err(_) => return,
            }
        }
    }

    /// Waits until the host has closed the connection; with which reason.
    pub(crate) async fn closed(&self) -> GoodbyeReason {
        let error = timeout(DEADLINE, self.connection.closed()).await.expect("the host does not close");
        let ConnectionError::ApplicationClosed(close) = &error else { panic!("{error}") };
        GoodbyeReason::ALL
            .into_iter()
            .find(|reason| u64::from(*reason as u32) == close.error_code.into_inner())
            .unwrap_or_else(|| panic!("{error}"))
    }

    /// Whether the host keeps the connection for a while.
    pub(crate) async fn stays(&self) -> bool {
        timeout(Duration::from_millis(300), self.connection.closed()).await.is_err()
    }
}
