//! The tracker of WebTorrent, as bittorrent-tracker and aquatic are (wire/DOORS.md).
//!
//! | module | what |
//! |---|---|
//! | `codec` | the JSON of clients |
//! | `parcel` | what goes between hosts |
//! | `swarms` | the torrents that a client is in |
//! | `crowd` | who else is there |
//! | `ledger` | which offers were made to whom |
//! | `outbox` | offers and answers on their way |

mod codec;
mod crowd;
mod ledger;
mod outbox;
mod parcel;
mod swarms;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use aldis_wire::door;
use aldis_wire::host::Outcome;
use aldis_wire::id::PeerId;
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::time::Instant;

use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use super::Porch;
use crate::relay::io::{Event, Request, RequestId, Sample};
use codec::{Announce, Answer, Asked, Counts, Failure, Id, Offer, Reply};
use crowd::{Candidate, Crowd, LOOKED_AT_MAX};
use ledger::{Entry, Ledger};
use outbox::Outbox;
use parcel::{Kind, NAME, Parcel};
use swarms::{Half, Swarms, topic};

/// Clients strip one slash at the end.
const PATHS: [&str; 2] = ["/announce", "/tracker"];
/// Announces and scrapes of a client that wait for their turn; then `overloaded`. One is looked up at a time, so that what
/// the machine says never fills the mailbox, whatever metas other hosts' members have. A client with 32 torrents announces
/// all of them at once. Some 4.5 MB of offers.
const JOBS_MAX: usize = 64;
/// Connections to which one answer goes, if all made the same offer under the same peer id. Clients use up to five
/// trackers.
const BEARERS_MAX: usize = 8;

pub(super) fn routes(porch: &Porch<'_>) -> Router {
    PATHS.into_iter().fold(Router::new(), |router, path| {
        let (front, counts, network) = (porch.front.clone(), porch.counts.clone(), Arc::new(porch.network.clone()));
        let enter = async move |knock: Knock| knock.enter(&front, &counts, None, || Tracker::new(network.clone()));
        router.route(path, get(enter))
    })
}

/// One socket.
struct Tracker {
    network: Arc<Network>,
    /// Since `welcome`.
    session: Option<PeerId>,
    swarms: Swarms,
    /// Offers of this client, that others may answer.
    made: Ledger,
    /// Offers to this client, that it may answer.
    got: Ledger,
    outbox: Outbox,
    /// What the client wants; the first is looked up now.
    jobs: VecDeque<Job>,
    looking: Option<Looking>,
    /// Announces with offers so far.
    draws: u64,
}

#[derive(Debug)]
enum Job {
    Announce(Announce),
    /// The torrents that are still to be counted, and those that were.
    Scrape(VecDeque<Id>, Vec<(Id, Counts)>),
}

impl Job {
    fn failure(&self, reason: impl Into<Cow<'static, str>>) -> Failure {
        match self {
            Job::Announce(announce) => Failure::announce(announce.info_hash, reason),
            Job::Scrape(..) => Failure::scrape(reason),
        }
    }
}

/// What the machine is asked for a job.
#[derive(Debug)]
struct Looking {
    info_hash: Id,
    /// Memberships that change. If one is refused, the job has failed.
    changes: Vec<RequestId>,
    /// For each half of the torrent.
    look_ups: Vec<RequestId>,
    crowds: Vec<Crowd>,
}

impl Dialect for Tracker {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        let done = match codec::read(text) {
            Ok(Asked::Announce(announce)) => self.take(Job::Announce(announce), desk),
            Ok(Asked::Scrape(hashes)) => self.take(Job::Scrape(hashes.into_iter().collect(), Vec::new()), desk),
            Ok(Asked::Answer(answer)) => self.answer(answer, desk),
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => {}
            Err(failure) if failure.is_malformed() => {
                desk.misunderstood(None, Refusal::Malformed, failure.reason.into_owned());
            }
            Err(failure) => say(&Reply::Failure(&failure), desk),
        }
    }

    fn binary(&mut self, bytes: &Bytes, desk: &mut Desk<'_>) {
        // What is not UTF-8 is no JSON either.
        self.text(std::str::from_utf8(bytes).unwrap_or_default(), desk);
    }

    fn event(&mut self, event: Event, desk: &mut Desk<'_>) {
        match event {
            Event::Welcome(welcome) => self.session = Some(welcome.peer),
            Event::Joined(Sample { id, .. }) | Event::Left { id, .. } => self.swarms.done(&id),
            Event::Peers(sample) => self.looked_up(&sample, desk),
            Event::Signal { from, data, .. } => {
                let body = door::unwrap(NAME, &data);
                if let Some(parcel) = body.as_deref().and_then(parcel::read) {
                    self.arrived(from, &parcel, desk);
                }
            }
            Event::Receipt { id, outcome, .. } => self.outbox.ended(&id, outcome, desk),
            Event::Error { id: Some(id), refusal, .. } => self.refused(&id, refusal, desk),
            Event::Error { id: None, refusal, message, .. } => {
                let failure = match message.is_empty() {
                    true => Failure::malformed(refusal.sentence()),
                    false => Failure::malformed(message),
                };
                say(&Reply::Failure(&failure), desk);
            }
            // A tracker's client is not told who comes and goes, nor what became of an offer.
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.outbox.deadline()
    }

    fn woken(&mut self, desk: &mut Desk<'_>) {
        self.outbox.woken(desk);
    }
}

fn say(reply: &Reply<'_>, desk: &mut Desk<'_>) {
    desk.send_text(codec::write(reply));
}

impl Tracker {
    fn new(network: Arc<Network>) -> Self {
        Self {
            network,
            session: None,
            swarms: Swarms::default(),
            made: Ledger::default(),
            got: Ledger::default(),
            outbox: Outbox::default(),
            jobs: VecDeque::new(),
            looking: None,
            draws: 0,
        }
    }

    fn take(&mut self, job: Job, desk: &mut Desk<'_>) -> Result<(), Failure> {
        if self.jobs.len() >= JOBS_MAX {
            return Err(job.failure(Refusal::Overloaded.sentence()));
        }
        self.jobs.push_back(job);
        self.go_on(desk);
        Ok(())
    }

    /// Asks the machine for what the next job needs, unless it is being asked.
    fn go_on(&mut self, desk: &mut Desk<'_>) {
        while self.looking.is_none()
            && let Some(job) = self.jobs.front_mut()
        {
            let (info_hash, changes) = match job {
                Job::Announce(Announce { info_hash, peer_id, event, .. }) => {
                    if let Err(full) = self.swarms.announced(*info_hash, *peer_id, *event) {
                        let failure = job.failure(full.reason());
                        self.jobs.pop_front();
                        say(&Reply::Failure(&failure), desk);
                        continue;
                    }
                    (*info_hash, self.swarms.requests(&self.network, desk))
                }
                Job::Scrape(left, counted) => match left.pop_front() {
                    Some(info_hash) => (info_hash, Vec::new()),
                    None => {
                        say(&Reply::Scrape(counted), desk);
                        self.jobs.pop_front();
                        continue;
                    }
                },
            };
            self.look(info_hash, changes, desk);
        }
    }

    fn look(&mut self, info_hash: Id, changes: Vec<Request>, desk: &mut Desk<'_>) {
        let look_up = |half| {
            let topic = topic(&self.network, info_hash, half);
            Request::Discover { id: desk.fresh_id(), topic, limit: LOOKED_AT_MAX }
        };
        let look_ups = Half::BOTH.map(look_up);
        let ids = |requests: &[Request]| requests.iter().filter_map(|request| request.id().cloned()).collect();
        self.looking =
            Some(Looking { info_hash, changes: ids(&changes), look_ups: ids(&look_ups), crowds: Vec::new() });
        desk.ask_all(changes.into_iter().chain(look_ups));
    }

    fn looked_up(&mut self, sample: &Sample, desk: &mut Desk<'_>) {
        let Some(looking) = self.looking.as_mut().filter(|looking| looking.look_ups.contains(&sample.id)) else {
            return;
        };
        looking.crowds.push(Crowd::new(sample));
        if looking.crowds.len() < looking.look_ups.len() {
            return;
        }
        // The answers are in the order of the questions.
        if let Some(Looking { info_hash, crowds, .. }) = self.looking.take() {
            self.saw(info_hash, crowds, desk);
        }
        self.go_on(desk);
    }

    fn refused(&mut self, id: &RequestId, refusal: Refusal, desk: &mut Desk<'_>) {
        self.outbox.ended(id, Outcome::Refused(refusal), desk);
        self.swarms.refused(id);
        let concerned = |looking: &Looking| looking.changes.contains(id) || looking.look_ups.contains(id);
        if !self.looking.as_ref().is_some_and(concerned) {
            return;
        }
        self.looking = None;
        if let Some(job) = self.jobs.pop_front() {
            say(&Reply::Failure(&job.failure(refusal.sentence())), desk);
        }
        self.go_on(desk);
    }

    /// Who is there is known.
    fn saw(&mut self, info_hash: Id, crowds: Vec<Crowd>, desk: &mut Desk<'_>) {
        let counts = self.counts(info_hash, &crowds);
        match self.jobs.front_mut() {
            Some(Job::Scrape(_, counted)) => counted.push((info_hash, counts)),
            Some(Job::Announce(announce)) => {
                let (own, offers) = (announce.peer_id, std::mem::take(&mut announce.offers));
                self.jobs.pop_front();
                say(&Reply::Counts(info_hash, counts), desk);
                self.offer(info_hash, own, offers, crowds, desk);
            }
            None => {}
        }
    }

    fn counts(&self, info_hash: Id, halves: &[Crowd]) -> Counts {
        let mut counts =
            Half::BOTH.into_iter().zip(halves).map(|(half, crowd)| crowd.count(self.swarms.of(info_hash, half)));
        Counts { complete: counts.next().unwrap_or(0), incomplete: counts.next().unwrap_or(0) }
    }

    /// Gives each offer to somebody else, by chance.
    fn offer(&mut self, info_hash: Id, own: Id, offers: Vec<Offer>, mut crowds: Vec<Crowd>, desk: &mut Desk<'_>) {
        // Whoever stopped offers nothing.
        let Some(session) = self.session.filter(|_| !offers.is_empty() && self.swarms.has(info_hash, own)) else {
            return;
        };
        // The client's other peers in this torrent are others like any.
        let here = Half::BOTH.into_iter().flat_map(|half| self.swarms.of(info_hash, half));
        crowds.push(Crowd::of(here.map(|id| (session, id)).collect()));
        self.draws += 1;
        let mut rng = ChaCha8Rng::from_seed(*session.as_bytes());
        rng.set_stream(self.draws);
        let random = |below: usize| {
            let below = u64::try_from(below).unwrap_or(u64::MAX).max(1);
            usize::try_from(rng.next_u64() % below).unwrap_or(0)
        };
        let drawn: Vec<Candidate> = crowd::draw(crowds, own, offers.len(), random);
        for (Offer { id: offer_id, offer }, (session, other)) in offers.into_iter().zip(drawn) {
            let parcel =
                Parcel { kind: Kind::Offer, info_hash, from: own, to: other, offer_id: &offer_id, payload: &offer };
            self.outbox.send(session, parcel.wrap(), desk);
            self.made.enter(desk.now(), Entry { info_hash, own, other, offer_id, session });
        }
    }

    /// The client answers an offer that it got.
    fn answer(&mut self, answer: Answer, desk: &mut Desk<'_>) -> Result<(), Failure> {
        let Answer { info_hash, peer_id, to_peer_id, offer_id, answer } = answer;
        let mut offered = self.got.take(desk.now(), |entry| {
            let ids = (entry.info_hash, entry.own, entry.other);
            ids == (info_hash, peer_id, to_peer_id) && entry.offer_id == offer_id
        });
        offered.retain(|_| self.swarms.has(info_hash, peer_id));
        if offered.is_empty() {
            let reason = "Could not find the offer corresponding to your answer. It may have expired.";
            return Err(Failure::announce(info_hash, reason));
        }
        // A client that has two connections may have made the same offer on both: either may be the one that still lives.
        for Entry { session, .. } in offered.into_iter().take(BEARERS_MAX) {
            let parcel = Parcel {
                kind: Kind::Answer,
                info_hash,
                from: peer_id,
                to: to_peer_id,
                offer_id: &offer_id,
                payload: &answer,
            };
            self.outbox.send(session, parcel.wrap(), desk);
        }
        Ok(())
    }

    /// Another door, or this one, sends something for a peer that the client should have.
    fn arrived(&mut self, session: PeerId, parcel: &Parcel<'_>, desk: &mut Desk<'_>) {
        let Parcel { kind, info_hash, from, to, offer_id, payload } = *parcel;
        if !self.swarms.has(info_hash, to) {
            return;
        }
        let entry = Entry { info_hash, own: to, other: from, offer_id: offer_id.into(), session };
        match kind {
            Kind::Offer => {
                self.got.enter(desk.now(), entry);
                say(&Reply::Offer { info_hash, from, offer_id, offer: payload }, desk);
            }
            Kind::Answer => {
                if !self.made.take(desk.now(), |made| *made == entry).is_empty() {
                    say(&Reply::Answer { info_hash, from, offer_id, answer: payload }, desk);
                }
            }
        }
    }
}
