//! Room for what waits for ids that nobody has yet. A stranger may ask for as much as they like: all sockets of the door
//! share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What waits at this door for absent ids: some 300 offers with their candidates. An attack that grows the original
/// server by hundreds of MB stays below 5 MB with it.
pub(super) const ROOM_BYTES: usize = 2 << 20;
/// What one client may have in it: two offers of the largest size, or some twenty usual ones with their candidates.
const SHARE_BYTES: usize = 132 << 10;
/// One client may have so much of what is free: however many fill it, another still finds a little.
const SHARE_OF_FREE: usize = 8;

/// The room of one door.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: AtomicUsize,
}

/// A part of it, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// A place of no size.
    pub(super) fn place(self: &Arc<Self>) -> Place {
        Place { room: self.clone(), bytes: 0 }
    }

    /// How much is taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Place {
    /// How large it is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes it larger, if there is room for a client that has `own` in all its places.
    pub(super) fn grow(&mut self, bytes: usize, own: usize) -> bool {
        let fits = |taken: usize| {
            let free = ROOM_BYTES.checked_sub(taken + bytes)?;
            (own + bytes <= SHARE_BYTES.min(free / SHARE_OF_FREE)).then_some(taken + bytes)
        };
        let fitted = self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if fitted {
            self.bytes += bytes;
        }
        fitted
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_has_its_share_and_many_leave_a_little() {
        let room = Arc::new(Room::default());
        let mut one = room.place();
        assert!(one.grow(SHARE_BYTES, 0) && !one.grow(1, one.bytes()));
        let mut others = Vec::new();
        for _ in 0..1_000 {
            let mut place = room.place();
            while place.grow(1_024, place.bytes()) {}
            others.push(place);
        }
        assert!(room.taken() <= ROOM_BYTES);
        assert!(room.place().grow(512, 0), "a newcomer finds room for a small offer among a thousand that fill it");
        drop((one, others));
        assert_eq!(room.taken(), 0);
    }
}
