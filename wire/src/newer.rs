//! What a later minor version may add, for the fault laboratory: a host built with the feature `newer` writes it wherever
//! PROTOCOL.md allows it, and every host must live with that. Without the feature this does nothing.

use bytes::Bytes;

use crate::codec;

const WRITES: bool = cfg!(feature = "newer");
/// No version has these numbers yet.
const KIND: u8 = 250;
const ADDED: &[u8] = b"later";

/// Behind what may be appended to (PROTOCOL.md §5.3, §6.2).
pub(crate) fn append(bytes: &mut Vec<u8>) {
    if WRITES {
        bytes.extend_from_slice(ADDED);
    }
}

/// A frame of an unknown kind before one that goes over an admitted link (PROTOCOL.md §5.1).
pub(crate) fn precede(frame: Bytes) -> Bytes {
    match codec::frame(KIND, ADDED) {
        Ok(unknown) if WRITES => [unknown, frame].concat().into(),
        _ => frame,
    }
}

/// An op of an unknown kind behind others, if there is room for it (PROTOCOL.md §6.2).
pub(crate) fn add_op(ops: &mut Vec<u8>, limit: usize) {
    let op = [&[KIND, 0, 5], ADDED].concat();
    if WRITES && !ops.is_empty() && ops.len() + op.len() <= limit {
        ops.extend_from_slice(&op);
    }
}

/// A field that no edge knows, in a JSON object (PROTOCOL.md §4).
pub(crate) fn add_field(json: &mut Vec<u8>) {
    if WRITES && json.pop().is_some() {
        json.extend_from_slice(br#","later":{"than":["you"]}}"#);
    }
}
