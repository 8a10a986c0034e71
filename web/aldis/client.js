// The client: one socket at a time, the session it carries, topics, signals.

import { Answers } from "./answers.js";
import { Connections } from "./connections.js";
import { AldisError, Emitter } from "./events.js";
import { Gateways } from "./gateways.js";
import { ACK_MAX, ENDS_SESSION, TIMING, VERSION } from "./limits.js";
import { Requests, isTold, tallyOf } from "./requests.js";
import { Signals } from "./signals.js";
import { Timers } from "./timers.js";
import { Topics } from "./topics.js";

/** @typedef {import("./connection.js").Connection} Connection @typedef {import("./limits.js").Timing} Timing */
/** @typedef {import("./types.js").AldisEvents} AldisEvents @typedef {import("./types.js").ConnectOptions} ConnectOptions */
/** @typedef {import("./types.js").Receipt} Receipt @typedef {import("./types.js").State} State */

/**
 * Connects to one of `hosts` and stays connected. The client can be used at once: what is asked before a host has answered is asked then.
 * @param {ConnectOptions} options
 */
export function connect(options) {
  return new Aldis(options);
}

/** @extends {Emitter<AldisEvents>} */
export class Aldis extends Emitter {
  /** The first `welcome`; rejects if the client is closed before. @type {Promise<Aldis>} */
  ready;

  /** @internal */ _connections = new Connections(this);
  /** @internal @type {Answers} */ _answers;
  /** @type {ConnectOptions} */ #options;
  /** @type {Timing} */ #timing;
  /** @type {State} */ #state = "connecting";
  /** @type {{ resolve: (client: Aldis) => void, reject: (error: Error) => void }} */ #readiness;

  // The socket, of which there is at most one, and what was heard on it.
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {any} */ #greeting = null;
  #openedMs = 0;
  #heardMs = 0;
  #timers = new Timers();

  // Where to connect.
  /** @type {Gateways} */ #gateways;
  #url = "";
  #movingMs = 0;
  /** Sockets in a row that did not live long: the back-off. */ #attempts = 0;
  /** Sockets in a row without `welcome`: when to try other hosts. */ #fruitless = 0;
  /** @type {string | undefined} the network we are in: fail-over never leaves it */ #tag;

  // The session.
  /** @type {any} the last `welcome` */ #welcome = null;
  /** @type {{ host: string, url: string, token: string } | null} */ #session = null;
  /** @type {string[]} peer ids of earlier sessions: never shown as somebody else */ #former = [];
  #seen = 0;
  #acked = 0;

  #requests = new Requests({ isOpen: () => this.#state === "open", send: (message) => this.#say(message), patienceMs: () => this.#patienceMs });
  #topics = new Topics(this, (message, signal) => this.#request(message, signal), (type, topic) => this.#requests.asked(type, topic));
  /** @type {Signals} */ #signals;

  /** @param {ConnectOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this._answers = new Answers(this.#timing.answersMs);
    this.#gateways = new Gateways(options.hosts);
    if (!(options.WebSocket ?? globalThis.WebSocket)) throw new TypeError("connect: there is no global WebSocket here; pass one, such as that of the package ws, as the option WebSocket");
    /** @type {any} */ let readiness;
    this.ready = new Promise((resolve, reject) => { readiness = { resolve, reject }; });
    this.ready.catch(() => {}); // whoever awaits it is told; nobody must
    this.#readiness = readiness;
    this.#signals = new Signals({
      client: this,
      options,
      ask: (message, signal) => this.#request(message, signal),
      drawId: () => this.#requests.drawId(),
      bytesMax: () => this.#welcome?.limits?.message_bytes ?? 65_536,
      tag: () => this.#tag ?? "",
      fail: (reason) => this.#end(reason),
      opened: () => this.#acknowledge(),
    });
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.addEventListener?.("pagehide", this.#hidden);
    options.signal?.addEventListener("abort", this.#aborted, { once: true });
    if (options.signal?.aborted) this.#end("aborted");
    this.#dial();
  }

  /** @returns {State} */ get state() { return this.#state; }
  /** Our peer id; undefined before the first `welcome`. @returns {string | undefined} */
  get peer() { return this.#welcome?.peer; }
  /** The id of the host we are, or were last, connected to. @returns {string | undefined} */
  get host() { return this.#welcome?.host; }
  /** Its gateway URL. */ get url() { return this.#session?.url ?? this.#url; }
  /** The network's name. @returns {string | undefined} */
  get network() { return this.#welcome?.network; }
  /** All gateway URLs known. */
  get hosts() { return this.#gateways.all; }
  /** What the host offers for WebRTC: STUN and TURN servers, as in `RTCConfiguration`. @returns {RTCIceServer[]} */
  get iceServers() { return this.#welcome?.ice_servers ?? []; }
  /** Topics joined or watched. */
  get swarms() { return this.#topics.swarms; }
  /** Live RTC connections by the random name both ends use. */
  get connections() { return this._connections.live; }
  /** @internal @returns {RTCConfiguration} */
  get _rtc() { return { iceServers: this.iceServers, ...this.#options.rtc }; }
  /** @internal */
  get _timing() { return this.#timing; }

  // ........................................................................................................ What one can do

  /**
   * Becomes a member of a topic, and stays one until `swarm.leave()`: also across sockets, sessions and hosts.
   * @param {string} topic 1 to 256 bytes
   * @param {{ meta?: any, signal?: AbortSignal }} [options] meta: any JSON of at most 1,024 bytes
   * @returns {Promise<import("./swarm.js").Swarm>}
   */
  join(topic, { meta = this.#options.meta, signal } = {}) {
    return this.#topics.enter("join", topic, meta, signal);
  }

  /**
   * Sees who comes and goes without being a member.
   * @param {string} topic
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<import("./swarm.js").Swarm>}
   */
  watch(topic, { signal } = {}) {
    return this.#topics.enter("watch", topic, undefined, signal);
  }

  /**
   * A random sample of a topic's members, without being one.
   * @param {string} topic
   * @param {{ limit?: number, signal?: AbortSignal }} [options] limit: 1 to 64
   * @returns {Promise<{ peers: { peer: string, meta?: any }[], total: number }>}
   */
  async discover(topic, { limit, signal } = {}) {
    const { peers, total } = await this.#request({ type: "discover", topic, limit }, signal);
    return { peers, total };
  }

  /** Ends a membership and a watch. @param {string} topic @param {{ signal?: AbortSignal }} [options] */
  async leave(topic, options) {
    await this.swarms.get(topic)?.leave(options);
  }

  /**
   * Sends any JSON of at most 65,536 bytes to a peer (sealed: 48,000). Never rejects: the receipt tells what became of it.
   * @param {string} to
   * @param {any} data
   * @param {{ topic?: string, id?: string, signal?: AbortSignal }} [options] topic: where we met, told to the receiver if it is in that topic; id: of an earlier signal, to send it again
   * @returns {Promise<Receipt>}
   */
  signal(to, data, options = {}) {
    return this.#signals.send(to, data, options);
  }

  /**
   * Sends any JSON of at most 65,536 bytes to all other members of a topic, on all hosts. Never rejects: the tally tells how far it has come.
   * @param {string} topic
   * @param {any} data
   * @param {{ id?: string, signal?: AbortSignal }} [options] id: of an earlier broadcast, to send it again
   * @returns {Promise<import("./types.js").Tally>}
   */
  broadcast(topic, data, options = {}) {
    return this.#signals.spread(topic, data, options);
  }

  /**
   * Opens a WebRTC connection to a peer; gives the one there is, if there is one. See `Swarm.connect`.
   * @param {string} peer
   * @param {{ topic?: string, stream?: MediaStream, signal?: AbortSignal }} [options]
   * @returns {Promise<Connection>}
   */
  connect(peer, options = {}) {
    return this._connections.open(peer, options);
  }

  /** Leaves everything and ends the session. RTC connections are closed too. */
  close() {
    this.#end("closed");
  }

  // ............................................................................................................. The socket

  #dial() {
    if (this.#state === "closed" || this.#socket) return;
    this.#url = this.#gateways.choose(this.#session?.url, this.#fruitless, !this.#welcome);
    const Socket = this.#options.WebSocket ?? globalThis.WebSocket;
    this.#greeting = null;
    /** @type {WebSocket} */ let socket;
    try {
      socket = new Socket(this.#url, "aldis.v1");
    } catch (error) {
      return this.#dropped(String(error)); // such as ws: from an https: page
    }
    this.#socket = socket;
    this.#timers.set("connect", this.#timing.connectMs, () => this.#drop("no welcome in time"));
    socket.onmessage = (event) => { if (socket === this.#socket) this.#received(event.data); };
    socket.onclose = (event) => { if (socket === this.#socket) this.#dropped(event.reason || "socket closed"); };
    socket.onerror = () => {}; // `close` follows
    return undefined;
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
      this.#gateways.failed(this.#url);
      this._emit("error", { code: "host_unreachable", message: `${this.#url}: ${reason}` });
    }
    if (wasOpen) this.#setState("reconnecting", reason);
    const ceiling = Math.min(this.#timing.backoffMaxMs, this.#timing.backoffMs * 2 ** this.#attempts);
    this.#attempts += 1;
    const wait = ceiling * (0.5 + Math.random() / 2);
    // Wait also until somebody may be asked at all, and for as long as a draining host said.
    this.#timers.set("dial", Math.max(wait, this.#gateways.allowedMs - now, this.#movingMs - now), () => this.#dial());
  }

  #detach() {
    this.#socket = null;
    this.#timers.clear("connect", "ack", "listen", "drain", "dial");
  }

  /** The network may be back: do not wait for the back-off or the heartbeat. */
  #wake = () => {
    if (this.#state === "open") this.#listen(0);
    else if (this.#timers.has("dial")) this.#dial();
  };

  /** A page that goes away says so, else its peers would see it for the grace period. @param {any} event */
  #hidden = (event) => { if (!event.persisted) this.close(); };

  #aborted = () => this.#end("aborted");

  /** @param {Record<string, any>} message */
  #send(message) {
    if (this.#socket?.readyState !== 1) return;
    const seq = this.#state === "open" ? this.#handled : 0;
    const acks = seq > this.#acked;
    this.#socket.send(JSON.stringify(acks ? { ...message, ack: seq } : message));
    if (acks) this.#acknowledged(seq);
  }

  /** A request, whose meta may be a function. @param {Record<string, any>} message */
  #say(message) {
    this.#send(typeof message.meta === "function" ? { ...message, meta: message.meta(this) } : message);
  }

  /** The last seq that needs nothing any more: a sealed signal has arrived when it is open. */
  get #handled() { return this.#signals.handled(this.#seen); }

  #acknowledge() {
    const seq = this.#handled;
    if (seq > this.#acked && this.#state === "open") {
      this.#socket?.send(JSON.stringify({ type: "ack", seq }));
      this.#acknowledged(seq);
    }
  }

  /** @param {number} seq */
  #acknowledged(seq) {
    this.#acked = seq;
    this.#timers.clear("ack");
  }

  /** The watch-dog (§4.3): after a silence of `silenceMs` ping, and give up the socket if that brings nothing either. @param {number} silenceMs */
  #listen(silenceMs) {
    this.#timers.set("listen", silenceMs, () => {
      const silentMs = performance.now() - this.#heardMs;
      if (silentMs < silenceMs) return this.#listen(silenceMs - silentMs);
      const askedMs = performance.now();
      this.#send({ type: "ping" });
      this.#timers.set("listen", this.#timing.pongMs, () => {
        if (this.#heardMs < askedMs) this.#drop("silent");
        else this.#listen(this.#heartbeatMs);
      });
    });
  }

  get #heartbeatMs() { return Math.max(10, this.#welcome?.heartbeat_ms ?? 25_000); }

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
    if (isTold(message)) this.#acknowledge();
    else if (typeof message.seq === "number") this.#soonAcknowledge();
  }

  #soonAcknowledge() {
    if (this.#handled - this.#acked >= ACK_MAX) this.#acknowledge();
    else if (this.#handled > this.#acked && !this.#timers.has("ack")) this.#timers.set("ack", this.#timing.ackMs, () => this.#acknowledge());
  }

  /** @param {any} message */
  #handle(message) {
    switch (message.type) {
      case "greeting": return void this.#greeted(message);
      case "welcome": return this.#welcomed(message);
      case "signal": return this.#signals.came(message);
      case "broadcast": return this.#signals.broadcastCame(message);
      case "tally": return this.#requests.settle(message.id, tallyOf(message));
      case "receipt": return this.#requests.settle(message.id, { id: message.id, status: message.status, code: message.code, message: message.message });
      case "peer_joined": return this.swarms.get(message.topic)?._joined(message.peer, message.meta);
      case "peer_left": return this.swarms.get(message.topic)?._left(message.peer, message.reason);
      case "joined":
      case "watching":
        this.swarms.get(message.topic)?._sample(message.peers);
        return this.#requests.settle(message.id, message);
      case "left":
      case "unwatched":
      case "peers": return this.#requests.settle(message.id, message);
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
      const greeting = this.#greeting;
      const claimed = identity ? await identity._claim(greeting, await this.#signals.sealingKey()) : undefined;
      if (socket !== this.#socket) return;
      if (claimed) this.#signals.claimed(greeting.host, claimed.claim);
      this.#send({ type: "hello", ...claimed });
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
      this.#signals.forget();
    }
    this.#acked = this.#handled; // `hello` told it
    this.#welcome = welcome;
    this.#tag = this.#greeting?.tag;
    this.#session = { host: welcome.host, url: this.#url, token: welcome.resume };
    this.#gateways.learn(welcome.hosts);
    this.#gateways.succeeded(this.#url);
    this.#fruitless = 0;
    this.#openedMs = performance.now();
    this.#timers.clear("connect");
    if (previous && previous !== welcome.peer) this.#former = [previous, ...this.#former].slice(0, 16);
    const waiting = this.#requests.waiting(); // without what listeners of `state` ask for
    this.#setState("open");
    this.#listen(this.#heartbeatMs);
    if (!welcome.resumed) this.#topics.enterAgain();
    for (const open of waiting) this.#requests.say(open);
    this._emit("welcome", { peer: welcome.peer, host: welcome.host, url: this.#url, resumed: welcome.resumed, previous });
    this.#readiness.resolve(this);
    if (previous && previous !== welcome.peer) for (const connection of this.connections.values()) connection._moved(welcome.peer);
  }

  #loseSession() {
    this.#session = null;
    this.#requests.sessionLost();
    this.#topics.lost();
  }

  /** The host is going away (§4.2). @param {any} message */
  #drained({ retry_after_ms: waitMs = 0, hosts }) {
    this.#gateways.learn(hosts);
    const jitteredMs = waitMs * (0.75 + Math.random() / 2);
    this.#movingMs = performance.now() + jitteredMs;
    if (this.hosts.length < 2) return; // nowhere to go: stay while it lasts, and come back to it
    this.#gateways.avoid(this.#url, Math.max(waitMs, this.#timing.drainedMs));
    this.#timers.set("drain", jitteredMs, () => this.#move(performance.now() + this.#timing.signalMs));
  }

  /** Says goodbye and goes to another host, once the receipts of what was sent are there. @param {number} untilMs when not to wait for them any longer */
  #move(untilMs) {
    const waiting = this.#requests.waiting().some(({ message, sent }) => isTold(message) && sent);
    if (waiting && performance.now() < untilMs) return this.#timers.set("drain", 50, () => this.#move(untilMs));
    this.#send({ type: "bye" });
    this.#loseSession();
    this.#attempts = 0;
    return this.#drop("the host is going away");
  }

  /** @param {any} error */
  #refused(error) {
    const { id, code, message, known, retry_after_ms: retryAfterMs } = error;
    if (this.#requests.refused(id, new AldisError(code, message, retryAfterMs))) return undefined;
    if (code === "replaced") return this.#end("replaced");
    this._emit("error", { code, message });
    if (retryAfterMs > 0 && (this.#state !== "open" || ENDS_SESSION.has(code))) this.#gateways.avoid(this.#url, retryAfterMs);
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
      this.#gateways.demote(this.#url);
    }
    return undefined;
  }

  /** @param {State} state @param {string} [reason] */
  #setState(state, reason) {
    if (state === this.#state) return;
    this.#state = state;
    this._emit("state", { state, reason });
  }

  /** The end for good. @param {string} reason `closed` or `aborted` by the application, `replaced` by a newer session of the same peer, `unsupported` */
  #end(reason) {
    if (this.#state === "closed") return;
    const socket = this.#socket;
    for (const connection of [...this.connections.values()]) connection.close();
    if (reason !== "replaced" && this.#state === "open") this.#send({ type: "bye" });
    this.#detach();
    socket?.close();
    this.#timers.clearAll();
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.removeEventListener?.("pagehide", this.#hidden);
    this.#options.signal?.removeEventListener("abort", this.#aborted);
    this.#loseSession();
    this.#setState("closed", reason);
    this.#requests.end(reason);
    this.#readiness.reject(new AldisError(reason));
  }

  // ........................................................................................................ Requests, signals

  /** @param {Record<string, any>} message @param {AbortSignal} [signal] @returns {Promise<any>} */
  #request(message, signal) {
    return this.#state === "closed" ? Promise.reject(new AldisError("closed")) : this.#requests.ask(message, signal);
  }

  /** A host answers a signal within its time-out; a session can be resumed within the grace period. Beyond both nothing will come. */
  get #patienceMs() {
    const { signal_timeout_ms: timeoutMs = this.#timing.signalMs, grace_ms: graceMs = this.#timing.graceMs } = this.#welcome?.limits ?? {};
    return timeoutMs + graceMs;
  }

  /** @internal @param {import("./swarm.js").Swarm} swarm @param {AbortSignal} [signal] */
  _leave(swarm, signal) {
    return this.#topics.leave(swarm, signal);
  }

  /** Whether a peer id is or was ours. @internal @param {string} peer */
  _isUs(peer) {
    return peer === this.peer || this.#former.includes(peer);
  }
}
