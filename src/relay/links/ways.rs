//! What is kept of each origin for each link: what the other side is known to have, what it was told, and whether it
//! wants to be pushed more. By origin first, since whatever comes of an origin concerns all links at once.

use std::time::Duration;

use aldis_wire::id::HostId;
use aldis_wire::limits::HAVE_NUMBERS_MAX;

use crate::relay::by_host::{ByHost, Row};
use crate::relay::hashing::Seed;
use crate::relay::io::{LinkKey, Mark};
use crate::relay::limits;

/// Room for so many links more, whenever there is none.
const WAYS_ADDED: usize = 4;

/// One origin on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) link: LinkKey,
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
    /// Whether it was noted by how much this link leads with the announcement that is compared now; see
    /// [`Ways::compare`].
    pub(super) compared: bool,
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
            compared: false,
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

/// A way as it is kept. A host of a large network keeps a dozen for each of thousands of origins.
#[derive(Clone, Copy, Debug)]
struct Packed {
    link: LinkKey,
    /// The lower half of the seqs of two marks; the rest of each stands in the origin's [`Uppers`].
    theirs: u32,
    told: u32,
    theirs_upper: u8,
    told_upper: u8,
    /// `u16::MAX` for none.
    number: u16,
    named: u16,
    /// A bit each for what holds or does not.
    state: u8,
    leads_ms: u8,
}

impl Packed {
    fn number(&self) -> Option<u16> {
        (self.number < u16::MAX).then_some(self.number)
    }

    /// See [`Way::untold`].
    fn untold(&self, uppers: &Uppers, mark: Mark) -> Option<Mark> {
        let (told, theirs) = (uppers.mark(self.told_upper, self.told), uppers.mark(self.theirs_upper, self.theirs));
        (mark > told && mark > theirs).then_some(told)
    }
}

const EAGER: u8 = 1;
const CLOSED: u8 = 2;
const AHEAD: u8 = 4;
const ASKED: u8 = 8;
const COMPARED: u8 = 16;
const _: () = assert!(size_of::<Packed>() == 24);
const _: () = assert!(HAVE_NUMBERS_MAX < u16::MAX && limits::LEADS.as_millis() <= u8::MAX as u128);

/// What a mark has above the lower half of its seq: the epoch, and the upper half.
type Upper = (u64, u32);

fn halves((epoch, seq): Mark) -> (Upper, u32) {
    let lower = u32::try_from(seq & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    ((epoch, u32::try_from(seq >> 32).unwrap_or(u32::MAX)), lower)
}

/// The uppers of an origin's marks, by number. Nearly always there is one: that of its present epoch.
#[derive(Debug, Default)]
struct Uppers {
    first: Upper,
    more: Box<[Upper]>,
}

/// Of those besides the first: as many as there are numbers, 0 and 1 being given already. That is nearly two for each of the
/// links that there may be, twice over: what does not fit is an invention, and is not believed.
const UPPERS_MAX: usize = u8::MAX as usize - 1;
const _: () = assert!(UPPERS_MAX + 2 >= 4 * limits::LINKS_MAX);

impl Uppers {
    /// That of this number; 0 is nobody's.
    fn at(&self, number: u8) -> Upper {
        match usize::from(number) {
            0 => (0, 0),
            1 => self.first,
            more => self.more.get(more - 2).copied().unwrap_or_default(),
        }
    }

    fn mark(&self, upper: u8, lower: u32) -> Mark {
        let (epoch, high) = self.at(upper);
        (epoch, u64::from(high) << 32 | u64::from(lower))
    }

    /// What a mark has besides the upper of this number, if it has that one.
    fn lower(&self, upper: u8, mark: Mark) -> Option<u32> {
        let (of, lower) = halves(mark);
        (self.at(upper) == of).then_some(lower)
    }

    /// The number of an upper, a new one if need be: one that stands for nothing in use. `None` when there is none left.
    fn number(&mut self, upper: Upper, used: impl Fn(u8) -> bool) -> Option<u8> {
        let numbers = || (0..=u8::MAX).take(self.more.len() + 2);
        if let Some(number) = numbers().find(|number| self.at(*number) == upper) {
            return Some(number);
        }
        match numbers().skip(1).find(|number| !used(*number)) {
            Some(1) => self.first = upper,
            Some(number) => *self.more.get_mut(usize::from(number) - 2)? = upper,
            None if self.more.len() >= UPPERS_MAX => return None,
            None => self.more = self.more.iter().copied().chain([upper]).collect(),
        }
        self.number(upper, used)
    }
}

/// One origin.
#[derive(Debug, Default)]
struct Origin {
    uppers: Uppers,
    /// The mark of the announcement that was compared last.
    compared: Mark,
    /// By link.
    ways: Vec<Packed>,
}

impl Origin {
    fn way(&self, packed: &Packed) -> Way {
        let is = |bit: u8| packed.state & bit != 0;
        Way {
            link: packed.link,
            theirs: self.uppers.mark(packed.theirs_upper, packed.theirs),
            told: self.uppers.mark(packed.told_upper, packed.told),
            number: packed.number(),
            named: packed.named,
            eager: is(EAGER),
            closed: is(CLOSED),
            asked: is(ASKED),
            ahead: is(AHEAD),
            compared: is(COMPARED),
            leads_ms: packed.leads_ms,
        }
    }

    fn packed(&mut self, way: &Way) -> Packed {
        let (theirs_upper, theirs) = self.split(way.theirs, None);
        let (told_upper, told) = self.split(way.told, Some(theirs_upper));
        let bits = [
            (way.eager, EAGER),
            (way.closed, CLOSED),
            (way.ahead, AHEAD),
            (way.asked, ASKED),
            (way.compared, COMPARED),
        ];
        let state = bits.into_iter().filter(|(is, _)| *is).fold(0, |state, (_, bit)| state | bit);
        Packed {
            link: way.link,
            theirs,
            told,
            theirs_upper,
            told_upper,
            number: way.number.unwrap_or(u16::MAX),
            named: way.named,
            state,
            leads_ms: way.leads_ms,
        }
    }

    /// A mark in two parts, while `taken` is in use besides what the ways use. One that there is no room for is (0, 0):
    /// nothing is known then.
    fn split(&mut self, mark: Mark, taken: Option<u8>) -> (u8, u32) {
        let (upper, lower) = halves(mark);
        let ways = &self.ways;
        let used = |number| {
            taken == Some(number) || ways.iter().any(|way| way.theirs_upper == number || way.told_upper == number)
        };
        self.uppers.number(upper, used).map_or((0, 0), |number| (number, lower))
    }

    /// Where a link's way stands, or the last one before it. `usual` is where the link's was found the last time, for
    /// whatever origin: most have ways for the same links.
    fn place(&self, link: LinkKey, usual: &mut u16) -> Option<usize> {
        if self.ways.get(usize::from(*usual)).is_some_and(|way| way.link == link) {
            return Some(usize::from(*usual));
        }
        // Keys grow, and there are few: a walk from the end finds the place.
        let place = self.ways.iter().rposition(|way| way.link <= link);
        *usual = place.and_then(|place| u16::try_from(place).ok()).unwrap_or(0);
        place
    }

    /// A link's way, if something is kept for it, and the uppers of its marks.
    fn kept(&mut self, link: LinkKey, usual: &mut u16) -> Option<(&mut Packed, &Uppers)> {
        let place = self.place(link, usual)?;
        let way = self.ways.get_mut(place).filter(|way| way.link == link)?;
        Some((way, &self.uppers))
    }

    fn put(&mut self, place: usize, way: &Way) {
        let packed = self.packed(way);
        if let Some(kept) = self.ways.get_mut(place).filter(|kept| kept.link == way.link) {
            *kept = packed;
            return;
        }
        if self.ways.len() == self.ways.capacity() {
            // By a few, not by its double: there is such a list for each origin.
            self.ways.reserve_exact(WAYS_ADDED);
        }
        self.ways.insert(place, packed);
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ways(ByHost<Origin>);

impl Ways {
    pub(super) fn new(seed: Seed) -> Self {
        Self(ByHost::new(seed))
    }

    /// Where an origin stands, if something is kept of it.
    pub(super) fn row(&self, origin: HostId) -> Option<Row> {
        self.0.row(origin)
    }

    /// The origin that stands there.
    pub(super) fn host(&self, row: Row) -> Option<HostId> {
        self.0.host(row)
    }

    /// What is kept of an origin for one link.
    pub(super) fn find(&self, origin: HostId, link: LinkKey) -> Option<Way> {
        let origin = self.0.find(origin)?;
        origin.ways.iter().find(|way| way.link == link).map(|way| origin.way(way))
    }

    /// What is kept of an origin for all links, by their names.
    pub(super) fn of(&self, origin: HostId) -> impl Iterator<Item = Way> {
        let origin = self.0.find(origin).into_iter();
        origin.flat_map(|origin| origin.ways.iter().map(|way| origin.way(way)))
    }

    /// Changes what is kept of an origin for one link. Gives how many more or fewer origins something is kept of there.
    pub(super) fn change<T>(
        &mut self,
        origin: HostId,
        link: LinkKey,
        usual: &mut u16,
        change: impl FnOnce(&mut Way) -> T,
    ) -> (T, isize) {
        let row = self.row_or_new(origin, Row::MAX);
        self.change_at(row, link, usual, change)
    }

    /// Where an origin stands: `before`, if it still stands where it stood then. If nothing is kept of it, it stands there
    /// until the next change.
    pub(super) fn row_or_new(&mut self, origin: HostId, before: Row) -> Row {
        if self.host(before) == Some(origin) {
            return before;
        }
        self.row(origin).unwrap_or_else(|| self.0.insert(origin, Origin::default()).0)
    }

    /// Notes that the other side of a link has the announcements of the origin in this row up to `mark`. Gives how many more
    /// origins something is kept of there.
    pub(super) fn has(&mut self, row: Row, link: LinkKey, usual: &mut u16, mark: Mark) -> isize {
        // Nearly always the lower half of a seq is all that is new.
        if let Some((way, uppers)) = self.0.at_mut(row).and_then(|origin| origin.kept(link, usual))
            && let Some(lower) = uppers.lower(way.theirs_upper, mark)
        {
            way.theirs = way.theirs.max(lower);
            return 0;
        }
        self.change_at(row, link, usual, |way| way.has(mark)).1
    }

    /// The epoch of the newest mark that the other side is known to have.
    pub(super) fn epoch(&mut self, row: Row, link: LinkKey, usual: &mut u16) -> u64 {
        let kept = self.0.at_mut(row).and_then(|origin| origin.kept(link, usual));
        kept.map_or(0, |(way, uppers)| uppers.at(way.theirs_upper).0)
    }

    /// What a summary has told, and the number that it uses, if that is less than `mark` and the other side is not known to
    /// have that: `mark` counts as told from now on. And how many more or fewer origins something is kept of there.
    pub(super) fn tell(
        &mut self,
        row: Row,
        link: LinkKey,
        usual: &mut u16,
        mark: Mark,
    ) -> (Option<(Mark, Option<u16>)>, isize) {
        if let Some((packed, uppers)) = self.0.at_mut(row).and_then(|origin| origin.kept(link, usual)) {
            let Some(told) = packed.untold(uppers, mark) else { return (None, 0) };
            if let Some(lower) = uppers.lower(packed.told_upper, mark) {
                packed.told = lower;
                return (Some((told, packed.number())), 0);
            }
        }
        self.change_at(row, link, usual, |way| {
            let told = way.untold(mark)?;
            way.told = mark;
            Some((told, way.number))
        })
    }

    /// What links lead by is about to be noted in [`Way::compared`] for the announcement with this mark: if it is another one
    /// than before, none has been. All links are compared by the newest mark that is here, so one is kept for all of them.
    /// A change of the origin has to follow, which forgets it if nothing is kept of it.
    pub(super) fn compare(&mut self, row: Row, mark: Mark) {
        let Some(origin) = self.0.at_mut(row).filter(|origin| origin.compared != mark) else { return };
        origin.compared = mark;
        for way in &mut origin.ways {
            way.state &= !COMPARED;
        }
    }

    /// The same where the origin's place is known.
    pub(super) fn change_at<T>(
        &mut self,
        row: Row,
        link: LinkKey,
        usual: &mut u16,
        change: impl FnOnce(&mut Way) -> T,
    ) -> (T, isize) {
        let nothing = Way::new(link);
        let Some(origin) = self.0.at_mut(row) else { return (change(&mut { nothing }), 0) };
        let place = origin.place(link, usual);
        let known = place.and_then(|place| Some((place, origin.ways.get(place).filter(|way| way.link == link)?)));
        let Some((place, before)) = known.map(|(place, way)| (place, origin.way(way))) else {
            let mut way = nothing;
            let result = change(&mut way);
            if way == nothing {
                self.release_if_empty(row);
                return (result, 0);
            }
            origin.put(place.map_or(0, |place| place + 1), &way);
            return (result, 1);
        };
        let mut way = before;
        let result = change(&mut way);
        if way == nothing {
            origin.ways.remove(place);
            self.release_if_empty(row);
            return (result, -1);
        }
        if way != before {
            origin.put(place, &way);
        }
        (result, 0)
    }

    /// Changes what is kept of an origin for all links; tells each of which nothing is kept any more.
    pub(super) fn change_all(&mut self, origin: HostId, change: impl Fn(&mut Way), mut gone: impl FnMut(LinkKey)) {
        let Some(row) = self.row(origin) else { return };
        let links: Vec<LinkKey> = self.of(origin).map(|way| way.link).collect();
        for link in links {
            if self.change_at(row, link, &mut 0, &change).1 < 0 {
                gone(link);
            }
        }
    }

    /// Forgets a link. Costs a walk over all origins.
    pub(super) fn forget_link(&mut self, link: LinkKey) {
        for row in 0..Row::try_from(self.0.rows()).unwrap_or(Row::MAX) {
            let Some(origin) = self.0.at_mut(row) else { continue };
            let before = origin.ways.len();
            origin.ways.retain(|way| way.link != link);
            if origin.ways.len() != before {
                // A beginning takes several times as many links as are chosen in the end.
                if origin.ways.capacity() > origin.ways.len() + 2 * WAYS_ADDED {
                    origin.ways.shrink_to(origin.ways.len() + WAYS_ADDED);
                }
                self.release_if_empty(row);
            }
        }
    }

    fn release_if_empty(&mut self, row: Row) {
        if self.0.at(row).is_some_and(|origin| origin.ways.is_empty())
            && let Some(host) = self.0.host(row)
        {
            self.0.remove(host);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by it")]

    use super::*;

    #[test]
    fn marks_for_which_no_number_is_left_are_unknown_until_one_is_free_again() {
        let (mut ways, origin) = (Ways::new(Seed::fixed()), HostId::new([7; 32]));
        let put = |ways: &mut Ways, link: u64| {
            ways.change(origin, LinkKey(link), &mut 0, |way| (way.theirs, way.told) = ((link, 5), (link, 1 << 32 | 6)))
                .1
        };
        // Two numbers for each link, and one besides 0 more than UPPERS_MAX.
        let fit = u64::try_from(UPPERS_MAX + 1).unwrap() / 2;
        for link in 1..=fit + 3 {
            assert_eq!(put(&mut ways, link), 1);
        }
        let marks = |ways: &Ways, link| ways.find(origin, LinkKey(link)).map(|way| (way.theirs, way.told));
        for link in 1..=fit {
            assert_eq!(marks(&ways, link), Some(((link, 5), (link, 1 << 32 | 6))));
        }
        assert_eq!(marks(&ways, fit + 1), Some(((fit + 1, 5), (0, 0))), "one was left");
        assert_eq!(marks(&ways, fit + 2), Some(((0, 0), (0, 0))));
        let row = ways.row(origin).unwrap();
        assert_eq!(ways.0.at_mut(row).unwrap().split((9_999, 9), None), (0, 0));

        ways.forget_link(LinkKey(1));
        assert_eq!(put(&mut ways, fit + 2), 0, "it was kept all the same");
        assert_eq!(marks(&ways, fit + 2), Some(((fit + 2, 5), (fit + 2, 1 << 32 | 6))));
        assert_eq!(marks(&ways, fit), Some(((fit, 5), (fit, 1 << 32 | 6))), "and takes nobody's place");
        for link in 2..=fit + 3 {
            ways.forget_link(LinkKey(link));
        }
        assert_eq!(ways.row(origin), None);
    }
}
