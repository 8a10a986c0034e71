//! What members and watchers of topics are told.

use std::collections::BTreeMap;

use aldis_wire::id::{PeerId, TopicId};
use bytes::Bytes;

use crate::relay::io::LeftReason;

/// A change of what members and watchers of a topic see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Where.
    pub(crate) topic: TopicId,
    /// Who.
    pub(crate) peer: PeerId,
    /// How.
    pub(crate) how: How,
}

/// How a member changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It came, or has a new meta.
    Joined(Bytes),
    /// It went.
    Left(LeftReason),
}

/// A membership that is not shown any more, unless it comes back in the same breath.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) topic: TopicId,
    pub(super) peer: PeerId,
    pub(super) reason: LeftReason,
    pub(super) meta: Bytes,
}

/// What remains to be told when `gone` is followed by `come`: of a member that was shown before, only how it ends, and
/// nothing if it comes back as it was.
pub(super) fn difference(gone: Vec<Gone>, come: Vec<Shown>) -> Vec<Shown> {
    if gone.is_empty() {
        return come;
    }
    let old: BTreeMap<(TopicId, PeerId), &Bytes> =
        gone.iter().map(|gone| ((gone.topic, gone.peer), &gone.meta)).collect();
    // Of several the last stays.
    let last: BTreeMap<(TopicId, PeerId), usize> =
        (0..).zip(&come).map(|(at, shown)| ((shown.topic, shown.peer), at)).collect();
    let left = |gone: &Gone| Shown { topic: gone.topic, peer: gone.peer, how: How::Left(gone.reason) };
    let mut told: Vec<Shown> =
        gone.iter().filter(|gone| !last.contains_key(&(gone.topic, gone.peer))).map(left).collect();
    for (at, shown) in come.into_iter().enumerate() {
        let member = (shown.topic, shown.peer);
        let news = match (old.get(&member), &shown.how) {
            (None, _) => true,
            (Some(old), How::Joined(meta)) => last.get(&member) == Some(&at) && meta != *old,
            (Some(_), How::Left(_)) => last.get(&member) == Some(&at),
        };
        if news {
            told.push(shown);
        }
    }
    told
}
