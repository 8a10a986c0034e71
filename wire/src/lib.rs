//! Every byte that leaves an Aldis process. No I/O, no async, no clock, no randomness of its own.
//!
//! `PROTOCOL.md` beside this crate is the normative text.
//!
//! | module | what |
//! |---|---|
//! | [`id`], [`hex`] | names of hosts, peers and topics, and their text form |
//! | [`network`] | a genesis and all that is derived from it |
//! | [`proof`] | how a peer's presence is proved |
//! | [`record`] | the signed host record |
//! | [`revocation`] | the end of a host's identity |
//! | [`announcement`] | signed heads and the ops they cover |
//! | [`digest`] | the trie by which two replicas prove themselves equal |
//! | [`host`], [`codec`] | the frames between hosts and how they are cut out of a stream |
//! | [`seal`] | what crosses a third host is sealed home to home |
//! | [`edge`] | the JSON messages of edges |
//! | [`door`] | data between the front doors of other systems |
//! | [`refusal`] | every typed no |
//! | [`limits`] | bounds on which both ends must agree |
//! | `newer` | what a later version may add, for a test |

pub mod announcement;
pub mod codec;
pub mod digest;
pub mod door;
pub mod edge;
pub mod hex;
pub mod host;
pub mod id;
pub mod limits;
pub mod network;
mod newer;
pub mod proof;
pub mod record;
pub mod refusal;
pub mod revocation;
pub mod seal;
