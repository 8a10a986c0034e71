//! What nobody may be made to believe, whoever says so; and how hosts treat each other on the way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use aldis::relay::limits;
use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::{Frame, Outcome, Routed};
use aldis_wire::id::HostId;
use aldis_wire::limits::{HEARTBEAT_MAX, HEARTBEATS_MISSED_MAX};

use crate::edges::Sent;
use crate::hosts::Host;
use crate::map::Place;
use crate::queue::{At, SEC};
use crate::wires::EndId;
use crate::world::World;

/// A host announces less often than this between two looks.
const BETWEEN_LOOKS_MAX: u64 = 100;
/// Dials that time out one after the other within `DIALS_IN`: each takes 5 s, and the pause between them is at least 0.5 s.
const DIALS_MAX: usize = 11;
const DIALS_IN: At = 60 * SEC;
/// A host that runs for so long is known everywhere.
const LONG: At = 30 * SEC;
/// Sealed frames on their way that are remembered.
const ROUTED_MAX: usize = 10_000;
/// Kinds of frames (PROTOCOL.md §5.3).
const ROUTED: u8 = 12;

/// What is remembered of what hosts say.
#[derive(Debug, Default)]
pub(crate) struct Beliefs {
    /// How far each host had come when it was last looked at.
    pub(crate) marks: BTreeMap<HostId, (u64, u64)>,
    /// From whom sealed frames came to a host.
    routed: BTreeMap<(Place, [u8; 24]), Place>,
    /// Dials that came to nothing, one after the other, by who dialled whom.
    pub(crate) dials_in_vain: BTreeMap<(Place, SocketAddr), VecDeque<At>>,
    delivered: u64,
    sent: u64,
}

impl World {
    /// Whether a host may well think ill of another: one of the two lies.
    pub(crate) fn is_about_liars(&self, place: Place, other: HostId) -> bool {
        self.is_liar(place) || self.is_liar_id(other)
    }

    /// What honest hosts believe where some lie.
    pub(crate) fn look_at_beliefs(&mut self) {
        if self.scenario.liars == 0 {
            return;
        }
        for host in &self.hosts {
            if let Some(view) = host.running().map(|relay| relay.view(host.clock(self.now))) {
                self.beliefs.marks.insert(host.id, (view.epoch, view.seq));
            }
        }
        let honest: Vec<Place> = (0..self.hosts.len()).filter(|place| !self.is_liar(*place)).collect();
        for place in honest {
            let host = &self.hosts[place];
            let Some(relay) = host.running() else { continue };
            let mut wrong = Vec::new();
            for seen in relay.view(host.clock(self.now)).hosts.iter().filter(|seen| seen.live) {
                let Some(other) = self.hosts.iter().position(|host| host.id == seen.host) else {
                    wrong.push(format!("it shows {:?}, a host that nobody runs", seen.host));
                    continue;
                };
                let (epoch, seq) = self.beliefs.marks.get(&seen.host).copied().unwrap_or_default();
                if !self.is_liar(other) && (seen.epoch, seen.seq) > (epoch, seq + BETWEEN_LOOKS_MAX) {
                    wrong.push(format!("it believes in ({}, {}) of {:?}", seen.epoch, seen.seq, seen.host));
                }
                let silent = self.now - self.hosts[other].since;
                let longest = (HEARTBEAT_MAX * HEARTBEATS_MISSED_MAX).as_nanos() as u64 + 10 * SEC;
                if self.is_liar(other) && self.hosts[other].relay.is_none() && silent > longest {
                    wrong.push(format!("it shows {:?}, a liar that is gone since {} s", seen.host, silent / SEC));
                }
                let digest = relay.digest(seen.host);
                if digest.is_some_and(|digest| self.liars.wrong.contains(&digest)) {
                    wrong.push(format!("it believes a digest of {:?} that is not true", seen.host));
                }
            }
            wrong.into_iter().for_each(|what| self.violated(&[place], what));
        }
    }

    /// A host hides another one that it has not heard: it must not be one that lives.
    pub(crate) fn gives_up(&mut self, place: Place, other: HostId) {
        let Some(known) = self.hosts.iter().position(|host| host.id == other) else { return };
        let (here, there) = (&self.hosts[place], &self.hosts[known]);
        let long_here = |host: &Host| host.since + LONG < self.now;
        let lives = there.running().is_some() && long_here(here) && long_here(there);
        // A host whose router has forgotten its links hears nobody.
        let moved = !self.nats.is_empty() && self.checks.trouble.is_excused(self.now, place);
        let excused = moved || self.checks.trouble.is_excused(self.now, known) || self.is_about_liars(place, other);
        if lives && !excused {
            self.violated(&[place, known], format!("it gives up {other:?}, which lives"));
        }
    }

    /// A dial was not answered.
    pub(crate) fn dialled_in_vain(&mut self, from: Place, to: SocketAddr) {
        let now = self.now;
        let times = self.beliefs.dials_in_vain.entry((from, to)).or_default();
        times.push_back(now);
        while times.front().is_some_and(|at| at + DIALS_IN < now) {
            times.pop_front();
        }
        let count = times.len();
        if count > DIALS_MAX {
            self.violated(&[from], format!("it has dialled {to} {count} times in a minute, and nobody answers"));
        }
    }

    /// A frame comes to a host; whether its machine is told. That of a liar must not see what was made of its own words.
    pub(crate) fn came(&mut self, from: Place, to: Place, frame: &[u8]) -> bool {
        if let Some(routed) = routed(frame) {
            if self.beliefs.routed.len() >= ROUTED_MAX {
                self.beliefs.routed.clear();
            }
            self.beliefs.routed.insert((to, routed.nonce), from);
        }
        if self.is_liar(to)
            && let Some((&[kind, ..], body)) = frame.split_first_chunk::<HEADER_BYTES>()
            && let Ok(Some(Frame::Announcement(announcement))) = Frame::decode(kind, body)
        {
            self.liar_hears(to, &announcement);
            return !announcement.head.peek().is_ok_and(|head| head.origin == self.hosts[to].id);
        }
        true
    }

    /// A host sends a frame: nothing goes back to where it came from.
    pub(crate) fn check_way(&mut self, place: Place, end: EndId, frame: &[u8]) {
        let Some(routed) = routed(frame) else { return };
        let there = self.wires.place_of_other(end);
        if self.beliefs.routed.get(&(place, routed.nonce)) == Some(&there) {
            self.violated(&[place, there], "a sealed frame goes back to where it came from".to_owned());
        }
    }

    /// A machine has given more to a link: it must not be more than may wait there.
    pub(crate) fn check_queue(&mut self, place: Place, end: EndId, queue: usize) {
        const QUEUES: [(&str, usize); 4] = [
            ("control frames", limits::CONTROL_QUEUE_BYTES),
            ("signals", limits::SIGNAL_QUEUE_BYTES),
            ("announcements", limits::ANNOUNCE_QUEUE_BYTES),
            ("replies", limits::SYNC_QUEUE_BYTES),
        ];
        let (what, limit) = QUEUES[queue];
        let waits = self.wires.waiting_bytes(end, queue);
        if waits > limit && !self.is_liar(place) {
            self.violated(&[place], format!("{waits} bytes of {what} wait on one link, and at most {limit} may"));
        }
    }

    /// A signal has had its time. It counts if it was sent after the beginning, when liars lie.
    pub(crate) fn count_delivered(&mut self, sent: &Sent) {
        if !sent.orphan && sent.at >= self.scenario.warm {
            self.beliefs.sent += 1;
            self.beliefs.delivered += u64::from(sent.outcome == Some(Outcome::Delivered));
        }
    }

    /// Enough of all signals must have been delivered.
    pub(crate) fn look_at_delivered(&mut self) {
        let settled = self.now.saturating_sub(6 * SEC);
        for (_, sent) in std::mem::take(&mut self.crowd.signals) {
            if sent.at < settled {
                self.count_delivered(&sent);
            }
        }
        let (delivered, sent) = (self.beliefs.delivered, self.beliefs.sent);
        if delivered * 1_000_000 < sent * u64::from(self.scenario.delivered) || self.scenario.delivered > 0 && sent == 0
        {
            self.violated(&[], format!("{delivered} of {sent} signals were delivered, and that is not enough"));
        }
    }
}

fn routed(frame: &[u8]) -> Option<Routed> {
    let (&[kind, ..], body) = frame.split_first_chunk::<HEADER_BYTES>()?;
    if kind != ROUTED {
        return None;
    }
    if let Ok(Some(Frame::Routed(routed))) = Frame::decode(kind, body) { Some(routed) } else { None }
}
