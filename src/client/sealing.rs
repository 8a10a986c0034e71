//! Signals that no host can read, change or make up (PROTOCOL.md §4.4): what a client knows of its own key and of those
//! of others, and what waits for a key. No I/O and no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aldis_wire::edge::Json;
use aldis_wire::edge::sealed::{Between, Binding, Envelope, OpeningKey, Place, Plain, SealedError, ToldClaim};
use aldis_wire::id::PeerId;
use aldis_wire::network::NetworkTag;
use ed25519_dalek::SigningKey;
use tokio::time::Instant;

use crate::system::random_bytes;

/// Keys of other peers that are kept.
const CLAIMS_MAX: usize = 4_096;
/// How long a key is believed: as long as hosts remember claims (PROTOCOL.md §3.2).
const CLAIM_TIME: Duration = Duration::from_secs(3_600);
/// Other clients of whose sealed signals the last is remembered (PROTOCOL.md §4.4).
const STREAMS_MAX: usize = 8_192;
/// Sealed signals that are kept in case their receiver cannot open them.
const KEPT_MAX: usize = 64;

/// A signal before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) to: PeerId,
    pub(super) topic: Option<String>,
    /// JSON text.
    pub(super) data: String,
}

/// What became of a sealed signal that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Its sender says this.
    Plain { topic: Option<String>, data: String },
    /// It is not the sender's next.
    Repeated,
    /// It is sealed to a key that is not ours: this is to be told to the sender.
    Tell(String),
    /// It is not its sender's.
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sealing {
    signer: SigningKey,
    us: PeerId,
    key: OpeningKey,
    /// Of the greeting; set before anything is sealed.
    tag: NetworkTag,
    /// Our last claim.
    own: Option<ToldClaim>,
    place: Place,
    claims: BTreeMap<PeerId, (Instant, ToldClaim)>,
    /// The last number of each sender's stream, and when it was used, as a count.
    streams: BTreeMap<(PeerId, [u8; 16]), (u64, u64)>,
    used: u64,
    /// What was sealed lately, by id, with the key.
    kept: VecDeque<(String, [u8; 32], Letter)>,
}

impl Sealing {
    pub(super) fn new(signer: &SigningKey) -> Self {
        Self {
            signer: signer.clone(),
            us: PeerId::new(signer.verifying_key().to_bytes()),
            key: OpeningKey::new(&random_bytes()),
            tag: NetworkTag::new([0; 8]),
            own: None,
            place: Place { stream: random_bytes(), n: 0 },
            claims: BTreeMap::new(),
            streams: BTreeMap::new(),
            used: 0,
            kept: VecDeque::new(),
        }
    }

    /// The key for the next claim.
    pub(super) fn public(&self) -> [u8; 32] {
        self.key.public()
    }

    /// We are in this network, and have said hello with this claim.
    pub(super) fn claimed(&mut self, tag: NetworkTag, own: Option<ToldClaim>) {
        self.tag = tag;
        // A resumed session has none of its own.
        self.own = own.or(self.own);
    }

    /// Our claim, as data of a signal.
    pub(super) fn told(&self, answer: bool, unopened: Option<&str>) -> String {
        Between::Claim { claim: self.own, answer, unopened: unopened.map(Into::into) }.write()
    }

    pub(super) fn knows(&self, peer: PeerId, now: Instant) -> bool {
        self.claims.get(&peer).is_some_and(|(at, _)| now.saturating_duration_since(*at) < CLAIM_TIME)
    }

    /// The data of a sealed signal; `None` when the receiver's key is not known.
    ///
    /// # Errors
    /// [`SealedError`] when it cannot be sealed at all.
    pub(super) fn seal(&mut self, id: &str, letter: &Letter) -> Result<Option<String>, SealedError> {
        let Some((_, claim)) = self.claims.get(&letter.to) else { return Ok(None) };
        let to_key = claim.sealing();
        let binding = Binding { tag: self.tag, from: self.us, to: letter.to, id };
        let data = Json::read(letter.data.as_bytes()).map_err(|_| SealedError::Broken)?;
        let plain = Plain { topic: letter.topic.as_deref().map(Into::into), data }.write();
        self.place.n += 1;
        let envelope = Envelope::seal(&self.signer, &to_key, binding, self.place, &plain, &random_bytes())?;
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((id.to_owned(), to_key, letter.clone()));
        Ok(Some(Between::Sealed(envelope).write()))
    }

    /// A peer tells its claim. Gives whether it is one, and the signal to seal again, if it could not open it.
    pub(super) fn claim_came(
        &mut self,
        from: PeerId,
        claim: ToldClaim,
        unopened: Option<&str>,
        now: Instant,
    ) -> (bool, Option<Letter>) {
        if !claim.is_of(from, self.tag) {
            return (false, None);
        }
        // When hosts have forgotten a counter, its owner may begin again at the first.
        if !self.knows(from, now) || self.claims.get(&from).is_none_or(|(_, known)| claim.counter() >= known.counter())
        {
            if self.claims.len() >= CLAIMS_MAX
                && let Some(oldest) = self.claims.iter().min_by_key(|(_, (at, _))| *at).map(|(peer, _)| *peer)
            {
                self.claims.remove(&oldest);
            }
            self.claims.insert(from, (now, claim));
        }
        // Not when a host shows an older claim, or says that a signal was not opened: it would arrive twice.
        let believed = self.claims.get(&from).map(|(_, claim)| claim.sealing());
        let is_asked = |(id, key, letter): &(String, [u8; 32], Letter)| {
            Some(id.as_str()) == unopened && letter.to == from && Some(*key) != believed
        };
        let again = self.kept.iter().position(is_asked).and_then(|at| self.kept.remove(at));
        (true, again.map(|(_, _, letter)| letter))
    }

    /// A sealed signal has come.
    pub(super) fn open(&mut self, from: PeerId, id: &str, envelope: &Envelope) -> Opened {
        let plain = match envelope.open(&self.key, Binding { tag: self.tag, from, to: self.us, id }) {
            Ok(plain) => plain,
            Err(SealedError::OtherKey) => return Opened::Tell(self.told(false, Some(id))),
            Err(_) => return Opened::Broken,
        };
        let place = envelope.place();
        let stream = (from, place.stream);
        if self.streams.get(&stream).is_some_and(|(last, _)| place.n <= *last) {
            return Opened::Repeated;
        }
        let Some(plain) = Plain::read(&plain) else { return Opened::Broken };
        self.used += 1;
        self.streams.insert(stream, (place.n, self.used));
        if self.streams.len() > STREAMS_MAX
            && let Some(oldest) = self.streams.iter().min_by_key(|(_, (_, used))| *used).map(|(stream, _)| *stream)
        {
            self.streams.remove(&oldest);
        }
        Opened::Plain { topic: plain.topic.map(Into::into), data: plain.data.as_str().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use aldis_wire::id::HostId;
    use aldis_wire::proof::Proof;

    use super::*;

    const TAG: NetworkTag = NetworkTag::new([7; 8]);
    const HOME: HostId = HostId::new([1; 32]);

    struct Peer {
        sealing: Sealing,
        claim: ToldClaim,
    }

    fn peer(byte: u8, counter: u64) -> Peer {
        let key = SigningKey::from_bytes(&[byte; 32]);
        let mut sealing = Sealing::new(&key);
        let claim = ToldClaim::of(HOME, &Proof::claim(&key, TAG, HOME, counter, Some(sealing.public()))).unwrap();
        sealing.claimed(TAG, Some(claim));
        Peer { sealing, claim }
    }

    fn letter(to: &Peer, data: &str) -> Letter {
        Letter { to: to.sealing.us, topic: None, data: data.to_owned() }
    }

    fn sealed(from: &mut Peer, id: &str, letter: &Letter) -> Envelope {
        let data = from.sealing.seal(id, letter).unwrap().unwrap();
        let Some(Between::Sealed(envelope)) = Between::read(&data) else { panic!("{data}") };
        envelope
    }

    #[test]
    fn an_older_claim_of_a_peer_does_not_take_the_place_of_a_newer_one_and_each_is_believed_for_an_hour() {
        let (mut alice, older, newer) = (peer(1, 1), peer(2, 1), peer(2, 2));
        let (bob, now) = (newer.sealing.us, Instant::now());
        assert!(!alice.sealing.knows(bob, now));
        assert_eq!(alice.sealing.claim_came(bob, newer.claim, None, now), (true, None));
        assert_eq!(alice.sealing.claim_came(bob, older.claim, None, now), (true, None));
        assert_eq!(alice.sealing.claim_came(alice.sealing.us, older.claim, None, now), (false, None));
        let mut newer = newer;
        let envelope = sealed(&mut alice, "a", &letter(&newer, "1"));
        assert!(matches!(newer.sealing.open(alice.sealing.us, "a", &envelope), Opened::Plain { .. }));
        assert!(alice.sealing.knows(bob, now + CLAIM_TIME - Duration::from_millis(1)));
        assert!(!alice.sealing.knows(bob, now + CLAIM_TIME));
        alice.sealing.claim_came(bob, older.claim, None, now + CLAIM_TIME);
        assert!(alice.sealing.knows(bob, now + CLAIM_TIME), "what was forgotten may begin again");
    }

    #[test]
    fn only_growing_numbers_of_a_stream_are_taken_and_a_new_start_of_the_sender_begins_another() {
        let (mut alice, mut again, mut bob) = (peer(1, 1), peer(1, 2), peer(2, 1));
        for sender in [&mut alice, &mut again] {
            sender.sealing.claim_came(bob.sealing.us, bob.claim, None, Instant::now());
            let letter = letter(&bob, "1");
            let (first, second) = (sealed(sender, "a", &letter), sealed(sender, "b", &letter));
            let from = sender.sealing.us;
            assert!(matches!(bob.sealing.open(from, "b", &second), Opened::Plain { .. }));
            assert_eq!(bob.sealing.open(from, "b", &second), Opened::Repeated);
            assert_eq!(bob.sealing.open(from, "a", &first), Opened::Repeated);
        }
    }

    #[test]
    fn tables_forget_the_oldest_when_they_are_full() {
        let (mut alice, mut bob, now) = (peer(1, 1), peer(2, 1), Instant::now());
        for n in 0..CLAIMS_MAX as u64 {
            let mut id = [0; 32];
            id.iter_mut().zip(n.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
            alice.sealing.claims.insert(PeerId::new(id), (now + Duration::from_nanos(n), bob.claim));
            alice.sealing.streams.insert((PeerId::new(id), [0; 16]), (1, 0));
            alice.sealing.streams.insert((PeerId::new(id), [1; 16]), (1, 1));
        }
        alice.sealing.used = 1;
        assert_eq!((alice.sealing.claims.len(), alice.sealing.streams.len()), (CLAIMS_MAX, STREAMS_MAX));
        alice.sealing.claim_came(bob.sealing.us, bob.claim, None, now + CLAIM_TIME);
        assert_eq!(alice.sealing.claims.len(), CLAIMS_MAX);
        assert!(!alice.sealing.claims.contains_key(&PeerId::new([0; 32])), "the oldest");
        assert!(alice.sealing.claims.contains_key(&bob.sealing.us));

        bob.sealing.claim_came(alice.sealing.us, alice.claim, None, now);
        let envelope = sealed(&mut bob, "a", &letter(&alice, "1"));
        assert!(matches!(alice.sealing.open(bob.sealing.us, "a", &envelope), Opened::Plain { .. }));
        assert_eq!(alice.sealing.streams.len(), STREAMS_MAX);
        assert_eq!(alice.sealing.open(bob.sealing.us, "a", &envelope), Opened::Repeated, "the newest is there");

        let ids: Vec<_> = (0..=KEPT_MAX).map(|n| n.to_string()).collect();
        for id in &ids {
            alice.sealing.seal(id, &letter(&bob, "1")).unwrap().unwrap();
        }
        assert_eq!(alice.sealing.kept.len(), KEPT_MAX);
        for claim in [bob.claim, peer(2, 0).claim] {
            let shown = alice.sealing.claim_came(bob.sealing.us, claim, Some(&ids[1]), now);
            assert_eq!(shown, (true, None), "it is sealed to the newest key already");
        }
        let again = peer(2, 2);
        for (id, kept) in [(&ids[0], None), (&ids[1], Some(letter(&bob, "1")))] {
            assert_eq!(alice.sealing.claim_came(bob.sealing.us, again.claim, Some(id), now), (true, kept));
        }
    }
}
