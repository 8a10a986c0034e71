//! The ids that sockets of this host have, so that each has one, and so that a client that lost its socket finds its
//! session again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aldis_wire::id::TopicId;
use tokio::time::Instant;

use crate::net::hub::lock;
use crate::relay::io::Token;
use crate::relay::limits::SESSIONS_MAX;

/// Ids kept, about 150 bytes each. More sessions a host has not.
const IDS_MAX: usize = SESSIONS_MAX;
/// Ids are kept past their grace period until there are so many, or twice as many as the last time they were looked
/// through.
const SWEPT_MIN: usize = 256;

/// The ids of this host.
#[derive(Debug)]
pub(super) struct Registry {
    grace: Duration,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    ids: HashMap<TopicId, Entry>,
    last: u64,
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    proof: [u8; 32],
    holder: u64,
    session: Option<Session>,
    /// Since when its socket is gone.
    gone: Option<Instant>,
}

/// What a client comes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Resumes it.
    pub(super) token: Token,
    /// Of its claim.
    pub(super) generation: u32,
}

/// What became of a wish for an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is this holder's.
    New(u64),
    /// It is this holder's, who had it before.
    Back(u64, Session),
    /// Somebody else has it.
    Other,
    /// There is no room.
    Full,
}

impl Registry {
    /// `grace` is how long sessions wait for their sockets.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, table: Mutex::default() }
    }

    /// Takes an id for whoever proves to be `proof`; an older holder with the same proof loses it.
    pub(super) fn take(&self, id: TopicId, proof: [u8; 32], now: Instant) -> Taken {
        let mut table = lock(&self.table);
        let over = |entry: &Entry| entry.gone.is_some_and(|gone| now.saturating_duration_since(gone) > self.grace);
        if table.ids.len() >= table.sweep_at.clamp(SWEPT_MIN, IDS_MAX) {
            table.ids.retain(|_, entry| !over(entry));
            table.sweep_at = 2 * table.ids.len();
        }
        let session = match table.ids.get(&id) {
            Some(entry) if over(entry) => None,
            Some(entry) if entry.proof == proof => entry.session,
            Some(_) => return Taken::Other,
            None if table.ids.len() >= IDS_MAX => return Taken::Full,
            None => None,
        };
        table.last += 1;
        let holder = table.last;
        table.ids.insert(id, Entry { proof, holder, session, gone: None });
        session.map_or(Taken::New(holder), |session| Taken::Back(holder, session))
    }

    /// Whether the id is still this holder's.
    pub(super) fn holds(&self, id: TopicId, holder: u64) -> bool {
        lock(&self.table).ids.get(&id).is_some_and(|entry| entry.holder == holder)
    }

    /// The holder's session stands.
    pub(super) fn keep(&self, id: TopicId, holder: u64, session: Session) {
        self.change(id, holder, |entry| entry.session = Some(session));
    }

    /// The holder's socket is gone, but it may come back.
    pub(super) fn wait(&self, id: TopicId, holder: u64, now: Instant) {
        self.change(id, holder, |entry| entry.gone = Some(now));
    }

    /// The holder gives it up.
    pub(super) fn free(&self, id: TopicId, holder: u64) {
        let mut table = lock(&self.table);
        if table.ids.get(&id).is_some_and(|entry| entry.holder == holder) {
            table.ids.remove(&id);
        }
    }

    fn change(&self, id: TopicId, holder: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = lock(&self.table).ids.get_mut(&id).filter(|entry| entry.holder == holder) {
            change(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const SESSION: Session = Session { token: Token([1; 32]), generation: 4 };

    fn id(n: usize) -> TopicId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        TopicId::new(bytes)
    }

    #[test]
    fn an_id_is_one_clients_until_the_grace_after_its_socket_is_over() {
        let (registry, now) = (Registry::new(GRACE), Instant::now());
        let Taken::New(first) = registry.take(id(1), [1; 32], now) else { panic!("not new") };
        assert_eq!(registry.take(id(1), [2; 32], now), Taken::Other);
        registry.keep(id(1), first, SESSION);
        registry.wait(id(1), first, now);
        assert_eq!(registry.take(id(1), [2; 32], now + GRACE), Taken::Other);
        let Taken::Back(second, SESSION) = registry.take(id(1), [1; 32], now + GRACE) else { panic!("not back") };
        assert!(registry.holds(id(1), second) && !registry.holds(id(1), first));
        registry.free(id(1), first);
        registry.wait(id(1), first, now);
        assert_eq!(registry.take(id(1), [2; 32], now + 9 * GRACE), Taken::Other, "the old holder has no say");
        registry.wait(id(1), second, now);
        let later = now + GRACE + Duration::from_millis(1);
        assert!(matches!(registry.take(id(1), [2; 32], later), Taken::New(_)));
    }

    #[test]
    fn a_holder_that_gave_up_left_nothing() {
        let (registry, now) = (Registry::new(GRACE), Instant::now());
        let Taken::New(first) = registry.take(id(1), [1; 32], now) else { panic!("not new") };
        registry.keep(id(1), first, SESSION);
        registry.free(id(1), first);
        assert!(matches!(registry.take(id(1), [1; 32], now), Taken::New(_)));
    }

    #[test]
    fn there_is_room_for_so_many_ids_and_those_past_their_grace_make_room() {
        let (registry, now) = (Registry::new(GRACE), Instant::now());
        for n in 0..IDS_MAX {
            let Taken::New(holder) = registry.take(id(n), [1; 32], now) else { panic!("no room for {n}") };
            if n % 2 == 0 {
                registry.wait(id(n), holder, now);
            }
        }
        assert_eq!(registry.take(id(IDS_MAX), [1; 32], now), Taken::Full);
        assert!(matches!(registry.take(id(IDS_MAX), [1; 32], now + 2 * GRACE), Taken::New(_)));
        assert_eq!(lock(&registry.table).ids.len(), IDS_MAX / 2 + 1);
    }
}
