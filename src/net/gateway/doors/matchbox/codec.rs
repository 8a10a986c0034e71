//! The JSON of matchbox: values tagged from outside.

use std::borrow::Cow;

use aldis_wire::id::PeerId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// From a client. Data is kept as it was written.
#[derive(Debug, Deserialize)]
pub(super) enum FromClient<'a> {
    /// For another client.
    Signal {
        /// Whom.
        receiver: Uuid,
        /// Offer, answer or candidate.
        #[serde(borrow)]
        data: &'a RawValue,
    },
    /// Nothing; every ten seconds.
    KeepAlive,
}

/// To a client.
#[derive(Debug, Serialize)]
pub(super) enum ToClient<'a> {
    /// Who it is.
    IdAssigned(Uuid),
    /// To whom it is to make an offer.
    NewPeer(Uuid),
    /// Who is gone.
    PeerLeft(Uuid),
    /// From another client.
    Signal {
        /// Who.
        sender: Uuid,
        /// As it was written.
        data: &'a RawValue,
    },
}

/// Whether this is an offer, an answer or a candidate. The library reads nothing else, and panics.
pub(super) fn is_signal(data: &RawValue) -> bool {
    #[derive(Deserialize)]
    #[allow(dead_code, reason = "only whether it can be read matters")]
    enum PeerSignal<'a> {
        IceCandidate(#[serde(borrow)] Cow<'a, str>),
        Offer(#[serde(borrow)] Cow<'a, str>),
        Answer(#[serde(borrow)] Cow<'a, str>),
    }
    serde_json::from_str::<PeerSignal<'_>>(data.get()).is_ok()
}

impl ToClient<'_> {
    pub(super) fn encode(&self) -> String {
        // Ids and JSON that was read as JSON before: there is nothing that could not be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What matchbox calls a peer: its id, cut to the size and marked as random. Whoever has one cannot look for a second peer
/// with the same.
pub(super) fn uuid(peer: PeerId) -> Uuid {
    let mut bytes = [0; 16];
    for (byte, of_peer) in bytes.iter_mut().zip(peer.as_bytes()) {
        *byte = *of_peer;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    #[test]
    fn frames_are_those_of_matchbox() {
        let me = uuid(PeerId::new([0xab; 32]));
        assert_eq!(me.to_string(), "abababab-abab-4bab-abab-abababababab");
        let frame = format!("{{\"Signal\":{{\"receiver\":\"{me}\",\"data\":{{\"Offer\": \"sdp\"}}}}}}");
        let FromClient::Signal { receiver, data } = serde_json::from_str(&frame).unwrap() else { panic!("no signal") };
        assert_eq!((receiver, data.get()), (me, "{\"Offer\": \"sdp\"}"), "not the bytes that came");
        assert!(matches!(serde_json::from_str("\"KeepAlive\"").unwrap(), FromClient::KeepAlive));
        assert_eq!(ToClient::IdAssigned(me).encode(), format!("{{\"IdAssigned\":\"{me}\"}}"));
        assert_eq!(ToClient::NewPeer(me).encode(), format!("{{\"NewPeer\":\"{me}\"}}"));
        assert_eq!(ToClient::PeerLeft(me).encode(), format!("{{\"PeerLeft\":\"{me}\"}}"));
        let signal = ToClient::Signal { sender: me, data }.encode();
        assert_eq!(signal, format!("{{\"Signal\":{{\"sender\":\"{me}\",\"data\":{{\"Offer\": \"sdp\"}}}}}}"));
    }

    #[test]
    fn only_what_the_library_reads_is_a_signal() {
        let raw = |text: &str| serde_json::from_str::<Box<RawValue>>(text).unwrap();
        for text in [r#"{"Offer":"sdp"}"#, r#"{ "Answer" : "\u0061" }"#, r#"{"IceCandidate":""}"#] {
            assert!(is_signal(&raw(text)), "{text}");
        }
        for text in [
            "7",
            "null",
            "[]",
            "{}",
            "\"Offer\"",
            r#"{"Offer":1}"#,
            r#"{"Offer":null}"#,
            r#"{"Offer":"\ud800"}"#,
            r#"{"Offer":"a","Answer":"b"}"#,
            r#"{"Offer":"a","Offer":"b"}"#,
            r#"{"offer":"a"}"#,
        ] {
            assert!(!is_signal(&raw(text)), "{text}");
        }
    }
}
