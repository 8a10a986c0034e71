// The topics of a client: entered, entered again after a lost session, left.

import { abortable } from "./events.js";
import { Swarm } from "./swarm.js";

/** @typedef {"join" | "watch"} Way */

export class Topics {
  /** @type {Map<string, Swarm>} */ swarms = new Map();
  /** @type {import("./client.js").Aldis} */ #client;
  /** @type {(message: Record<string, any>, signal?: AbortSignal) => Promise<any>} */ #ask;
  /** @type {(type: Way, topic: string) => boolean} whether such a request waits */ #asked;

  /**
   * @param {import("./client.js").Aldis} client
   * @param {(message: Record<string, any>, signal?: AbortSignal) => Promise<any>} ask
   * @param {(type: Way, topic: string) => boolean} asked
   */
  constructor(client, ask, asked) {
    this.#client = client;
    this.#ask = ask;
    this.#asked = asked;
  }

  /**
   * See `Aldis.join` and `Aldis.watch`.
   * @param {Way} type @param {string} topic @param {any} meta @param {AbortSignal} [signal]
   */
  async enter(type, topic, meta, signal) {
    signal?.throwIfAborted();
    let swarm = this.swarms.get(topic);
    if (!swarm) this.swarms.set(topic, swarm = new Swarm(this.#client, topic));
    const before = isIn(swarm, type);
    if (type === "join") swarm._meta = meta;
    setIn(swarm, type, true);
    return this.#enter(swarm, type, before, signal);
  }

  /** The session is lost: members may go without our being told. */
  lost() {
    for (const swarm of this.swarms.values()) swarm._stale = true;
  }

  /** A new session is in no topic yet. */
  enterAgain() {
    for (const swarm of this.swarms.values()) {
      for (const type of /** @type {const} */ (["join", "watch"])) {
        if (isIn(swarm, type) && !this.#asked(type, swarm.topic)) {
          this.#enter(swarm, type, false).catch((error) => swarm._emit("error", { code: error.code, message: error.message }));
        }
      }
    }
  }

  /**
   * @param {Swarm} swarm @param {Way} type
   * @param {boolean} before whether it is so already, and stays so if this is refused
   * @param {AbortSignal} [signal]
   */
  async #enter(swarm, type, before, signal) {
    const { topic } = swarm;
    try {
      await this.#ask({ type, topic, meta: type === "join" ? swarm._meta : undefined }, signal);
    } catch (error) {
      if (signal?.aborted) {
        if (before || this.#asked(type, topic)) throw error; // somebody else wants it
        // The host may have done it already.
        void this.#ask({ type: type === "join" ? "leave" : "unwatch", topic }).catch(() => {});
      }
      setIn(swarm, type, before);
      if (!swarm.member && !swarm.watching && this.swarms.get(topic) === swarm) this.swarms.delete(topic);
      throw error;
    }
    return swarm;
  }

  /** @param {Swarm} swarm @param {AbortSignal} [signal] */
  async leave(swarm, signal) {
    if (this.swarms.get(swarm.topic) !== swarm) return;
    this.swarms.delete(swarm.topic);
    const types = [...(swarm.member ? ["leave"] : []), ...(swarm.watching ? ["unwatch"] : [])];
    swarm.member = false;
    swarm.watching = false;
    // Whoever stops waiting has still left: the request stays open until it is answered.
    await abortable(Promise.all(types.map((type) => this.#ask({ type, topic: swarm.topic }))), signal);
  }
}

/** @param {Swarm} swarm @param {Way} type */
const isIn = (swarm, type) => (type === "join" ? swarm.member : swarm.watching);

/** @param {Swarm} swarm @param {Way} type @param {boolean} so */
function setIn(swarm, type, so) {
  if (type === "join") swarm.member = so;
  else swarm.watching = so;
}
