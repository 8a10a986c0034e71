//! The way from home to home: over the link between them, or sealed, by the next hop (PROTOCOL.md §7.2).

use aldis_wire::host::{Channel, Frame, Routed};
use aldis_wire::id::{HostId, PeerId};
use aldis_wire::proof::Proof;
use aldis_wire::record::short_id;
use aldis_wire::refusal::Refusal;
use aldis_wire::seal::{self, Binding, SharedKey};

use crate::relay::io::{LinkKey, Moment, Outbox};
use crate::relay::limits::CLAIM_CHECKS;
use crate::relay::links::Link;
use crate::relay::planted::Defect;
use crate::relay::signals::{Doubt, Path};
use crate::relay::state::State;
use crate::relay::timers::Timer;

impl State {
    /// Gives a frame to the link to its home, or seals it and gives it to the next hop. If it must not overtake earlier
    /// ones, or answers one that came again, it takes the link of those: `pinned`.
    ///
    /// # Errors
    /// [`Refusal::HomeUnreachable`] when there is no way, [`Refusal::Overloaded`] when the link has no room.
    pub(crate) fn hand_over(
        &mut self,
        now: Moment,
        home: HostId,
        pinned: Option<LinkKey>,
        lane: u8,
        frame: &Frame,
        out: &mut Outbox,
    ) -> Result<Path, Refusal> {
        let pinned = pinned.filter(|link| self.links.find(*link).is_some_and(|l| l.is_admitted()));
        let link = pinned.or_else(|| self.way_to(home, None)).ok_or(Refusal::HomeUnreachable)?;
        let sent = if self.links.find(link).is_some_and(|found| found.host == home) {
            self.send(link, Channel::Lane(lane), frame, out).then_some(Path::Direct(link))
        } else {
            self.discovery.want_link(now, home);
            self.timers.set_earlier(Timer::Discovery, now);
            self.sealed_count += 1;
            let nonce = seal::nonce(self.random(), self.sealed_count);
            let routed = self.sealed(home, lane, nonce, frame).ok_or(Refusal::HomeUnreachable)?;
            self.send(link, Channel::Lane(lane), &routed, out).then_some(Path::Routed(link, nonce))
        };
        sent.ok_or(Refusal::Overloaded)
    }

    /// The link by which to reach a home: one with it, or with the next hop. One that has fallen silent, or on which we
    /// are looked for elsewhere, is passed over while there is another way.
    pub(crate) fn way_to(&self, home: HostId, except: Option<HostId>) -> Option<LinkKey> {
        let direct = self.links.to_host(home).filter(|_| Some(home) != except);
        if direct.is_some_and(|link| self.links.find(link).is_some_and(Link::is_sound)) {
            return direct;
        }
        // What others send takes the way that it always takes: two hosts that both go round somebody could send it in circles.
        let detour = if except.is_none() { self.detour(home) } else { None };
        detour.or_else(|| self.sound_hop(home, except)).or(direct).or_else(|| self.next_hop(home, except))
    }

    /// Where some neighbours did not lead to a home: the next hop, or whom its record lists, or who is near and above us in
    /// its tree; of these one that was not tried, or else the one that was missed longest ago.
    fn detour(&self, home: HostId) -> Option<LinkKey> {
        let origin = self.origins.find(home).filter(|origin| origin.expired.is_none() && self.detours.has(home))?;
        let listed = &self.directory.record(home)?.record.neighbours;
        let is_next = |key: LinkKey| origin.next_hop == Some(key);
        let knows_it =
            |key: LinkKey| self.links.theirs(key, home).0 == origin.mark().0 && self.links.is_below(key, home) < 2;
        let fits = |key: LinkKey, link: &Link| {
            link.is_admitted() && link.is_sound() && link.host != home && (is_next(key) || knows_it(key))
        };
        let candidates = self.links.iter().filter(|(key, link)| fits(*key, link));
        let rank = |key: LinkKey, link: &Link| {
            let place = self.detours.place(home, link.host);
            (place, !is_next(key), !listed.contains(&short_id(link.host)), link.rtt, key)
        };
        candidates.min_by_key(|(key, link)| rank(*key, link)).map(|(key, _)| key)
    }

    /// A next hop that is heard, and that is not below us in the host's tree: its way would lead back to us.
    fn sound_hop(&self, home: HostId, except: Option<HostId>) -> Option<LinkKey> {
        let origin = self.origins.find(home).filter(|origin| origin.expired.is_none())?;
        // Without its record nothing can be sealed for it.
        self.directory.record(home)?;
        let sound =
            |link: &Link| link.is_admitted() && link.is_sound() && link.host != home && Some(link.host) != except;
        let first = origin.next_hop.filter(|key| self.links.find(*key).is_some_and(sound));
        first.or_else(|| {
            let has_it = |key: LinkKey| {
                self.links.theirs(key, home) >= origin.mark().max((0, 1)) && self.links.is_below(key, home) < 2
            };
            let others = self.links.iter().filter(|(key, link)| sound(link) && has_it(*key));
            others.min_by_key(|(key, link)| (link.rtt, *key)).map(|(key, _)| key)
        })
    }

    /// The neighbour over which a host's announcements come first. When that link is gone, only one that is known to
    /// have newer ones than we leads there for certain.
    pub(crate) fn next_hop(&self, home: HostId, except: Option<HostId>) -> Option<LinkKey> {
        let origin = self.origins.find(home).filter(|origin| origin.expired.is_none())?;
        let usable =
            |key: &LinkKey| self.links.find(*key).is_some_and(|link| link.is_admitted() && Some(link.host) != except);
        origin.next_hop.filter(usable).or_else(|| {
            let mark = origin.mark();
            self.links
                .admitted()
                .filter(|(key, _)| usable(key) && self.links.theirs(*key, home) >= mark.max((0, 1)))
                .min_by_key(|(key, link)| (link.rtt, *key))
                .map(|(key, _)| key)
        })
    }

    pub(crate) fn shared_with(&mut self, host: HostId) -> Option<SharedKey> {
        if host == self.own {
            // Nothing that we seal comes back to us.
            return None;
        }
        let public = self.directory.record(host)?.record.sealing;
        if let Some((known, key)) = self.shared.get(&host)
            && *known == public
        {
            return Some(key.clone());
        }
        let key = self.sealing.shared(&public)?;
        self.shared.insert(host, (public, key.clone()));
        Some(key)
    }

    fn sealed(&mut self, home: HostId, lane: u8, nonce: [u8; 24], frame: &Frame) -> Option<Frame> {
        let key = self.shared_with(home)?;
        let to_epoch = self.origins.find(home)?.mark().0;
        let from_epoch = self.announcer.epoch;
        let binding = Binding { tag: self.network.tag, from: (self.own, from_epoch), to: (home, to_epoch) };
        let (kind, body) = frame.kind_and_body().ok()?;
        let plain = [&[kind][..], &body].concat();
        let sealed = key.seal(&nonce, &binding, &plain).ok()?.into();
        let hops = 1;
        Some(Frame::Routed(Routed {
            to_home: home,
            from_home: self.own,
            to_epoch,
            from_epoch,
            hops,
            lane,
            nonce,
            sealed,
        }))
    }

    /// Why the host of a link may not speak for a sender that it names, if it may not (PROTOCOL.md §7.1).
    pub(crate) fn doubt(&mut self, now: Moment, key: LinkKey, from: PeerId, proof: &Proof) -> Option<Doubt> {
        let link = self.links.find_mut(key)?;
        let host = link.host;
        let known = self.directory.is_present(from, host, proof);
        if !known && matches!(proof, Proof::Keyed { .. }) && link.claims.take(now, CLAIM_CHECKS, 1).is_err() {
            return Some(Doubt::Refused(Refusal::Overloaded));
        }
        if self.is_at_home(host, from, proof) || self.planted.has(Defect::AcceptForeignSender) {
            return None;
        }
        if !proof.verify(from, self.network.trust, host) {
            return Some(Doubt::Foreign);
        }
        // The peer was at home there and has a better claim elsewhere, of which that host has not heard yet.
        Some(Doubt::Refused(Refusal::Replaced))
    }

    /// Whether `home` may speak for the peer: its roster says so, or the proof does and nobody has a newer one.
    pub(crate) fn is_at_home(&self, home: HostId, peer: PeerId, proof: &Proof) -> bool {
        if self.directory.is_present(peer, home, proof) && self.directory.home(peer) == Some(home) {
            return true;
        }
        let known = self.directory.highest_counter(peer);
        let newer =
            known.is_none_or(|(counter, at)| proof.counter() > counter || at == home && proof.counter() == counter);
        newer && proof.verify(peer, self.network.trust, home)
    }
}
