//! What is kept of each origin for each link: what the other side is known to have, what it was told, and whether it
//! wants to be pushed more. By origin first, since whatever comes of an origin concerns all links at once.

use std::collections::HashMap;
use std::time::Duration;

use aldis_wire::id::HostId;

use crate::relay::io::LinkKey;
use crate::relay::limits;

/// Epoch and seq.
pub(crate) type Mark = (u64, u64);

/// Room for so many links more, whenever there is none.
const WAYS_ADDED: usize = 4;

/// The number of an origin in this table. It stays the same for as long as something is kept of it.
pub(super) type Row = u32;

/// One origin on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    link: LinkKey,
    /// The newest mark that the other side is known to have.
    pub(super) theirs: Mark,
    /// The newest mark that a summary has told.
    pub(super) told: Mark,
    /// The number that our summaries use.
    pub(super) number: Option<u16>,
    /// How many numbers of the other side stand for it.
    pub(super) named: u16,
    /// Whether the other side wants its announcements pushed.
    pub(super) eager: bool,
    /// Whether we have asked not to be pushed its announcements.
    pub(super) closed: bool,
    /// Whether we have asked for its announcements, and a delta may come in their place.
    pub(super) asked: bool,
    /// Whether the other side had the newest mark of which it told before we had it.
    pub(super) ahead: bool,
    /// By how many milliseconds, in sum, this link would have brought announcements earlier than the one that did.
    leads_ms: u8,
}

impl Way {
    fn new(link: LinkKey) -> Self {
        Self {
            link,
            theirs: (0, 0),
            told: (0, 0),
            number: None,
            named: 0,
            eager: false,
            closed: false,
            asked: false,
            ahead: false,
            leads_ms: 0,
        }
    }

    /// The origin is forgotten; its numbers stay given.
    pub(super) fn forget(&mut self) {
        *self = Self { told: self.told, number: self.number, named: self.named, ..Self::new(self.link) };
    }

    /// Notes that the other side has the origin's announcements up to `mark`.
    pub(super) fn has(&mut self, mark: Mark) {
        self.theirs = mark.max(self.theirs);
    }

    /// What a summary has told, if it is less than `mark` and the other side is not known to have that.
    pub(super) fn untold(&self, mark: Mark) -> Option<Mark> {
        (mark > self.told && mark > self.theirs).then_some(self.told)
    }

    /// Whether an announcement is to be pushed: the other side wants the origin's, and is not known to have it.
    pub(super) fn wants(&self, mark: Mark) -> bool {
        self.eager && self.theirs < mark
    }

    /// 0 if the other side is not below us in the origin's tree, 2 if it is, 1 if nobody knows.
    pub(super) fn is_below(&self) -> u8 {
        if self.eager { 2 } else { u8::from(!self.ahead) }
    }

    /// Notes that the other side has had the newest announcement for as long as `theirs`, on our side of the link, and we,
    /// by another one, for as long as `ours`. True when this link has led by enough, in sum, to take the other's place.
    pub(super) fn led(&mut self, theirs: Duration, ours: Duration) -> bool {
        let lead = theirs.saturating_sub(ours).min(limits::LEAD_COUNTED_MAX);
        let lag = ours.saturating_sub(theirs) + limits::LEAD_FREE;
        let leads = (Duration::from_millis(self.leads_ms.into()) + lead).saturating_sub(lag);
        let enough = leads >= limits::LEADS;
        self.leads_ms = if enough { 0 } else { u8::try_from(leads.as_millis()).unwrap_or(u8::MAX) };
        enough
    }
}

#[derive(Debug)]
struct Origin {
    host: HostId,
    /// By link.
    ways: Vec<Way>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Ways {
    rows: HashMap<HostId, Row>,
    list: Vec<Origin>,
    free: Vec<Row>,
}

impl Ways {
    /// Where an origin stands, if something is kept of it.
    pub(super) fn row(&self, origin: HostId) -> Option<Row> {
        self.rows.get(&origin).copied()
    }

    /// The origin that stands there.
    pub(super) fn host(&self, row: Row) -> Option<HostId> {
        self.at(row).map(|origin| origin.host)
    }

    fn at(&self, row: Row) -> Option<&Origin> {
        self.list.get(usize::try_from(row).ok()?)
    }

    fn at_mut(&mut self, row: Row) -> Option<&mut Origin> {
        self.list.get_mut(usize::try_from(row).ok()?)
    }

    /// What is kept of an origin for one link.
    pub(super) fn find(&self, origin: HostId, link: LinkKey) -> Option<&Way> {
        self.of(origin).find(|way| way.link == link)
    }

    /// What is kept of an origin for all links, by their names.
    pub(super) fn of(&self, origin: HostId) -> impl Iterator<Item = &Way> {
        self.row(origin).and_then(|row| self.at(row)).map(|origin| &*origin.ways).unwrap_or_default().iter()
    }

    /// The same with the links.
    pub(super) fn links_of(&self, origin: HostId) -> impl Iterator<Item = (LinkKey, &Way)> {
        self.of(origin).map(|way| (way.link, way))
    }

    /// Changes what is kept of an origin for one link. Gives how many more or fewer origins something is kept of there.
    pub(super) fn change<T>(
        &mut self,
        origin: HostId,
        link: LinkKey,
        usual: &mut u16,
        change: impl FnOnce(&mut Way) -> T,
    ) -> (T, isize) {
        let row = match self.row(origin) {
            Some(row) => row,
            None => self.insert(origin),
        };
        self.change_at(row, link, usual, change)
    }

    /// The same where the origin's place is known. `usual` is where the link's way was found the last time, for whatever
    /// origin: most have ways for the same links.
    pub(super) fn change_at<T>(
        &mut self,
        row: Row,
        link: LinkKey,
        usual: &mut u16,
        change: impl FnOnce(&mut Way) -> T,
    ) -> (T, isize) {
        let nothing = Way::new(link);
        let Some(origin) = self.at_mut(row) else { return (change(&mut { nothing }), 0) };
        let place = match origin.ways.get(usize::from(*usual)) {
            Some(way) if way.link == link => Some(usize::from(*usual)),
            // Keys grow, and there are few: a walk from the end finds the place.
            _ => origin.ways.iter().rposition(|way| way.link <= link),
        };
        *usual = place.and_then(|place| u16::try_from(place).ok()).unwrap_or(0);
        if let Some(place) = place
            && let Some(way) = origin.ways.get_mut(place).filter(|way| way.link == link)
        {
            let result = change(way);
            if *way != nothing {
                return (result, 0);
            }
            origin.ways.remove(place);
            self.release_if_empty(row);
            return (result, -1);
        }
        let mut way = nothing;
        let result = change(&mut way);
        if way == nothing {
            self.release_if_empty(row);
            return (result, 0);
        }
        if origin.ways.len() == origin.ways.capacity() {
            // By a few, not by its double: there is such a list for each origin.
            origin.ways.reserve_exact(WAYS_ADDED);
        }
        origin.ways.insert(place.map_or(0, |place| place + 1), way);
        (result, 1)
    }

    /// Changes what is kept of an origin for all links; tells each of which nothing is kept any more.
    pub(super) fn change_all(&mut self, origin: HostId, change: impl Fn(&mut Way), mut gone: impl FnMut(LinkKey)) {
        let Some(row) = self.row(origin) else { return };
        let Some(origin) = self.at_mut(row) else { return };
        origin.ways.retain_mut(|way| {
            change(way);
            let kept = *way != Way::new(way.link);
            if !kept {
                gone(way.link);
            }
            kept
        });
        self.release_if_empty(row);
    }

    /// Forgets a link. Costs a walk over all origins.
    pub(super) fn forget_link(&mut self, link: LinkKey) {
        for row in 0..Row::try_from(self.list.len()).unwrap_or(Row::MAX) {
            let Some(origin) = self.at_mut(row) else { continue };
            let before = origin.ways.len();
            origin.ways.retain(|way| way.link != link);
            if origin.ways.len() != before {
                // A beginning takes several times as many links as are chosen in the end.
                if origin.ways.capacity() > 2 * (origin.ways.len() + WAYS_ADDED) {
                    origin.ways.shrink_to(origin.ways.len() + WAYS_ADDED);
                }
                self.release_if_empty(row);
            }
        }
    }

    fn insert(&mut self, host: HostId) -> Row {
        let new = Origin { host, ways: Vec::new() };
        let row = self.free.pop();
        let row = match row.and_then(|row| Some((row, self.at_mut(row)?))) {
            Some((row, place)) => {
                *place = new;
                row
            }
            None => {
                self.list.push(new);
                Row::try_from(self.list.len() - 1).unwrap_or(Row::MAX)
            }
        };
        self.rows.insert(host, row);
        row
    }

    fn release_if_empty(&mut self, row: Row) {
        let Some(origin) = self.at_mut(row).filter(|origin| origin.ways.is_empty()) else { return };
        let host = origin.host;
        origin.ways = Vec::new();
        if self.row(host) == Some(row) {
            self.rows.remove(&host);
            self.free.push(row);
        }
    }
}
