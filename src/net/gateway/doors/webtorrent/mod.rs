//! The tracker of WebTorrent, as bittorrent-tracker and aquatic are (wire/DOORS.md).
//!
//! | module | what |
//! |---|---|
//! | `codec` | the JSON of clients |
//! | `parcel` | what goes between hosts |
//! | `swarms` | the torrents that a client is in |
//! | `crowd` | who else is there |
//! | `ledger` | which offers were made to whom |

mod codec;
mod crowd;
mod ledger;
mod parcel;
mod swarms;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use aldis_wire::door;
use aldis_wire::id::PeerId;
use aldis_wire::network::Network;
use aldis_wire::refusal::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::super::dialect::{Desk, Dialect};
use super::super::upgrade::Knock;
use super::Porch;
use crate::relay::io::{Event, Request, RequestId, Sample};
use codec::{Announce, Answer, Asked, Counts, Failure, Id, Offer, Reply};
use crowd::{Candidate, Crowd, LOOKED_AT_MAX};
use ledger::{Entry, Ledger};
use parcel::{Kind, NAME, Parcel};
use swarms::{Half, Swarms, topic};

/// Clients strip one slash at the end.
const PATHS: [&str; 2] = ["/announce", "/tracker"];
/// Announces and scrapes whose look-ups wait to be heard; then `overloaded`. The machine answers each before it takes the
/// next, but a client with 32 torrents may announce them all before the first answer is read. Some 4.5 MB of offers.
const WAITING_MAX: usize = 64;

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
    waiting: VecDeque<Waiting>,
    /// Announces with offers so far.
    draws: u64,
}

/// A client that waits for what the machine says.
#[derive(Debug)]
struct Waiting {
    who: Waiter,
    /// If one of these is refused, the client is told so.
    changes: Vec<RequestId>,
    /// Each torrent's two halves.
    look_ups: Vec<RequestId>,
    crowds: Vec<Crowd>,
}

#[derive(Debug)]
enum Waiter {
    Announce { info_hash: Id, peer_id: Id, offers: Vec<Offer> },
    Scrape(Vec<Id>),
}

impl Waiter {
    fn failure(&self, reason: &'static str) -> Failure {
        match self {
            Waiter::Announce { info_hash, .. } => Failure::announce(*info_hash, reason),
            Waiter::Scrape(_) => Failure::scrape(reason),
        }
    }
}

impl Dialect for Tracker {
    fn opened(&mut self, desk: &mut Desk<'_>) {
        desk.hello();
    }

    fn text(&mut self, text: &str, desk: &mut Desk<'_>) {
        let done = match codec::read(text) {
            Ok(Asked::Announce(announce)) => self.announce(announce, desk),
            Ok(Asked::Answer(answer)) => self.answer(answer, desk),
            Ok(Asked::Scrape(hashes)) => self.wait(Waiter::Scrape(hashes.into_iter().collect()), Vec::new(), desk),
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
            waiting: VecDeque::new(),
            draws: 0,
        }
    }

    fn announce(&mut self, announce: Announce, desk: &mut Desk<'_>) -> Result<(), Failure> {
        let Announce { info_hash, peer_id, event, offers } = announce;
        let who = Waiter::Announce { info_hash, peer_id, offers };
        if self.waiting.len() >= WAITING_MAX {
            return Err(who.failure(Refusal::Overloaded.sentence()));
        }
        self.swarms.announced(info_hash, peer_id, event).map_err(|full| Failure::announce(info_hash, full.reason()))?;
        let changes = self.swarms.requests(&self.network, desk);
        self.wait(who, changes, desk)
    }

    /// Asks the machine for changes, and for who is there.
    fn wait(&mut self, who: Waiter, changes: Vec<Request>, desk: &mut Desk<'_>) -> Result<(), Failure> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(who.failure(Refusal::Overloaded.sentence()));
        }
        let torrents = match &who {
            Waiter::Announce { info_hash, .. } => std::slice::from_ref(info_hash),
            Waiter::Scrape(hashes) => hashes,
        };
        let topics =
            torrents.iter().flat_map(|info_hash| Half::BOTH.map(|half| topic(&self.network, *info_hash, half)));
        let look_ups: Vec<Request> =
            topics.map(|topic| Request::Discover { id: desk.fresh_id(), topic, limit: LOOKED_AT_MAX }).collect();
        let ids = |requests: &[Request]| requests.iter().filter_map(|request| request.id().cloned()).collect();
        let waiting = Waiting { changes: ids(&changes), look_ups: ids(&look_ups), crowds: Vec::new(), who };
        if look_ups.is_empty() {
            self.finish(waiting, desk);
        } else {
            self.waiting.push_back(waiting);
            desk.ask_all(changes.into_iter().chain(look_ups));
        }
        Ok(())
    }

    fn looked_up(&mut self, sample: &Sample, desk: &mut Desk<'_>) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.look_ups.contains(&sample.id)) else { return };
        let Some(waiting) = self.waiting.get_mut(at) else { return };
        waiting.crowds.push(Crowd::new(sample));
        if waiting.crowds.len() == waiting.look_ups.len()
            && let Some(waiting) = self.waiting.remove(at)
        {
            self.finish(waiting, desk);
        }
    }

    fn refused(&mut self, id: &RequestId, refusal: Refusal, desk: &mut Desk<'_>) {
        self.swarms.refused(id);
        let concerned = |waiting: &Waiting| waiting.changes.contains(id) || waiting.look_ups.contains(id);
        let Some(at) = self.waiting.iter().position(concerned) else { return };
        if let Some(waiting) = self.waiting.remove(at) {
            say(&Reply::Failure(&waiting.who.failure(refusal.sentence())), desk);
        }
    }

    /// All answers are there, in the order of the questions.
    fn finish(&mut self, waiting: Waiting, desk: &mut Desk<'_>) {
        let Waiting { who, crowds, .. } = waiting;
        match who {
            Waiter::Announce { info_hash, peer_id, offers } => {
                say(&Reply::Counts(info_hash, self.counts(info_hash, &crowds)), desk);
                self.offer(info_hash, peer_id, offers, crowds, desk);
            }
            Waiter::Scrape(hashes) => {
                let halves = crowds.chunks(Half::BOTH.len());
                let files: Vec<(Id, Counts)> =
                    hashes.into_iter().zip(halves).map(|(hash, halves)| (hash, self.counts(hash, halves))).collect();
                say(&Reply::Scrape(&files), desk);
            }
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
            desk.signal(session, None, parcel.wrap());
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
        for Entry { session, .. } in offered {
            let parcel = Parcel {
                kind: Kind::Answer,
                info_hash,
                from: peer_id,
                to: to_peer_id,
                offer_id: &offer_id,
                payload: &answer,
            };
            desk.signal(session, None, parcel.wrap());
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
