//! All tables of a machine in one place, and the few verbs that every flow needs.

use std::collections::{BTreeMap, BTreeSet};

use aldis_wire::announcement::Op;
use aldis_wire::host::{Channel, Frame, Query};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use aldis_wire::seal::{SealingKey, SharedKey};
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::addresses::Addresses;
use super::barred::Barred;
use super::broadcasts::Heard;
use super::bucket::Bucket;
use super::directory::Directory;
use super::discovery::Discovery;
use super::io::{EdgeKey, Event, LinkKey, Moment, Note, Outbox, Output, RequestId};
use super::links::Links;
use super::meetings::Meetings;
use super::multicast::Origins;
use super::planted::{Defect, Planted};
use super::reach::{Reach, Whereabouts};
use super::replays::Replays;
use super::sessions::{SessionKey, Sessions};
use super::setup::{Settings, Setup};
use super::signals::{Deadlines, Deliveries, Detours, PassedOn, ReturnRoutes, Sealed};
use super::timers::Timers;

/// Everything a machine knows.
#[derive(Debug)]
pub(crate) struct State {
    /// The network and its keys.
    pub(crate) network: Network,
    /// Our id.
    pub(crate) own: HostId,
    /// Our key.
    pub(crate) identity: SigningKey,
    /// Our sealing key.
    pub(crate) sealing: SealingKey,
    /// What the operator chose.
    pub(crate) settings: Settings,
    /// The only source of chance.
    pub(crate) rng: ChaCha12Rng,
    /// Deadlines.
    pub(crate) timers: Timers,
    /// Connections to hosts.
    pub(crate) links: Links,
    /// Hosts with which a link is about to be admitted in place of one that has said goodbye, and where that one led. No
    /// more than there are connections.
    pub(crate) awaited: BTreeMap<HostId, std::net::SocketAddr>,
    /// Rosters.
    pub(crate) directory: Directory,
    /// Announcements.
    pub(crate) origins: Origins,
    /// Edges.
    pub(crate) sessions: Sessions,
    /// Deadlines of open signals.
    pub(crate) deadlines: Deadlines,
    /// Signals that arrived.
    pub(crate) deliveries: Deliveries,
    /// Broadcasts that came for members here.
    pub(crate) heard: Heard,
    /// When pairs must end their holds. Each stands for a signal taken in the last [`HOLD_MAX`](super::limits::HOLD_MAX),
    /// so there are no more than deadlines.
    pub(crate) holds: BTreeSet<(Moment, SessionKey, PeerId)>,
    /// Signals that went out sealed.
    pub(crate) sealed: Sealed,
    /// Frames that we have sealed in this life.
    pub(crate) sealed_count: u64,
    /// Sealed frames that were opened.
    pub(crate) replays: Replays,
    /// Sealed frames of others that were passed on.
    pub(crate) passed_on: PassedOn,
    /// Ways on which sealed frames had no answer.
    pub(crate) detours: Detours,
    /// Of bytes that go again because of it.
    pub(crate) repeats: Bucket,
    /// Where signals came from.
    pub(crate) routes: ReturnRoutes,
    /// What addresses may do.
    pub(crate) addresses: Addresses,
    /// Who is kept out.
    pub(crate) barred: Barred,
    /// Where hosts may be.
    pub(crate) discovery: Discovery,
    /// Who is brought together with whom.
    pub(crate) meetings: Meetings,
    /// Where we are.
    pub(crate) reach: Reach,
    /// Our own announcements.
    pub(crate) announcer: Announcer,
    /// How each origin's present gap was asked about.
    pub(crate) asking: BTreeMap<HostId, Asked>,
    /// Origins whose comparison waits for another one to end.
    pub(crate) postponed: BTreeSet<HostId>,
    /// New origins that each link's host has brought.
    pub(crate) introductions: BTreeMap<HostId, Bucket>,
    /// By host, what it has left of the faults that it is forgiven.
    pub(crate) faults: BTreeMap<HostId, Bucket>,
    /// Keys shared with other homes, by the public half they were made with.
    pub(crate) shared: BTreeMap<HostId, ([u8; 32], SharedKey)>,
    /// When our id was last seen under an epoch that we never issued.
    pub(crate) doubled: Option<Moment>,
    /// Our search for nearer neighbours.
    pub(crate) tender: Tender,
    /// When we last noticed that we had been asleep.
    pub(crate) woken: Option<Moment>,
    /// Sessions whose queues are full. Ended at the end of the step.
    pub(crate) too_slow: BTreeSet<u64>,
    /// Links whose other side does not even take control frames. Closed at the end of the step.
    pub(crate) stuck: BTreeSet<LinkKey>,
    /// What the machine is to do wrong: nothing, but in tests.
    pub(crate) planted: Planted,
    /// Whether the host is shutting down.
    pub(crate) draining: bool,
}

/// How the present gap of an origin was asked about.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// How often.
    pub(crate) times: u32,
    /// Whom, until it was everybody's turn: no more than there are links.
    pub(crate) links: Vec<LinkKey>,
}

/// A host's search for nearer neighbours.
#[derive(Debug, Default)]
pub(crate) struct Tender {
    /// When to look again.
    pub(crate) next_probe: Moment,
    /// The pause after that.
    pub(crate) pause: std::time::Duration,
    /// Who was looked at.
    pub(crate) probed: std::collections::BTreeSet<HostId>,
}

/// Our own roster's way out.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// Our epoch.
    pub(crate) epoch: u64,
    /// Seq of our newest announcement.
    pub(crate) seq: u64,
    /// Applied here and not announced yet.
    pub(crate) pending: Vec<Op>,
    /// Their encoded length.
    pub(crate) pending_bytes: usize,
    /// Of announcements with ops.
    pub(crate) pace: Bucket,
    /// Of bytes of ops.
    pub(crate) volume: Bucket,
    /// Queries that came between two batches, when our roster was ahead of our newest head.
    pub(crate) queries: Vec<(LinkKey, Query)>,
    /// Heartbeats so far.
    pub(crate) heartbeats: u64,
    /// Revision of our record.
    pub(crate) revision: u64,
    /// The neighbours that our record lists, by their ids.
    pub(crate) neighbours: Vec<HostId>,
    /// Those that it listed before: not everybody has the new one.
    pub(crate) neighbours_before: Vec<HostId>,
    /// Where it says that we are.
    pub(crate) whereabouts: Whereabouts,
    /// Of records that say so anew.
    pub(crate) changes: Bucket,
    /// When the record was last announced.
    pub(crate) recorded: Moment,
    /// When we last answered that we are not gone.
    pub(crate) answered: Option<Moment>,
    /// Until then we answer again: somebody lied about us, and that may still be on its way to others.
    pub(crate) answers_until: Moment,
    /// Signals taken since the last status.
    pub(crate) signals: u32,
    /// What the process used of the processors, as last told.
    pub(crate) load_percent: u16,
    /// When figures were last announced.
    pub(crate) last_status: Moment,
}

impl Announcer {
    fn new(epoch: u64, revision: u64, whereabouts: Whereabouts, now: Moment) -> Self {
        Self {
            epoch,
            seq: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            pace: Bucket::default(),
            volume: Bucket::default(),
            queries: Vec::new(),
            heartbeats: 0,
            revision,
            neighbours: Vec::new(),
            neighbours_before: Vec::new(),
            whereabouts,
            changes: Bucket::default(),
            recorded: now,
            answered: None,
            answers_until: now,
            signals: 0,
            load_percent: 0,
            last_status: now,
        }
    }
}

impl State {
    /// The state of a machine that has just started.
    #[must_use]
    pub(crate) fn new(setup: Setup, now: Moment) -> Self {
        let own = HostId::new(setup.identity.verifying_key().to_bytes());
        let planted = setup.planted();
        let discovery = Discovery::new(&setup, own, now);
        let mut rng = ChaCha12Rng::from_seed(setup.seed);
        let sessions = Sessions::new(rng.next_u64());
        // Two hosts that run with one key, one configuration and in one epoch still say different things.
        let revision = setup.epoch.saturating_mul(1 << 20) | u64::from(rng.next_u32() >> 12);
        let mut directory = Directory::new(setup.network.trust, || rng.next_u64());
        directory.insert(own);
        let mut origins = Origins::new(directory.seed());
        origins.remember(now, &setup.marks);
        let links = Links::new(directory.seed());
        let reach = Reach::new(&setup.settings);
        Self {
            own,
            barred: Barred::new(own, setup.settings.lists.clone()),
            discovery,
            meetings: Meetings::default(),
            origins,
            directory,
            identity: setup.identity,
            sealing: setup.sealing,
            settings: setup.settings,
            rng,
            timers: Timers::default(),
            links,
            awaited: BTreeMap::new(),
            sessions,
            deadlines: Deadlines::default(),
            deliveries: Deliveries::default(),
            heard: Heard::default(),
            holds: BTreeSet::new(),
            sealed: Sealed::default(),
            detours: Detours::default(),
            repeats: Bucket::default(),
            sealed_count: 0,
            replays: Replays::default(),
            passed_on: PassedOn::default(),
            routes: ReturnRoutes::default(),
            addresses: Addresses::default(),
            announcer: Announcer::new(setup.epoch, revision, reach.whereabouts(), now),
            reach,
            asking: BTreeMap::new(),
            postponed: BTreeSet::new(),
            introductions: BTreeMap::new(),
            faults: BTreeMap::new(),
            shared: BTreeMap::new(),
            doubled: None,
            tender: Tender::default(),
            woken: None,
            too_slow: BTreeSet::new(),
            stuck: BTreeSet::new(),
            planted,
            draining: false,
            network: setup.network,
        }
    }

    /// Bytes nobody can guess.
    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// Tells a session something in its sequence. One that cannot take it any more is ended with what happens now.
    pub(crate) fn tell_session(
        &mut self,
        key: SessionKey,
        bytes: usize,
        event: impl FnOnce(u64) -> Event,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.find_mut(key) else { return };
        match session.enqueue(bytes, event) {
            Ok(event) => {
                if let Some((edge, event)) = session.edge.zip(event) {
                    out.tell(edge, event);
                }
            }
            Err(_) => _ = self.too_slow.insert(key),
        }
    }

    /// Sends a frame on a connection if there is room for it; false if there is none, or no connection.
    pub(crate) fn send(&mut self, link: LinkKey, channel: Channel, frame: &Frame, out: &mut Outbox) -> bool {
        let Ok(frame) = frame.encode() else { return false };
        self.send_encoded(link, channel, frame, out)
    }

    /// The same for a frame that is encoded already.
    pub(crate) fn send_encoded(
        &mut self,
        link: LinkKey,
        channel: Channel,
        frame: bytes::Bytes,
        out: &mut Outbox,
    ) -> bool {
        let Some(found) = self.links.find_mut(link) else { return false };
        if !found.has_room(channel, frame.len()) && !self.planted.has(Defect::ExceedQueue) {
            if channel == Channel::Control {
                self.stuck.insert(link);
            }
            return false;
        }
        found.sending(channel, frame.len());
        out.push(Output::Send { link, channel, frame });
        true
    }

    /// Refuses a request of an edge.
    pub(crate) fn refuse(edge: EdgeKey, id: Option<RequestId>, refusal: Refusal, out: &mut Outbox) {
        Self::refuse_with(edge, id, refusal, None, String::new(), out);
    }

    /// Refuses a request of an edge, and says when to try again, or more in words.
    pub(crate) fn refuse_with(
        edge: EdgeKey,
        id: Option<RequestId>,
        refusal: Refusal,
        retry_after: Option<std::time::Duration>,
        message: String,
        out: &mut Outbox,
    ) {
        out.note(Note::EdgeRefused { refusal });
        out.tell(edge, Event::Error { id, refusal, message, known: None, retry_after });
    }

    /// Gateways of other hosts that are shown, in an order drawn anew each time, and how many peers are at home there.
    pub(crate) fn other_gateways(&mut self) -> Vec<(usize, String)> {
        const GATEWAYS_TOLD_MAX: usize = 8;
        let mut gateways = Vec::new();
        for host in self.directory.hosts().filter(|host| *host != self.own) {
            let peers = self.directory.roster(host).map_or(0, |roster| roster.peers());
            let urls = self.directory.record(host).into_iter().flat_map(|recorded| &recorded.record.gateways);
            gateways.extend(urls.map(|url| (peers, url.clone())));
        }
        for at in (1..gateways.len()).rev() {
            let other = self.rng.next_u32() as usize % (at + 1);
            gateways.swap(at, other);
        }
        gateways.truncate(GATEWAYS_TOLD_MAX);
        gateways
    }
}
