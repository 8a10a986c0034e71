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
        if self.claims.get(&from).is_none_or(|(_, known)| claim.counter() >= known.counter()) {
            if self.claims.len() >= CLAIMS_MAX
                && let Some(oldest) = self.claims.iter().min_by_key(|(_, (at, _))| *at).map(|(peer, _)| *peer)
            {
                self.claims.remove(&oldest);
            }
            self.claims.insert(from, (now, claim));
        }
        let is_asked = |(id, key, letter): &(String, [u8; 32], Letter)| {
            Some(id.as_str()) == unopened && letter.to == from && *key != claim.sealing()
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
