//! Limits on which both ends must agree. What is ours alone lives in `relay::limits`.
//!
//! Sizes end in `_BYTES`, counts in `_MAX`; durations are [`Duration`]s.

use std::time::Duration;

/// The protocol version that this crate speaks (PROTOCOL.md §2).
pub const VERSION: u16 = 1;

/// `data` of a signal. A large SDP with candidates has 10 KiB.
pub const SIGNAL_DATA_BYTES: usize = 65_536;
/// A whole text frame of an edge: `data`, and room for the other fields.
pub const EDGE_MESSAGE_BYTES: usize = SIGNAL_DATA_BYTES + 4_096;
/// What one edge may seal for another in one signal: as base64, with keys and signature, it fits `data`.
pub const SEALED_PLAIN_BYTES: usize = 48_000;
/// Any id that an edge chooses for a request.
pub const REQUEST_ID_BYTES: usize = 64;
/// A topic's name.
pub const TOPIC_NAME_BYTES: usize = 256;
/// `meta` of a membership: a display name and a few flags.
pub const META_BYTES: usize = 1_024;
/// Arrays and objects in one another, within `data` or `meta`. Readers that recurse, serde_json's among them, stop at 128.
pub const JSON_DEPTH_MAX: usize = 64;
/// Members that one answer holds.
pub const SAMPLE_MAX: usize = 64;
/// Members that an answer to `discover` holds when the edge does not say.
pub const SAMPLE_DEFAULT: usize = 32;
/// A network's name.
pub const NETWORK_NAME_BYTES: usize = 64;

/// Body of one frame between hosts: a signal of full size, sealed, with its addresses.
pub const FRAME_BYTES: usize = SIGNAL_DATA_BYTES + 8_192;
/// What a link may send before it is admitted: one Hello.
pub const FRAME_BEFORE_ADMISSION_BYTES: usize = 4_096;
/// Ops of one announcement, encoded. Larger changes go out in several.
pub const OPS_BYTES: usize = 32_768;
/// The same, counted: some ops are so short that they would take far more memory decoded than encoded.
pub const OPS_MAX: usize = 1_024;
/// Memory that reading one frame, or the ops of one announcement, takes at most besides the bytes that are read. Most take
/// 4,096 entries of a summary with 56 bytes each, and 1,024 ops with 160.
pub const DECODED_BYTES: usize = 512 << 10;
/// A signed head: fixed fields, a few varints and the signature.
pub const HEAD_BYTES: usize = 256;
/// A signed host record: addresses, gateway URLs.
pub const RECORD_BYTES: usize = 1_664;
/// Addresses in a host record.
pub const RECORD_ADDRESSES_MAX: usize = 8;
/// Addresses in a host record at which it may be reached by those who are introduced.
pub const RECORD_CANDIDATES_MAX: usize = 4;
/// Addresses of STUN servers in a host record: one for each family.
pub const RECORD_STUN_MAX: usize = 2;
/// Addresses to which two hosts that are introduced dial at once.
pub const CANDIDATES_MAX: usize = 8;
/// Gateway URLs in a host record.
pub const RECORD_GATEWAYS_MAX: usize = 4;
/// Neighbours in a host record: twice as many as a host keeps. With everything else at its limit they fit
/// [`RECORD_BYTES`].
pub const RECORD_NEIGHBOURS_MAX: usize = 24;
/// One gateway URL.
pub const GATEWAY_URL_BYTES: usize = 256;
/// A host's software version as text.
pub const SOFTWARE_BYTES: usize = 32;

/// Announcements of one origin per second. An origin batches for 50 ms, so an honest one makes 20; twice that is a flood.
pub const ANNOUNCEMENTS_PER_SECOND: u32 = 40;
/// Announcements of one origin at once: a full host that shuts down announces some 100.
pub const ANNOUNCEMENTS_BURST: u32 = 512;
/// Bytes of ops that one origin announces per second: 1,000 edges that come and go each ten seconds.
pub const ANNOUNCED_BYTES_PER_SECOND: u32 = 256 << 10;
/// Bytes of ops at once: a host with as many edges as it may have, all of which come back after a restart, in a topic each.
pub const ANNOUNCED_BYTES_BURST: u32 = 16 << 20;
/// Presence records in one roster. A host with more edges needs a second host.
pub const ROSTER_PEERS_MAX: usize = 65_536;
/// Memberships in one roster.
pub const ROSTER_MEMBERSHIPS_MAX: usize = 262_144;
/// Metas of one roster together.
pub const ROSTER_META_BYTES: usize = 64 << 20;
/// Topics one peer may be in.
pub const PEER_TOPICS_MAX: usize = 32;

/// Entries of a summary (`Have`) in one frame.
pub const HAVE_ENTRIES_MAX: usize = 4_096;
/// Numbers that summaries use for origins, each way on a link; then they are given anew.
pub const HAVE_NUMBERS_MAX: u16 = 4_096;
/// Ranges asked for in one `Query`.
pub const QUERY_RANGES_MAX: usize = 256;
/// Statements in one `Revoked`: some 25 KiB.
pub const REVOCATIONS_MAX: usize = 256;
/// Parts of a range that one `Below` lists: the children of a branch, or the entries of a leaf.
pub const BELOW_MAX: usize = 16;
/// Entries of a subtree that are sent whole instead of being descended into.
pub const REPLY_ENTRIES_MAX: usize = 256;

/// Signal lanes each way on a link.
pub const LANES: u8 = 4;
/// Hosts that a signal may cross.
pub const HOPS_MAX: u8 = 16;

/// Shortest interval between heartbeats that a head may state.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
/// Longest interval between heartbeats that a head may state: 4,096 hosts at 3 s per 50.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(300);
/// Heartbeats that may be missed before a roster expires.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Connections that a Hello names as lost. Two cross now and then; more are there for moments only.
pub const LOST_NAMED_MAX: usize = 4;
/// Two connections between the same hosts have crossed if one came at most so long after the other: a dial takes 5 s, and
/// admission as long. One that comes later was dialled by somebody who has lost the first (PROTOCOL.md §5.4).
pub const CROSSED_WITHIN: Duration = Duration::from_secs(10);
