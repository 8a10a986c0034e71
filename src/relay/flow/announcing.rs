//! Our own roster: changed here at once, announced in batches, kept alive by heartbeats (PROTOCOL.md §6).

use std::time::Duration;

use aldis_wire::announcement::{Head, Op, SignedHead, Status, encode_ops, op_bytes, ops_hash};
use aldis_wire::host::Channel;
use aldis_wire::id::HostId;
use aldis_wire::limits::{HEARTBEAT_MAX, OPS_BYTES, OPS_MAX};
use aldis_wire::record::{HostRecord, SignedRecord, short_id};
use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use crate::relay::io::{LinkKey, Moment, Note, Outbox, Output, Stored};
use crate::relay::limits::{BATCHES, FLOODED_LINKS_MAX, HEARTBEAT, HEARTBEATS_PER_STATUS, HOSTS_PER_HEARTBEAT};
use crate::relay::multicast::Heard;
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// An epoch is raised by at most so much: seconds, if it was the time of day.
const EPOCH_STEPS: u16 = 1_024;

impl State {
    /// Announces our record; the first thing a host says.
    pub(crate) fn announce_record(&mut self, now: Moment, out: &mut Outbox) {
        self.announcer.revision = self.announcer.revision.saturating_add(1);
        self.announcer.recorded = now;
        if let Some(record) = self.signed_record() {
            self.change(now, Op::Record(record), out);
        }
    }

    /// Our record as it is now.
    pub(crate) fn signed_record(&self) -> Option<SignedRecord> {
        let whereabouts = self.announcer.whereabouts.clone();
        let record = HostRecord {
            revision: self.announcer.revision,
            sealing: self.sealing.public(),
            addresses: whereabouts.addresses,
            gateways: whereabouts.gateways,
            software: self.settings.software.clone(),
            neighbours: self.announcer.neighbours.iter().map(|host| short_id(*host)).collect(),
            nat: whereabouts.nat,
            candidates: whereabouts.candidates,
            stun: whereabouts.stun,
        };
        SignedRecord::make(&self.identity, self.network.tag, &record).ok()
    }

    /// Changes our roster here and now, and announces the change with the next batch. False if the roster is full, or
    /// grows too fast.
    pub(crate) fn change(&mut self, now: Moment, op: Op, out: &mut Outbox) -> bool {
        let Ok(bytes) = op_bytes(&op) else { return false };
        if !self.may_change(now, &op, bytes) {
            return false;
        }
        if self.announcer.pending_bytes + bytes > OPS_BYTES || self.announcer.pending.len() >= OPS_MAX {
            self.announce(now, out);
        }
        match self.directory.apply(self.own, std::slice::from_ref(&op), None) {
            Ok(shown) => {
                self.announcer.pending.push(op);
                self.announcer.pending_bytes += bytes;
                if !self.timers.is_set(Timer::Announce) {
                    // Only looked at here; the token is taken when the batch goes out.
                    let mut pace = self.announcer.pace;
                    let wait = pace.take(now, BATCHES, 1).err().unwrap_or_default();
                    self.timers.set(Timer::Announce, now + wait);
                }
                self.tell_followers(now, shown, out);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether an edge may come or join now, as far as the network is concerned. Whatever goes may go, and is counted.
    fn may_change(&mut self, now: Moment, op: &Op, bytes: usize) -> bool {
        let volume = &mut self.announcer.volume;
        let comes = matches!(op, Op::Present { .. } | Op::Join { .. });
        if comes && volume.take(now, self.settings.own_changes, 0).is_err() {
            return false;
        }
        volume.charge(now, self.settings.own_changes, bytes);
        true
    }

    /// Announces everything that is pending; a heartbeat if nothing is.
    pub(crate) fn announce(&mut self, now: Moment, out: &mut Outbox) {
        let ops = std::mem::take(&mut self.announcer.pending);
        self.announcer.pending_bytes = 0;
        let Ok(encoded) = encode_ops(&ops) else { return };
        let Some(digest) = self.directory.roster_mut(self.own).map(|roster| roster.digest()) else { return };
        let interval = self.heartbeat_interval();
        self.announcer.seq += 1;
        let head = Head {
            origin: self.own,
            epoch: self.announcer.epoch,
            seq: self.announcer.seq,
            ops_hash: ops_hash(&encoded),
            digest,
            interval_ms: u32::try_from(interval.as_millis()).unwrap_or(u32::MAX),
        };
        let Ok(signed) = SignedHead::make(&self.identity, self.network.tag, &head) else { return };
        let ops_count = ops.len();
        if ops_count > 0 {
            // A full batch or a query may send it early; then the bucket is empty and the next batch waits longer.
            _ = self.announcer.pace.take(now, BATCHES, 1);
        }
        let heard = Heard::new(self.network.trust, head, signed, (ops_count > 0).then_some(encoded), now);
        if let Some(origin) = self.origins.find_or_insert(now, self.own) {
            origin.hear(now, &heard.head, now);
            origin.issued(heard.clone());
        }
        self.timers.cancel(Timer::Announce);
        self.timers.set(Timer::Heartbeat, now + interval);
        out.note(Note::Announced { ops: ops_count });
        self.pass_on(now, &heard, None, out);
        for (link, query) in std::mem::take(&mut self.announcer.queries) {
            self.query_came(now, link, query, out);
        }
    }

    /// Nothing was announced for an interval.
    pub(crate) fn heartbeat(&mut self, now: Moment, out: &mut Outbox) {
        self.announcer.heartbeats += 1;
        // With the first one too: an operator who has just started a network wants to see it.
        if self.announcer.heartbeats % HEARTBEATS_PER_STATUS == 1 {
            let status = self.status(now);
            self.change(now, Op::Status(status), out);
            self.announcer.signals = 0;
            self.announcer.last_status = now;
        }
        self.announce(now, out);
        // The network may have become large, or small.
        self.neighbours_changed(now);
    }

    /// Our figures as they are now.
    pub(crate) fn status(&self, now: Moment) -> Status {
        let seconds = now.since(self.announcer.last_status).as_secs().max(1);
        let per_minute = u64::from(self.announcer.signals) * 60 / seconds;
        Status {
            edges: u32::try_from(self.sessions.edges_count()).unwrap_or(u32::MAX),
            topics: u32::try_from(self.sessions.topics_count()).unwrap_or(u32::MAX),
            links: u16::try_from(self.links.admitted().count()).unwrap_or(u16::MAX),
            signals_per_minute: u32::try_from(per_minute).unwrap_or(u32::MAX),
            load_percent: self.announcer.load_percent,
        }
    }

    /// Whether heartbeats are too rare for noticing a crash by them.
    pub(crate) fn is_large(&self) -> bool {
        self.heartbeat_interval() > HEARTBEAT
    }

    fn heartbeat_interval(&self) -> Duration {
        let times = self.directory.hosts_count().div_ceil(HOSTS_PER_HEARTBEAT).max(1);
        HEARTBEAT.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(HEARTBEAT_MAX)
    }

    /// Pushes an announcement to all neighbours that want the origin's; the others hear of it in the next summary. True
    /// if it is one that goes to others as well.
    pub(crate) fn pass_on(&mut self, now: Moment, heard: &Heard, except: Option<LinkKey>, out: &mut Outbox) -> bool {
        let (origin, mark) = (heard.head.origin, heard.head.mark());
        // What fills a gap is missing below us as well: the newer one that showed it went there before.
        let fills = self.origins.find(origin).is_some_and(|known| known.is_missing(mark));
        let mut wanting = if fills { self.links.pushed(origin) } else { self.links.wanting(origin, mark) };
        let floods = self.origins.find_mut(origin).is_some_and(|known| known.floods(now, &heard.head));
        if floods {
            for key in self.flooded_links(origin, except) {
                if self.links.theirs(key, origin) < mark && !wanting.contains(&key) {
                    wanting.push(key);
                }
            }
        }
        if wanting.iter().any(|key| Some(*key) != except) {
            self.push_to(now, heard, wanting.into_iter().filter(|key| Some(*key) != except), out);
        }
        self.moved(now, origin);
        floods
    }

    /// Where the first announcement of an epoch goes: over all links at its origin and where they are few, elsewhere over
    /// some of the nearest and some by chance.
    fn flooded_links(&mut self, origin: HostId, except: Option<LinkKey>) -> Vec<LinkKey> {
        let others = self.links.admitted().filter(|(key, link)| Some(*key) != except && link.host != origin);
        let mut others: Vec<_> = others.map(|(key, link)| (link.rtt, key)).collect();
        if origin != self.own && others.len() > FLOODED_LINKS_MAX {
            others.sort_unstable();
            for at in FLOODED_LINKS_MAX / 2..FLOODED_LINKS_MAX {
                let left = others.len() - at;
                let other = at + self.rng.next_u32() as usize % left;
                others.swap(at, other);
            }
            others.truncate(FLOODED_LINKS_MAX);
        }
        others.into_iter().map(|(_, key)| key).collect()
    }

    fn push_to(&mut self, now: Moment, heard: &Heard, links: impl Iterator<Item = LinkKey>, out: &mut Outbox) {
        let (origin, mark) = (heard.head.origin, heard.head.mark());
        let Ok(frame) = heard.frame(now, true) else { return };
        let mut bare: Option<Bytes> = None;
        let channel = if heard.head.is_heartbeat() { Channel::Control } else { Channel::Announce };
        for key in links {
            let Some(link) = self.links.find_mut(key) else { continue };
            let fits = link.has_room(channel, frame.len());
            let (channel, frame) = if fits {
                (channel, frame.clone())
            } else {
                // The link is slow: it is told the head alone, as a sign of life, and asks for the rest when it can.
                let bare = match &bare {
                    Some(bare) => bare.clone(),
                    None => match heard.frame(now, false) {
                        Ok(made) => bare.insert(made).clone(),
                        Err(_) => return,
                    },
                };
                (Channel::Control, bare)
            };
            if link.has_room(channel, frame.len()) {
                link.sending(channel, frame.len());
                out.push(Output::Send { link: key, channel, frame });
            } else {
                self.stuck.insert(key);
            }
            if fits && heard.is_whole() {
                self.links.has(key, origin, mark);
            }
        }
    }

    /// Our id was seen under an epoch of ours or above: take a higher one, so that what we say is new to everybody. By how
    /// much is left to chance, so that two hosts with one key do not go up in step.
    pub(crate) fn raise_epoch(&mut self, now: Moment, above: u64, out: &mut Outbox) {
        let [high, low] = self.random();
        self.announcer.epoch = above.saturating_add(1 + u64::from(u16::from_be_bytes([high, low]) % EPOCH_STEPS));
        // The roster does not begin empty in this epoch: nobody may take the next announcement for its first.
        self.announcer.seq = 1;
        out.push(Output::Store(Stored::Epoch(self.announcer.epoch)));
        self.announce_record(now, out);
    }
}
