// Every number of the client, with its unit and reason. `§` in comments means wire/PROTOCOL.md.

/** The protocol version this library speaks (§2). */
export const VERSION = 1;

/** How long things take, in milliseconds. An application may override single values with `connect({timing})`; tests do. */
export const TIMING = Object.freeze({
  /** From opening a socket to `welcome`. */
  connectMs: 5_000,
  /** First wait before a new attempt; doubles up to `backoffMaxMs`. Each wait is drawn from the upper half, so that edges of one dead host spread. */
  backoffMs: 200,
  backoffMaxMs: 15_000,
  /** A socket that lived this long was a success: the back-off starts anew. */
  stableMs: 5_000,
  /** Events and receipts are acknowledged at the latest after this long, or after `ACK_MAX` messages (§4.3). */
  ackMs: 1_000,
  /** How long a `ping` may stay without an answer (§4.3). */
  pongMs: 10_000,
  /** How long a session may be resumed and how long a receipt may take, until `welcome.limits` says better. */
  graceMs: 30_000,
  signalMs: 5_000,
  /** How long (from, id) of a received signal is remembered across sessions (§4.3). */
  rememberMs: 120_000,
  /** How long a member that a new session does not show may be late before it is told as left. */
  settleMs: 2_000,
  /** How long a host that said `drain` is not asked again. */
  drainedMs: 60_000,
  /** How long `Swarm.connect` waits for an open data channel. */
  rtcConnectMs: 30_000,
  /** A connection that is `disconnected` this long gets an ICE restart without waiting for `failed`. */
  rtcRestartMs: 3_000,
  /** How long one ICE restart may take before the next. */
  rtcRetryMs: 8_000,
  /** How long another peer's sealing key is believed, as long as hosts remember claims (§3.2). */
  claimMs: 3_600_000,
  /** In this time at most `ANSWERS_MAX` answers that anybody can ask for. */
  answersMs: 6_000,
});

/** @typedef {{ [K in keyof typeof TIMING]: number }} Timing */

/** Acknowledge after so many messages, even before `ackMs` (§4.3). */
export const ACK_MAX = 32;
/** Requests and signals that wait for their answers; the host allows fewer. Bounds memory when the application outruns the network. */
export const OPEN_MAX = 1_024;
/** Remembered (from, id) pairs; about 200 bytes each. */
export const REMEMBERED_MAX = 8_192;
/** Members kept of one topic; about 300 bytes each without their meta. */
export const MEMBERS_MAX = 10_000;
/** Gateway URLs kept for fail-over. */
export const HOSTS_MAX = 64;
/** Live RTCPeerConnections; browsers stop at about 500. */
export const CONNECTIONS_MAX = 256;
/** Candidates of a description that has not arrived yet. */
export const EARLY_CANDIDATES_MAX = 64;
/** ICE restarts in a row without success, then the connection is given up. */
export const RESTARTS_MAX = 4;
/** Times a request that was refused for lack of room is asked again. */
export const TRIES_MAX = 5;
/** Other peers' sealing keys that are kept; about 500 bytes each. */
export const CLAIMS_MAX = 4_096;
/** Other clients whose last sealed signal is remembered (§4.4); about 200 bytes each. */
export const STREAMS_MAX = 8_192;
/** Answers that strangers can ask for without end, in `answersMs`: a tenth of the requests that a host takes of one edge. */
export const ANSWERS_MAX = 64;
/** Sealed signals that are kept in case their receiver cannot open them. */
export const SEALED_MAX = 64;
/** What can be sealed into one signal, in bytes of JSON (§4.4). */
export const SEALED_BYTES_MAX = 48_000;

/** Refusals that pass: asking again after a while may succeed. */
export const PASSING = new Set(["rate_limited", "overloaded", "queue_full", "too_many_open", "home_unreachable", "overtaken"]);
/** Session errors after which the session is not there any more, though the host is (§4.2, §4.3). */
export const ENDS_SESSION = new Set(["too_slow", "closing", "session_lost", "gone"]);
