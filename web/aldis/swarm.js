// One topic: who is there.

import { Emitter } from "./events.js";
import { MEMBERS_MAX } from "./limits.js";

/** @typedef {import("./client.js").Aldis} Aldis @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./requests.js").Timer} Timer @typedef {import("./types.js").Signal} Signal */

/**
 * @typedef {object} SwarmEvents
 * @property {{ peer: string, meta?: any }} peer somebody has come
 * @property {{ peer: string, meta?: any }} meta a member has changed its meta
 * @property {{ peer: string, meta?: any, reason: string }} left reasons as in §4.2; `missed`: it went while we had no session
 * @property {Signal} signal
 * @property {import("./types.js").Broadcast} broadcast a peer tells all members something
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

  /** As `Aldis.signal`, with this topic as the place where we met. @param {string} to @param {any} data @param {{ id?: string, signal?: AbortSignal }} [options] */
  signal(to, data, options = {}) {
    return this.#client.signal(to, data, { ...options, topic: this.topic });
  }

  /** As `Aldis.broadcast`, to this topic. @param {any} data @param {{ id?: string, signal?: AbortSignal }} [options] */
  broadcast(data, options) {
    return this.#client.broadcast(this.topic, data, options);
  }

  /**
   * An open WebRTC connection to a peer; `connection.pc` is the RTCPeerConnection, `connection.channel` an open data channel. It outlives
   * sockets, sessions and hosts. Both sides may call this at once: they get the two ends of one connection.
   * @param {string} peer
   * @param {{ stream?: MediaStream, signal?: AbortSignal }} [options] stream: its tracks are sent from the start
   * @returns {Promise<Connection>} rejects with `no_such_peer`, `declined`, `timeout`, …
   */
  connect(peer, options = {}) {
    return this.#client.connect(peer, { ...options, topic: this.topic });
  }

  /** A random sample of the members. @param {{ limit?: number, signal?: AbortSignal }} [options] */
  discover(options) {
    return this.#client.discover(this.topic, options);
  }

  /** Shows the others another meta. @param {any} meta @param {{ signal?: AbortSignal }} [options] */
  async setMeta(meta, { signal } = {}) {
    await this.#client.join(this.topic, { meta, signal });
  }

  /** Ends membership and watch. Connections stay. @param {{ signal?: AbortSignal }} [options] signal: do not wait any longer for the host's answer */
  async leave({ signal } = {}) {
    clearTimeout(this.#settling);
    await this.#client._leave(this, signal);
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
