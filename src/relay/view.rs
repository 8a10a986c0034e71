//! What an operator may see of the machine at a moment: the source of `/api/status`, `aldis status` and the demo.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aldis_wire::announcement::Status;
use aldis_wire::host::{Nat, Role};
use aldis_wire::id::HostId;

use super::io::{CheckTarget, Fault, LinkKey, Mapping, Registration};

/// The host, its links, and all hosts it knows.
#[derive(Clone, Debug)]
pub struct View {
    /// Who we are.
    pub host: HostId,
    /// Our epoch.
    pub epoch: u64,
    /// Seq of our newest announcement.
    pub seq: u64,
    /// Edges connected now.
    pub edges: usize,
    /// Sessions, those in their grace period included.
    pub sessions: usize,
    /// Topics with local members or watchers.
    pub topics: usize,
    /// Admitted links.
    pub links: Vec<LinkView>,
    /// Every other host whose roster is known, by id.
    pub hosts: Vec<HostView>,
    /// Which other hosts are refused, and why.
    pub refused: RefusedView,
    /// What discovery does and what is wrong with it, if anything.
    pub discovery: DiscoveryView,
    /// Where we are, and who can reach us there.
    pub reach: ReachView,
}

/// Hosts that are kept out.
#[derive(Clone, Debug, Default)]
pub struct RefusedView {
    /// How many the operator allows, if there is such a list.
    pub allowed: Option<usize>,
    /// How many the operator denies.
    pub denied: usize,
    /// Revoked identities.
    pub revoked: Vec<HostId>,
    /// Origins whose present epoch is refused.
    pub quarantined: Vec<QuarantineView>,
}

/// One origin that lied or was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineView {
    /// Who.
    pub host: HostId,
    /// Refused until a higher one.
    pub epoch: u64,
    /// Why.
    pub fault: Fault,
    /// How long ago.
    pub age: Duration,
}

/// One admitted link.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// Its name in the driver.
    pub link: LinkKey,
    /// With whom.
    pub host: HostId,
    /// Where.
    pub address: SocketAddr,
    /// Which end we are.
    pub role: Role,
    /// How it came about.
    pub kind: LinkKind,
    /// Round trip.
    pub rtt: Duration,
    /// How long it stands.
    pub age: Duration,
}

/// How a link came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// We dialled.
    Dialled,
    /// The other side did.
    Accepted,
    /// Both did, when a common neighbour told them.
    Punched,
}

impl LinkKind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::Dialled, Self::Accepted, Self::Punched];

    /// For people and for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Dialled => "dialled",
            Self::Accepted => "accepted",
            Self::Punched => "punched",
        }
    }
}

/// One other host.
#[derive(Clone, Debug)]
pub struct HostView {
    /// Who.
    pub host: HostId,
    /// Its epoch.
    pub epoch: u64,
    /// Seq of its newest announcement applied here.
    pub seq: u64,
    /// How long ago its newest head was made.
    pub age: Duration,
    /// Whether its roster is shown; otherwise it has expired and waits for a sign of life.
    pub live: bool,
    /// Present peers.
    pub peers: usize,
    /// Memberships.
    pub memberships: usize,
    /// What it last said of itself.
    pub status: Status,
    /// From its record.
    pub addresses: Vec<SocketAddr>,
    /// From its record.
    pub gateways: Vec<String>,
    /// From its record.
    pub software: String,
    /// From its record: what stands before it.
    pub nat: Nat,
    /// The neighbour over which its announcements come first.
    pub next_hop: Option<HostId>,
}

/// What discovery does.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryView {
    /// Whether there is a DHT to ask.
    pub dht: bool,
    /// Addresses known.
    pub hints: usize,
    /// Dials under way.
    pub dials: usize,
    /// Why the last look-up failed, if it did.
    pub dht_problem: Option<String>,
    /// How long until the DHT is asked next; zero while it is being asked, and without a DHT.
    pub next_look_up: Duration,
    /// Whether there are names in DNS to look up.
    pub seeds: bool,
    /// What was wrong with them at the last look-up, if anything.
    pub seeds_problem: Option<String>,
}

/// Where this host is as seen from outside, with the evidence (PROTOCOL.md §11.1).
#[derive(Clone, Debug, Default)]
pub struct ReachView {
    /// What stands between us and those who dial us.
    pub nat: Nat,
    /// Why it is called so, in words.
    pub evidence: &'static str,
    /// Whether routers say to be seen where nobody sees us, so that there is another one behind them.
    pub behind_two: bool,
    /// Who sees us where.
    pub observers: Vec<ObserverView>,
    /// Addresses of our own interfaces, with the port for links.
    pub local: Vec<SocketAddr>,
    /// What routers let through.
    pub mapped: Vec<Mapping>,
    /// Where the nodes of the DHT see us, and whether that is the port for links.
    pub dht: Option<(SocketAddr, bool)>,
    /// As our record says: where anybody may dial.
    pub addresses: Vec<SocketAddr>,
    /// As our record says: where we may be reached by somebody who is introduced.
    pub candidates: Vec<SocketAddr>,
    /// As our record says: where edges may come.
    pub gateways: Vec<String>,
    /// As our record says: where STUN is answered.
    pub stun: Vec<SocketAddr>,
    /// What was tried, or is to be.
    pub places: Vec<PlaceView>,
    /// What the DHT is told of us.
    pub registration: Registration,
}

/// One neighbour's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverView {
    /// Over which link.
    pub link: LinkKey,
    /// Whose.
    pub host: HostId,
    /// Where it is itself.
    pub at: IpAddr,
    /// Whether we dialled it; otherwise it sees what it dialled.
    pub dialled: bool,
    /// Where it sees us.
    pub sees: SocketAddr,
    /// For how long.
    pub age: Duration,
}

/// A place of ours that others try to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceView {
    /// Which.
    pub target: CheckTarget,
    /// Whether our record lists it.
    pub published: bool,
    /// What came of it.
    pub state: PlaceState,
}

/// What came of the checks of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceState {
    /// It was reached from outside.
    Verified {
        /// The neighbour that told, or the host that came.
        by: HostId,
        /// How long ago.
        age: Duration,
    },
    /// It was not, twice in a row.
    NotReached {
        /// The neighbour that told.
        by: HostId,
        /// How long ago.
        age: Duration,
    },
    /// Nobody has tried. If it is published, that is the operator's word.
    Unverified {
        /// In words.
        why: &'static str,
    },
}

impl PlaceState {
    /// For operators and for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Verified { .. } => "verified",
            Self::NotReached { .. } => "not_reached",
            Self::Unverified { .. } => "unverified",
        }
    }
}

/// How many entries every table has: what an operator looks at when memory grows, and what tests hold against the
/// bounds of `limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Open sockets of edges.
    pub edges: usize,
    /// Sessions, those in their grace period included.
    pub sessions: usize,
    /// Topics that somebody here follows.
    pub topics: usize,
    /// Sequenced messages that edges have not acknowledged.
    pub unacked: usize,
    /// The most of them in one session.
    pub unacked_max: usize,
    /// Bytes of those in the session that has most.
    pub unacked_bytes_max: usize,
    /// Signals that wait for their receipts.
    pub open_signals: usize,
    /// The most signals that one session remembers, open and finished.
    pub remembered_signals_max: usize,
    /// The most senders that one session remembers.
    pub senders_max: usize,
    /// Broadcasts that wait for tallies.
    pub open_broadcasts: usize,
    /// The most broadcasts that one session remembers, open and finished.
    pub remembered_broadcasts_max: usize,
    /// Broadcasts remembered because they came for members here.
    pub spreads: usize,
    /// Their senders.
    pub broadcasters: usize,
    /// Deadlines of signals and broadcasts.
    pub deadlines: usize,
    /// Signals remembered because they arrived here.
    pub deliveries: usize,
    /// Signals that went out sealed.
    pub sealed: usize,
    /// Homes to which links are passed over.
    pub detours: usize,
    /// Sealed frames of others that may still bounce.
    pub passed_on: usize,
    /// Return routes.
    pub return_routes: usize,
    /// Addresses of edges.
    pub addresses: usize,
    /// Counters of keyed peers that have left.
    pub counters: usize,
    /// Peers present anywhere.
    pub peers: usize,
    /// Topics with members anywhere.
    pub directory_topics: usize,
    /// Rosters, our own included.
    pub rosters: usize,
    /// Origins, our own included.
    pub origins: usize,
    /// Marks of origins that are forgotten.
    pub marks: usize,
    /// The most announcements that one origin's log keeps.
    pub log_max: usize,
    /// The most heads of one origin that wait.
    pub waiting_max: usize,
    /// Comparisons under way.
    pub comparisons: usize,
    /// Links, those included that are not admitted yet or say goodbye.
    pub links: usize,
    /// The most origins about which something is kept for one link.
    pub link_origins_max: usize,
    /// The most bytes on their way on one link.
    pub link_bytes_max: usize,
    /// Links' hosts whose new origins are counted.
    pub introductions: usize,
    /// Hosts whose faults are remembered.
    pub faults: usize,
    /// Origins that are asked for.
    pub asking: usize,
    /// Revoked identities.
    pub revocations: usize,
    /// Origins of which is remembered why they are refused.
    pub quarantines: usize,
    /// Hosts that wait here to be introduced to another one.
    pub pairs: usize,
    /// Hosts that we are about to meet.
    pub meetings: usize,
    /// Keys shared with other homes.
    pub shared_keys: usize,
    /// Places of ours that are had checked.
    pub checks: usize,
    /// Checks that neighbours make on our word.
    pub referrals: usize,
    /// Hosts whose questions for checks are counted.
    pub askers: usize,
    /// Checks that we make.
    pub trials: usize,
    /// Addresses for which they are counted.
    pub trial_addresses: usize,
    /// Addresses and hosts with which there was something lately.
    pub contacts: usize,
    /// Deadlines.
    pub timers: usize,
}

/// What the directory takes of the memory, in bytes; the spare room of its lists included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Entries of all rosters, metas and proofs included.
    pub entries_bytes: usize,
    /// Digests of all rosters.
    pub digests_bytes: usize,
    /// The index by peer.
    pub peers_bytes: usize,
    /// The index by topic.
    pub topics_bytes: usize,
}
