//! Signals that no host can read, change or make up (PROTOCOL.md §4.4): HPKE (RFC 9180) towards the receiver's X25519
//! key, and the sender's Ed25519 signature over what was sealed.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ed25519_dalek::SigningKey;
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, single_shot_open, single_shot_seal_with_rng};
use rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize};

use super::json::{Hex, Json, present};
use crate::id::{HostId, PeerId};
use crate::limits::{REQUEST_ID_BYTES, SEALED_PLAIN_BYTES};
use crate::network::NetworkTag;
use crate::proof::{Proof, Signature};

const CONTEXT: &str = "aldis 2026 sealed";

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// More than [`SEALED_PLAIN_BYTES`], or an id longer than one can be.
    #[error("too big to be sealed")]
    TooBig,
    /// The receiver's key is no key.
    #[error("the key to which it is to be sealed is none")]
    BadKey,
    /// It is sealed to a key that is not this one.
    #[error("sealed to another key")]
    OtherKey,
    /// Not sealed by this sender, for this receiver, under this id, in this network; or changed on the way.
    #[error("not sealed by its sender for us")]
    Broken,
}

/// The key to which others seal what is for one client. Made anew by each client, never stored.
pub struct OpeningKey {
    secret: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; 32],
}

impl OpeningKey {
    /// The key made of 32 random bytes (DeriveKeyPair of RFC 9180 §7.1.3).
    #[must_use]
    pub fn new(random: &[u8; 32]) -> Self {
        let (secret, public) = X25519HkdfSha256::derive_keypair(random);
        Self { secret, public: public.to_bytes().into() }
    }

    /// The public half, for the claim.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The secret half, for test vectors.
    #[must_use]
    pub fn secret_bytes(&self) -> [u8; 32] {
        self.secret.to_bytes().into()
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpeningKey(hidden)")
    }
}

/// Between whom, and under which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The network.
    pub tag: NetworkTag,
    /// Who seals.
    pub from: PeerId,
    /// Who opens.
    pub to: PeerId,
    /// The signal's id.
    pub id: &'a str,
}

/// Where in the sender's sealed signals this one stands: a receiver takes growing numbers of a stream only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Drawn by each client once.
    pub stream: [u8; 16],
    /// Grows by one with each signal that it seals.
    pub n: u64,
}

/// A sealed signal, as it stands in `data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    key: Hex<32>,
    enc: Hex<32>,
    stream: Hex<16>,
    n: u64,
    sealed: String,
    signature: Hex<64>,
}

impl Envelope {
    /// Seals `plain` to the owner of `to_key`; `random` must be other bytes each time.
    ///
    /// # Errors
    /// [`SealedError::TooBig`], [`SealedError::BadKey`].
    pub fn seal(
        signer: &SigningKey,
        to_key: &[u8; 32],
        binding: Binding<'_>,
        place: Place,
        plain: &[u8],
        random: &[u8; 32],
    ) -> Result<Self, SealedError> {
        if plain.len() > SEALED_PLAIN_BYTES || binding.id.len() > REQUEST_ID_BYTES {
            return Err(SealedError::TooBig);
        }
        let receiver = PublicKey::from_bytes(to_key).map_err(|_| SealedError::BadKey)?;
        let (info, aad) = (info(&binding), aad(place, binding.id));
        let mut random = Given(random.iter().copied());
        let sealing = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>;
        let (enc, sealed) =
            sealing(&OpModeS::Base, &receiver, &info, plain, &aad, &mut random).map_err(|_| SealedError::BadKey)?;
        let enc: [u8; 32] = enc.to_bytes().into();
        let signed = signed(&binding, to_key, &enc, place, &sealed);
        Ok(Self {
            key: Hex(*to_key),
            enc: Hex(enc),
            stream: Hex(place.stream),
            n: place.n,
            sealed: BASE64_URL_SAFE_NO_PAD.encode(sealed),
            signature: Hex(Signature::make(signer, CONTEXT, binding.tag, &signed).to_bytes()),
        })
    }

    /// Opens what `binding.from` has sealed to `key`.
    ///
    /// # Errors
    /// [`SealedError::OtherKey`], [`SealedError::Broken`].
    pub fn open(&self, key: &OpeningKey, binding: Binding<'_>) -> Result<Vec<u8>, SealedError> {
        if self.key.0 != key.public {
            return Err(SealedError::OtherKey);
        }
        let broken = |_| SealedError::Broken;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(&self.sealed).map_err(|_| SealedError::Broken)?;
        let signed = signed(&binding, &self.key.0, &self.enc.0, self.place(), &sealed);
        if !Signature::from_bytes(&self.signature.0).verify(binding.from.as_bytes(), CONTEXT, binding.tag, &signed) {
            return Err(SealedError::Broken);
        }
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.enc.0).map_err(broken)?;
        let (info, aad) = (info(&binding), aad(self.place(), binding.id));
        let opening = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>;
        opening(&OpModeR::Base, &key.secret, &enc, &info, &sealed, &aad).map_err(broken)
    }

    /// Its place among its sender's.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { stream: self.stream.0, n: self.n }
    }
}

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;

fn info(binding: &Binding<'_>) -> Vec<u8> {
    [CONTEXT.as_bytes(), binding.tag.as_bytes(), binding.from.as_bytes(), binding.to.as_bytes()].concat()
}

fn aad(place: Place, id: &str) -> Vec<u8> {
    [&place.stream[..], &place.n.to_be_bytes(), id.as_bytes()].concat()
}

/// What the sender signs, behind context and tag.
fn signed(binding: &Binding<'_>, key: &[u8; 32], enc: &[u8; 32], place: Place, sealed: &[u8]) -> Vec<u8> {
    let (n, id) = (place.n.to_be_bytes(), binding.id.as_bytes());
    // Ids that are too long are refused before they come here.
    let length = [u8::try_from(id.len()).unwrap_or(u8::MAX)];
    [&binding.to.as_bytes()[..], key, enc, &place.stream, &n, &length, id, sealed].concat()
}

/// The random bytes that the caller gave, once.
struct Given<I>(I);

impl<I: Iterator<Item = u8>> TryRng for Given<I> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let given = bytes.iter_mut().zip(&mut self.0).map(|(slot, byte)| *slot = byte).count();
        debug_assert_eq!(given, bytes.len(), "one key pair takes 32 bytes");
        Ok(())
    }
}

impl<I: Iterator<Item = u8>> TryCryptoRng for Given<I> {}

/// A claim as other peers check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldClaim {
    home: Hex<32>,
    counter: u64,
    sealing: Hex<32>,
    signature: Hex<64>,
}

impl ToldClaim {
    /// What a keyed peer with a sealing key may tell others of its `proof` at `home`.
    #[must_use]
    pub fn of(home: HostId, proof: &Proof) -> Option<Self> {
        let Proof::Keyed { counter, sealing: Some(sealing), signature } = proof else { return None };
        let (home, sealing) = (Hex(*home.as_bytes()), Hex(*sealing));
        Some(Self { home, counter: *counter, sealing, signature: Hex(signature.to_bytes()) })
    }

    /// Whether this peer has signed it.
    #[must_use]
    pub fn is_of(&self, peer: PeerId, tag: NetworkTag) -> bool {
        let signature = Signature::from_bytes(&self.signature.0);
        let proof = Proof::Keyed { counter: self.counter, sealing: Some(self.sealing.0), signature };
        proof.verify(peer, tag, HostId::new(self.home.0))
    }

    /// The higher one is the newer.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// The key to which to seal.
    #[must_use]
    pub fn sealing(&self) -> [u8; 32] {
        self.sealing.0
    }
}

/// What clients that seal say to each other, in `data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "aldis", rename_all = "snake_case")]
pub enum Between<'a> {
    /// A sealed signal.
    Sealed(Envelope),
    /// The sender's claim.
    Claim {
        /// Without it: the sender seals nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        claim: Option<ToldClaim>,
        /// Whether the receiver is to tell its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        answer: bool,
        /// A signal of the receiver that was sealed to another key.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        unopened: Option<Cow<'a, str>>,
    },
}

impl<'a> Between<'a> {
    /// Reads `data`; `None` when it is something else.
    #[must_use]
    pub fn read(data: &'a str) -> Option<Self> {
        serde_json::from_str(data).ok()
    }

    /// The `data`.
    #[must_use]
    pub fn write(&self) -> String {
        // Of types whose keys are strings: cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain<'a> {
    /// Where the two met.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Cow<'a, str>>,
    /// The signal's own data.
    #[serde(borrow, deserialize_with = "value")]
    pub data: Json<'a>,
}

fn value<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Json<'a>, D::Error> {
    present(deserializer).map(|json| json.unwrap_or(Json::NULL))
}

impl<'a> Plain<'a> {
    /// Reads what was opened.
    #[must_use]
    pub fn read(plain: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(plain).ok().filter(|plain: &Self| plain.data.depth_fits())
    }

    /// What is to be sealed.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]
    use super::*;

    const TAG: NetworkTag = NetworkTag::new([7; 8]);
    const PLACE: Place = Place { stream: [4; 16], n: 1 };

    fn keys() -> (SigningKey, SigningKey, SigningKey) {
        (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]), SigningKey::from_bytes(&[3; 32]))
    }

    fn peer(key: &SigningKey) -> PeerId {
        PeerId::new(key.verifying_key().to_bytes())
    }

    #[test]
    fn only_the_receiver_opens_and_any_change_of_sender_receiver_id_place_or_content_shows() {
        let (alice, bob, carol) = keys();
        let (ours, others) = (OpeningKey::new(&[5; 32]), OpeningKey::new(&[6; 32]));
        let binding = Binding { tag: TAG, from: peer(&alice), to: peer(&bob), id: "offer-1" };
        let envelope = Envelope::seal(&alice, &ours.public(), binding, PLACE, b"offer", &[9; 32]).unwrap();
        assert_eq!(envelope.open(&ours, binding).unwrap(), b"offer");
        assert_eq!(envelope.open(&others, binding), Err(SealedError::OtherKey));

        let broken = |envelope: &Envelope, binding| {
            assert_eq!(envelope.open(&ours, binding), Err(SealedError::Broken), "{envelope:?}");
        };
        broken(&envelope, Binding { from: peer(&carol), ..binding });
        broken(&envelope, Binding { to: peer(&carol), ..binding });
        broken(&envelope, Binding { id: "offer-2", ..binding });
        broken(&envelope, Binding { tag: NetworkTag::new([8; 8]), ..binding });
        broken(&Envelope { n: 2, ..envelope.clone() }, binding);
        broken(&Envelope { stream: Hex([3; 16]), ..envelope.clone() }, binding);
        broken(&Envelope { enc: Hex(others.public()), ..envelope.clone() }, binding);
        let mut sealed = envelope.sealed.clone();
        sealed.replace_range(0..1, if sealed.starts_with('A') { "B" } else { "A" });
        broken(&Envelope { sealed, ..envelope.clone() }, binding);

        // Who signs another's ciphertext as their own cannot make it theirs.
        let stolen = signed(&binding, &envelope.key.0, &envelope.enc.0, PLACE, &sealed_bytes(&envelope));
        let signature = Hex(Signature::make(&carol, CONTEXT, TAG, &stolen).to_bytes());
        broken(&Envelope { signature, ..envelope }, Binding { from: peer(&carol), ..binding });
    }

    #[test]
    fn what_is_too_big_or_goes_to_no_key_is_not_sealed() {
        let (alice, bob, _) = keys();
        let to = OpeningKey::new(&[5; 32]).public();
        let binding = Binding { tag: TAG, from: peer(&alice), to: peer(&bob), id: "1" };
        let seal = |key: &[u8; 32], id_bytes: usize, bytes: usize| {
            let id = "i".repeat(id_bytes);
            Envelope::seal(&alice, key, Binding { id: &id, ..binding }, PLACE, &vec![b'x'; bytes], &[9; 32])
        };
        let largest = Between::Sealed(seal(&to, REQUEST_ID_BYTES, SEALED_PLAIN_BYTES).unwrap()).write();
        assert!(largest.len() <= crate::limits::SIGNAL_DATA_BYTES, "{} bytes", largest.len());
        assert_eq!(seal(&to, 1, SEALED_PLAIN_BYTES + 1), Err(SealedError::TooBig));
        assert_eq!(seal(&to, REQUEST_ID_BYTES + 1, 1), Err(SealedError::TooBig));
        assert_eq!(seal(&[0; 32], 1, 1), Err(SealedError::BadKey), "a low-order point shares nothing");
    }

    #[test]
    fn a_claim_is_told_as_it_was_signed_and_is_another_peers_by_no_change() {
        let (alice, bob, _) = keys();
        let home = HostId::new([1; 32]);
        let told = ToldClaim::of(home, &Proof::claim(&alice, TAG, home, 7, Some([5; 32]))).unwrap();
        assert!(told.is_of(peer(&alice), TAG));
        assert!(!told.is_of(peer(&bob), TAG));
        assert!(!ToldClaim { sealing: Hex([6; 32]), ..told }.is_of(peer(&alice), TAG));
        assert!(!ToldClaim { counter: 8, ..told }.is_of(peer(&alice), TAG));
        assert_eq!(ToldClaim::of(home, &Proof::claim(&alice, TAG, home, 7, None)), None);
        let said = Between::Claim { claim: Some(told), answer: true, unopened: Some("a\"b".into()) };
        assert_eq!(Between::read(&said.write()), Some(said));
        assert_eq!(Between::read(r#"{"aldis":"rtc","n":1}"#), None);
        assert_eq!(Between::read("1"), None);
    }

    fn sealed_bytes(envelope: &Envelope) -> Vec<u8> {
        BASE64_URL_SAFE_NO_PAD.decode(&envelope.sealed).unwrap()
    }
}
