//! One connection: how far it has come, and what is on its way on it.

use std::net::SocketAddr;
use std::time::Duration;

use aldis_wire::host::{Channel, Role};
use aldis_wire::id::HostId;

use crate::relay::bucket::Bucket;
use crate::relay::by_host::Row;
use crate::relay::io::Moment;
use crate::relay::limits;

/// Not the row of any origin: there are fewer.
pub(super) const NOBODY: Row = Row::MAX;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is proved yet, or only one side has said that it is satisfied.
    Greeting {
        /// We have verified their Hello.
        verified: bool,
        /// They say that they have verified ours.
        welcomed: bool,
    },
    /// Both sides are satisfied.
    Admitted,
    /// It takes nothing more from us; what is on its way still arrives.
    Closing,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// The host that proved its key in the handshake.
    pub(crate) host: HostId,
    /// Which end we are.
    pub(crate) role: Role,
    /// Where the other side is.
    pub(crate) address: SocketAddr,
    /// Whether nothing had gone to its host or address lately when it came.
    pub(crate) stranger: bool,
    /// Where the other side sees us, out of its Hello.
    pub(crate) observed: Option<SocketAddr>,
    /// Where it was told that we see it.
    pub(crate) told: Option<SocketAddr>,
    /// Key material of this TLS session.
    pub(crate) exporter: [u8; 32],
    /// Round trip.
    pub(crate) rtt: Duration,
    /// When TLS was through.
    pub(crate) since: Moment,
    /// How far it has come.
    pub(crate) phase: Phase,
    /// Whether we chose it because it is near.
    pub(crate) near: bool,
    /// Whether nothing at all has come for a while.
    pub(crate) silent: bool,
    /// Whether both ends dialled because a common neighbour told them when.
    pub(crate) punched: bool,
    /// Since when nothing is believed to come over it any more, because an address of ours or of theirs has changed.
    pub(crate) stranded: Option<Moment>,
    /// The other side's epoch, out of its Hello.
    pub(crate) epoch: u64,
    /// Our epoch, as our Hello on this link stated it.
    pub(crate) stated: u64,
    /// Of entries of its summaries.
    pub(crate) heard: Bucket,
    /// Of KiB that it was told because it asked.
    pub(crate) answers: Bucket,
    /// Of claims checked for its signals.
    pub(crate) claims: Bucket,
    /// Of revocations of hosts never heard of that it has brought and that were passed on.
    pub(crate) revocations: Bucket,
    /// Of introductions that it asked for.
    pub(crate) introductions: Bucket,
    /// Origins about which something is kept for it.
    pub(super) origins: usize,
    /// Where its way stands among those of most origins.
    pub(super) usual_way: u16,
    /// What each number towards the other side stands for.
    pub(super) named_out: Vec<Row>,
    /// Names given so far; the next one takes the number of the oldest.
    pub(super) names: usize,
    /// What each number of the other side stands for, with a number given to nothing as [`NOBODY`].
    pub(super) named_in: Vec<Row>,
    pub(super) on_way: [usize; 4],
}

/// Kinds of traffic with a bound of their own.
fn class(channel: Channel) -> (usize, usize) {
    match channel {
        Channel::Control => (0, limits::CONTROL_QUEUE_BYTES),
        Channel::Announce => (1, limits::ANNOUNCE_QUEUE_BYTES),
        Channel::Sync => (2, limits::SYNC_QUEUE_BYTES),
        Channel::Lane(_) => (3, limits::SIGNAL_QUEUE_BYTES),
    }
}

impl Link {
    /// A connection that has come through TLS.
    #[must_use]
    pub(crate) fn new(
        now: Moment,
        host: HostId,
        role: Role,
        address: SocketAddr,
        exporter: [u8; 32],
        rtt: Duration,
    ) -> Self {
        Self {
            host,
            role,
            address,
            stranger: false,
            observed: None,
            told: None,
            exporter,
            rtt,
            since: now,
            phase: Phase::Greeting { verified: false, welcomed: false },
            near: false,
            silent: false,
            punched: false,
            stranded: None,
            epoch: 0,
            stated: 0,
            heard: Bucket::default(),
            answers: Bucket::default(),
            claims: Bucket::default(),
            revocations: Bucket::default(),
            introductions: Bucket::default(),
            origins: 0,
            usual_way: 0,
            named_out: Vec::new(),
            names: 0,
            named_in: Vec::new(),
            on_way: [0; 4],
        }
    }

    /// Whether frames other than Hello may be sent.
    #[must_use]
    pub(crate) fn is_admitted(&self) -> bool {
        self.phase == Phase::Admitted
    }

    /// Whether it is heard, and each side sends to where the other one is.
    #[must_use]
    pub(crate) fn is_sound(&self) -> bool {
        !self.silent && self.stranded.is_none()
    }

    /// Whether `bytes` more fit into what may be on its way on `channel`.
    #[must_use]
    pub(crate) fn has_room(&self, channel: Channel, bytes: usize) -> bool {
        let (class, limit) = class(channel);
        self.on_way.get(class).is_some_and(|on_way| on_way + bytes <= limit)
    }

    /// Bytes handed to the transport and not taken by it.
    #[must_use]
    pub(crate) fn bytes_on_way(&self) -> usize {
        self.on_way.iter().sum()
    }

    /// Origins about which something is kept for this link: the largest of its tables.
    #[must_use]
    pub(crate) fn origins_count(&self) -> usize {
        self.origins.max(self.named_in.len())
    }

    /// Where the origin stands that a number of the other side names.
    pub(super) fn row_in(&self, number: u16) -> Option<Row> {
        self.named_in.get(usize::from(number)).copied().filter(|row| *row != NOBODY)
    }

    /// Counts bytes handed to the transport.
    pub(crate) fn sending(&mut self, channel: Channel, bytes: usize) {
        if let Some(on_way) = self.on_way.get_mut(class(channel).0) {
            *on_way += bytes;
        }
    }

    /// Counts bytes that the transport has taken.
    pub(crate) fn sent(&mut self, channel: Channel, bytes: usize) {
        if let Some(on_way) = self.on_way.get_mut(class(channel).0) {
            *on_way = on_way.saturating_sub(bytes);
        }
    }
}
