//! Every number that is ours alone: unit, reason, and the refusal it causes. What the other end must share is in
//! `aldis_wire::limits`.

use std::time::Duration;

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
/// What went sealed by way of others should have its answer after this; then it goes again by another way. Four of the
/// longest ways between two hosts, 300 ms each, and three other ways can be tried before `SIGNAL_TIMEOUT`.
pub const WAY_PATIENCE: Duration = Duration::from_millis(1_200);
/// Bytes that go again so; beyond it they do not, and end as `unknown`. Where a part of the network is cut off, or is too
/// slow, everything on its way there is without an answer, and must not become several times as much.
pub const REPEATS: Rate = Rate { per_second: 64 << 10, burst: 1 << 20 };
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

/// A token bucket: `burst` at once, refilled at `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per second; 0 means no limit.
    pub per_second: u32,
    /// Tokens that may be taken at once.
    pub burst: u32,
}

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

// ---- Links ------------------------------------------------------------------------------------------------------

/// From the end of TLS to the verified Hello.
pub const ADMISSION_DEADLINE: Duration = Duration::from_secs(5);
/// A link to which we said goodbye is read this long: 2 s for what is on its way, and a little.
pub const CLOSING: Duration = Duration::from_secs(3);
/// Signals to a host whose link has given way to another one wait at most so long for that to be admitted.
pub const AWAITED_MAX: Duration = Duration::from_secs(2);
/// Up to so many hosts everybody links to everybody.
pub const FULL_MESH_MAX: usize = 32;
/// Links are given up from so many hosts on: more than those up to which all are wanted, so that a host more or less does
/// not make links come and go.
pub const FULL_MESH_SHED: usize = 40;
/// Links that each host has in a larger network, on average: those that it chose and those by which it was chosen.
pub const LINKS_WANTED: usize = 12;
/// Links that a host chooses: it dials them, and it alone gives them up.
pub const LINKS_CHOSEN: usize = LINKS_WANTED / 2;
/// Those of them that are to be near.
pub const LINKS_NEAR: usize = LINKS_CHOSEN / 2;
/// Near is who is among the nearest of so many: a quarter of the links that were not chosen for being near.
pub const NEAR_AMONG: usize = 4;
/// How often a host looks whether it has too many links; on average, and one goes at a time.
pub const TEND_INTERVAL: Duration = Duration::from_secs(5);
/// A host looks for nearer neighbours this often while it finds some: each look is a handshake.
pub const PROBE_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// And this often when it has not found any for long.
pub const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(300);
/// Hosts remembered as looked at; then all are forgotten and looked at again.
pub const PROBED_MAX: usize = 256;
/// Links that a host has at most, those that it dialled included.
pub const LINKS_MAX: usize = 64;
/// Links that others may have dialled: strangers cannot take the places that our own dials need.
pub const LINKS_TAKEN_MAX: usize = LINKS_MAX - LINKS_WANTED;
/// Connections from one IP address that are not admitted yet: one stranger cannot take all places. A test network on one
/// machine dials in with a few hosts at a time.
pub const LINKS_PENDING_PER_ADDRESS_MAX: usize = 24;
/// Connections that are not admitted yet.
pub const LINKS_PENDING_MAX: usize = 64;
/// Bytes of announcements on their way on a link; beyond it the link is told less and catches up.
pub const ANNOUNCE_QUEUE_BYTES: usize = 1 << 20;
/// Bytes of signals on their way on a link; then `overloaded`.
pub const SIGNAL_QUEUE_BYTES: usize = 4 << 20;
/// Bytes of replies on their way on a link; queries beyond it go unanswered and are asked again.
pub const SYNC_QUEUE_BYTES: usize = 1 << 20;
/// Bytes of control frames on their way on a link; beyond it the link is closed: the other side does not read.
pub const CONTROL_QUEUE_BYTES: usize = 256 << 10;

// ---- Meetings ---------------------------------------------------------------------------------------------------

/// Meetings under way for which we asked: each is a handful of dials, and most take a few hundred milliseconds.
pub const MEETINGS_ASKED_MAX: usize = 4;
/// Meetings under way, those included to which we were asked, of which there may be twice as many as for which we ask. Beyond
/// it we are not willing: `Unwilling`.
pub const MEETINGS_MAX: usize = 3 * MEETINGS_ASKED_MAX;
/// Hosts that we want to meet and of which is remembered how often we tried, about 300 bytes each.
pub const WISHES_MAX: usize = 256;
/// Tries of a meeting before a longer pause. Each has a fresh timing: what spoils one is a matter of milliseconds.
pub const MEETING_TRIES: u32 = 3;
/// Whom there is to meet is not looked at again for so long for each host that is known: a look is a walk over all of them,
/// about a microsecond each, and each new record asks for one.
pub const MEETING_LOOK_REST_PER_HOST: Duration = Duration::from_millis(1);
/// Nor longer than this.
pub const MEETING_LOOK_REST_MAX: Duration = Duration::from_millis(200);
/// Who asks for an introduction and has had a link with us for less than this had asked before it stood.
pub const MET_LATELY: Duration = Duration::from_secs(1);
/// From the beginning of one try to that of the next.
pub const MEETING_AGAIN: Duration = Duration::from_secs(4);
/// So long after the dials of a meeting it is given up: QUIC has sent its first packet again after 1 and 3 s.
pub const MEETING_TIME: Duration = Duration::from_millis(3_900);
/// After `MEETING_TRIES` that came to nothing; doubles.
pub const MEETING_PAUSE_MIN: Duration = Duration::from_secs(30);
/// The longest pause between tries.
pub const MEETING_PAUSE_MAX: Duration = Duration::from_secs(600);
/// Who can be dialled is dialled by those who cannot, and asks for introductions only so much later.
pub const MEETING_PATIENCE: Duration = Duration::from_secs(5);
/// Who says where he can be dialled is dialled, and asked for only when that has brought no link for so long.
pub const REACH_PATIENCE: Duration = Duration::from_secs(10);
/// Of two hosts that both have to ask, the one with the higher id waits so long, so that they do not ask past each other.
pub const MEETING_TURN: Duration = Duration::from_millis(1_500);
/// When we are seen elsewhere, links that are older than this were made where we were before. All that see us move tell so
/// within a keep-alive of 2.5 s and a little.
pub const STRANDED_AFTER: Duration = Duration::from_secs(5);
/// What comes over a stranded link so long after it was taken for that shows that it is none: before, it may have been
/// received and not read.
pub const STRANDED_HEARD: Duration = Duration::from_secs(1);
/// Who has said that it wants to meet somebody expects to hear when for so long: the neighbour waits `PAIR_KEPT` for the
/// other's word, and what it says then must come in time.
pub const MEETING_EXPECTED: Duration = Duration::from_millis(3_600);
/// A host that has asked for another one waits so long for its answer; then `Unwilling`.
pub const PAIR_KEPT: Duration = Duration::from_secs(3);
/// Hosts that wait for an answer here, about 300 bytes each; then `TooOften`.
pub const PAIRS_MAX: usize = 256;
/// Introductions that the host of one link may ask for; then `TooOften`.
pub const INTRODUCTIONS: Rate = Rate { per_second: 1, burst: 16 };
/// Two hosts that are brought together dial so much later than the word takes to the farther one: a round trip varies.
pub const PUNCH_MARGIN: Duration = Duration::from_millis(20);
/// Nobody is made to wait longer before he dials: the longest round trip, and a little.
pub const PUNCH_AFTER_MAX: Duration = Duration::from_secs(2);
/// Dials to one address in `PUNCHES_REMEMBERED` because of introductions: bounds what a neighbour that lies makes us send.
pub const PUNCHES_PER_ADDRESS_MAX: usize = 4;
/// The same for all ports of one IPv4 address or IPv6 /64: a few hosts behind one router.
pub const PUNCHES_PER_IP_MAX: usize = 16;
/// The same for what one neighbour has us dial: one that lies leaves half of them to the others.
pub const PUNCHES_PER_NEIGHBOUR_MAX: usize = PUNCHES_REMEMBERED_MAX / 2;
/// See `PUNCHES_PER_ADDRESS_MAX`.
pub const PUNCHES_REMEMBERED: Duration = Duration::from_secs(60);
/// Hosts that nobody can introduce dial what the DHT names at each full so much of the time of day: a router lets the
/// answer in for at least half a minute.
pub const SLOT: Duration = Duration::from_secs(30);
/// And not later than this after that moment.
pub const SLOT_LATE: Duration = Duration::from_secs(1);
/// Dials at one such moment, each to another neighbourhood: more than the hosts that are alone in a network at once, and
/// 16 a minute whatever the DHT says.
pub const SLOT_DIALS_MAX: usize = 8;
/// Dials because of introductions in `PUNCHES_REMEMBERED`, 40 bytes each.
pub const PUNCHES_REMEMBERED_MAX: usize = 512;

// ---- Discovery --------------------------------------------------------------------------------------------------

/// Dials under way at once because of strangers' hints.
pub const DIALS_MAX: usize = 3;
/// Dials under way at once to places that the operator names or where we were linked. An allowance of their own, so that
/// strangers' hints cannot hold them up; large enough to try a whole full mesh at once after a partition.
pub const DIALS_KNOWN_MAX: usize = 32;
/// Dials under way at once to addresses that stand in DNS.
pub const DIALS_SEED_MAX: usize = 3;
/// Dials under way at once to hosts on our own links. Who invents there as many hosts as are kept delays the others by
/// 40 s.
pub const DIALS_LAN_MAX: usize = 8;
/// A host that has addresses of both families is dialled by IPv4 so long after IPv6, if no link stands by then. The pause
/// that RFC 8305 §5 recommends.
pub const SECOND_FAMILY_AFTER: Duration = Duration::from_millis(250);
/// A connection by the other family that comes so long after the first is the one that lost: as long as a handshake may take.
pub const RACE: Duration = Duration::from_secs(5);
/// An address, and a /24 or /48, is dialled at most once in this time because of a stranger's hint.
pub const DIAL_AGAIN: Duration = Duration::from_secs(60);
/// First pause after a failed dial; doubles.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest pause after failed dials. For hosts that the operator names: `BACK_OFF_STATIC_MAX`.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(600);
/// Longest pause for hosts that the operator names, and for those that we knew before as long as they are not heard by way of
/// others: then they are elsewhere, and their last address is left alone like any other, for up to `BACK_OFF_MAX`.
pub const BACK_OFF_STATIC_MAX: Duration = Duration::from_secs(5);
/// The same after a dial that nobody answered: that has taken 5 s already, in which QUIC tries at 0, 1 and 3 s; so a healed
/// partition is noticed within 3 s.
pub const BACK_OFF_UNANSWERED_MAX: Duration = Duration::from_secs(1);
/// So long after the last link a host counts as known; then its addresses are a stranger's hints again, for else a
/// host that is gone for good would be dialled every few seconds for ever.
pub const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// Addresses of known hosts, the most recently linked ones. More than a full mesh; with `BACK_OFF_STATIC_MAX` it bounds
/// the dials to hosts that are gone to some 50 a second.
pub const KNOWN_MAX: usize = 256;
/// A host of another network is left alone this long.
pub const OTHER_NETWORK_PAUSE: Duration = Duration::from_secs(600);
/// Of faults that end a proven host's links, `FAULT_TOKENS` each: three at once are forgiven, since the connection or
/// we may be to blame; then it is admitted once a minute. Each admission costs a summary of all origins.
pub const FAULTS: Rate = Rate { per_second: 1, burst: 180 };
/// See `FAULTS`.
pub const FAULT_TOKENS: u32 = 60;
/// Hosts whose faults are remembered, 40 bytes each. When there are more, one that is nearly forgiven gives way.
pub const FAULTY_MAX: usize = 1_024;
/// A host that does not want us is left alone this long.
pub const TURNED_AWAY_PAUSE: Duration = Duration::from_secs(60);
/// An address out of a host record is dialled at most once in this time (DESIGN §5).
pub const RECORD_AGAIN: Duration = Duration::from_secs(600);
/// Addresses out of one host's record that are dialled in `RECORD_AGAIN`: one each for IPv4, IPv6, and one that is out
/// of date. Bounds what a hostile record makes us send to others.
pub const RECORD_DIALS_MAX: usize = 3;
/// The first dial to an address out of a record waits up to so long: a new record reaches all hosts at once.
pub const RECORD_JITTER: Duration = Duration::from_millis(500);
/// A host to which a direct link is wanted is wanted so long.
pub const WANTED_FOR: Duration = Duration::from_secs(60);
/// In a large network a link costs summaries of all origins each way; so many frames must have gone to a host by a
/// third one within `WANTED_FOR` before one is wanted. A connection of two browsers takes some 40.
pub const WANTED_AFTER: u32 = 64;
/// A host whose link was lost without a goodbye is dialled for so long, even if there are links enough: after a partition
/// the two halves must find each other again.
pub const MISSED_FOR: Duration = Duration::from_secs(600);
/// Hosts wanted at once; the one wanted longest ago is forgotten.
pub const WANTED_MAX: usize = 64;
/// Dials remembered for `DIAL_AGAIN` and `RECORD_AGAIN`, about 60 bytes each; beyond it strangers' hints wait.
pub const DIALS_REMEMBERED_MAX: usize = 4_096;
/// Hints kept besides the operator's; the worst are forgotten first. About 150 bytes each.
pub const HINTS_MAX: usize = 1_024;
/// Names in DNS that an operator may state; a look-up asks for all of them.
pub const SEED_NAMES_MAX: usize = 8;
/// Hints out of DNS that are kept.
pub const SEED_HINTS_MAX: usize = 64;
/// Hints of hosts on our own links that are kept: with an address of each family each, a full mesh.
pub const LAN_HINTS_MAX: usize = 2 * FULL_MESH_MAX;
/// A stranger's hint that led nowhere and is not repeated is forgotten after this. The DHT forgets in the same time.
pub const HINT_KEPT: Duration = Duration::from_secs(1_800);
/// Hints written to the cache: two full meshes.
pub const CACHE_MAX: usize = 64;
/// Hints taken from one look-up.
pub const HINTS_PER_LOOK_UP_MAX: usize = 256;
/// The DHT, and names in DNS, are asked this often at least.
pub const LOOK_UP_INTERVAL: Duration = Duration::from_secs(900);
/// The DHT is asked again after this when a host has just begun to have links; then the pause doubles up to
/// `LOOK_UP_INTERVAL`. Hosts that start together may meet in halves that do not know of each other, and only the DHT knows
/// both. Five look-ups in the first quarter of an hour or less, where one would be.
pub const LOOK_UP_INTERVAL_LINKED_MIN: Duration = Duration::from_secs(30);
/// The DHT is asked again after this when a host that had more links has one left: it may stand in the smaller part of what
/// fell apart. While that one stays, links that come and go cause no more look-ups than this.
pub const LOOK_UP_INTERVAL_LOST: Duration = Duration::from_secs(10);
/// The DHT is asked again after this when a host has just become alone; then the pause doubles up to
/// `LOOK_UP_INTERVAL_ALONE`. Hosts that start together find nobody at first, since none has registered yet.
pub const LOOK_UP_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// The DHT is asked this often while there is no link.
pub const LOOK_UP_INTERVAL_ALONE: Duration = Duration::from_secs(30);
/// After a look-up that failed outright. Short, so that a host joins soon after its line is up.
pub const LOOK_UP_INTERVAL_FAILED: Duration = Duration::from_secs(10);
/// The DHT forgets after half an hour; we tell it this often.
pub const REGISTER_INTERVAL: Duration = Duration::from_secs(900);
/// After a registration that failed.
pub const REGISTER_INTERVAL_FAILED: Duration = Duration::from_secs(10);
/// The hint cache is written at most this often.
pub const STORE_INTERVAL: Duration = Duration::from_secs(60);

// ---- Reach ------------------------------------------------------------------------------------------------------

/// What one neighbour may say of our address, `Observed`; what comes faster is not looked at. A router that gives a new
/// port after each silence changes it every half a minute.
pub const OBSERVED: Rate = Rate { per_second: 1, burst: 8 };
/// So long after a neighbour has seen us move, nothing is concluded from neighbours that see us at different addresses:
/// others notice within a keep-alive, and a connection that does not lasts 7 s.
pub const NAT_SETTLES: Duration = Duration::from_secs(8);
/// Addresses of our own interfaces that are looked at.
pub const LOCAL_MAX: usize = 16;
/// Port mappings that are looked at.
pub const MAPPED_MAX: usize = 8;
/// UDP ports for STUN that are looked at.
pub const STUN_PORTS_MAX: usize = 2;
/// Addresses at which neighbours see us that are looked at.
pub const OBSERVED_MAX: usize = 4;
/// Places of ours that are had checked: 8 addresses that the operator gives, 8 mapped and 4 observed ones, each in one or
/// two ways, some gateways, and two for STUN.
pub const PLACES_MAX: usize = 40;
/// A place is checked this often, and up to a tenth later; at once when our address has changed.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(600);
/// A check that did not reach us is made again after this. Twice in a row is believed.
pub const CHECK_AGAIN: Duration = Duration::from_secs(5);
/// See `CHECK_AGAIN`.
pub const CHECK_FAILURES_MAX: u32 = 2;
/// Where all who could help have answered `TooOften` or `Nobody`, they are asked again after this. A neighbour tries an
/// address once in that time (`TRIALS_PER_ADDRESS`), and another host behind the same router may have been first.
pub const CHECK_REFUSED: Duration = Duration::from_secs(60);
/// Neighbours that are asked for one check within `CHECK_INTERVAL`, when those before could not help.
pub const CHECK_HELPERS_MAX: usize = 8;
/// An answer is waited for this long: `REFERRAL_TIMEOUT` and two round trips.
pub const CHECK_ANSWER: Duration = Duration::from_secs(25);
/// Checks that one host may ask of us, `CHECK_TOKENS` each: 8 at once, then one in 5 s; then `TooOften`.
pub const CHECKS: Rate = Rate { per_second: 1, burst: 40 };
/// See `CHECKS`.
pub const CHECK_TOKENS: u32 = 5;
/// Those of gateways among them, `GATEWAY_CHECK_TOKENS` each: as many as a record lists, once in `CHECK_INTERVAL`. Only
/// they can be aimed at somebody else.
pub const GATEWAY_CHECKS: Rate = Rate { per_second: 1, burst: 600 };
/// See `GATEWAY_CHECKS`.
pub const GATEWAY_CHECK_TOKENS: u32 = 150;
/// Checks of other hosts that one neighbour may ask of us, `DialBack`; then `TooOften`. Half of `TRIALS`, so that one that lies
/// leaves half of them to the others.
pub const DIAL_BACKS: Rate = Rate { per_second: 1, burst: 4 };
/// Hosts whose questions are counted, 60 bytes each; whoever has not asked for a while is forgotten. Then `TooOften`.
pub const ASKERS_MAX: usize = 1_024;
/// Checks that other hosts make on our word; then `TooOften`.
pub const REFERRALS_MAX: usize = 256;
/// Neighbours that are asked to make one check, until one can.
pub const REFERRAL_TRIES_MAX: usize = 3;
/// All of them together have so long.
pub const REFERRAL_TIMEOUT: Duration = Duration::from_secs(20);
/// Checks that we make; then `TooOften`. Each costs a socket or a handshake, and three packets to an address that does not
/// answer.
pub const TRIALS: Rate = Rate { per_second: 2, burst: 8 };
/// Checks that we make at once; then `TooOften`.
pub const TRIALS_MAX: usize = 8;
/// Checks that we make at one IPv4 address, IPv6 /64 or host of a URL, `TRIAL_TOKENS` each: two at once, then one a minute;
/// then `TooOften`. Whoever aims us at a victim gets no more.
pub const TRIALS_PER_ADDRESS: Rate = Rate { per_second: 1, burst: 120 };
/// See `TRIALS_PER_ADDRESS`.
pub const TRIAL_TOKENS: u32 = 60;
/// Addresses for which that is counted, about 100 bytes each; then `TooOften`.
pub const TRIAL_ADDRESSES_MAX: usize = 1_024;
/// A check that the driver has not ended by now came to nothing: 5 s, and a little.
pub const TRIAL_TIMEOUT: Duration = Duration::from_secs(8);
/// A host is a stranger to an address if nothing went there for so long. Routers forget a flow after 3 minutes at most.
pub const CONTACT_KEPT: Duration = Duration::from_secs(600);
/// Addresses and hosts with which there was something lately, 60 bytes each. Beyond it nobody is a stranger.
pub const CONTACTS_MAX: usize = 4_096;
/// Port mappings are made anew when our address has changed, `MAP_AGAIN_TOKENS` each: twice at once, then each half minute.
pub const MAP_AGAIN: Rate = Rate { per_second: 1, burst: 60 };
/// See `MAP_AGAIN`.
pub const MAP_AGAIN_TOKENS: u32 = 30;
/// New records because of where we are, `RECORD_CHANGE_TOKENS` each: four at once, then one a minute. They go to everybody.
pub const RECORD_CHANGES: Rate = Rate { per_second: 1, burst: 240 };
/// See `RECORD_CHANGES`.
pub const RECORD_CHANGE_TOKENS: u32 = 60;
/// And they wait so long, since one change seldom comes alone.
pub const RECORD_SETTLES: Duration = Duration::from_millis(500);
/// STUN servers that an edge is told: a browser asks all of them.
pub const STUN_TOLD_MAX: usize = 4;
