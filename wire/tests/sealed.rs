//! Sealed signals (PROTOCOL.md §4.4): whatever is sealed opens as it was, for its receiver alone; whatever else comes is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail by panic")]

use aldis_wire::edge::Json;
use aldis_wire::edge::sealed::{Between, Binding, Envelope, OpeningKey, Place, Plain};
use aldis_wire::id::PeerId;
use aldis_wire::limits::{REQUEST_ID_BYTES, SEALED_PLAIN_BYTES};
use aldis_wire::network::NetworkTag;
use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;

const TAG: NetworkTag = NetworkTag::new([7; 8]);

fn alice() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn binding(id: &str) -> Binding<'_> {
    let peer = |key: &SigningKey| PeerId::new(key.verifying_key().to_bytes());
    Binding { tag: TAG, from: peer(&alice()), to: peer(&SigningKey::from_bytes(&[2; 32])), id }
}

/// The data of a sealed signal.
fn sealed(id: &str, place: Place, plain: &[u8], random: &[u8; 32]) -> String {
    let to = OpeningKey::new(&[5; 32]).public();
    Between::Sealed(Envelope::seal(&alice(), &to, binding(id), place, plain, random).unwrap()).write()
}

/// What comes of such data at its receiver.
fn opened(data: &str, id: &str) -> Option<Vec<u8>> {
    match Between::read(data)? {
        Between::Sealed(envelope) => envelope.open(&OpeningKey::new(&[5; 32]), binding(id)).ok(),
        Between::Claim { .. } => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_sealed_opens_as_it_was(
        id in "\\PC{1,16}",
        stream in any::<[u8; 16]>(),
        n in 0..1_u64 << 53,
        plain in vec(any::<u8>(), 0..2_000),
        random in any::<[u8; 32]>(),
    ) {
        prop_assume!(id.len() <= REQUEST_ID_BYTES);
        let data = sealed(&id, Place { stream, n }, &plain, &random);
        prop_assert!(Json::read(data.as_bytes()).is_ok());
        prop_assert_eq!(opened(&data, &id), Some(plain));
        prop_assert_eq!(opened(&data, &format!("{id}x")), None);
    }

    #[test]
    fn a_changed_letter_of_the_data_is_refused(at in any::<prop::sample::Index>(), letter in "[0-9a-zA-Z_\"{}, -]") {
        let data = sealed("a", Place { stream: [4; 16], n: 1 }, b"{\"data\":1}", &[9; 32]);
        let at = at.index(data.len());
        let mut changed = data.clone();
        changed.replace_range(at..=at, &letter);
        if changed != data {
            prop_assert_eq!(opened(&changed, "a"), None, "{}", changed);
        }
    }

    #[test]
    fn arbitrary_data_is_no_danger(text in "\\PC{0,200}", bytes in vec(any::<u8>(), 0..200)) {
        let text = [r#"{"aldis":"sealed",""#, r#"{"aldis":"claim","claim":"#, ""].map(|begin| format!("{begin}{text}"));
        prop_assert!(text.iter().all(|text| opened(text, "a").is_none()));
        if let Some(plain) = Plain::read(&bytes) {
            prop_assert!(Plain::read(&plain.write()).is_some());
        }
    }
}

#[test]
fn the_largest_signal_can_be_sealed_and_data_that_is_nested_too_deeply_is_not_taken() {
    let plain = vec![b'x'; SEALED_PLAIN_BYTES];
    assert_eq!(opened(&sealed("a", Place { stream: [4; 16], n: 1 }, &plain, &[9; 32]), "a"), Some(plain));
    let nested = |depth| format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(Plain::read(nested(64).as_bytes()).is_some());
    assert!(Plain::read(nested(65).as_bytes()).is_none());
}
