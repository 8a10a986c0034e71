//! What is known of each origin at the other side of each link.

use std::time::Duration;

use aldis_wire::host::HaveEntry;
use aldis_wire::id::HostId;
use aldis_wire::limits::HAVE_NUMBERS_MAX;

use super::Links;
use super::link::{Link, NOBODY};
use super::ways::Way;
use crate::relay::by_host::{Row, make_room};
use crate::relay::io::{LinkKey, Mark};

/// What an entry of a summary tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// Of whom.
    pub(crate) origin: HostId,
    /// Up to where the other side has its announcements.
    pub(crate) mark: Mark,
    /// For how long it has had the last of them, if it says so, as summaries say it.
    pub(crate) held: Option<u8>,
    /// Where what is known of the origin on links was found.
    pub(crate) row: Row,
}

impl Links {
    fn change<T: Default>(&mut self, key: LinkKey, origin: HostId, change: impl FnOnce(&mut Way) -> T) -> T {
        let Some(link) = self.all.get_mut(&key) else { return T::default() };
        let (result, more) = self.ways.change(origin, key, &mut link.usual_way, change);
        link.origins = link.origins.saturating_add_signed(more);
        result
    }

    fn change_at<T: Default>(&mut self, key: LinkKey, row: Row, change: impl FnOnce(&mut Way) -> T) -> T {
        let Some(link) = self.all.get_mut(&key) else { return T::default() };
        let (result, more) = self.ways.change_at(row, key, &mut link.usual_way, change);
        link.origins = link.origins.saturating_add_signed(more);
        result
    }

    fn change_all(&mut self, origin: HostId, change: impl Fn(&mut Way)) {
        let all = &mut self.all;
        self.ways.change_all(origin, change, |key| {
            if let Some(link) = all.get_mut(&key) {
                link.origins = link.origins.saturating_sub(1);
            }
        });
    }

    /// Where what is known of origins stands; for many at once, since nothing of most is in the processor's cache, and it
    /// fetches several at a time as long as there is nothing else to do with each. One of which nothing is known stands
    /// nowhere. It holds until something is forgotten; whoever takes it looks whether it still does.
    pub(crate) fn rows(&self, origins: impl Iterator<Item = HostId>) -> Vec<Row> {
        origins.map(|origin| self.row(origin)).collect()
    }

    /// The same for one.
    pub(crate) fn row(&self, origin: HostId) -> Row {
        self.ways.row(origin).unwrap_or(NOBODY)
    }

    /// What a summary is to tell of an origin, that stood in `row`, on a link: its number, whether that is new, and what
    /// was told before. `None` if the other side knows or was told as much as `mark`, which counts as told from now on.
    pub(crate) fn tell(&mut self, key: LinkKey, origin: HostId, row: Row, mark: Mark) -> Option<(u16, bool, Mark)> {
        let link = self.all.get_mut(&key)?;
        let row = self.ways.row_or_new(origin, row);
        let (untold, more) = self.ways.tell(row, key, &mut link.usual_way, mark);
        link.origins = link.origins.saturating_add_signed(more);
        let (told, number) = untold?;
        match number {
            Some(number) => Some((number, false, told)),
            None => Some((self.name_out(key, origin)?, true, told)),
        }
    }

    /// Gives an origin a number on a link, towards the other side. When all are taken, the one that was given longest ago
    /// is given anew.
    fn name_out(&mut self, key: LinkKey, origin: HostId) -> Option<u16> {
        let link = self.all.get(&key)?;
        let number = u16::try_from(link.names % usize::from(HAVE_NUMBERS_MAX)).ok()?;
        if let Some(before) = link.named_out.get(usize::from(number)).copied() {
            self.change_at(key, before, |way| (way.number, way.told) = (None, (0, 0)));
        }
        self.change(key, origin, |way| way.number = Some(number));
        let (row, link) = (self.ways.row(origin)?, self.all.get_mut(&key)?);
        match link.named_out.get_mut(usize::from(number)) {
            Some(named) => *named = row,
            None => {
                make_room(&mut link.named_out);
                link.named_out.push(row);
            }
        }
        link.names += 1;
        Some(number)
    }

    /// Learns a number that the other side gives. What it stood for before is forgotten, so that no more is kept of a
    /// neighbour's summaries than there are numbers.
    pub(crate) fn name_in(&mut self, key: LinkKey, number: u16, origin: HostId) {
        let before = self.all.get(&key).and_then(|link| link.row_in(number));
        if before.is_some_and(|before| self.ways.host(before) == Some(origin)) {
            return;
        }
        // First the new one: an origin of which nothing is kept may lose its place.
        self.change(key, origin, |way| way.named = way.named.saturating_add(1));
        if let Some(before) = before {
            self.change_at(key, before, |way| (way.theirs, way.named) = ((0, 0), way.named.saturating_sub(1)));
        }
        let (row, number) = (self.ways.row(origin), usize::from(number));
        let Some(link) = self.all.get_mut(&key) else { return };
        while link.named_in.len() <= number {
            make_room(&mut link.named_in);
            link.named_in.push(NOBODY);
        }
        if let Some(named) = link.named_in.get_mut(number) {
            *named = row.unwrap_or(NOBODY);
        }
    }

    /// Takes a summary of the other side: what its entries tell, up to the first one with a number that stands for nothing;
    /// and whether there is none.
    pub(crate) fn told(&mut self, key: LinkKey, entries: &[HaveEntry]) -> (Vec<Told>, bool) {
        let mut all = Vec::with_capacity(entries.len());
        let numbered = |entry: &HaveEntry| matches!(entry, HaveEntry::Numbered { .. });
        for entries in entries.chunk_by(|one, next| numbered(one) && numbered(next)) {
            if let [HaveEntry::Named { number, origin, epoch, seq }] = *entries {
                self.name_in(key, number, origin);
                let (row, mark) = (self.row(origin), (epoch, seq));
                self.has_at(key, origin, row, mark);
                all.push(Told { origin, mark, held: None, row });
            } else if !self.told_by_number(key, entries, &mut all) {
                break;
            }
        }
        let is_whole = all.len() == entries.len();
        (all, is_whole)
    }

    /// The same for entries with numbers. Step by step for all of them, for the reason given at [`Links::rows`].
    fn told_by_number(&mut self, key: LinkKey, entries: &[HaveEntry], all: &mut Vec<Told>) -> bool {
        let Some(link) = self.all.get_mut(&key) else { return false };
        let (before, ways) = (all.len(), &mut self.ways);
        let named = |entry: &HaveEntry| match *entry {
            HaveEntry::Numbered { number, seq, held } => {
                let row = link.row_in(number)?;
                // Of which epoch, the next step finds out.
                Some(Told { origin: ways.host(row)?, mark: (0, seq), held: Some(held), row })
            }
            HaveEntry::Named { .. } => None,
        };
        all.extend(entries.iter().map_while(named));
        let told = all.get_mut(before..).unwrap_or_default();
        for Told { mark, row, .. } in &mut *told {
            mark.0 = ways.epoch(*row, key, &mut link.usual_way);
            let more = ways.has(*row, key, &mut link.usual_way, *mark);
            link.origins = link.origins.saturating_add_signed(more);
        }
        told.len() == entries.len()
    }

    /// The origins that neighbours have named.
    pub(crate) fn named_in(&self) -> impl Iterator<Item = HostId> {
        self.admitted().flat_map(|(_, link)| &link.named_in).filter_map(|row| self.ways.host(*row))
    }

    /// What neighbours say to have of an origin beyond `ours` is not so.
    pub(crate) fn disbelieve(&mut self, origin: HostId, ours: Mark) {
        self.change_all(origin, |way| way.theirs = ours.min(way.theirs));
    }

    /// An origin is forgotten; its numbers stay given.
    pub(crate) fn forget(&mut self, origin: HostId) {
        self.change_all(origin, Way::forget);
    }

    /// Nobody is pushed an origin's announcements any more.
    pub(crate) fn push_nowhere(&mut self, origin: HostId) {
        self.change_all(origin, |way| way.eager = false);
    }

    /// Notes for how long the other side of a link has had an origin's newest announcement, as if it had come here over that
    /// link, and for how long we have had it; `ahead` if it was there before it was here. True when the link has led by
    /// enough to take the other's place. Each announcement counts once on a link: else a
    /// neighbour could lead by saying the same again.
    pub(crate) fn led(&mut self, key: LinkKey, told: &Told, (theirs, ours): (Duration, Duration), ahead: bool) -> bool {
        if !self.all.contains_key(&key) {
            return false;
        }
        let row = self.ways.row_or_new(told.origin, told.row);
        self.ways.compare(row, told.mark);
        self.change_at(key, row, |way| {
            if std::mem::replace(&mut way.compared, true) {
                return false;
            }
            way.ahead = ahead;
            way.led(theirs, ours)
        })
    }

    /// Notes whether we have asked for an origin's announcements not to be pushed on a link.
    pub(crate) fn close(&mut self, key: LinkKey, origin: HostId, closed: bool) {
        self.change(key, origin, |way| (way.closed, way.asked) = (closed, !closed));
    }

    /// On how many admitted links we have asked for an origin's announcements, and had no delta since.
    #[must_use]
    pub(crate) fn asked(&self, origin: HostId) -> usize {
        let asked = self.ways.of(origin).filter(|way| way.asked);
        asked.filter(|way| self.find(way.link).is_some_and(Link::is_admitted)).count()
    }

    /// Whether we have asked for an origin's announcements on a link, and had no delta since. Takes note of one.
    pub(crate) fn is_answer(&mut self, key: LinkKey, origin: HostId) -> bool {
        self.change(key, origin, |way| std::mem::take(&mut way.asked))
    }

    /// Whether we have asked for an origin's announcements not to be pushed on a link.
    #[must_use]
    pub(crate) fn is_closed(&self, key: LinkKey, origin: HostId) -> bool {
        self.ways.find(origin, key).is_some_and(|way| way.closed)
    }

    /// Notes that the other side of a link has an origin's announcements up to `mark`.
    pub(crate) fn has(&mut self, key: LinkKey, origin: HostId, mark: Mark) {
        self.has_at(key, origin, self.row(origin), mark);
    }

    /// The same for an origin that stood in `row`.
    pub(crate) fn has_at(&mut self, key: LinkKey, origin: HostId, row: Row, mark: Mark) {
        let Some(link) = self.all.get_mut(&key) else { return };
        let row = self.ways.row_or_new(origin, row);
        let more = self.ways.has(row, key, &mut link.usual_way, mark);
        link.origins = link.origins.saturating_add_signed(more);
    }

    /// Notes that the other side of a link has an origin's announcements up to `mark`, and none after it.
    pub(crate) fn has_only(&mut self, key: LinkKey, origin: HostId, mark: Mark) {
        self.change(key, origin, |way| way.theirs = mark);
    }

    /// The newest mark of an origin that the other side of a link is known to have; (0, 0) for none.
    #[must_use]
    pub(crate) fn theirs(&self, key: LinkKey, origin: HostId) -> Mark {
        self.ways.find(origin, key).map_or((0, 0), |way| way.theirs)
    }

    /// How likely it is that the other side of a link gets an origin's announcements by way of us: certain if we push them,
    /// out of the question if it has had one before us. Whoever is below us in a tree cannot bring us back to it.
    #[must_use]
    pub(crate) fn is_below(&self, key: LinkKey, origin: HostId) -> u8 {
        self.ways.find(origin, key).map_or(1, |way| way.is_below())
    }

    /// Notes whether the other side of a link wants an origin's announcements pushed.
    pub(crate) fn push(&mut self, key: LinkKey, origin: HostId, eager: bool) {
        self.change(key, origin, |way| way.eager = eager);
    }

    /// The admitted links over which an announcement is to be pushed: the other side wants the origin's, and is not known
    /// to have it.
    #[must_use]
    pub(crate) fn wanting(&self, origin: HostId, mark: Mark) -> Vec<LinkKey> {
        let wanting = self.ways.of(origin).filter(|way| way.wants(mark)).map(|way| way.link);
        wanting.filter(|key| self.find(*key).is_some_and(Link::is_admitted)).collect()
    }

    /// The admitted links over which an origin's announcements are pushed.
    #[must_use]
    pub(crate) fn pushed(&self, origin: HostId) -> Vec<LinkKey> {
        let pushed = self.ways.of(origin).filter(|way| way.eager).map(|way| way.link);
        pushed.filter(|key| self.find(*key).is_some_and(Link::is_admitted)).collect()
    }
}
