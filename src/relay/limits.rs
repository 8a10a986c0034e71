//! Every number that is ours alone: unit, reason, and the refusal it causes. What the other end must share is in
//! `aldis_wire::limits`.

mod linking;
mod rate;

use std::time::Duration;

pub use linking::*;
pub use rate::Rate;

// ---- Edges ------------------------------------------------------------------------------------------------------

/// From greeting to `hello`; then `hello_timeout`. A phone on a bad line needs two round trips.
pub const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// A session waits this long for its edge to come back. A train leaves a tunnel; a page reloads.
pub const GRACE: Duration = Duration::from_secs(30);
/// From taking a signal to `unknown` at the latest. The promise to applications (DESIGN §3).
pub const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A direct link must have stood so long before a pair changes over to it: of two that cross one goes at once.
pub const HOLD_AFTER: Duration = Duration::from_secs(1);
/// A pair that changes its path holds new signals back at most twice as long as its last receipt took, and at least so
/// long: a page that is busy for a moment answers a little later.
pub const HOLD_MIN: Duration = Duration::from_millis(250);
/// And never longer than this. More would be felt, and is not made up for by a shorter way. A pair whose receipts take so
/// long does not try.
pub const HOLD_MAX: Duration = Duration::from_secs(1);
/// A pair whose hold came to nothing tries again after this.
pub const HOLD_AGAIN: Duration = Duration::from_secs(10);
/// Signals of a pair that are held back. One each 40 ms is 25 in the longest hold; with more the hold ends at once.
pub const HELD_SIGNALS_MAX: usize = 32;
/// Sequenced messages kept for an edge until it acknowledges; then `too_slow`. When a host is lost, all its members of a
/// topic leave in one moment, and nobody can acknowledge in between: a topic of 3,000 members at one host must fit, or
/// 32 topics of 90.
pub const UNACKED_MAX: usize = 3_072;
/// Bytes of signals and broadcasts among them. With 10,000 silent edges this bounds their queues at 2.5 GiB; 16 of them
/// fit 4 MiB.
pub const UNACKED_BYTES: usize = 256 << 10;
/// Bytes of the others besides. When a host is found again, all its members of a topic come in one moment, with metas: 500
/// with metas of full size must fit. Both together fit an edge's mailbox, beside answers.
pub const UNACKED_EVENTS_BYTES: usize = 600 << 10;
/// Part of `UNACKED_MAX` that signals may not take, so that receipts and events still fit; then `queue_full`.
pub const UNACKED_RESERVE: usize = UNACKED_MAX - 192;
/// Signals of one session that wait for their receipts; then `too_many_open`.
pub const OPEN_SIGNALS_MAX: usize = 128;
/// Signals a session remembers by id, so that a repetition attaches to the first. The oldest finished ones are forgotten.
pub const REMEMBERED_SIGNALS_MAX: usize = 512;
/// Part of what signals may take of a session's queue that broadcasts may not: nobody who floods a topic holds up the
/// signals to its members. A member who has no room misses the broadcast, and the sender's tally says so.
pub const BROADCAST_RESERVE: usize = 64;
/// The same in bytes: one signal of full size.
pub const BROADCAST_RESERVE_BYTES: usize = aldis_wire::limits::SIGNAL_DATA_BYTES + 1_024;
/// Broadcasts of one session that wait for tallies; then `too_many_open`.
pub const OPEN_BROADCASTS_MAX: usize = 32;
/// Broadcasts a session remembers by id, so that a repetition is not sent again, about 150 bytes each.
pub const REMEMBERED_BROADCASTS_MAX: usize = 128;
/// A broadcast counts as one request for each host that has members of the topic, and for each so many members.
pub const MEMBERS_PER_TOKEN: usize = 32;
/// And once more for each so many bytes: one of full size counts five times.
pub const BYTES_PER_TOKEN: usize = 16 << 10;
/// Bytes of all copies of one broadcast that leave a host, some more for each copy counted; then `too_big`. The host
/// seals each copy to a host with which it has no link, and nobody else has the machine meanwhile. 4,096 hosts can have
/// 3.8 KB, 250 hosts 64 KiB.
pub const BROADCAST_COPIES_BYTES: usize = 16 << 20;
/// What one copy weighs besides its data.
pub const BROADCAST_OVERHEAD_BYTES: usize = 256;
/// Places in queues of members here that the broadcasts of one other host may take, each once more for each
/// `BYTES_PER_TOKEN`; then `rate_limited`. A frame of 200 bytes may cost as many as there are followers of the topic here.
pub const HOST_DELIVERIES: Rate = Rate { per_second: 50_000, burst: 200_000 };
/// Broadcasts remembered by a host because they came for members here, about 250 bytes each; their senders as well.
pub const REMEMBERED_SPREADS_MAX: usize = 65_536;
/// Homes remember (sender, id) this long, so that a repetition is not delivered twice.
pub const DEDUPLICATION: Duration = Duration::from_secs(120);
/// Deliveries remembered by a host for the same, about 200 bytes each.
pub const REMEMBERED_DELIVERIES_MAX: usize = 131_072;
/// Sealed frames of others that may still bounce, about 100 bytes each. Beyond it the oldest cannot bounce any more, and
/// its sender is told `unknown`.
pub const PASSED_ON_MAX: usize = 65_536;
/// Numbers of sealed frames that a home may be behind its newest: frames on four lanes overtake each other, and a lane
/// that waits 0.2 s for a lost packet is 2,000 frames behind at 10,000 a second.
pub const REPLAY_WINDOW: usize = 8_192;
/// Homes whose windows are kept, 1 KiB each; the one used longest ago is forgotten.
pub const REPLAY_WINDOWS_MAX: usize = 4_096;
/// A sealed frame that is behind those of so long ago is played again, or was kept back: a signal is open for 5 s. Three times
/// that must be below `DEDUPLICATION`.
pub const REPLAY_AGE: Duration = Duration::from_secs(30);
/// What went sealed by way of others should have its answer after this; then it goes again by another way. Four of the
/// longest ways between two hosts, 300 ms each, and three other ways can be tried before `SIGNAL_TIMEOUT`.
pub const WAY_PATIENCE: Duration = Duration::from_millis(1_200);
/// Bytes that go again so; beyond it they do not, and end as `unknown`. Where a part of the network is cut off, or is too
/// slow, everything on its way there is without an answer, and must not become several times as much.
pub const REPEATS: Rate = Rate { per_second: 64 << 10, burst: 1 << 20 };
/// Copies of one sealed signal that may come back, 32 bytes each: one each `WAY_PATIENCE`, and those that go for others of
/// their pair. With more it is not known any more that all came back.
pub const COPIES_MAX: usize = 8;
/// A neighbour by whom there was no answer from a home is passed over on the way there for so long.
pub const DETOUR: Duration = Duration::from_secs(60);
/// Neighbours passed over on the way to one home, as many as are tried for one signal; the first of them gets another chance.
pub const DETOUR_HOSTS_MAX: usize = 4;
/// Homes to which neighbours are passed over, some 200 bytes each; the one that was missed longest ago is forgotten.
pub const DETOURS_MAX: usize = 1_024;
/// How long a sender's home is remembered as the way back to it.
pub const RETURN_ROUTE: Duration = Duration::from_secs(60);
/// Return routes remembered, about 150 bytes each.
pub const RETURN_ROUTES_MAX: usize = 65_536;
/// Senders whose newest signal a session remembers, to keep their order; the longest silent one is forgotten first.
pub const SENDERS_REMEMBERED_MAX: usize = 1_024;
/// Deadlines of signals, 40 bytes each: of all that were taken in the last five seconds, answered or not. 100,000 a second
/// are more than a core passes on; then `overloaded`.
pub const DEADLINES_MAX: usize = 1 << 19;
/// Sessions of a host, those in their grace period included; then `overloaded`.
pub const SESSIONS_MAX: usize = aldis_wire::limits::ROSTER_PEERS_MAX;
/// Edges that share an IPv4 address or an IPv6 /64; then `too_many_edges`. A school behind one address.
pub const EDGES_PER_ADDRESS_MAX: usize = 1_024;
/// Sockets that have not said hello, for one address; then `too_many_edges`.
pub const SILENT_EDGES_PER_ADDRESS_MAX: usize = 64;
/// Addresses for which counts and buckets are kept; the least recently used idle one is forgotten first.
pub const ADDRESSES_MAX: usize = 65_536;
/// Counters of keyed peers are remembered this long after they left.
pub const COUNTER_MEMORY: Duration = Duration::from_secs(3600);
/// Counters remembered, about 60 bytes each.
pub const COUNTERS_MAX: usize = 65_536;

/// Members that an answer to `discover` has at most. Our own protocol asks for 64, since they must fit one frame; doors of
/// other systems owe their clients whole lists. With metas of full size, as many fit an edge's mailbox.
pub const DISCOVER_MAX: usize = 768;
/// A look-up counts as one request for each so many members that are asked for: as many as our own protocol asks for.
pub const DISCOVERED_PER_TOKEN: usize = aldis_wire::limits::SAMPLE_MAX;

/// Requests per second of one edge, and how many may come at once; then `rate_limited`.
/// A page that meets 32 others trickles some 20 candidates to each.
pub const EDGE_RATE: Rate = Rate { per_second: 100, burst: 1_000 };
/// Requests that a hello with a claim counts for besides itself: it costs two signature checks, some 80 µs.
pub const CLAIM_TOKENS: u32 = 19;
/// Refusals for want of tokens that an edge may collect; then its socket is closed, so that refusing costs no more
/// than a bounded share of a core.
pub const PATIENCE: Rate = Rate { per_second: 200, burst: 4_000 };
/// Requests per second of all edges of one address.
pub const ADDRESS_RATE: Rate = Rate { per_second: 2_000, burst: 20_000 };
/// New sockets per second of one address.
pub const ADDRESS_OPEN_RATE: Rate = Rate { per_second: 50, burst: 500 };
/// Joins and leaves per second of one edge: each is multicast to every host.
pub const EDGE_CHANGE_RATE: Rate = Rate { per_second: 5, burst: 64 };

// ---- Rosters and multicast --------------------------------------------------------------------------------------

/// Announcements with ops per second: changes are announced at once while there are tokens, else with the next batch,
/// at most 50 ms later. The burst lets an edge's hello and join go out one after the other without waiting.
pub const BATCHES: Rate = Rate { per_second: 20, burst: 4 };
/// Bytes of our own ops: half of what others take of an origin, since whoever comes must also be able to go. Edges that
/// come, or join, beyond it are refused with `overloaded`, so that a few with large metas cannot have all of us ignored.
pub const OWN_CHANGES: Rate = Rate {
    per_second: aldis_wire::limits::ANNOUNCED_BYTES_PER_SECOND / 2,
    burst: aldis_wire::limits::ANNOUNCED_BYTES_BURST / 2,
};
/// Heartbeat interval of a small network.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// Hosts per heartbeat interval: with more the interval grows in proportion.
pub const HOSTS_PER_HEARTBEAT: usize = 50;
/// Figures for the management view ride along once in so many heartbeats.
pub const HEARTBEATS_PER_STATUS: u64 = 5;
/// Announcements of an origin kept for neighbours that are a little behind.
pub const LOG_MAX: usize = 64;
/// Bytes of the same. One delta that leads to them may be kept besides, of `OPS_BYTES` at most.
pub const LOG_BYTES: usize = 64 << 10;
/// Each host that is known is looked at so long before it would expire, at most; see `multicast/watch.rs`. In small networks,
/// where one expires after 9 s, half of the looks find that it has been heard since.
pub const EXPIRY_LOOK: Duration = Duration::from_secs(4);
/// From so many missing announcements on, one delta stands for them. Fewer are told as they are, so that they go on down
/// the tree at once.
pub const DELTA_MIN: usize = 4;
/// Heads of an origin that wait for the announcements before them.
pub const WAITING_MAX: usize = 64;
/// Signatures of one origin's heads that are checked: twice what it may announce, since a head may come bare and then
/// whole. What comes faster is dropped unread, so that no origin takes more than half a percent of a core that way.
pub const HEAD_CHECKS: Rate = Rate {
    per_second: 2 * aldis_wire::limits::ANNOUNCEMENTS_PER_SECOND,
    burst: 2 * aldis_wire::limits::ANNOUNCEMENTS_BURST,
};
/// KiB that a link's host is told because it asks (`Graft`, `Query`), each question one more. At once as much as all rosters
/// take on the wire when they take `ROSTERS_BYTES` here, so that a host that has just started is never held up; then
/// 8 Mbit/s. What is asked beyond it goes unanswered: `Note::QuestionDropped`.
pub const ANSWERS: Rate = Rate { per_second: 1_024, burst: 512 << 10 };
/// Bytes of entries that comparisons bring of one origin: a roster of full size at once, then as fast as it may announce.
/// The next comparison waits until the debt is paid, or an origin could change all its metas again and again and have
/// everybody fetch them each time.
pub const COMPARED: Rate = Rate { per_second: aldis_wire::limits::ANNOUNCED_BYTES_PER_SECOND, burst: 96 << 20 };
/// Entries of summaries that one link may bring: all origins once a second, and several seconds' worth at once after a
/// stall. Who brings more is a fault: each entry may cost a look at every link, and a question.
pub const HAVE_RATE: Rate = Rate { per_second: 8_192, burst: 65_536 };
/// Claims of senders in no roster that are checked for one link; then `overloaded`. Revocations that it brings as well;
/// what is beyond it is dropped. A signature check each.
pub const CLAIM_CHECKS: Rate = Rate { per_second: 1_000, burst: 4_000 };
/// Queries about our own roster that wait for the next batch, one for each link.
pub const QUERIES_WAITING_MAX: usize = LINKS_MAX;
/// An origin that nobody pushes to us is asked for on so many links, of those whose other sides have as much as we: each
/// asks one question for each origin, whatever its summaries repeat, and the first may withhold what it is asked for.
pub const ORPHAN_ASKED_MAX: usize = 2;
/// A gap must last this long, or two round trips, before it is grafted: the announcement may be on another link.
pub const GRAFT_AFTER: Duration = Duration::from_millis(200);
/// Between two links the one with the origin itself wins by up to this: it breaks with the origin alone.
pub const LEAD: Duration = Duration::from_millis(20);
/// What a lazy link would have brought earlier is added up, summary by summary, and what it would have brought later is
/// taken off; each time so much as well, so that links that are equally fast do not change places.
pub const LEAD_FREE: Duration = Duration::from_millis(5);
/// Of one lead so much counts: one alone moves nothing, whatever the neighbour says.
pub const LEAD_COUNTED_MAX: Duration = Duration::from_millis(20);
/// The sum at which the tree moves to the lazy link: two leads of 20 ms in a row, or six of 10.
pub const LEADS: Duration = Duration::from_millis(30);
/// The first of an epoch's announcements that is passed on here goes over links that do not push the origin as well, if it
/// is one of these: so the tree of a new origin grows at once, and by a race.
pub const FLOODED_SEQ_MAX: u64 = 4;
/// Links over which a host passes such an announcement on, if it is not its own. Half of them are the nearest.
pub const FLOODED_LINKS_MAX: usize = 8;
/// Epochs of one origin that are flooded: each costs every link a copy.
pub const FLOODS: Rate = Rate { per_second: 1, burst: 4 };
/// Summaries go out at most this often on a link.
pub const HAVE_INTERVAL: Duration = Duration::from_secs(1);
/// An expired roster is kept this long; a head with an equal digest restores it.
pub const EXPIRED_KEPT: Duration = Duration::from_secs(600);
/// Expired rosters kept; the oldest goes first.
pub const EXPIRED_MAX: usize = 1_024;
/// Origins that a host replicates.
pub const ORIGINS_MAX: usize = 4_096;
/// New origins that one link may bring: a quarter of the table at once, so that a host that has just started learns a
/// large network from its first neighbours; then one a second. Besides, a link brings no more once `1 / FREE_SHARE` of
/// what is free is as much as comes over it first.
pub const NEW_ORIGINS_PER_LINK: Rate = Rate { per_second: 1, burst: 1_024 };
/// A link may lead to so many origins as are free, divided by this: one alone to 1,365 of 4,096, four together to 3,287, and
/// the newcomers of the others still find room. With six links that lead to equally many, 3,072 are known.
pub const FREE_SHARE: usize = 2;
/// Places that only the hosts at the other ends of links take, so that whoever is linked is always shown.
pub const ORIGINS_LINKED: usize = LINKS_MAX;
/// Origins of which summaries alone tell and which are asked about. Beyond it they are passed over until a summary names
/// them again.
pub const UNSEEN_MAX: usize = ORIGINS_MAX;
/// What the rosters of all other hosts take together, hidden ones and comparisons under way included: nearly four million
/// peers in one topic each. A host may have as many keys as it likes, so a bound for each is none. Beyond it the newcomers
/// among the origins that take much are quarantined: `Fault::OverQuota`.
pub const ROSTERS_BYTES: usize = 1 << 30;
/// Ops of the heads of one origin that wait; the highest are dropped first.
pub const WAITING_BYTES: usize = 512 << 10;
/// Marks (epoch, seq) outlive their rosters this long, against replays.
pub const MARKS_KEPT: Duration = Duration::from_secs(86_400);
/// Marks kept, 60 bytes each.
pub const MARKS_MAX: usize = 65_536;
/// Revocations kept, about 150 bytes each; over one link all of them take 100 KB. Beyond it those of hosts never heard of
/// here give way: `Note::RevocationDropped`.
pub const REVOCATIONS_KEPT_MAX: usize = 1_024;
/// Revocations of hosts never heard of that one link may bring and that are passed on to all others.
pub const REVOCATIONS_PASSED_ON: Rate = Rate { per_second: 1, burst: 64 };
/// Origins of which is remembered why they were quarantined, about 100 bytes each; the oldest is forgotten first.
pub const QUARANTINES_MAX: usize = 1_024;
/// So long is that remembered.
pub const QUARANTINES_KEPT: Duration = MARKS_KEPT;
/// A host that sees its own id under an epoch it never issued twice within this time stops: its key is in use elsewhere.
pub const KEY_IN_USE_WINDOW: Duration = Duration::from_secs(60);
/// A machine that is called later than this was asleep: it moves its expiries instead of expiring everybody.
pub const LATENESS_FORGIVEN: Duration = Duration::from_secs(1);
/// Comparisons under way on one link: as many replies of a whole frame fit what may be on their way there
/// (`SYNC_QUEUE_BYTES`), so that none is dropped and asked for again. The others wait for one of these to end.
pub const COMPARISONS_PER_LINK_MAX: usize = SYNC_QUEUE_BYTES / aldis_wire::limits::FRAME_BYTES - 2;
/// Replies of one comparison before another link is asked. A roster of full size, 64 MiB of metas and 20 MiB of ids and
/// proofs, takes some 2,500 of them, since a reply is one frame.
pub const SYNC_ROUNDS_MAX: u32 = 4_096;
/// Replies of one comparison that bring no entries: the way down through a roster of full size takes some 30.
pub const SYNC_BARREN_MAX: u32 = 64;
/// How often one comparison begins again at the whole roster, because the roster changed faster than it was read.
pub const SYNC_PASSES_MAX: u32 = 16;
/// One comparison takes at most so long, since a neighbour may answer slowly on purpose: a roster of full size at
/// 1.2 Mbit/s.
pub const SYNC_MAX: Duration = Duration::from_secs(600);
/// A reply to a query is waited for this long before another link is asked.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(5);

/// After somebody said that a host is gone, it expires unless a newer head of it comes within this: a multicast of the
/// news, the pause between two answers, and a multicast of the answer.
pub const LOST_UNREFUTED: Duration = Duration::from_secs(3);
/// A neighbour that says goodbye because it ends is shown for so long: what it said last may come after its goodbye.
pub const LEFT_SHOWN: Duration = Duration::from_secs(1);
/// A goodbye is believed for so long after that: what a host said before it may still be on its way.
pub const LEFT_BELIEVED: Duration = Duration::from_secs(8);
/// A host that is said to be gone answers at most this often.
pub const LOST_ANSWER_INTERVAL: Duration = Duration::from_secs(1);
/// Neighbours that a record lists tell one after the other, so that the first one's word reaches most others in time.
pub const LOST_STAGGER: Duration = Duration::from_millis(50);
/// Of what one host says of others that are gone, `LOST_TOKENS` for each: all its links at once, then one in ten seconds.
/// A liar makes those of whom it says so answer with a head to everybody.
pub const LOST_RATE: Rate = Rate { per_second: 1, burst: 640 };
/// See `LOST_RATE`.
pub const LOST_TOKENS: u32 = 10;
/// After a sleep a host does not say for so long that others are gone: longer than a connection lasts in silence.
pub const WOKEN_LATELY: Duration = Duration::from_secs(8);
/// Nothing at all came over a link for this long: two keep-alives of 2.5 s would have been due, or several summaries. The
/// connection itself is given up after 7 s.
pub const LINK_SILENT: Duration = Duration::from_secs(4);
/// A record whose list of neighbours is out of date is renewed after this; it goes to everybody.
pub const RECORD_RENEWAL: Duration = Duration::from_secs(60);
/// The same when too few of the neighbours that it lists are left to tell that the host is gone.
pub const RECORD_RENEWAL_URGENT: Duration = Duration::from_secs(2);
