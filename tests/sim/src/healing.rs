//! What it takes to agree again after a partition: how long, and how many bytes beyond those that the two sides have missed
//! of each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use aldis_wire::codec::HEADER_BYTES;
use aldis_wire::host::Frame;
use aldis_wire::id::HostId;

use crate::map::Place;
use crate::queue::{At, MS, SEC};
use crate::world::{Happening, World};

/// How often it is looked whether all agree.
const LOOK_EVERY: At = 100 * MS;
/// After this it is not looked any more.
const LOOK_MAX: At = 60 * SEC;
/// The rate before the cut is taken over this time.
const BEFORE: At = 20 * SEC;
/// What is still on its way when all agree counts too.
const AFTER: At = 2 * SEC;
/// Kinds of frames that carry what hosts know of each other (PROTOCOL.md §5.3): `Have` to `Reply`, and `Delta`.
const KINDS: [usize; 7] = [4, 5, 6, 7, 8, 9, 24];
const ANNOUNCEMENT: u8 = 7;

/// One partition and its healing.
#[derive(Debug)]
struct Heal {
    parts: Vec<u8>,
    /// Bytes a second before the cut.
    rate: f64,
    /// When it was mended, and the bytes until then.
    mended: Option<(At, u64)>,
    /// Of each host, the announcements since the cut, but of heartbeats that follow each other the last alone: newest seq,
    /// bytes, and those of a heartbeat at the end.
    said: BTreeMap<Place, (u64, u64, u64)>,
    agreed: Option<At>,
    /// Bytes beyond the rate before, and bytes that were missed.
    moved: Option<(f64, u64)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Healing {
    heals: Vec<Heal>,
    totals: VecDeque<(At, u64)>,
}

impl World {
    fn told_bytes(&self) -> u64 {
        KINDS.iter().map(|kind| self.meter.received[*kind].1).sum()
    }

    /// Each second: how much has been told so far.
    pub(crate) fn look_at_healing(&mut self) {
        let (now, total) = (self.now, self.told_bytes());
        // The meter was cleared.
        if self.healing.totals.back().is_some_and(|(_, before)| *before > total) {
            self.healing.totals.clear();
        }
        self.healing.totals.push_back((now, total));
        while self.healing.totals.front().is_some_and(|(at, _)| at + BEFORE < now) {
            self.healing.totals.pop_front();
        }
    }

    /// The world is cut into these parts.
    pub(crate) fn cut_apart(&mut self, parts: Vec<u8>) {
        let totals = &self.healing.totals;
        let rate = match (totals.front(), totals.back()) {
            (Some((first, before)), Some((last, after))) if first < last => {
                (after - before) as f64 / ((last - first) as f64 / SEC as f64)
            }
            _ => 0.0,
        };
        let heal = Heal { parts, rate, mended: None, said: BTreeMap::new(), agreed: None, moved: None };
        self.healing.heals.push(heal);
    }

    /// The world is whole again.
    pub(crate) fn mended(&mut self) {
        let (now, total) = (self.now, self.told_bytes());
        if let Some(heal) = self.healing.heals.last_mut().filter(|heal| heal.mended.is_none()) {
            heal.mended = Some((now, total));
            self.later(LOOK_EVERY, Happening::Agree);
        }
    }

    /// A host sends a frame: if the world is cut and it is the first copy of an announcement of its own, the others miss it.
    pub(crate) fn missed_apart(&mut self, place: Place, frame: &[u8]) {
        let Some(heal) = self.healing.heals.last_mut().filter(|heal| heal.mended.is_none()) else { return };
        if frame.first() != Some(&ANNOUNCEMENT) {
            return;
        }
        let Some((&[kind, ..], body)) = frame.split_first_chunk::<HEADER_BYTES>() else { return };
        let Ok(Some(Frame::Announcement(announcement))) = Frame::decode(kind, body) else { return };
        let Ok(head) = announcement.head.peek() else { return };
        let (newest, bytes, beat) = heal.said.entry(place).or_default();
        if head.origin == self.hosts[place].id && head.seq > *newest {
            let length = frame.len() as u64;
            *newest = head.seq;
            if head.is_heartbeat() {
                *bytes -= std::mem::replace(beat, length);
            } else {
                *beat = 0;
            }
            *bytes += length;
        }
    }

    /// A look whether both sides know everything of each other again.
    pub(crate) fn agree(&mut self) {
        let Some(heal) = self.healing.heals.last() else { return };
        let Some((mended, before)) = heal.mended else { return };
        let total = self.told_bytes();
        let agreed = heal.agreed.or_else(|| self.agrees(&heal.parts).then_some(self.now));
        let over = agreed.is_some_and(|at| at + AFTER <= self.now);
        let seconds = (self.now - mended) as f64 / SEC as f64;
        let missed = || {
            let of = |part: u8| heal.parts.iter().filter(|other| **other != part).count() as u64;
            heal.said.iter().map(|(place, (_, bytes, _))| bytes * of(heal.parts[*place])).sum()
        };
        let moved = over.then(|| (total.saturating_sub(before) as f64 - heal.rate * seconds, missed()));
        if let Some(heal) = self.healing.heals.last_mut() {
            (heal.agreed, heal.moved) = (agreed, moved);
        }
        if !over && self.now < mended + LOOK_MAX {
            self.later(LOOK_EVERY, Happening::Agree);
        }
    }

    fn agrees(&self, parts: &[u8]) -> bool {
        let running = || self.hosts.iter().enumerate().filter_map(|(place, host)| Some((place, host.running()?)));
        running().all(|(place, relay)| {
            let view = relay.view(self.hosts[place].clock(self.now));
            let shown: BTreeSet<HostId> = view.hosts.iter().filter(|seen| seen.live).map(|seen| seen.host).collect();
            let mut others = running().filter(|(other, _)| parts[*other] != parts[place]);
            others.all(|(other, _)| shown.contains(&self.hosts[other].id) && self.is_up_to_date(relay, other))
        })
    }
}

/// What the report says of partitions.
pub(crate) fn report(text: &mut String, world: &World) {
    for heal in &world.healing.heals {
        let (Some((mended, _)), Some(agreed), Some((moved, missed))) = (heal.mended, heal.agreed, heal.moved) else {
            continue;
        };
        let _ = writeln!(
            text,
            "partition       all agree {:.1} s after its end; {moved:.0} bytes beyond the rate before, {missed} bytes were missed: {:.2} times",
            (agreed - mended) as f64 / SEC as f64,
            moved / missed.max(1) as f64
        );
    }
}
