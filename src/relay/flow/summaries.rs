//! Summaries (PROTOCOL.md §6.6): what neighbours tell of how far each origin has come with them, and what they are told.
//!
//! A summary is of a dozen origins or more, and of most nothing is in the processor's cache. So each step is taken for all
//! of them before the next one: what is read for one does not depend on another, and several are fetched at a time.

use std::time::Duration;

use aldis_wire::host::{Channel, Frame, HaveEntry};
use aldis_wire::id::HostId;
use aldis_wire::limits::HAVE_ENTRIES_MAX;

use crate::relay::by_host::Row;
use crate::relay::io::{Fault, LinkKey, Moment, Outbox};
use crate::relay::limits::{GRAFT_AFTER, HAVE_INTERVAL, HAVE_RATE, ORPHAN_ASKED_MAX};
use crate::relay::links::Told;
use crate::relay::multicast::Mark;
use crate::relay::state::State;
use crate::relay::timers::Timer;

/// In which summaries say how long something has been held.
const HELD_UNIT: Duration = Duration::from_millis(10);

/// What summaries are to tell of an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    origin: HostId,
    /// How far it is applied.
    mark: Mark,
    /// Since when, as summaries say it.
    held: u8,
}

impl State {
    /// A summary arrived.
    pub(crate) fn have_came(&mut self, now: Moment, key: LinkKey, entries: &[HaveEntry], out: &mut Outbox) {
        let Some(link) = self.links.find_mut(key) else { return };
        if link.heard.take(now, HAVE_RATE, u32::try_from(entries.len()).unwrap_or(u32::MAX)).is_err() {
            return self.misbehaved(now, key, Fault::OverQuota, out);
        }
        let (all, is_whole) = self.links.told(key, entries);
        let rows: Vec<Option<Row>> = all.iter().map(|told| self.origins.row(told.origin)).collect();
        for (told, row) in all.iter().zip(rows) {
            if self.barred.why(told.origin).is_some() {
                self.barred_came(now, key, told.origin, false, out);
                if self.links.find(key).is_none() {
                    return;
                }
            } else {
                self.told(now, key, told, row, out);
            }
        }
        if !is_whole {
            self.misbehaved(now, key, Fault::OutOfOrder, out);
        }
    }

    /// A neighbour tells how far an origin, which stands in `row`, has come.
    fn told(&mut self, now: Moment, key: LinkKey, told: &Told, row: Option<Row>, out: &mut Outbox) {
        let (origin, mark) = (told.origin, told.mark);
        let known = row.and_then(|row| self.origins.find_at(row, origin));
        let ours = known.map_or_else(|| self.origins.mark_of_forgotten(origin), |known| known.mark());
        let refused = known.and_then(|known| known.quarantined).is_some_and(|(epoch, _)| mark.0 <= epoch);
        if origin == self.own || mark < ours || refused {
            return;
        }
        if mark == ours {
            let orphan = known.is_some_and(|known| known.next_hop.is_none() && known.expired.is_none())
                && self.links.asked(origin) < ORPHAN_ASKED_MAX;
            let came = known.filter(|known| known.newest == mark && known.next_hop != Some(key)).map(|it| it.came);
            let leads = came.is_some_and(|came| self.compare_ways(now, key, told, came));
            if orphan || leads {
                self.graft(key, origin, ours, out);
            }
            return;
        }
        let Some(link) = self.links.find(key) else { return };
        // Whoever is new to us, and the link's own host, is asked for at once; else another link may be faster.
        let at_once = known.is_none() && !self.asking.contains_key(&origin) || link.host == origin;
        let wait = if at_once { Duration::ZERO } else { GRAFT_AFTER.max(2 * link.rtt) };
        self.timers.set_earlier(Timer::Behind(origin), now + wait);
    }

    /// A neighbour has the newest announcement of an origin; here it `came` then, by another link. True if it should come
    /// from that neighbour.
    fn compare_ways(&mut self, now: Moment, key: LinkKey, told: &Told, came: Moment) -> bool {
        let Some(held) = told.held.filter(|held| *held < u8::MAX) else { return false };
        let held = HELD_UNIT * u32::from(held);
        let rtt = self.links.find(key).map_or(Duration::ZERO, |link| link.rtt);
        // What the neighbour passes on when it comes there is here half a round trip later, as this summary is. It is told
        // in whole units: on average it is half a unit more.
        let by_them = now.before(held);
        self.links.led(key, told, (held + HELD_UNIT / 2, now.since(came)), by_them < came + rtt / 2)
    }

    /// An origin's mark has grown: neighbours are told of it soon.
    pub(crate) fn moved(&mut self, now: Moment, origin: HostId) {
        if self.origins.moved(origin) {
            self.timers.set_earlier(Timer::Summaries, now + HAVE_INTERVAL);
        }
    }

    /// Tells each neighbour what it may not have: of the origins that moved since the last time, those not pushed to it.
    pub(crate) fn summarise(&mut self, now: Moment, out: &mut Outbox) {
        let origins = self.origins.take_moved();
        let links: Vec<LinkKey> = self.links.admitted().map(|(key, _)| key).collect();
        let standings = self.standings(now, origins.into_iter());
        let rows = self.links.rows(standings.iter().map(|standing| standing.origin));
        // Origin by origin, since what is known of one stands together for all links.
        let mut entries: Vec<Vec<HaveEntry>> = links.iter().map(|_| Vec::with_capacity(standings.len())).collect();
        for (standing, row) in standings.iter().zip(rows) {
            for (key, entries) in links.iter().zip(&mut entries) {
                entries.extend(self.tell(*key, standing, row));
            }
        }
        for (key, entries) in links.into_iter().zip(entries) {
            self.send_summary(now, key, entries, out);
        }
    }

    /// What is to be told of those of these origins that are shown.
    fn standings(&self, now: Moment, origins: impl Iterator<Item = HostId>) -> Vec<Standing> {
        let held = |came| u8::try_from(now.since(came).as_millis() / HELD_UNIT.as_millis()).unwrap_or(u8::MAX);
        let shown: Vec<HostId> = origins.filter(|origin| self.directory.is_shown(*origin)).collect();
        let known = shown.into_iter().filter_map(|origin| Some((origin, self.origins.find(origin)?)));
        known.map(|(origin, known)| Standing { origin, mark: known.mark(), held: held(known.came) }).collect()
    }

    /// Tells a neighbour of all origins.
    pub(crate) fn summarise_to(&mut self, now: Moment, key: LinkKey, out: &mut Outbox) {
        let standings = self.standings(now, self.origins.iter().map(|(origin, _)| origin));
        let rows = self.links.rows(standings.iter().map(|standing| standing.origin));
        let entries = standings.iter().zip(rows).filter_map(|(standing, row)| self.tell(key, standing, row)).collect();
        self.send_summary(now, key, entries, out);
    }

    fn tell(&mut self, key: LinkKey, &Standing { origin, mark, held }: &Standing, row: Row) -> Option<HaveEntry> {
        let (number, new, told) = self.links.tell(key, origin, row, mark)?;
        Some(if new || told.0 != mark.0 {
            HaveEntry::Named { number, origin, epoch: mark.0, seq: mark.1 }
        } else {
            HaveEntry::Numbered { number, seq: mark.1, held }
        })
    }

    fn send_summary(&mut self, now: Moment, key: LinkKey, mut entries: Vec<HaveEntry>, out: &mut Outbox) {
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(HAVE_ENTRIES_MAX.min(1_024)));
            if !self.send(key, Channel::Control, &Frame::Have(entries), out) {
                // What was not told stays to be told.
                let all: Vec<HostId> = self.origins.iter().map(|(origin, _)| origin).collect();
                all.into_iter().for_each(|origin| self.moved(now, origin));
            }
            entries = rest;
        }
    }
}
