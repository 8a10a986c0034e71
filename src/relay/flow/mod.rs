//! What happens, step by step. Each file is one part of [`super::state::State`]'s behaviour; the tables it moves things
//! between know nothing of each other.
//!
//! | file | begins with |
//! |---|---|
//! | `edges` | an edge's socket opens, asks, closes |
//! | `signals` | a session sends; a signal, receipt or bounce arrives; an edge acknowledges |
//! | `holding` | a pair that signals all the time could take a shorter way |
//! | `repeating` | something that went sealed has no answer |
//! | `broadcasts` | a session sends to a topic; a broadcast or a tally arrives |
//! | `ways` | a frame must get from home to home |
//! | `announcing` | our own roster changes; a heartbeat is due |
//! | `receiving` | an announcement or a prune arrives |
//! | `summaries` | a summary arrives, or is due |
//! | `grafting` | a neighbour asks for what it has missed, or answers with a delta |
//! | `introducing` | a link brings the first head of an origin |
//! | `catching_up` | a gap lasts too long; a query or a reply arrives |
//! | `reaching` | somebody tells where we are; a place of ours is to be checked |
//! | `checking` | a neighbour asks whether a host can be reached |
//! | `linking` | a connection opens, says hello, is admitted, closes |
//! | `awaiting` | a link gives way to one that is about to be admitted |
//! | `moving` | an address has changed, ours or another host's |
//! | `meeting` | a host that cannot be dialled is wanted; somebody asks to be introduced |
//! | `losing` | a neighbour is silent; somebody says that a host is gone |
//! | `tending` | it is time to look after the choice of neighbours |
//! | `barring` | lists or revocations come, or something of a host that is kept out |
//! | `life` | a host is not heard any more; the host shuts down; things are forgotten |
//! | `viewing` | an operator looks |

mod announcing;
mod awaiting;
mod barring;
mod broadcasts;
mod catching_up;
mod checking;
mod edges;
mod grafting;
mod holding;
mod introducing;
mod life;
mod linking;
mod losing;
mod meeting;
mod moving;
mod reaching;
mod receiving;
mod repeating;
mod signals;
mod summaries;
mod tending;
mod viewing;
mod ways;
