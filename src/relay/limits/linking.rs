//! Of links between hosts, and of how hosts meet, find and reach each other.

use std::time::Duration;

use super::rate::Rate;

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
