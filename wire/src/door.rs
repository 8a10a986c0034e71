//! Data between the front doors of other systems, marked so that nothing else is taken for it (PROTOCOL.md §10).

use bytes::Bytes;

/// The first byte. No JSON begins with it, so no edge of our own protocol can send this.
const MARK: u8 = 0x01;

/// Data of a signal or a broadcast from one door to its like at another host: mark, length and name of the door, body.
/// A name has at most 255 bytes.
#[must_use]
pub fn wrap(door: &str, body: &[u8]) -> Bytes {
    let mut data = Vec::with_capacity(2 + door.len() + body.len());
    data.push(MARK);
    data.push(u8::try_from(door.len()).unwrap_or(u8::MAX));
    data.extend_from_slice(door.as_bytes());
    data.extend_from_slice(body);
    data.into()
}

/// The body, if the data is from a door of this name.
#[must_use]
pub fn unwrap(door: &str, data: &Bytes) -> Option<Bytes> {
    let rest = data.strip_prefix(&[MARK, u8::try_from(door.len()).ok()?])?.strip_prefix(door.as_bytes())?;
    Some(data.slice_ref(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_door_opens_it() {
        let data = wrap("chess", b"e4");
        assert_eq!(&data[..], b"\x01\x05chesse4");
        assert_eq!(unwrap("chess", &data), Some(Bytes::from_static(b"e4")));
        assert_eq!(unwrap("chess", &wrap("chess", b"")), Some(Bytes::new()));
        for (door, data) in
            [("ches", &data[..]), ("chessy", &data[..]), ("chess", b"{}"), ("chess", b""), ("chess", &data[..4])]
        {
            assert_eq!(unwrap(door, &Bytes::copy_from_slice(data)), None, "{door} {data:?}");
        }
    }
}
