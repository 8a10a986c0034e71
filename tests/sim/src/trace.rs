//! What happened, as one number that tells two runs apart, and as arrows for people: the last moments of a run.

use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::map::Place;
use crate::meter::FRAMES;
use crate::queue::{At, MS};

/// Arrows kept, about 40 bytes each.
const KEPT_MAX: usize = 100_000;

/// One line of a trace.
#[derive(Clone, Copy, Debug)]
pub enum Arrow {
    /// A frame arrives.
    Frame {
        /// Who sent it.
        from: Place,
        /// Where it arrives.
        to: Place,
        /// Its kind.
        kind: u8,
        /// Header and body.
        bytes: u32,
    },
    /// A connection is through TLS at its dialler.
    Opened(Place, Place),
    /// A connection is gone, as this host sees it.
    Closed(Place, Place),
    /// An edge asks its host for something.
    Asks(u32, Place, &'static str),
    /// A host tells an edge something.
    Tells(Place, u32, &'static str),
    /// Something is done to a host from outside.
    Fault(Place, &'static str),
}

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    last: VecDeque<(At, Arrow)>,
}

impl Trace {
    /// Takes a number into the hash.
    pub fn mix(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Takes bytes into the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().expect("eight of them")));
        }
        for byte in words.remainder() {
            self.mix(u64::from(*byte));
        }
    }

    /// Keeps an arrow; the oldest is forgotten.
    pub fn push(&mut self, at: At, arrow: Arrow) {
        if self.last.len() == KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back((at, arrow));
    }

    /// The number of all that happened.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last `lines` arrows that begin or end at one of these hosts; all hosts if there are none.
    #[must_use]
    pub fn last(&self, hosts: &[Place], lines: usize) -> String {
        let about = |arrow: &Arrow| match arrow {
            _ if hosts.is_empty() => true,
            Arrow::Frame { from, to, .. } => hosts.contains(from) || hosts.contains(to),
            Arrow::Opened(a, b) | Arrow::Closed(a, b) => hosts.contains(a) || hosts.contains(b),
            Arrow::Asks(_, host, _) | Arrow::Tells(host, ..) | Arrow::Fault(host, _) => hosts.contains(host),
        };
        let chosen: Vec<_> = self.last.iter().rev().filter(|(_, arrow)| about(arrow)).take(lines).collect();
        let mut text = String::new();
        for (at, arrow) in chosen.into_iter().rev() {
            let _ = write!(text, "{:>12.3} ms  ", *at as f64 / MS as f64);
            let _ = match arrow {
                Arrow::Frame { from, to, kind, bytes } => {
                    let name = FRAMES[usize::from(*kind).min(FRAMES.len() - 1)];
                    writeln!(text, "h{from} ==> h{to}  {name} ({bytes} bytes)")
                }
                Arrow::Opened(a, b) => writeln!(text, "h{a} === h{b}"),
                Arrow::Closed(a, b) => writeln!(text, "h{a} =/= h{b}"),
                Arrow::Asks(edge, host, what) => writeln!(text, "e{edge} --> h{host}  {what}"),
                Arrow::Tells(host, edge, what) => writeln!(text, "h{host} --> e{edge}  {what}"),
                Arrow::Fault(host, what) => writeln!(text, "h{host} *** {what}"),
            };
        }
        text
    }
}
