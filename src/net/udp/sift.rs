//! Which datagram is whose, by its first byte (RFC 9443 §4, of which only STUN and QUIC are spoken here).

use quinn::udp::RecvMeta;

/// Whose a datagram is that is not quinn's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It begins as STUN does.
    Stun,
    /// Nobody's: DTLS, ZRTP, TURN's successors, noise.
    Nobody,
}

/// `None`: QUIC's. Our endpoint never lets the other side clear the fixed bit (`grease_quic_bit` is off), so every
/// packet of a version that we speak begins with 64 or more.
fn other_than_quic(datagram: &[u8]) -> Option<Owner> {
    match datagram.first()? {
        0..=3 => Some(Owner::Stun),
        4..=63 => Some(Owner::Nobody),
        64..=255 => None,
    }
}

/// Hands what is not QUIC's to `take` and closes the gaps. Returns how many bytes at the beginning of `buf` are left.
///
/// A buffer may hold several datagrams of one sender, each `stride` long but the last, which may be shorter
/// (`RecvMeta`). What is left of it has the same shape.
pub(super) fn sift(buf: &mut [u8], meta: &RecvMeta, mut take: impl FnMut(Owner, &[u8])) -> usize {
    let (len, stride) = (meta.len.min(buf.len()), meta.stride.max(1));
    let (mut kept, mut start) = (0, 0);
    while start < len {
        let end = len.min(start.saturating_add(stride));
        match buf.get(start..end).map(|datagram| (datagram, other_than_quic(datagram))) {
            Some((datagram, Some(owner))) => take(owner, datagram),
            _ => {
                if kept < start {
                    buf.copy_within(start..end, kept);
                }
                kept += end - start;
            }
        }
        start = end;
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panic")]
    use super::*;

    /// Sifts datagrams that came in one buffer: what is left, and what was taken.
    fn sifted(datagrams: &[&[u8]]) -> (Vec<u8>, Vec<(Owner, Vec<u8>)>) {
        let mut buf = datagrams.concat();
        let stride = datagrams.first().map_or(0, |first| first.len());
        let meta = RecvMeta { len: buf.len(), stride, ..RecvMeta::default() };
        // Buffers are longer than what came.
        buf.extend([0xff; 9]);
        let mut taken = Vec::new();
        let kept = sift(&mut buf, &meta, |owner, datagram| taken.push((owner, datagram.to_vec())));
        (buf.get(..kept).unwrap().to_vec(), taken)
    }

    #[test]
    fn the_first_byte_alone_says_whose_a_datagram_is() {
        for first in 0..=u8::MAX {
            let (left, taken) = sifted(&[&[first, 1, 2]]);
            let (rest, owner): (&[u8], _) = match first {
                0..=3 => (&[], Some(Owner::Stun)),
                4..=63 => (&[], Some(Owner::Nobody)),
                _ => (&[first, 1, 2], None),
            };
            assert_eq!(left, rest, "{first}");
            assert_eq!(taken.first().map(|(owner, _)| *owner), owner, "{first}");
        }
    }

    #[test]
    fn datagrams_in_one_buffer_are_told_apart_and_what_is_left_keeps_its_order() {
        let (left, taken) = sifted(&[b"\x00st", b"@q1", b"\x10no", b"\xc0q2", b"@3"]);
        assert_eq!(left, b"@q1\xc0q2@3");
        assert_eq!(taken, [(Owner::Stun, b"\x00st".to_vec()), (Owner::Nobody, b"\x10no".to_vec())]);
        let (left, taken) = sifted(&[b"@q1", b"@q2", b"\x01"]);
        assert_eq!((left, taken), (b"@q1@q2".to_vec(), vec![(Owner::Stun, vec![1])]), "also a shorter last one");
    }

    #[test]
    fn an_empty_datagram_and_a_stride_of_nothing_are_no_endless_work() {
        assert_eq!(sifted(&[b""]), (Vec::new(), Vec::new()));
        let mut buf = *b"@\x00@";
        let meta = RecvMeta { len: 99, stride: 0, ..RecvMeta::default() };
        assert_eq!(sift(&mut buf, &meta, |_, _| ()), 2);
    }
}
