// Aldis in a browser: find other peers by topic, exchange signals with them, and open WebRTC connections to them.
//
//     import { connect } from "/aldis.js";
//     const aldis = connect({ hosts: ["wss://one.example/v1", "wss://two.example/v1"] });
//     const swarm = await aldis.join("chess", { meta: { name: "Ann" } });
//     swarm.on("connection", ({ connection }) => talk(connection.channel));     // somebody connects to us
//     for (const peer of swarm.members.keys()) talk((await swarm.connect(peer)).channel);
//
// One file, no dependency, no build step. It speaks wire/PROTOCOL.md §4; `§` in comments means that page. Parts, in reading order:
//
//   Limits and timing    every number, with its unit and reason
//   Emitter              EventTarget with typed events: `on(type, detail => …)` gives a function that stops listening
//   Identity             an Ed25519 key of the edge's own, for peers that keep their id when they change hosts (§3.2)
//   Aldis                socket, session, requests, signals and their receipts
//   Swarm                one topic: who is there
//   Connection           one RTCPeerConnection: perfect negotiation, trickled candidates, ICE restart
//
// Two things that an application may rely on: every signal gets exactly one receipt, whatever happens to sockets, hosts and sessions;
// and `peer` and `left` tell real changes only, so a change of host in between is not seen as everybody leaving and coming back.

// ---------------------------------------------------------------------------------------------------------- Limits and timing

/** The protocol version this file speaks (§2). */
export const VERSION = 1;

/** How long things take, in milliseconds. An application may override single values with `connect({timing})`; tests do. */
const TIMING = Object.freeze({
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
});

/** Acknowledge after so many messages, even before `ackMs` (§4.3). */
const ACK_MAX = 32;
/** Requests and signals that wait for their answers; the host allows fewer. Bounds memory when the application outruns the network. */
const OPEN_MAX = 1_024;
/** Remembered (from, id) pairs; about 200 bytes each. */
const REMEMBERED_MAX = 8_192;
/** Members kept of one topic; about 300 bytes each without their meta. */
const MEMBERS_MAX = 10_000;
/** Gateway URLs kept for fail-over. */
const HOSTS_MAX = 64;
/** Live RTCPeerConnections; browsers stop at about 500. */
const CONNECTIONS_MAX = 256;
/** Candidates of a description that has not arrived yet. */
const EARLY_CANDIDATES_MAX = 64;
/** ICE restarts in a row without success, then the connection is given up. */
const RESTARTS_MAX = 4;
/** Times a request that was refused for lack of room is asked again. */
const TRIES_MAX = 5;
/** Refusals that pass: asking again after a while may succeed. */
export const PASSING = new Set(["rate_limited", "overloaded", "queue_full", "too_many_open", "home_unreachable", "overtaken"]);
/** Session errors after which the session is not there any more, though the host is (§4.2, §4.3). */
export const ENDS_SESSION = new Set(["too_slow", "closing", "session_lost", "gone"]);

/** @typedef {{ [K in keyof typeof TIMING]: number }} Timing */

// -------------------------------------------------------------------------------------------------------------------- Emitter

/**
 * An EventTarget whose events carry a typed `detail`.
 * @template {Record<string, any>} Events
 */
class Emitter extends EventTarget {
  /**
   * Listens. Gives a function that stops listening.
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {(detail: Events[K], event: CustomEvent<Events[K]>) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    const heard = /** @type {EventListener} */ (/** @param {any} event */ (event) => listener(event.detail, event));
    this.addEventListener(type, heard);
    return () => this.removeEventListener(type, heard);
  }

  /**
   * @internal
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {Events[K]} detail
   * @returns {boolean} false if a listener called `preventDefault`
   */
  _emit(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable: true }));
  }
}

/** A refusal by a host, or a local no (`closed`, `timeout`, `declined`, `failed`). `code` is one of wire/src/refusal.rs or one of these. */
export class AldisError extends Error {
  /** @param {string} code @param {string} [message] @param {number} [retryAfterMs] */
  constructor(code, message = code, retryAfterMs) {
    super(message);
    this.name = "AldisError";
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

// ------------------------------------------------------------------------------------------------------------------- Identity

/** An edge's own key. Its private half cannot be read by any script. Two open sessions with one identity replace each other (§4.3). */
export class Identity {
  /** @param {CryptoKey} privateKey @param {string} peer the public key in hex, which is the peer id @param {number} [counter] */
  constructor(privateKey, peer, counter = 0) {
    this.privateKey = privateKey;
    this.peer = peer;
    /** The counter of the last claim (§3.2). */
    this.counter = counter;
  }

  /** A fresh identity that lives as long as this object. */
  static async create() {
    const pair = /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]));
    return new Identity(pair.privateKey, toHex(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey))));
  }

  /**
   * The identity kept in this origin's IndexedDB under `name`; made and stored there when there is none.
   * @param {string} [name]
   */
  static async stored(name = "default") {
    const database = await settled(Object.assign(indexedDB.open("aldis", 1), {
      onupgradeneeded: /** @this {IDBOpenDBRequest} */ function () { this.result.createObjectStore("identities"); },
    }));
    try {
      const read = () => settled(database.transaction("identities").objectStore("identities").get(name));
      const found = await read();
      if (found) return new Identity(found.privateKey, found.peer);
      const made = await Identity.create();
      const store = database.transaction("identities", "readwrite").objectStore("identities");
      // Another tab may have stored one in the meantime: `add` never replaces it, and what is in the store counts.
      await settled(store.add({ privateKey: made.privateKey, peer: made.peer }, name)).catch(() => {});
      const kept = await read();
      return new Identity(kept.privateKey, kept.peer);
    } finally {
      database.close();
    }
  }

  /**
   * What `hello` needs to open a keyed session at the greeting's host (§3.2), with the next counter.
   * @internal
   * @param {{host: string, tag: string, challenge: string}} greeting
   */
  async _claim({ host, tag, challenge }) {
    this.counter += 1;
    if (!Number.isSafeInteger(this.counter)) throw new AldisError("claim_old", "The claim's counter is used up.");
    const counter = new Uint8Array(8);
    new DataView(counter.buffer).setBigUint64(0, BigInt(this.counter));
    const noSealingKey = new Uint8Array(1);
    const [signature, proof] = await Promise.all([
      this.#sign("aldis 2026 claim", fromHex(tag), fromHex(host), counter, noSealingKey),
      this.#sign("aldis 2026 hello", fromHex(tag), fromHex(host), fromHex(challenge)),
    ]);
    return { peer: this.peer, claim: { counter: this.counter, signature, proof } };
  }

  /** @param {string} context @param {Uint8Array[]} parts */
  async #sign(context, ...parts) {
    const bytes = new Uint8Array(await new Blob([context, .../** @type {BlobPart[]} */ (parts)]).arrayBuffer());
    return toHex(new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, this.privateKey, bytes)));
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const settled = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** @param {Uint8Array} bytes */
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {string} hex */
const fromHex = (hex) => Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (pair) => parseInt(pair, 16));

/** @param {number} bytes */
const randomHex = (bytes) => toHex(crypto.getRandomValues(new Uint8Array(bytes)));

// ---------------------------------------------------------------------------------------------------------------------- Aldis

/**
 * The final answer to a signal (§4.2). `refused` carries a code: those of the protocol, or `offline` when no host could be reached in
 * time to send it at all, or `closed`. `unknown`: it may or may not have arrived; sending it again with the same `id` is safe.
 * @typedef {{ id: string, status: "delivered" | "refused" | "unknown", code?: string, message?: string }} Receipt
 *
 * @typedef {{ from: string, data: any, topic?: string, id: string }} Signal
 *
 * @typedef {object} ConnectOptions
 * @property {string[]} hosts gateway URLs; tried in this order
 * @property {Identity} [identity] without one, each session gets a peer id minted by its host
 * @property {any} [meta] default meta of every `join`; a function is called whenever a `join` goes out, with the client
 * @property {RTCConfiguration} [rtc] for connections; its `iceServers` win over those of the host
 * @property {Partial<Timing>} [timing]
 * @property {typeof globalThis.WebSocket} [WebSocket] where there is no global one
 *
 * @typedef {"connecting" | "open" | "reconnecting" | "closed"} State
 *
 * @typedef {object} AldisEvents
 * @property {{ state: State, reason?: string }} state
 * @property {{ peer: string, host: string, url: string, resumed: boolean, previous?: string }} welcome a session is open; `previous`: the peer id it had before
 * @property {Signal} signal
 * @property {Receipt & { to: string, topic?: string, data: any, tookMs: number }} receipt every receipt, with its signal; those of connections too
 * @property {{ connection: Connection }} connection somebody connects to us, outside any joined topic; `preventDefault` declines
 * @property {{ code: string, message: string }} error
 *
 * @typedef {{ message: Record<string, any>, sent: boolean, tries: number, timer?: Timer,
 *   resolve: (value: any) => void, reject: (error: Error) => void }} Open
 * @typedef {ReturnType<typeof setTimeout>} Timer
 */

/**
 * Connects to one of `hosts` and stays connected. The client can be used at once: what is asked before a host has answered is asked then.
 * @param {ConnectOptions} options
 */
export function connect(options) {
  return new Aldis(options);
}

/** @extends {Emitter<AldisEvents>} */
export class Aldis extends Emitter {
  /** Topics joined or watched. @type {Map<string, Swarm>} */
  swarms = new Map();
  /** Live RTC connections by the random name both ends use. @type {Map<string, Connection>} */
  connections = new Map();
  /** The first `welcome`; rejects if the client is closed before. @type {Promise<Aldis>} */
  ready;

  /** @type {ConnectOptions} */ #options;
  /** @type {Timing} */ #timing;
  /** @type {State} */ #state = "connecting";
  /** @type {{ resolve: (client: Aldis) => void, reject: (error: Error) => void }} */ #readiness;

  // The socket, of which there is at most one, and what was heard on it.
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {any} */ #greeting = null;
  #openedMs = 0;
  #heardMs = 0;
  /** @type {Map<string, Timer>} by what they are for */ #timers = new Map();

  // Where to connect.
  /** @type {string[]} */ #given;
  /** @type {string[]} */ #learnt = [];
  #url = "";
  #movingMs = 0;
  /** Sockets in a row that did not live long: the back-off. */ #attempts = 0;
  /** Sockets in a row without `welcome`: when to try other hosts. */ #fruitless = 0;
  /** @type {Map<string, number>} failures in a row, by URL */ #failures = new Map();
  /** @type {Map<string, number>} not before, by URL */ #avoid = new Map();
  /** @type {string | undefined} the network we are in: fail-over never leaves it */ #tag;

  // The session.
  /** @type {any} the last `welcome` */ #welcome = null;
  /** @type {{ host: string, url: string, token: string } | null} */ #session = null;
  /** @type {string[]} peer ids of earlier sessions: never shown as somebody else */ #former = [];
  #seen = 0;
  #acked = 0;

  // Requests, signals.
  /** Makes ids unique per peer, even for another page with the same identity. */ #prefix = randomHex(8);
  #drawn = 0;
  /** @type {Map<string, Open>} */ #open = new Map();
  /** @type {Map<string, number>} when, by "from id" */ #remembered = new Map();

  /** @param {ConnectOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#given = [...new Set(options.hosts.map(gatewayUrl))];
    if (this.#given.length === 0) throw new TypeError("connect: at least one host is needed");
    /** @type {any} */ let readiness;
    this.ready = new Promise((resolve, reject) => { readiness = { resolve, reject }; });
    this.ready.catch(() => {}); // whoever awaits it is told; nobody must
    this.#readiness = readiness;
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.addEventListener?.("pagehide", this.#hidden);
    this.#dial();
  }

  /** @returns {State} */
  get state() { return this.#state; }
  /** Our peer id; undefined before the first `welcome`. @returns {string | undefined} */
  get peer() { return this.#welcome?.peer; }
  /** The id of the host we are, or were last, connected to. @returns {string | undefined} */
  get host() { return this.#welcome?.host; }
  /** Its gateway URL. */
  get url() { return this.#session?.url ?? this.#url; }
  /** The network's name. @returns {string | undefined} */
  get network() { return this.#welcome?.network; }
  /** All gateway URLs known. */
  get hosts() { return [...new Set([...this.#given, ...this.#learnt])]; }
  /** @internal @returns {RTCConfiguration} */
  get _rtc() { return { iceServers: this.#welcome?.ice_servers ?? [], ...this.#options.rtc }; }
  /** @internal */
  get _timing() { return this.#timing; }

  // ........................................................................................................ What one can do

  /**
   * Becomes a member of a topic, and stays one until `swarm.leave()`: also across sockets, sessions and hosts.
   * @param {string} topic 1 to 256 bytes
   * @param {{ meta?: any }} [options] meta: any JSON of at most 1,024 bytes
   * @returns {Promise<Swarm>}
   */
  async join(topic, { meta = this.#options.meta } = {}) {
    const swarm = this.#swarm(topic);
    const before = swarm.member;
    swarm._meta = meta;
    swarm.member = true;
    return this.#enter(swarm, "join", before);
  }

  /**
   * Sees who comes and goes without being a member.
   * @param {string} topic
   * @returns {Promise<Swarm>}
   */
  async watch(topic) {
    const swarm = this.#swarm(topic);
    const before = swarm.watching;
    swarm.watching = true;
    return this.#enter(swarm, "watch", before);
  }

  /**
   * A random sample of a topic's members, without being one.
   * @param {string} topic
   * @param {{ limit?: number }} [options] limit: 1 to 64
   * @returns {Promise<{ peers: { peer: string, meta?: any }[], total: number }>}
   */
  async discover(topic, { limit } = {}) {
    const { peers, total } = await this.#request({ type: "discover", topic, limit });
    return { peers, total };
  }

  /** Ends a membership and a watch. @param {string} topic */
  async leave(topic) {
    await this.swarms.get(topic)?.leave();
  }

  /**
   * Sends any JSON of at most 65,536 bytes to a peer. Never rejects: the receipt tells what became of it.
   * @param {string} to
   * @param {any} data
   * @param {{ topic?: string, id?: string }} [options] topic: where we met, told to the receiver if it is in that topic; id: of an earlier signal, to send it again
   * @returns {Promise<Receipt>}
   */
  async signal(to, data, { topic, id = this.#drawId() } = {}) {
    const bytes = new TextEncoder().encode(JSON.stringify(data) ?? "").length;
    const startedMs = performance.now();
    /** @type {Receipt} */
    let receipt;
    if (bytes === 0) receipt = { id, status: "refused", code: "bad_field", message: "The data is not JSON." };
    else if (bytes > (this.#welcome?.limits?.message_bytes ?? 65_536)) receipt = { id, status: "refused", code: "too_big" };
    else receipt = await this.#request({ type: "signal", id, to, topic, data }).catch((error) => ({ id, status: "refused", code: error.code, message: error.message }));
    this._emit("receipt", { ...receipt, to, topic, data, tookMs: performance.now() - startedMs });
    return receipt;
  }

  /**
   * Opens a WebRTC connection to a peer; gives the one there is, if there is one. See `Swarm.connect`.
   * @param {string} peer
   * @param {{ topic?: string, stream?: MediaStream }} [options]
   * @returns {Promise<Connection>}
   */
  async connect(peer, { topic, stream } = {}) {
    await this.ready;
    if (this._isUs(peer)) throw new AldisError("bad_field", "This is our own peer id.");
    let connection = this.#connectionTo(peer, topic);
    connection ??= this.#makeConnection({ peer, topic, link: randomHex(16), incoming: false });
    if (stream) connection.addStream(stream);
    return connection.connected;
  }

  /** Leaves everything and ends the session. RTC connections are closed too. */
  close() {
    this.#end("closed");
  }

  // ............................................................................................................. The socket

  #dial() {
    if (this.#state === "closed" || this.#socket) return;
    this.#url = this.#choose();
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    this.#greeting = null;
    /** @type {WebSocket} */ let socket;
    try {
      socket = new Socket(this.#url, "aldis.v1");
    } catch (error) {
      return this.#dropped(String(error)); // such as ws: from an https: page
    }
    this.#socket = socket;
    this.#setTimer("connect", this.#timing.connectMs, () => this.#drop("no welcome in time"));
    socket.onmessage = (event) => { if (socket === this.#socket) this.#received(event.data); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#dropped(event.reason || "socket closed"); };
    socket.onerror = () => {}; // `close` follows
    return undefined;
  }

  /** The URL to try next. Our session's host first, and every other time while others fail too: only there can the session be resumed. */
  #choose() {
    const now = performance.now();
    const home = this.#session?.url;
    const avoided = (/** @type {string} */ url) => (this.#avoid.get(url) ?? 0) > now;
    if (home && !avoided(home) && (this.#fruitless < 2 || this.#fruitless % 2 === 1)) return home;
    // The first time in the order given. Later at random among the best, so that the edges of a dead host do not all go to the same one.
    const ranked = this.hosts.filter((url) => url !== home || this.hosts.length === 1).map((url) => ({
      url, rank: (avoided(url) ? 1e6 : 0) + (this.#failures.get(url) ?? 0) + (this.#welcome ? Math.random() / 2 : 0),
    }));
    return ranked.reduce((best, one) => (one.rank < best.rank ? one : best)).url;
  }

  /** Ends the socket by ourselves and goes on as if it had dropped. @param {string} reason */
  #drop(reason) {
    const socket = this.#socket;
    if (!socket) return;
    this.#dropped(reason);
    socket.close();
  }

  /** The socket is gone. @param {string} reason */
  #dropped(reason) {
    this.#detach();
    const now = performance.now();
    const wasOpen = this.#state === "open";
    if (wasOpen && now - this.#openedMs >= this.#timing.stableMs) this.#attempts = 0;
    if (!wasOpen) {
      this.#fruitless += 1;
      this.#failures.set(this.#url, (this.#failures.get(this.#url) ?? 0) + 1);
      this._emit("error", { code: "host_unreachable", message: `${this.#url}: ${reason}` });
    }
    if (wasOpen) this.#setState("reconnecting", reason);
    const ceiling = Math.min(this.#timing.backoffMaxMs, this.#timing.backoffMs * 2 ** this.#attempts);
    this.#attempts += 1;
    const wait = ceiling * (0.5 + Math.random() / 2);
    // Wait also until somebody may be asked at all, and for as long as a draining host said.
    const allowedMs = Math.min(...this.hosts.map((url) => this.#avoid.get(url) ?? 0));
    this.#setTimer("dial", Math.max(wait, allowedMs - now, this.#movingMs - now), () => this.#dial());
  }

  #detach() {
    this.#socket = null;
    for (const name of ["connect", "ack", "listen", "drain", "dial"]) this.#clearTimer(name);
  }

  /** The network may be back: do not wait for the back-off or the heartbeat. */
  #wake = () => {
    if (this.#state === "open") this.#listen(0);
    else if (this.#timers.has("dial")) this.#dial();
  };

  /** A page that goes away says so, else its peers would see it for the grace period. @param {any} event */
  #hidden = (event) => {
    if (!event.persisted) this.close();
  };

  /** @param {Record<string, any>} message */
  #send(message) {
    if (this.#socket?.readyState !== 1) return;
    const acks = this.#seen > this.#acked && this.#state === "open";
    this.#socket.send(JSON.stringify(acks ? { ...message, ack: this.#seen } : message));
    if (acks) this.#acknowledged();
  }

  #acknowledge() {
    if (this.#seen > this.#acked && this.#state === "open") {
      this.#socket?.send(JSON.stringify({ type: "ack", seq: this.#seen }));
      this.#acknowledged();
    }
  }

  #acknowledged() {
    this.#acked = this.#seen;
    this.#clearTimer("ack");
  }

  /** The watch-dog (§4.3): after a silence of `silenceMs` ping, and give up the socket if that brings nothing either. @param {number} silenceMs */
  #listen(silenceMs) {
    this.#setTimer("listen", silenceMs, () => {
      const silentMs = performance.now() - this.#heardMs;
      if (silentMs < silenceMs) return this.#listen(silenceMs - silentMs);
      const askedMs = performance.now();
      this.#send({ type: "ping" });
      this.#setTimer("listen", this.#timing.pongMs, () => {
        if (this.#heardMs < askedMs) this.#drop("silent");
        else this.#listen(this.#heartbeatMs);
      });
    });
  }

  get #heartbeatMs() { return Math.max(10, this.#welcome?.heartbeat_ms ?? 25_000); }

  /** @param {string} name @param {number} ms @param {() => void} action */
  #setTimer(name, ms, action) {
    this.#clearTimer(name);
    this.#timers.set(name, setTimeout(() => { this.#timers.delete(name); action(); }, ms));
  }

  /** @param {string} name */
  #clearTimer(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  // ............................................................................................................ The session

  /** @param {any} text */
  #received(text) {
    this.#heardMs = performance.now();
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      message = null;
    }
    if (message === null || typeof message !== "object") return this._emit("error", { code: "malformed", message: "The host sent something that is not a JSON object." });
    if (typeof message.seq === "number" && this.#state === "open") {
      if (message.seq > this.#seen + 1) return this.#drop("a sequence number is missing"); // resuming brings it again
      if (message.seq <= this.#seen) return this.#soonAcknowledge();
      this.#seen = message.seq;
    }
    this.#handle(message);
    if (message.type === "signal") this.#acknowledge();
    else if (typeof message.seq === "number") this.#soonAcknowledge();
  }

  #soonAcknowledge() {
    if (this.#seen - this.#acked >= ACK_MAX) this.#acknowledge();
    else if (this.#seen > this.#acked && !this.#timers.has("ack")) this.#setTimer("ack", this.#timing.ackMs, () => this.#acknowledge());
  }

  /** @param {any} message */
  #handle(message) {
    switch (message.type) {
      case "greeting": return void this.#greeted(message);
      case "welcome": return this.#welcomed(message);
      case "signal": return this.#signaled(message);
      case "receipt": return this.#settle(message.id, { id: message.id, status: message.status, code: message.code, message: message.message });
      case "peer_joined": return this.swarms.get(message.topic)?._joined(message.peer, message.meta);
      case "peer_left": return this.swarms.get(message.topic)?._left(message.peer, message.reason);
      case "joined":
      case "watching":
        this.swarms.get(message.topic)?._sample(message.peers);
        return this.#settle(message.id, message);
      case "left":
      case "unwatched":
      case "peers": return this.#settle(message.id, message);
      case "drain": return this.#drained(message);
      case "error": return this.#refused(message);
      default: return undefined; // `pong`, and what a later version may add
    }
  }

  /** @param {any} greeting */
  async #greeted(greeting) {
    if (greeting.version !== VERSION) return this.#drop(`the host speaks version ${greeting.version}`);
    if (this.#tag !== undefined && greeting.tag !== this.#tag) return this.#drop("the host is in another network");
    this.#greeting = greeting;
    if (this.#session?.host === greeting.host) this.#send({ type: "hello", resume: { token: this.#session?.token, seq: this.#seen } });
    else await this.#helloAfresh();
  }

  /** Opens a new session on the socket we have. */
  async #helloAfresh() {
    const socket = this.#socket;
    const { identity } = this.#options;
    try {
      const claim = identity ? await identity._claim(this.#greeting) : {};
      if (socket === this.#socket) this.#send({ type: "hello", ...claim });
    } catch (error) {
      if (socket === this.#socket) this.#drop(`no claim could be signed: ${error}`);
    }
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    if (this.#state === "open") return;
    const previous = this.peer;
    if (!welcome.resumed) {
      this.#loseSession();
      this.#seen = 0;
    }
    this.#acked = this.#seen; // `hello` told it
    this.#welcome = welcome;
    this.#tag = this.#greeting?.tag;
    this.#session = { host: welcome.host, url: this.#url, token: welcome.resume };
    this.#learn(welcome.hosts);
    this.#failures.delete(this.#url);
    this.#fruitless = 0;
    this.#openedMs = performance.now();
    this.#clearTimer("connect");
    if (previous && previous !== welcome.peer) this.#former = [previous, ...this.#former].slice(0, 16);
    const waiting = [...this.#open.values()]; // without what listeners of `state` ask for
    this.#setState("open");
    this.#listen(this.#heartbeatMs);
    if (!welcome.resumed) this.#enterAgain();
    for (const open of waiting) this.#ask(open);
    this._emit("welcome", { peer: welcome.peer, host: welcome.host, url: this.#url, resumed: welcome.resumed, previous });
    this.#readiness.resolve(this);
    if (previous && previous !== welcome.peer) for (const connection of this.connections.values()) connection._moved(welcome.peer);
  }

  /** What was sent in the old session and not answered can get no receipt any more. */
  #loseSession() {
    this.#session = null;
    for (const [id, open] of this.#open) {
      if (open.message.type === "signal" && open.sent) this.#settle(id, { id, status: "unknown" });
    }
    for (const swarm of this.swarms.values()) swarm._stale = true;
  }

  /** A new session is in no topic yet. */
  #enterAgain() {
    for (const swarm of this.swarms.values()) {
      const asked = (/** @type {string} */ type) => [...this.#open.values()].some(({ message }) => message.type === type && message.topic === swarm.topic);
      for (const type of /** @type {const} */ (["join", "watch"])) {
        const wanted = type === "join" ? swarm.member : swarm.watching;
        if (wanted && !asked(type)) this.#enter(swarm, type, false).catch((error) => swarm._emit("error", { code: error.code, message: error.message }));
      }
    }
  }

  /** @param {any} urls */
  #learn(urls) {
    if (!Array.isArray(urls)) return;
    const fresh = [];
    for (const url of urls.slice(0, HOSTS_MAX)) {
      try {
        fresh.push(gatewayUrl(url));
      } catch { /* not a URL that can be used here: as if it had not been told */ }
    }
    this.#learnt = [...new Set([...fresh, ...this.#learnt])].slice(0, HOSTS_MAX);
    // What is not known any more needs no memory of its failures.
    const known = new Set(this.hosts);
    for (const memory of [this.#failures, this.#avoid]) for (const url of memory.keys()) if (!known.has(url)) memory.delete(url);
  }

  /** The host is going away (§4.2). @param {any} message */
  #drained({ retry_after_ms: waitMs = 0, hosts }) {
    this.#learn(hosts);
    const jitteredMs = waitMs * (0.75 + Math.random() / 2);
    this.#movingMs = performance.now() + jitteredMs;
    if (this.hosts.length < 2) return; // nowhere to go: stay while it lasts, and come back to it
    this.#avoid.set(this.#url, performance.now() + Math.max(waitMs, this.#timing.drainedMs));
    this.#setTimer("drain", jitteredMs, () => this.#move(performance.now() + this.#timing.signalMs));
  }

  /** Says goodbye and goes to another host, once the receipts of what was sent are there. @param {number} untilMs when not to wait for them any longer */
  #move(untilMs) {
    const waiting = [...this.#open.values()].some(({ message, sent }) => message.type === "signal" && sent);
    if (waiting && performance.now() < untilMs) return this.#setTimer("drain", 50, () => this.#move(untilMs));
    this.#send({ type: "bye" });
    this.#loseSession();
    this.#attempts = 0;
    return this.#drop("the host is going away");
  }

  /** @param {any} error */
  #refused(error) {
    const { id, code, message, known, retry_after_ms: retryAfterMs } = error;
    const open = this.#open.get(id);
    if (open) return this.#refusedRequest(id, open, new AldisError(code, message, retryAfterMs));
    if (code === "replaced") return this.#end("replaced");
    this._emit("error", { code, message });
    if (retryAfterMs > 0 && (this.#state !== "open" || ENDS_SESSION.has(code))) this.#avoid.set(this.#url, performance.now() + retryAfterMs);
    if (this.#state !== "open") {
      if (code === "session_lost" && this.#session) {
        this.#loseSession();
        return void this.#helloAfresh();
      }
      if (code === "claim_old" && this.#options.identity && known >= this.#options.identity.counter) {
        this.#options.identity.counter = known;
        return void this.#helloAfresh();
      }
      this.#drop(code);
    } else if (ENDS_SESSION.has(code)) {
      this.#loseSession();
      this.#failures.set(this.#url, 1); // the others first
    }
    return undefined;
  }

  /** @param {State} state @param {string} [reason] */
  #setState(state, reason) {
    if (state === this.#state) return;
    this.#state = state;
    this._emit("state", { state, reason });
  }

  /** The end for good. @param {string} reason `closed` by the application, or `replaced` by a newer session of the same peer */
  #end(reason) {
    if (this.#state === "closed") return;
    const socket = this.#socket;
    for (const connection of [...this.connections.values()]) connection.close();
    if (reason === "closed" && this.#state === "open") this.#send({ type: "bye" });
    this.#detach();
    socket?.close();
    for (const name of [...this.#timers.keys()]) this.#clearTimer(name);
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.removeEventListener?.("pagehide", this.#hidden);
    this.#loseSession();
    this.#setState("closed", reason);
    for (const id of [...this.#open.keys()]) this.#settle(id, new AldisError(reason));
    this.#readiness.reject(new AldisError(reason));
  }

  // ........................................................................................................ Requests, signals

  #drawId() {
    this.#drawn += 1;
    return `${this.#prefix}-${this.#drawn}`;
  }

  /**
   * Asks, and asks again after every resume until there is an answer.
   * @param {Record<string, any>} message
   * @returns {Promise<any>}
   */
  #request(message) {
    const id = message.id ?? this.#drawId();
    if (this.#state === "closed") return Promise.reject(new AldisError("closed"));
    if (this.#open.has(id)) return Promise.reject(new AldisError("bad_field", "This id is in use."));
    if (this.#open.size >= OPEN_MAX) return Promise.reject(new AldisError("too_many_open"));
    return new Promise((resolve, reject) => {
      /** @type {Open} */
      const open = { message: { ...message, id }, sent: false, tries: 0, resolve, reject };
      if (message.type === "signal") open.timer = setTimeout(() => this.#giveUp(id, open.sent), this.#patienceMs);
      this.#open.set(id, open);
      if (this.#state === "open") this.#ask(open);
    });
  }

  /** A host answers a signal within its time-out; a session can be resumed within the grace period. Beyond both nothing will come. */
  get #patienceMs() {
    const { signal_timeout_ms: timeoutMs = this.#timing.signalMs, grace_ms: graceMs = this.#timing.graceMs } = this.#welcome?.limits ?? {};
    return timeoutMs + graceMs;
  }

  /** A signal has waited long enough. @param {string} id @param {boolean} sent */
  #giveUp(id, sent) {
    this.#settle(id, sent ? { id, status: "unknown" } : { id, status: "refused", code: "offline", message: "No host could be reached." });
  }

  /** @param {Open} open */
  #ask(open) {
    const { message } = open;
    open.sent = true;
    this.#send(typeof message.meta === "function" ? { ...message, meta: message.meta(this) } : message);
  }

  /** @param {string} id @param {any} result an AldisError rejects */
  #settle(id, result) {
    const open = this.#open.get(id);
    if (!open) return;
    this.#open.delete(id);
    clearTimeout(open.timer);
    if (result instanceof AldisError) open.reject(result);
    else open.resolve(result);
  }

  /** @param {string} id @param {Open} open @param {AldisError} error */
  #refusedRequest(id, open, error) {
    if (open.message.type === "signal" || !PASSING.has(error.code) || open.tries >= TRIES_MAX) return this.#settle(id, error);
    const waitMs = (error.retryAfterMs ?? 500 * 2 ** open.tries) * (1 + Math.random() / 2);
    open.tries += 1;
    open.timer = setTimeout(() => { if (this.#state === "open" && this.#open.has(id)) this.#ask(open); }, waitMs);
    return undefined;
  }

  /** A signal has come for us. @param {any} message */
  #signaled({ from, topic, data, id }) {
    if (this.#isRepetition(`${from} ${id}`)) return;
    if (data !== null && typeof data === "object" && data.aldis === "rtc") return this.#signaledConnection(from, topic, data);
    const signal = { from, topic, data, id };
    if (topic !== undefined) this.swarms.get(topic)?._emit("signal", signal);
    this._emit("signal", signal);
  }

  /** Whether this signal was seen in the last 120 s (§4.3). @param {string} key */
  #isRepetition(key) {
    const now = performance.now();
    for (const [old, atMs] of this.#remembered) {
      if (now - atMs < this.#timing.rememberMs && this.#remembered.size < REMEMBERED_MAX) break;
      this.#remembered.delete(old);
    }
    if (this.#remembered.has(key)) return true;
    this.#remembered.set(key, now);
    return false;
  }

  // ................................................................................................................ Topics

  /** @param {string} topic */
  #swarm(topic) {
    let swarm = this.swarms.get(topic);
    if (!swarm) this.swarms.set(topic, swarm = new Swarm(this, topic));
    return swarm;
  }

  /** @param {Swarm} swarm @param {"join" | "watch"} type @param {boolean} before whether it is so already, and stays so if this is refused */
  async #enter(swarm, type, before) {
    try {
      await this.#request({ type, topic: swarm.topic, meta: type === "join" ? swarm._meta : undefined });
    } catch (error) {
      if (type === "join") swarm.member = before;
      else swarm.watching = before;
      if (!swarm.member && !swarm.watching && this.swarms.get(swarm.topic) === swarm) this.swarms.delete(swarm.topic);
      throw error;
    }
    return swarm;
  }

  /** @internal @param {Swarm} swarm */
  async _leave(swarm) {
    if (this.swarms.get(swarm.topic) !== swarm) return;
    this.swarms.delete(swarm.topic);
    const types = [...(swarm.member ? ["leave"] : []), ...(swarm.watching ? ["unwatch"] : [])];
    swarm.member = false;
    swarm.watching = false;
    await Promise.all(types.map((type) => this.#request({ type, topic: swarm.topic })));
  }

  /** Whether a peer id is or was ours. @internal @param {string} peer */
  _isUs(peer) {
    return peer === this.peer || this.#former.includes(peer);
  }

  // ............................................................................................................ Connections

  /** @param {string} peer @param {string | undefined} topic */
  #connectionTo(peer, topic) {
    return [...this.connections.values()].find((connection) => connection.peer === peer && connection.topic === topic);
  }

  /** @param {{ peer: string, topic?: string, link: string, incoming: boolean }} options */
  #makeConnection(options) {
    if (this.connections.size >= CONNECTIONS_MAX) throw new AldisError("too_many_connections");
    let connection;
    try {
      connection = new Connection(this, options);
    } catch (error) {
      throw new AldisError("too_many_connections", String(error)); // browsers count closed ones too, until they are collected
    }
    this.connections.set(connection.link, connection);
    return connection;
  }

  /** @param {string} from @param {string | undefined} topic @param {any} data */
  #signaledConnection(from, topic, data) {
    if (typeof data.link !== "string" || data.link.length > 64) return;
    let connection = this.connections.get(data.link);
    if (!connection && data.first && data.description?.type === "offer") connection = this.#incoming(from, topic, data.link);
    if (connection) connection._received(from, data);
    // An offer for a connection we do not have any more: its owner would try for long.
    else if (data.description?.type === "offer" && !data.first) void this.signal(from, { aldis: "rtc", link: data.link, bye: true }, { topic });
  }

  /**
   * Somebody's first offer. Undefined: it is not taken.
   * @param {string} from @param {string | undefined} topic @param {string} link
   */
  #incoming(from, topic, link) {
    const own = this.#connectionTo(from, topic);
    const crossed = own?._isFresh;
    if (crossed && !own.polite) return undefined; // both have offered: the impolite side's offer counts
    if (own) this.connections.delete(own.link);
    const bye = () => void this.signal(from, { aldis: "rtc", link, bye: true }, { topic });
    let connection;
    try {
      connection = this.#makeConnection({ peer: from, topic, link, incoming: true });
    } catch {
      own?._end("too_many_connections");
      return void bye();
    }
    if (crossed) {
      own._yieldTo(connection);
      return connection;
    }
    own?._end("replaced"); // the other side has forgotten that one
    const target = topic === undefined ? undefined : this.swarms.get(topic);
    const taken = target ? target._emit("connection", { connection }) : this._emit("connection", { connection });
    if (!taken) {
      connection._end("declined");
      return void bye();
    }
    return connection;
  }
}

/** A gateway URL in one spelling: ws or wss, with the path `/v1` if none is given. @param {string} text */
function gatewayUrl(text) {
  const url = new URL(text.replace(/^http/, "ws"));
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`${text} is not a WebSocket URL`);
  if (url.pathname === "/") url.pathname = "/v1";
  return url.href;
}

// ---------------------------------------------------------------------------------------------------------------------- Swarm

/**
 * @typedef {object} SwarmEvents
 * @property {{ peer: string, meta?: any }} peer somebody has come
 * @property {{ peer: string, meta?: any }} meta a member has changed its meta
 * @property {{ peer: string, meta?: any, reason: string }} left reasons as in §4.2; `missed`: it went while we had no session
 * @property {Signal} signal
 * @property {{ connection: Connection }} connection somebody connects to us; `preventDefault` declines. Tracks added in the listener are in the answer
 * @property {{ code: string, message: string }} error
 */

/**
 * One topic. `members` are those we know of, without ourselves: all of a small topic, a sample and everybody who came later of a large one.
 * @extends {Emitter<SwarmEvents>}
 */
export class Swarm extends Emitter {
  /** @type {Map<string, any>} meta by peer */ members = new Map();
  member = false;
  watching = false;
  /** @internal @type {any} */ _meta;
  /** Whether `members` is from a session that is lost. @internal */ _stale = false;
  /** @type {Aldis} */ #client;
  /** @type {Set<string>} members that the new session has not shown yet */ #missing = new Set();
  /** @type {Timer | undefined} */ #settling;

  /** @param {Aldis} client @param {string} topic */
  constructor(client, topic) {
    super();
    this.#client = client;
    this.topic = topic;
  }

  /** As `Aldis.signal`, with this topic as the place where we met. @param {string} to @param {any} data @param {{ id?: string }} [options] */
  signal(to, data, options = {}) {
    return this.#client.signal(to, data, { ...options, topic: this.topic });
  }

  /**
   * An open WebRTC connection to a peer; `connection.pc` is the RTCPeerConnection, `connection.channel` an open data channel. It outlives
   * sockets, sessions and hosts. Both sides may call this at once: they get the two ends of one connection.
   * @param {string} peer
   * @param {{ stream?: MediaStream }} [options] stream: its tracks are sent from the start
   * @returns {Promise<Connection>} rejects with `no_such_peer`, `declined`, `timeout`, …
   */
  connect(peer, options = {}) {
    return this.#client.connect(peer, { ...options, topic: this.topic });
  }

  /** A random sample of the members. @param {{ limit?: number }} [options] */
  discover(options) {
    return this.#client.discover(this.topic, options);
  }

  /** Shows the others another meta. @param {any} meta */
  async setMeta(meta) {
    await this.#client.join(this.topic, { meta });
  }

  /** Ends membership and watch. Connections stay. */
  async leave() {
    clearTimeout(this.#settling);
    await this.#client._leave(this);
  }

  /** @internal @param {string} peer @param {any} meta */
  _joined(peer, meta) {
    if (this.#client._isUs(peer)) return;
    this.#missing.delete(peer);
    const known = this.members.has(peer);
    const before = this.members.get(peer);
    if (!known && this.members.size >= MEMBERS_MAX) return;
    this.members.set(peer, meta);
    if (!known) this._emit("peer", { peer, meta });
    else if (JSON.stringify(before) !== JSON.stringify(meta)) this._emit("meta", { peer, meta });
  }

  /** @internal @param {string} peer @param {string} reason */
  _left(peer, reason) {
    this.#missing.delete(peer);
    if (!this.members.has(peer)) return;
    const meta = this.members.get(peer);
    this.members.delete(peer);
    this._emit("left", { peer, meta, reason });
  }

  /**
   * The answer to `join` or `watch`. After a lost session it also tells who went meanwhile: members it does not show, unless they are
   * shown a little later, because a host that has just started may still be learning who is there.
   * @internal @param {{ peer: string, meta?: any }[]} peers
   */
  _sample(peers) {
    if (this._stale) this.#missing = new Set(this.members.keys());
    for (const { peer, meta } of peers) this._joined(peer, meta);
    if (!this._stale) return;
    this._stale = false;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => {
      for (const peer of [...this.#missing]) this._left(peer, "missed");
    }, this.#client._timing.settleMs);
  }
}

// ----------------------------------------------------------------------------------------------------------------- Connection
//
// Signals between the two ends: `{ aldis: "rtc", link, n, first?, description?, offer?, candidates?, bye? }`. `link` is the connection's
// random name, known to its ends alone; it survives a change of peer id. `n` grows by one, so that repetitions are dropped. `first` is set
// until the ends have agreed once. `offer` numbers a side's offers: made again, an offer keeps its number, and its answer tells it. One signal is on its way at a time: descriptions stay in order, and candidates that gather meanwhile go together.

/**
 * @typedef {object} ConnectionEvents
 * @property {{ state: ConnectionState, reason?: string }} state
 * @property {{ stream: MediaStream }} stream the other end sends this; see also `streams`
 * @property {{ peer: string, previous: string }} peer the other end has a new peer id: it has changed hosts
 *
 * @typedef {"new" | "connected" | "restarting" | "closed"} ConnectionState
 */

/**
 * One end of a WebRTC connection. Use `pc` as any RTCPeerConnection (`addTrack`, `createDataChannel`, `ontrack`, …): whatever needs
 * negotiation is negotiated.
 * @extends {Emitter<ConnectionEvents>}
 */
export class Connection extends Emitter {
  /** @type {ConnectionState} */ state = "new";
  /** Resolves once the data channel is open. @type {Promise<Connection>} */ connected;
  /** What the other end sends. @type {MediaStream[]} */ streams = [];

  /** @type {Aldis} */ #client;
  /** @type {RTCDataChannel} tells the other end our new peer id without any host */ #control;
  /** @type {Set<MediaStream>} what we send */ #streams = new Set();
  /** @type {{ resolve: (connection: Connection | Promise<Connection>) => void, reject: (error: Error) => void }} */ #connecting;
  /** @type {Timer | undefined} of the first connecting */ #deadline;
  /** @type {Timer | undefined} of the next restart */ #restarting;
  #restarts = 0;

  // Perfect negotiation (W3C WebRTC §10.7).
  #makingOffer = false;
  #settingAnswer = false;
  /** @type {Promise<unknown>} incoming messages are handled one after the other */ #receiving = Promise.resolve();
  #received = 0;
  /** @type {RTCIceCandidateInit[]} */ #early = [];

  // What is to be sent.
  #sent = 0;
  #sending = false;
  /** @type {{ description: RTCSessionDescription, offer: number } | null} */ #described = null;
  #offers = 0;
  /** @type {RTCIceCandidateInit[]} */ #candidates = [];

  /** @internal @param {Aldis} client @param {{ peer: string, topic?: string, link: string, incoming: boolean }} options */
  constructor(client, { peer, topic, link, incoming }) {
    super();
    this.#client = client;
    /** The other end's peer id; changes when it moves to another host with a minted id. */
    this.peer = peer;
    this.topic = topic;
    this.link = link;
    /** Whether the other end has opened it. */
    this.incoming = incoming;
    /** Whether our offer gives way when both offer. Both ends must differ, and stay so when ids change. */
    this.polite = String(client.peer) < peer;
    /** @type {any} */ let connecting;
    this.connected = new Promise((resolve, reject) => { connecting = { resolve, reject }; });
    this.connected.catch(() => {}); // on the incoming side nobody may be waiting
    this.#connecting = connecting;

    this.pc = new RTCPeerConnection(client._rtc);
    /** The default data channel, reliable and ordered. */
    this.channel = this.pc.createDataChannel("aldis", { negotiated: true, id: 0 });
    this.#control = this.pc.createDataChannel("aldis-control", { negotiated: true, id: 1 });
    this.channel.addEventListener("open", () => this.#opened());
    this.#control.addEventListener("message", ({ data }) => this.#movedTo(String(data)));
    this.pc.addEventListener("negotiationneeded", () => this.#offer());
    this.pc.addEventListener("icecandidate", ({ candidate }) => {
      if (!candidate) return;
      this.#candidates.push(candidate.toJSON());
      void this.#pump();
    });
    this.pc.addEventListener("track", (event) => {
      for (const stream of event.streams.filter((one) => !this.streams.includes(one))) {
        this.streams.push(stream);
        this._emit("stream", { stream });
      }
    });
    this.pc.addEventListener("connectionstatechange", () => this.#changed());
    this.#control.addEventListener("close", () => this._end("closed")); // the other end has closed, or its page has gone
    this.#deadline = setTimeout(() => this._end("timeout"), client._timing.rtcConnectMs);
  }

  /** Sends all tracks of a stream, those already sent excepted. @param {MediaStream} stream */
  addStream(stream) {
    this.#streams.add(stream);
    const sent = new Set(this.pc.getSenders().map((sender) => sender.track));
    for (const track of stream.getTracks()) if (!sent.has(track)) this.pc.addTrack(track, stream);
  }

  /** Ends the connection and tells the other end. */
  close() {
    this.#leave("closed");
  }

  /** @param {string} reason */
  #leave(reason) {
    if (this.state === "closed") return;
    if (this.#client.state === "open") void this.#client.signal(this.peer, { aldis: "rtc", link: this.link, bye: true }, { topic: this.topic });
    this._end(reason);
  }

  /** Negotiates new ICE paths, for example after a change of networks. Happens by itself when the connection fails. */
  async restart() {
    if (this.state === "closed") return;
    this.pc.setConfiguration({ ...this.pc.getConfiguration(), ...this.#client._rtc }); // TURN credentials may have expired
    // An offer that never got its answer would block the next.
    if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
    this.pc.restartIce();
  }

  /** Whether the ends have never agreed yet. @internal */
  get _isFresh() { return this.pc.remoteDescription === null; }

  /** @internal @param {string} reason */
  _end(reason) {
    if (this.state === "closed") return;
    clearTimeout(this.#deadline);
    clearTimeout(this.#restarting);
    this.#client.connections.delete(this.link);
    this.pc.close();
    this.#setState("closed", reason);
    this.#connecting.reject(new AldisError(reason));
  }

  /**
   * Both ends have offered, and the other's offer counts: its connection takes our place. A fresh one, because Chromium may never gather
   * candidates for an answer whose RTCPeerConnection has just rolled its first offer back.
   * @internal @param {Connection} connection
   */
  _yieldTo(connection) {
    for (const stream of this.#streams) connection.addStream(stream);
    this.#connecting.resolve(connection.connected);
    this._end("replaced");
  }

  /** We have a new peer id. @internal @param {string} peer */
  _moved(peer) {
    if (this.#control.readyState === "open") this.#control.send(peer);
    else void this.#client.signal(this.peer, { aldis: "rtc", link: this.link, n: this.#next() }, { topic: this.topic });
    this.#offerAgain(); // its answer may have been on its way to our old id
  }

  /** @internal @param {string} from @param {any} data */
  _received(from, data) {
    this.#movedTo(from);
    if (data.bye) return this._end(this.state === "new" ? "declined" : "closed");
    if (!(data.n > this.#received)) return;
    this.#received = data.n;
    this.#receiving = this.#receiving.then(() => this.#apply(data)).catch((error) => {
      if (this.state === "closed") return;
      this.#client._emit("error", { code: "negotiation", message: String(error) });
      this.#leave("failed");
    });
  }

  /** @param {any} data */
  async #apply({ description, offer, candidates = [] }) {
    const { pc } = this;
    if (this.state === "closed") return;
    if (description) {
      const readyForOffer = !this.#makingOffer && (pc.signalingState === "stable" || this.#settingAnswer);
      const ignored = description.type === "offer" ? !this.polite && !readyForOffer : pc.signalingState !== "have-local-offer" || offer !== this.#offers;
      if (!ignored) {
        this.#settingAnswer = description.type === "answer";
        await pc.setRemoteDescription(description).finally(() => { this.#settingAnswer = false; });
        if (description.type === "offer") {
          await pc.setLocalDescription();
          this.#queue(offer);
        }
      }
    }
    this.#early.push(...candidates);
    const known = this.#early.filter((candidate) => this.#isForUs(candidate));
    this.#early = this.#early.filter((candidate) => !this.#isForUs(candidate)).slice(-EARLY_CANDIDATES_MAX);
    // A single bad candidate is no reason to give up: the others may do.
    for (const candidate of known) await pc.addIceCandidate(candidate).catch(() => {});
  }

  /** Whether a candidate belongs to the remote description there is. @param {RTCIceCandidateInit} candidate */
  #isForUs({ usernameFragment }) {
    const sdp = this.pc.remoteDescription?.sdp;
    return sdp !== undefined && (!usernameFragment || sdp.includes(`a=ice-ufrag:${usernameFragment}\r`));
  }

  async #offer() {
    if (this.incoming && this._isFresh) return; // the answer comes first; what is then still needed is asked for again
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      if (this.pc.localDescription?.type !== "offer") return;
      this.#offers += 1;
      this.#queue(this.#offers);
    } catch (error) {
      if (this.state !== "closed") this.#client._emit("error", { code: "negotiation", message: String(error) });
    } finally {
      this.#makingOffer = false;
    }
  }

  /** Sends our description as it is now; it takes the place of one that has not left yet. @param {number} offer */
  #queue(offer) {
    const description = this.pc.localDescription;
    if (description) this.#described = { description, offer };
    void this.#pump();
  }

  async #pump() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.state !== "closed" && (this.#described || (this.#candidates.length > 0 && this.#sent > 0))) {
        const described = this.#described;
        const candidates = this.#candidates;
        this.#described = null;
        this.#candidates = [];
        const first = this._isFresh || undefined;
        const receipt = await this.#deliver({ aldis: "rtc", link: this.link, n: this.#next(), first, ...described, candidates });
        // While connected, a missing answer is no reason to end: the other end may be changing hosts, and restarts are bounded.
        if (receipt.status !== "delivered" && first && this._isFresh) this._end(receipt.code ?? receipt.status);
      }
    } finally {
      this.#sending = false;
    }
  }

  /** Sends until there is an answer that will not get better. @param {any} data @returns {Promise<Receipt>} */
  async #deliver(data) {
    for (let attempt = 0, id; ; attempt += 1) {
      const receipt = await this.#client.signal(this.peer, data, { topic: this.topic, id });
      const passing = receipt.status === "unknown" || PASSING.has(receipt.code ?? "");
      if (!passing || attempt + 1 >= TRIES_MAX || this.state === "closed") return receipt;
      // Under the same id only after `unknown`: a refusal is that id's final answer.
      id = receipt.status === "unknown" ? receipt.id : undefined;
      await new Promise((resolve) => { setTimeout(resolve, 200 * 2 ** attempt * (0.5 + Math.random() / 2)); });
    }
  }

  #next() {
    this.#sent += 1;
    return this.#sent;
  }

  #opened() {
    clearTimeout(this.#deadline);
    this.#setState("connected");
    this.#connecting.resolve(this);
  }

  #changed() {
    const state = this.pc.connectionState;
    if (state === "connected") {
      clearTimeout(this.#restarting);
      this.#restarts = 0;
      if (this.state === "restarting") this.#setState("connected");
    } else if (state === "failed" || state === "disconnected") {
      if (this.state === "connected") this.#setState("restarting");
      this.#restartIn(state === "failed" ? 0 : this.#client._timing.rtcRestartMs);
    }
  }

  /** @param {number} ms */
  #restartIn(ms) {
    clearTimeout(this.#restarting);
    this.#restarting = setTimeout(() => {
      if (this.#restarts >= RESTARTS_MAX) return this._end("failed");
      this.#restarts += 1;
      this.restart().catch(() => {}); // then the next one, or the end
      return this.#restartIn(this.#client._timing.rtcRetryMs);
    }, ms);
  }

  /** The other end has told its new peer id. @param {string} peer */
  #movedTo(peer) {
    const previous = this.peer;
    if (peer === previous || !/^[0-9a-f]{64}$/.test(peer)) return;
    this.peer = peer;
    this._emit("peer", { peer, previous });
    this.#offerAgain(); // it may have been on its way to the old id
  }

  #offerAgain() {
    if (this.pc.signalingState === "have-local-offer" && !this.#described) this.#queue(this.#offers);
  }

  /** @param {ConnectionState} state @param {string} [reason] */
  #setState(state, reason) {
    if (state === this.state) return;
    this.state = state;
    this._emit("state", { state, reason });
  }
}
