//! What is known of each origin's announcements: how far its roster is applied, what waits for what is missing, and
//! what is kept for neighbours that are a little behind. The trees themselves are the links' `eager` sets.

mod comparison;
mod delta;
mod heard;
mod origin;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashMap, VecDeque};

use aldis_wire::id::HostId;

use super::by_host::{InOrder, Row};
use super::hashing::Seed;
use super::io::Moment;
use super::limits::{EXPIRED_KEPT, MARKS_KEPT, MARKS_MAX, ORIGINS_MAX};

pub(crate) use super::io::Mark;
pub(crate) use comparison::Comparison;
pub(crate) use delta::{Delta, Ends};
pub(crate) use heard::Heard;
pub(crate) use origin::Origin;
pub(crate) use watch::Watch;

use watch::Looks;

/// All origins, our own included, and the marks of those that are forgotten.
#[derive(Debug)]
pub(crate) struct Origins {
    all: InOrder<Origin>,
    looks: Looks,
    /// Those of which the next summary tells.
    moved: Vec<Row>,
    marks: HashMap<HostId, (Mark, Moment)>,
    by_age: VecDeque<(Moment, HostId)>,
}

impl Origins {
    /// No origin is known.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            all: InOrder::new(seed),
            looks: Looks::default(),
            moved: Vec::new(),
            marks: HashMap::new(),
            by_age: VecDeque::new(),
        }
    }

    /// Marks kept from an earlier run.
    pub(crate) fn remember(&mut self, now: Moment, marks: &[(HostId, u64, u64)]) {
        for (host, epoch, seq) in marks.iter().take(MARKS_MAX) {
            self.keep_mark(now, *host, (*epoch, *seq));
        }
    }

    /// An origin.
    #[must_use]
    pub(crate) fn find(&self, host: HostId) -> Option<&Origin> {
        self.all.find(host)
    }

    /// Where an origin stands, while it is not forgotten.
    #[must_use]
    pub(crate) fn row(&self, host: HostId) -> Option<Row> {
        self.all.row(host)
    }

    /// An origin that stood in this row.
    #[must_use]
    pub(crate) fn find_at(&self, row: Row, host: HostId) -> Option<&Origin> {
        self.all.at(row).filter(|_| self.all.host(row) == Some(host))
    }

    /// An origin, to be changed.
    pub(crate) fn find_mut(&mut self, host: HostId) -> Option<&mut Origin> {
        self.all.find_mut(host)
    }

    /// An origin that may be new; `None` when there is no room for a new one.
    pub(crate) fn find_or_insert(&mut self, now: Moment, host: HostId) -> Option<&mut Origin> {
        let row = match self.all.row(host) {
            Some(row) => row,
            None if self.all.len() >= ORIGINS_MAX => return None,
            None => self.all.insert(host, Origin::new(now)).0,
        };
        self.all.at_mut(row)
    }

    /// How many there are, our own included.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All origins, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (HostId, &Origin)> {
        self.all.iter()
    }

    /// All origins, to be changed, in the order of their places.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (HostId, &mut Origin)> {
        self.all.iter_mut()
    }

    /// Sees to it that an origin's expiry is not missed. `None` if it is looked at soon enough anyway.
    pub(crate) fn watch(&mut self, now: Moment, host: HostId) -> Option<Watch> {
        let row = self.all.row(host)?;
        let origin = self.all.at_mut(row)?;
        self.looks.watch(now, row, origin.expires(), &mut origin.watched)
    }

    /// Those that are to be looked at now, and when to look again.
    pub(crate) fn watched(&mut self, now: Moment) -> (Vec<HostId>, Option<Moment>) {
        let mut hosts = Vec::new();
        while let Some((look, rows)) = self.looks.due(now) {
            for row in rows {
                // One that is looked at earlier, or another one in the row of one that is forgotten, stands elsewhere.
                if let Some(origin) = self.all.at_mut(row).filter(|origin| origin.watched == look) {
                    origin.watched = 0;
                    hosts.extend(self.all.host(row));
                }
            }
        }
        (hosts, self.looks.next())
    }

    /// The next summary is to tell of an origin. True if it is the first one.
    pub(crate) fn moved(&mut self, host: HostId) -> bool {
        let row = self.all.row(host);
        let Some((row, origin)) = row.and_then(|row| Some((row, self.all.at_mut(row)?))) else { return false };
        if std::mem::replace(&mut origin.moved, true) {
            return false;
        }
        self.moved.push(row);
        self.moved.len() == 1
    }

    /// Those of which a summary is to tell that is due now, in the order of their ids.
    pub(crate) fn take_moved(&mut self) -> Vec<HostId> {
        let mut hosts = Vec::with_capacity(self.moved.len());
        for row in self.moved.drain(..) {
            // Not another one in the row of one that was forgotten.
            if self.all.at_mut(row).is_some_and(|origin| std::mem::take(&mut origin.moved)) {
                hosts.extend(self.all.host(row));
            }
        }
        hosts.sort_unstable();
        hosts
    }

    /// Forgets an origin but for its mark.
    pub(crate) fn forget(&mut self, now: Moment, host: HostId) {
        if let Some(origin) = self.all.remove(host) {
            self.keep_mark(now, host, origin.last_mark());
        }
    }

    /// The mark up to which everything of a forgotten origin is a replay.
    #[must_use]
    pub(crate) fn mark_of_forgotten(&self, host: HostId) -> Mark {
        self.marks.get(&host).map_or((0, 0), |(mark, _)| *mark)
    }

    /// Marks of origins that are forgotten.
    #[must_use]
    pub(crate) fn marks_count(&self) -> usize {
        self.marks.len()
    }

    /// All marks, for storing; by host.
    #[must_use]
    pub(crate) fn marks(&self) -> Vec<(HostId, u64, u64)> {
        let remembered = self.by_age.iter().filter_map(|(at, host)| {
            let ((epoch, seq), kept) = self.marks.get(host)?;
            (kept == at).then_some((*host, (*epoch, *seq)))
        });
        let live = self.iter().map(|(host, origin)| (host, origin.last_mark()));
        let all: BTreeMap<HostId, Mark> = remembered.chain(live).collect();
        all.into_iter().map(|(host, (epoch, seq))| (host, epoch, seq)).collect()
    }

    /// Origins that have been expired for so long that they are to be forgotten.
    #[must_use]
    pub(crate) fn stale(&self, now: Moment) -> Vec<HostId> {
        let stale = |origin: &Origin| origin.expired.is_some_and(|at| now.since(at) >= EXPIRED_KEPT);
        self.iter().filter(|(_, origin)| stale(origin)).map(|(host, _)| host).collect()
    }

    /// Forgets marks that are too old.
    pub(crate) fn tidy(&mut self, now: Moment) {
        while let Some((at, host)) = self.by_age.front().copied() {
            if now.since(at) < MARKS_KEPT && self.by_age.len() <= MARKS_MAX {
                break;
            }
            self.by_age.pop_front();
            if self.marks.get(&host).is_some_and(|(_, kept)| *kept == at) {
                self.marks.remove(&host);
            }
        }
    }

    fn keep_mark(&mut self, now: Moment, host: HostId, mark: Mark) {
        self.marks.insert(host, (mark, now));
        self.by_age.push_back((now, host));
        self.tidy(now);
    }
}
