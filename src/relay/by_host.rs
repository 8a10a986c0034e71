//! A table of hosts. Each stands in a row, whose number stays the same while it is there, and is found by its id.
//!
//! A large network has thousands of hosts, and nothing of most of them is in the processor's cache when something comes.
//! So ids stand once, in the rows, beside what is kept of them; what finds them and what orders them are numbers of rows.
//!
//! A table in order moves all that follow whenever one comes or goes. So only those are kept in order that no stranger can
//! fill by naming ids.

use std::cell::Cell;
use std::ops::Deref;

use aldis_wire::id::HostId;
use hashbrown::HashTable;

use super::hashing::Seed;

/// Where a host stands.
pub(crate) type Row = u32;

/// Room for so many rows more, whenever there is none.
const ROWS_ADDED: usize = 8;
/// And one more for each so many there are: by its double, half of a table would be empty.
const ROWS_FOR_ONE_ADDED: usize = 8;

/// A table in the order of its rows: what it costs to change it does not depend on how many hosts there are.
#[derive(Debug)]
pub(crate) struct ByHost<T> {
    list: Vec<Option<(HostId, T)>>,
    free: Vec<Row>,
    seed: Seed,
    /// For looking one up.
    rows: HashTable<Row>,
    /// Who was found last, and where: each step looks for the same host several times.
    last: Cell<Option<(HostId, Row)>>,
}

impl<T> ByHost<T> {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self { list: Vec::new(), free: Vec::new(), seed, rows: HashTable::new(), last: Cell::default() }
    }

    /// The numbers that it was made with.
    #[must_use]
    pub(crate) fn seed(&self) -> Seed {
        self.seed.clone()
    }

    /// How many hosts there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A number above those of all rows.
    #[must_use]
    pub(crate) fn rows(&self) -> usize {
        self.list.len()
    }

    /// Where a host stands.
    #[must_use]
    pub(crate) fn row(&self, host: HostId) -> Option<Row> {
        if let Some((last, row)) = self.last.get()
            && last == host
        {
            return Some(row);
        }
        let is_at = |row: &Row| self.id(*row).is_some_and(|other| *other == host);
        let row = *self.rows.find(self.seed.hash(host.as_bytes()), is_at)?;
        self.last.set(Some((host, row)));
        Some(row)
    }

    fn slot(&self, row: Row) -> Option<&(HostId, T)> {
        self.list.get(usize::try_from(row).ok()?)?.as_ref()
    }

    fn id(&self, row: Row) -> Option<&HostId> {
        self.slot(row).map(|(host, _)| host)
    }

    /// The host that stands in a row.
    #[must_use]
    pub(crate) fn host(&self, row: Row) -> Option<HostId> {
        self.id(row).copied()
    }

    /// What is kept in a row.
    #[must_use]
    pub(crate) fn at(&self, row: Row) -> Option<&T> {
        self.slot(row).map(|(_, kept)| kept)
    }

    /// What is kept in a row, to be changed.
    pub(crate) fn at_mut(&mut self, row: Row) -> Option<&mut T> {
        self.list.get_mut(usize::try_from(row).ok()?)?.as_mut().map(|(_, kept)| kept)
    }

    /// What is kept of a host.
    #[must_use]
    pub(crate) fn find(&self, host: HostId) -> Option<&T> {
        self.at(self.row(host)?)
    }

    /// What is kept of a host, to be changed.
    pub(crate) fn find_mut(&mut self, host: HostId) -> Option<&mut T> {
        self.at_mut(self.row(host)?)
    }

    /// Puts in what is kept of a host; where it stands, and what was kept of it before.
    pub(crate) fn insert(&mut self, host: HostId, kept: T) -> (Row, Option<T>) {
        if let Some(row) = self.row(host) {
            let before = self.at_mut(row).map(|place| std::mem::replace(place, kept));
            return (row, before);
        }
        let new = Some((host, kept));
        let free = self.free.pop().and_then(|row| Some((row, self.list.get_mut(usize::try_from(row).ok()?)?)));
        let row = match free {
            Some((row, free)) => {
                *free = new;
                row
            }
            None => {
                make_room(&mut self.list);
                self.list.push(new);
                Row::try_from(self.list.len() - 1).unwrap_or(Row::MAX)
            }
        };
        let (seed, list) = (&self.seed, &self.list);
        let hash = |host: &HostId| seed.hash(host.as_bytes());
        let hash_at = |row: &Row| {
            let slot = usize::try_from(*row).ok().and_then(|row| list.get(row)?.as_ref());
            slot.map_or(0, |(host, _)| hash(host))
        };
        self.rows.insert_unique(hash(&host), row, hash_at);
        (row, None)
    }

    /// Forgets a host; what was kept of it. Its row may be given to another one.
    pub(crate) fn remove(&mut self, host: HostId) -> Option<T> {
        let row = self.row(host)?;
        if let Ok(found) = self.rows.find_entry(self.seed.hash(host.as_bytes()), |other| *other == row) {
            found.remove();
        }
        self.last.set(None);
        self.free.push(row);
        let (_, kept) = self.list.get_mut(usize::try_from(row).ok()?)?.take()?;
        Some(kept)
    }
}

/// A table in the order of the ids besides. It moves a number for each host that follows whenever one comes or goes, so
/// it is for a few thousand.
#[derive(Debug)]
pub(crate) struct InOrder<T> {
    table: ByHost<T>,
    /// For looking at all of them: the rows, by the ids that stand there.
    order: Vec<Row>,
}

impl<T> Deref for InOrder<T> {
    type Target = ByHost<T>;

    fn deref(&self) -> &ByHost<T> {
        &self.table
    }
}

impl<T> InOrder<T> {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(seed: Seed) -> Self {
        Self { table: ByHost::new(seed), order: Vec::new() }
    }

    /// What is kept in a row, to be changed.
    pub(crate) fn at_mut(&mut self, row: Row) -> Option<&mut T> {
        self.table.at_mut(row)
    }

    /// What is kept of a host, to be changed.
    pub(crate) fn find_mut(&mut self, host: HostId) -> Option<&mut T> {
        self.table.find_mut(host)
    }

    fn place(&self, host: HostId) -> usize {
        self.order.partition_point(|row| self.id(*row) < Some(&host))
    }

    /// Puts in what is kept of a host; where it stands, and what was kept of it before.
    pub(crate) fn insert(&mut self, host: HostId, kept: T) -> (Row, Option<T>) {
        let (row, before) = self.table.insert(host, kept);
        if before.is_none() {
            let place = self.place(host);
            make_room(&mut self.order);
            self.order.insert(place, row);
        }
        (row, before)
    }

    /// Forgets a host; what was kept of it. Its row may be given to another one.
    pub(crate) fn remove(&mut self, host: HostId) -> Option<T> {
        self.row(host)?;
        let place = self.place(host);
        self.order.remove(place);
        self.table.remove(host)
    }

    /// All hosts, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (HostId, &T)> {
        self.order.iter().filter_map(|row| self.slot(*row)).map(|(host, kept)| (*host, kept))
    }

    /// All hosts, to be changed, in the order of their rows.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (HostId, &mut T)> {
        self.table.list.iter_mut().flatten().map(|(host, kept)| (*host, kept))
    }
}

/// Room for one more, if there is none, and for some to come.
pub(crate) fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(ROWS_ADDED + list.len() / ROWS_FOR_ONE_ADDED);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_holds_what_a_map_holds_and_rows_stay() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 16
        };
        let mut table = InOrder::new(Seed::new(&mut random));
        let mut map: BTreeMap<HostId, (Row, u64)> = BTreeMap::new();
        for step in 0..20_000 {
            let [low, high, ..] = (random() % 500).to_le_bytes();
            let host = HostId::new([low ^ high; 32].map(|byte| byte.wrapping_add(low).wrapping_mul(high | 1)));
            match random() % 3 {
                0 => {
                    let before = map.remove(&host);
                    assert_eq!(table.remove(host), before.map(|(_, kept)| kept));
                }
                1 => assert_eq!(table.find(host), map.get(&host).map(|(_, kept)| kept)),
                _ => {
                    let (row, before) = table.insert(host, step);
                    let known = map.insert(host, (row, step));
                    assert_eq!(before, known.map(|(_, kept)| kept));
                    assert!(known.is_none_or(|(before, _)| before == row));
                }
            }
            assert_eq!(table.row(host), map.get(&host).map(|(row, _)| *row));
            assert_eq!(table.len(), map.len());
        }
        assert!(table.iter().map(|(host, kept)| (host, *kept)).eq(map.iter().map(|(host, (_, kept))| (*host, *kept))));
        assert!(map.iter().all(|(host, (row, kept))| table.host(*row) == Some(*host) && table.at(*row) == Some(kept)));
        assert!(table.rows() <= 500 && table.iter_mut().count() == map.len());
    }
}
