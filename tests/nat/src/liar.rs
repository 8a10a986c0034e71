//! A host of our own making that is admitted as any other, and then asks for dials to where it is not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aldis::net::tls::{self, Tls};
use aldis_wire::host::{
    DialBack, EXPORTER_LABEL, Frame, Hello, Introduce, Nat, Place, Punch, Role, Verify, admission_proof,
};
use aldis_wire::id::HostId;
use aldis_wire::network::Network;
use aldis_wire::record::{HostRecord, SignedRecord};
use anyhow::{Context, Result, anyhow};
use ed25519_dalek::SigningKey;
use quinn::{ClientConfig, Connection, Endpoint, SendStream};
use tokio::time::{Instant, sleep};

use crate::host::LINKS_PORT;

const FRAME_BYTES_MAX: usize = 64 << 10;
/// Between two salvos: far more than any bound lets pass.
const PAUSE: Duration = Duration::from_millis(200);

/// Its end of a connection.
struct Liar {
    id: HostId,
    control: SendStream,
    connection: Connection,
    _endpoint: Endpoint,
}

/// Links with a host and has it dial the victim, in every way and for so long. Gives how many frames it sent. To be run in
/// the liar's node.
pub(crate) async fn aim(
    network: Network,
    at: (HostId, Ipv4Addr),
    other: HostId,
    victim: Ipv4Addr,
    time: Duration,
) -> Result<u32> {
    let mut liar = Liar::admitted(&network, at).await?;
    let end = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < end && liar.connection.close_reason().is_none() {
        for frame in salvo(liar.id, other, victim, count) {
            liar.say(&frame).await?;
            count += 1;
        }
        sleep(PAUSE).await;
    }
    Ok(count)
}

/// One of each lie.
fn salvo(own: HostId, other: HostId, victim: Ipv4Addr, number: u32) -> Vec<Frame> {
    let stranger = || HostId::new(std::array::from_fn(|_| fastrand::u8(..)));
    let port = || fastrand::u16(1_024..);
    let candidates = || (0..8).map(|_| SocketAddr::from((victim, port()))).collect::<Vec<_>>();
    let (nat, address) = (Nat::PortRestricted, IpAddr::V4(victim));
    let gateway = || Place::Gateway { url: format!("ws://{victim}:{}/v1", port()) };
    let mut frames = vec![
        Frame::Introduce(Introduce { host: other, nat, candidates: candidates() }),
        Frame::Introduce(Introduce { host: stranger(), nat, candidates: candidates() }),
        Frame::Punch(Punch { host: other, nat, candidates: candidates(), after_ms: 0 }),
        Frame::Punch(Punch { host: stranger(), nat, candidates: candidates(), after_ms: 0 }),
        Frame::Verify(Verify { number, place: gateway() }),
        Frame::DialBack(DialBack { number, host: own, address, place: gateway() }),
    ];
    for place in [Place::Links { port: port() }, Place::OtherPort { port: port() }, Place::Stun { port: port() }] {
        frames.push(Frame::DialBack(DialBack { number, host: stranger(), address, place }));
    }
    frames
}

impl Liar {
    async fn admitted(network: &Network, (to, address): (HostId, Ipv4Addr)) -> Result<Self> {
        let key = SigningKey::from_bytes(&std::array::from_fn(|_| fastrand::u8(..)));
        let id = HostId::new(key.verifying_key().to_bytes());
        let crypto = Tls::new(&key, network.alpn())?.dialler(Some(to))?;
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
        let address = SocketAddr::from((address, LINKS_PORT));
        let dial = endpoint.connect_with(ClientConfig::new(Arc::new(crypto)), address, tls::server_name())?;
        let connection = dial.await.context("the host does not take the liar")?;
        let (control, mut heard) = connection.open_bi().await?;
        // What the host says is read, so that it never waits.
        tokio::spawn(async move { while let Ok(Some(_)) = heard.read_chunk(FRAME_BYTES_MAX, false).await {} });
        let mut exporter = [0; 32];
        let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"");
        exported.map_err(|_| anyhow!("no exporter"))?;
        let proof = admission_proof(&network.admission_key, Role::Dialler, &exporter, id, to);
        let record = SignedRecord::make(&key, network.tag, &record())?;
        let hello = Hello { proof: *proof.as_bytes(), epoch: 1_000, record, observed: address, lost: Vec::new() };
        let mut liar = Self { id, control, connection, _endpoint: endpoint };
        liar.say(&Frame::Hello(hello)).await?;
        liar.say(&Frame::Admitted).await?;
        Ok(liar)
    }

    async fn say(&mut self, frame: &Frame) -> Result<()> {
        self.control.write_all(&frame.encode()?).await.context("the host has closed")
    }
}

fn record() -> HostRecord {
    HostRecord {
        revision: 1,
        sealing: [9; 32],
        addresses: Vec::new(),
        gateways: Vec::new(),
        software: "liar".to_owned(),
        neighbours: Vec::new(),
        nat: Nat::Unknown,
        candidates: Vec::new(),
        stun: Vec::new(),
    }
}
