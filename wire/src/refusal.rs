//! Every typed no of the protocol: number · name · sentence. Numbers go between hosts, names go to edges.

use serde::{Deserialize, Serialize};

/// Why something was refused. The number is stable for ever; a removed code leaves its number unused.
///
/// A receiver that meets a number it does not know maps it to [`Refusal::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
#[repr(u8)]
pub enum Refusal {
    /// A code of a newer version than ours.
    Other = 0,
    /// Nobody in the network has this peer at home.
    NoSuchPeer = 1,
    /// No path leads to the host where the target is at home.
    HomeUnreachable = 2,
    /// The target does not acknowledge what it was sent.
    QueueFull = 3,
    /// The message is larger than the limit.
    TooBig = 4,
    /// A token bucket is empty.
    RateLimited = 5,
    /// A later signal of the same sender to the same target was delivered first.
    Overtaken = 6,
    /// The host has no room for more of this kind.
    Overloaded = 7,
    /// Not the JSON, or not the fields, that the protocol asks for.
    Malformed = 8,
    /// The message type is not known.
    UnknownType = 9,
    /// A field has a value outside its bounds.
    BadField = 10,
    /// Something came before `hello`.
    HelloExpected = 11,
    /// A second `hello` on a socket.
    HelloRepeated = 12,
    /// No `hello` within the deadline.
    HelloTimeout = 13,
    /// The session to resume is unknown or its grace period is over.
    SessionLost = 14,
    /// A newer session of the same peer took over.
    Replaced = 15,
    /// The claim's counter is not above a known one.
    ClaimOld = 16,
    /// The claim's or the challenge's signature does not verify.
    ClaimInvalid = 17,
    /// The edge is in as many topics as it may.
    TooManyTopics = 18,
    /// The address has as many edges as it may.
    TooManyEdges = 19,
    /// The web page's origin is not on the allow-list.
    OriginNotAllowed = 20,
    /// The edge did not read or acknowledge in time.
    TooSlow = 21,
    /// The host is shutting down.
    Closing = 22,
    /// Too many signals of this edge wait for their receipts.
    TooManyOpen = 23,
    /// The target's session ended before it acknowledged.
    Gone = 24,
    /// A frame arrived that the edge may not send, such as binary on a JSON protocol.
    BadFrame = 25,
}

impl Refusal {
    /// All codes, in the order of their numbers.
    pub const ALL: [Refusal; 26] = [
        Refusal::Other,
        Refusal::NoSuchPeer,
        Refusal::HomeUnreachable,
        Refusal::QueueFull,
        Refusal::TooBig,
        Refusal::RateLimited,
        Refusal::Overtaken,
        Refusal::Overloaded,
        Refusal::Malformed,
        Refusal::UnknownType,
        Refusal::BadField,
        Refusal::HelloExpected,
        Refusal::HelloRepeated,
        Refusal::HelloTimeout,
        Refusal::SessionLost,
        Refusal::Replaced,
        Refusal::ClaimOld,
        Refusal::ClaimInvalid,
        Refusal::TooManyTopics,
        Refusal::TooManyEdges,
        Refusal::OriginNotAllowed,
        Refusal::TooSlow,
        Refusal::Closing,
        Refusal::TooManyOpen,
        Refusal::Gone,
        Refusal::BadFrame,
    ];

    /// The number that goes between hosts.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The name that goes to edges, in logs and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name_and_sentence().0
    }

    /// One sentence for a person.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        self.name_and_sentence().1
    }

    fn name_and_sentence(self) -> (&'static str, &'static str) {
        match self {
            Refusal::Other => ("other", "Refused for a reason this version does not know."),
            Refusal::NoSuchPeer => ("no_such_peer", "No such peer is present in the network."),
            Refusal::HomeUnreachable => ("home_unreachable", "No path leads to the peer's host right now."),
            Refusal::QueueFull => ("queue_full", "The peer does not acknowledge what it is sent."),
            Refusal::TooBig => ("too_big", "The message is larger than the limit."),
            Refusal::RateLimited => ("rate_limited", "Too many messages in too short a time."),
            Refusal::Overtaken => ("overtaken", "A later signal to the same peer was delivered first."),
            Refusal::Overloaded => ("overloaded", "The host has no room for more of this now."),
            Refusal::Malformed => ("malformed", "The message is not what the protocol asks for."),
            Refusal::UnknownType => ("unknown_type", "The message type is not known."),
            Refusal::BadField => ("bad_field", "A field is missing or outside its bounds."),
            Refusal::HelloExpected => ("hello_expected", "The first message must be hello."),
            Refusal::HelloRepeated => ("hello_repeated", "This socket has said hello already."),
            Refusal::HelloTimeout => ("hello_timeout", "No hello came within the deadline."),
            Refusal::SessionLost => ("session_lost", "The session is unknown or its grace period is over."),
            Refusal::Replaced => ("replaced", "A newer session of this peer took over."),
            Refusal::ClaimOld => ("claim_old", "The claim's counter is not above the known one."),
            Refusal::ClaimInvalid => ("claim_invalid", "A signature of the claim does not verify."),
            Refusal::TooManyTopics => ("too_many_topics", "The edge is in as many topics as it may be."),
            Refusal::TooManyEdges => ("too_many_edges", "This address has as many edges as it may have."),
            Refusal::OriginNotAllowed => ("origin_not_allowed", "Pages of this origin may not use this host."),
            Refusal::TooSlow => ("too_slow", "The edge did not read or acknowledge in time."),
            Refusal::Closing => ("closing", "The host is shutting down."),
            Refusal::TooManyOpen => ("too_many_open", "Too many signals wait for their receipts."),
            Refusal::Gone => ("gone", "The peer left before it acknowledged."),
            Refusal::BadFrame => ("bad_frame", "Frames of this kind are not taken here."),
        }
    }
}

impl From<Refusal> for u8 {
    fn from(refusal: Refusal) -> u8 {
        refusal.number()
    }
}

impl From<u8> for Refusal {
    fn from(number: u8) -> Refusal {
        Refusal::ALL.get(usize::from(number)).copied().unwrap_or(Refusal::Other)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions_and_names_are_unique() {
        let mut names: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        for (position, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(usize::from(refusal.number()), position);
            assert_eq!(Refusal::from(refusal.number()), *refusal);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
    }

    #[test]
    fn an_unknown_number_becomes_other() {
        assert_eq!(Refusal::from(250), Refusal::Other);
    }
}
