//! The machine in this process: what its tables weigh, and what each input costs. Without sockets, but for [`source`].

pub(crate) mod catch_up;
pub(crate) mod inputs;
pub(crate) mod origins;
pub(crate) mod records;
pub(crate) mod source;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aldis::relay::io::{Input, LinkKey, Moment, Note, Outbox, Output};
use aldis::relay::{Relay, Settings, Setup};
use aldis_wire::host::{Channel, Frame, Hello, Role, admission_proof};
use aldis_wire::id::HostId;
use aldis_wire::network::{Genesis, Network};
use aldis_wire::seal::SealingKey;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use origins::Origin;

/// The name of the network in which all machines and hosts are.
pub(crate) const NETWORK: &str = "bench";
/// Stands for the key material of a TLS session where there is none.
const EXPORTER: [u8; 32] = [9; 32];

/// The network in which all machines here are.
pub(crate) fn network() -> Result<Network> {
    Ok(Network::new(&Genesis::open(NETWORK).context("a name that every network may have")?))
}

/// CPU time of this thread; what others do meanwhile does not count. Asking takes some 0.3 µs.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or(0))
}

/// A machine that asks no DHT, publishes no address, and holds as much as there is.
fn setup(number: u8) -> Result<Setup> {
    let rosters_bytes = usize::MAX;
    Ok(Setup {
        network: network()?,
        identity: SigningKey::from_bytes(&[number; 32]),
        sealing: SealingKey::new([number; 32]),
        seed: [number; 32],
        epoch: 1_000,
        cache: Vec::new(),
        unix: Duration::ZERO,
        marks: Vec::new(),
        settings: Settings { dht: false, register: false, rosters_bytes, ..Settings::default() },
    })
}

/// A connection from a made-up host.
fn opened(link: LinkKey, from: HostId, address: SocketAddr) -> Input {
    let (role, rtt) = (Role::Acceptor, Duration::from_millis(10));
    Input::LinkOpened { link, host: from, role, dial: None, address, exporter: EXPORTER, rtt }
}

/// With which a made-up host is admitted at another.
fn hello(from: &Origin, to: HostId, observed: SocketAddr) -> Result<Frame> {
    let proof = admission_proof(&network()?.admission_key, Role::Dialler, &EXPORTER, from.id, to);
    Ok(Frame::Hello(Hello {
        proof: *proof.as_bytes(),
        epoch: from.epoch,
        record: from.record()?,
        observed,
        lost: Vec::new(),
    }))
}

/// A frame that arrives.
fn received(link: LinkKey, channel: Channel, frame: &Frame) -> Result<Input> {
    let (kind, body) = frame.kind_and_body()?;
    Ok(Input::LinkReceived { link, channel, kind, body: Bytes::from(body) })
}

/// A machine and its clock, which stands still unless it is told to go.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) relay: Relay,
    pub(crate) now: Moment,
    pub(crate) id: HostId,
    links: u64,
    /// What the machine complained of: nothing, or the measurement is of something else.
    pub(crate) faults: Vec<String>,
}

impl Machine {
    pub(crate) fn new(number: u8) -> Result<Self> {
        let setup = setup(number)?;
        let id = HostId::new(setup.identity.verifying_key().to_bytes());
        let now = Moment::new(Duration::from_secs(1));
        let relay = Relay::new(setup, now, &mut Outbox::default());
        Ok(Self { relay, now, id, links: 0, faults: Vec::new() })
    }

    /// Tells the machine what happened, and takes at once whatever it sends. Gives its outputs, and the CPU time.
    pub(crate) fn handle(&mut self, input: Input) -> (Vec<Output>, Duration) {
        let (outputs, took) = self.tell(input);
        for output in &outputs {
            if let Output::Send { link, channel, frame } = output {
                self.tell(Input::LinkSent { link: *link, channel: *channel, bytes: frame.len() });
            }
        }
        (outputs, took)
    }

    /// Tells the machine what happened. Gives its outputs, and the CPU time.
    pub(crate) fn tell(&mut self, input: Input) -> (Vec<Output>, Duration) {
        let mut out = Outbox::default();
        let begin = cpu_time();
        self.relay.handle(self.now, input, &mut out);
        let took = cpu_time().saturating_sub(begin);
        let fault = |note: &&Note| matches!(note, Note::Misbehaved { .. } | Note::HostQuarantined { .. });
        self.faults.extend(out.notes.iter().find(fault).map(|note| format!("{note:?}")));
        (out.outputs, took)
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.relay.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.handle(Input::Woken);
        }
        self.now = end;
    }

    /// An admitted link with a made-up host.
    pub(crate) fn link(&mut self, with: &Origin) -> Result<LinkKey> {
        self.links += 1;
        let link = LinkKey(self.links);
        let [high, low] = u16::try_from(self.links)?.to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(45, 1, high, low), 4_000));
        self.handle(opened(link, with.id, address));
        let (outputs, _) = self.receive(link, Channel::Control, &hello(with, self.id, address)?)?;
        let welcome = Frame::Admitted.encode()?;
        let welcomed = |output: &Output| matches!(output, Output::Send { frame, .. } if *frame == welcome);
        ensure!(outputs.iter().any(welcomed), "not admitted: {outputs:?}");
        self.receive(link, Channel::Control, &Frame::Admitted)?;
        Ok(link)
    }

    /// A frame arrives.
    pub(crate) fn receive(
        &mut self,
        link: LinkKey,
        channel: Channel,
        frame: &Frame,
    ) -> Result<(Vec<Output>, Duration)> {
        Ok(self.handle(received(link, channel, frame)?))
    }
}
