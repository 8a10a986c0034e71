//! The bytes of a WebSocket message: one nanomessage frame with a nanomessage-rpc body (wire/DOORS.md).

/// In the header of nanomessage: this answers the request of that id.
const IS_RESPONSE: u32 = 1;
/// In the flags of the body: a response.
const FLAG_RESPONSE: u32 = 1;
/// In the flags of the body: a request whose handler returns nothing.
const FLAG_EVENT: u32 = 1 << 1;
/// In the flags of the body: a response that is an error.
const FLAG_ERROR: u32 = 1 << 2;
/// A varint of more bytes is none of this protocol: ids and lengths fit 32 bits.
const VARINT_BYTES_MAX: u32 = 5;
/// Room for everything but name and JSON: five varints.
const FIELDS_BYTES: usize = 25;

/// The greatest id that a header has room for.
pub(super) const ID_MAX: u32 = u32::MAX >> 1;

/// One frame. Id 0 of a request: nobody waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Request { id: u32, event: bool, name: &'a str, json: &'a [u8] },
    Response { id: u32, error: bool, json: &'a [u8] },
}

impl<'a> Frame<'a> {
    /// Reads a message. Bytes after the frame are ignored, as the original server does.
    pub(super) fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let header = varint(&mut bytes)?;
        let mut body = counted(&mut bytes)?;
        let flags = varint(&mut body)?;
        let id = header >> 1;
        match (header & IS_RESPONSE != 0, flags & FLAG_RESPONSE != 0) {
            (false, false) => {
                let name = std::str::from_utf8(counted(&mut body)?).ok()?;
                Some(Self::Request { id, event: flags & FLAG_EVENT != 0, name, json: counted(&mut body)? })
            }
            (true, true) => Some(Self::Response { id, error: flags & FLAG_ERROR != 0, json: counted(&mut body)? }),
            _ => None,
        }
    }

    /// The message. Ids beyond [`ID_MAX`] lose their first bit.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (header, name, json) = match *self {
            Self::Request { id, name, json, .. } => (id << 1, name, json),
            Self::Response { id, json, .. } => (id << 1 | IS_RESPONSE, "", json),
        };
        let mut body = Vec::with_capacity(FIELDS_BYTES + name.len() + json.len());
        match self {
            Self::Request { event, .. } => {
                put(if *event { FLAG_EVENT } else { 0 }, &mut body);
                put_counted(name.as_bytes(), &mut body);
            }
            Self::Response { error, .. } => {
                put(if *error { FLAG_RESPONSE | FLAG_ERROR } else { FLAG_RESPONSE }, &mut body);
            }
        }
        put_counted(json, &mut body);
        let mut out = Vec::with_capacity(FIELDS_BYTES + body.len());
        put(header, &mut out);
        put_counted(&body, &mut out);
        out
    }
}

/// A little-endian base 128 number that fits 32 bits.
fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u64;
    for place in 0..VARINT_BYTES_MAX {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}

/// Bytes after their length.
fn counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(bytes)?).ok()?;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn put(mut value: u32, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn put_counted(bytes: &[u8], out: &mut Vec<u8>) {
    put(u32::try_from(bytes.len()).unwrap_or(u32::MAX), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panic")]
    use super::*;
    use proptest::prelude::*;

    /// As a stock client sent it.
    #[test]
    fn a_join_of_a_real_client_is_read() {
        let json = format!("{{\"data\":{{\"topic\":\"base64:{}=\"}}}}", "A".repeat(43));
        let length = u8::try_from(json.len()).unwrap();
        let mut bytes = vec![0x02, 7 + length, 0x00, 0x04];
        bytes.extend(b"join");
        bytes.push(length);
        bytes.extend(json.as_bytes());
        let frame = Frame::Request { id: 1, event: false, name: "join", json: json.as_bytes() };
        assert_eq!(Frame::decode(&bytes), Some(frame));
        assert_eq!(frame.encode(), bytes);
        let empty = Frame::Response { id: 1, error: false, json: b"{}" };
        assert_eq!(empty.encode(), [0x03, 0x04, 0x01, 0x02, b'{', b'}']);
    }

    #[test]
    fn what_follows_a_frame_is_ignored_and_what_is_missing_is_not() {
        let mut bytes = Frame::Request { id: 5, event: true, name: "signal", json: b"{}" }.encode();
        for length in 0..bytes.len() {
            assert_eq!(Frame::decode(&bytes[..length]), None, "{length}");
        }
        bytes.extend(b"more");
        assert!(Frame::decode(&bytes).is_some());
    }

    #[test]
    fn numbers_beyond_32_bits_and_contradictions_are_no_frames() {
        for bytes in [
            &b"\xff\xff\xff\xff\x7f\x04\x01\x02{}"[..],
            b"\x80\x80\x80\x80\x80\x00\x04\x01\x02{}",
            // A request whose body is a response, and the other way round.
            b"\x02\x04\x01\x02{}",
            b"\x03\x09\x00\x04join\x02{}",
            // A name that is not UTF-8.
            b"\x02\x06\x00\x01\xff\x02{}",
        ] {
            assert_eq!(Frame::decode(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn every_frame_is_read_as_it_was_written(
            id in 0..=ID_MAX, flag: bool, request: bool, name in "\\PC{0,200}", json in "\\PC{0,300}",
        ) {
            let (name, json) = (name.as_str(), json.as_bytes());
            let frame = if request {
                Frame::Request { id, event: flag, name, json }
            } else {
                Frame::Response { id, error: flag, json }
            };
            let bytes = frame.encode();
            prop_assert_eq!(Frame::decode(&bytes), Some(frame));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(Frame::Request { json, .. } | Frame::Response { json, .. }) = Frame::decode(&bytes) {
                prop_assert!(json.len() < bytes.len());
            }
        }
    }
}
