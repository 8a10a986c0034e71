//! The machine in this process, without sockets: what its tables weigh, and what each input costs.

pub(crate) mod catch_up;
pub(crate) mod inputs;
pub(crate) mod origins;
pub(crate) mod records;

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

/// The network in which all machines here are.
pub(crate) fn network() -> Result<Network> {
    Ok(Network::new(&Genesis::open("bench").context("a name that every network may have")?))
}

/// CPU time of this thread; what others do meanwhile does not count. Asking takes some 0.3 µs.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or(0))
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
        let identity = SigningKey::from_bytes(&[number; 32]);
        let rosters_bytes = usize::MAX;
        let setup = Setup {
            network: network()?,
            identity: identity.clone(),
            sealing: SealingKey::new([number; 32]),
            seed: [number; 32],
            epoch: 1_000,
            cache: Vec::new(),
            marks: Vec::new(),
            settings: Settings { dht: false, register: false, rosters_bytes, ..Settings::default() },
        };
        let now = Moment(Duration::from_secs(1));
        let relay = Relay::new(setup, now, &mut Outbox::default());
        Ok(Self { relay, now, id: HostId::new(identity.verifying_key().to_bytes()), links: 0, faults: Vec::new() })
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
        let (link, exporter) = (LinkKey(self.links), [9; 32]);
        let [high, low] = u16::try_from(self.links)?.to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(45, 1, high, low), 4_000));
        let rtt = Duration::from_millis(10);
        let role = Role::Acceptor;
        self.handle(Input::LinkOpened { link, host: with.id, role, dial: None, address, exporter, rtt });
        let key = network()?.admission_key;
        let proof = *admission_proof(&key, Role::Dialler, &exporter, with.id, self.id).as_bytes();
        let hello = Hello { proof, epoch: with.epoch, record: with.record()?, observed: address };
        let (outputs, _) = self.receive(link, Channel::Control, &Frame::Hello(hello))?;
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
        let (kind, body) = frame.kind_and_body()?;
        Ok(self.handle(Input::LinkReceived { link, channel, kind, body: Bytes::from(body) }))
    }
}
