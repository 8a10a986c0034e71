// Signals: what goes to other peers, and what comes of them.

import { REMEMBERED_MAX } from "./limits.js";
import { ending } from "./requests.js";
import { Sealing } from "./sealing.js";

/** @typedef {import("./types.js").Receipt} Receipt @typedef {import("./types.js").Signal} Signal */

/**
 * What signals need of the client.
 * @typedef {object} Home
 * @property {import("./client.js").Aldis} client
 * @property {import("./types.js").ConnectOptions} options
 * @property {(message: Record<string, any>, signal?: AbortSignal) => Promise<any>} ask
 * @property {() => string} drawId
 * @property {() => number} bytesMax of one signal's data
 * @property {() => string} tag of the network
 * @property {(reason: string) => void} fail ends the client
 * @property {() => void} opened a sealed signal has been dealt with: its seq may be acknowledged
 */

export class Signals {
  /** @type {Home} */ #home;
  /** @type {Sealing | undefined} */ #sealing;
  /** Seqs of sealed signals that are still being opened. @type {number[]} */ #opening = [];
  /** They are opened one after the other. @type {Promise<unknown>} */ #opened = Promise.resolve();
  /** @type {Map<string, number>} when, by "from id" */ #remembered = new Map();

  /** @param {Home} home */
  constructor(home) {
    this.#home = home;
    const { client, options: { identity, sealed }, tag, drawId } = home;
    if (!sealed) return;
    if (!identity) throw new TypeError("connect: only an identity can seal");
    const send = (/** @type {string} */ to, /** @type {any} */ data, /** @type {{ id?: string, signal?: AbortSignal }} */ options) => this.#post(to, data, options);
    this.#sealing = new Sealing({ identity, timing: client._timing, answers: client._answers, tag, drawId, send, ready: () => client.ready });
    this.#sealing.key.catch(() => home.fail("unsupported")); // no X25519 here: nothing will get better by trying again
  }

  /** Our X25519 key in hex, if we seal. */
  async sealingKey() { return (await this.#sealing?.key)?.hex; }

  /** @param {string} home @param {{ counter: number, sealing?: string, signature: string }} claim */
  claimed(home, claim) { this.#sealing?.claimed(home, claim); }

  /** The last seq that needs nothing any more. @param {number} seen the last that has come */
  handled(seen) { return this.#opening[0] === undefined ? seen : this.#opening[0] - 1; }

  /** The session is another: its seqs are counted anew. */
  forget() { this.#opening = []; }

  /** See `Aldis.signal`. @param {string} to @param {any} data @param {{ topic?: string, id?: string, signal?: AbortSignal }} options @returns {Promise<Receipt>} */
  async send(to, data, { topic, id = this.#home.drawId(), signal }) {
    const startedMs = performance.now();
    /** @type {Receipt} */
    const receipt = JSON.stringify(data) === undefined ? { id, status: "refused", code: "bad_field", message: "The data is not JSON." }
      : await (this.#sealing ? this.#sealing.signal(to, data, { topic, id, signal }) : this.#post(to, data, { topic, id, signal }));
    this.#home.client._emit("receipt", { ...receipt, to, topic, data, tookMs: performance.now() - startedMs });
    return receipt;
  }

  /**
   * A signal as it goes to the host. Never rejects.
   * @param {string} to @param {any} data @param {{ topic?: string, id?: string, signal?: AbortSignal }} options
   * @returns {Promise<Receipt>}
   */
  async #post(to, data, { topic, id = this.#home.drawId(), signal }) {
    const bytes = new TextEncoder().encode(JSON.stringify(data)).length;
    if (bytes > this.#home.bytesMax()) return { id, status: "refused", code: "too_big" };
    return this.#home.ask({ type: "signal", id, to, topic, data }, signal).catch((error) => ({ id, status: "refused", code: error.code, message: error.message }));
  }

  /** See `Aldis.broadcast`. @param {string} topic @param {any} data @param {{ id?: string, signal?: AbortSignal }} options @returns {Promise<import("./types.js").Tally>} */
  async spread(topic, data, { id = this.#home.drawId(), signal }) {
    const message = { type: "broadcast", id, topic, data };
    const text = JSON.stringify(data);
    if (this.#sealing) return ending(message, false, "not_sealed"); // it would have to be sealed for each member
    if (text === undefined) return ending(message, false, "bad_field");
    if (new TextEncoder().encode(text).length > this.#home.bytesMax()) return ending(message, false, "too_big");
    return this.#home.ask(message, signal).catch((error) => ({ ...ending(message, false, error.code), message: error.message }));
  }

  /** @param {any} message */
  broadcastCame({ from, topic, data, id }) {
    if (this.#isRepetition(`to all: ${from} ${id}`)) return;
    const { client } = this.#home;
    if (this.#sealing) return void client._emit("error", { code: "not_sealed", message: `A broadcast of ${from} was not sealed.` });
    client.swarms.get(topic)?._emit("broadcast", { from, topic, data, id });
    client._emit("broadcast", { from, topic, data, id });
  }

  /** A signal has come for us. @param {any} message */
  came({ from, topic, data, id, seq }) {
    if (this.#isRepetition(`${from} ${id}`)) return;
    const kind = data !== null && typeof data === "object" ? data.aldis : undefined;
    const sealing = this.#sealing;
    if (kind === "claim") {
      if (sealing) void sealing.claimCame(from, data);
      else if (data.answer === true && this.#home.client._answers.take()) void this.#post(from, { aldis: "claim" }, {});
    } else if (kind === "sealed" && sealing) {
      this.#open(sealing, from, id, data, seq);
    } else if (sealing) {
      this.#home.client._emit("error", { code: "not_sealed", message: `A signal of ${from} was not sealed.` });
    } else {
      this.#deliver({ from, topic, data, id });
    }
  }

  /** @param {Sealing} sealing @param {string} from @param {string} id @param {any} data @param {number} seq */
  #open(sealing, from, id, data, seq) {
    const opening = this.#opening;
    opening.push(seq);
    this.#opened = this.#opened.then(async () => {
      try {
        const opened = await sealing.open(from, id, data);
        if (opened) this.#deliver({ from, topic: opened.topic, data: opened.data, id });
      } catch (/** @type {any} */ error) {
        this.#home.client._emit("error", { code: error.code ?? "seal_broken", message: `A signal of ${from} was dropped: ${error.message}` });
      }
      opening.shift();
      if (opening === this.#opening) this.#home.opened();
    });
  }

  /** @param {Signal} signal */
  #deliver(signal) {
    const { client } = this.#home;
    const { from, data } = signal;
    const swarm = signal.topic === undefined ? undefined : client.swarms.get(signal.topic);
    if (this.#sealing && !swarm) signal.topic = undefined; // as hosts do
    if (data !== null && typeof data === "object" && data.aldis === "rtc") return client._connections.signaled(from, signal.topic, data);
    swarm?._emit("signal", signal);
    client._emit("signal", signal);
    return undefined;
  }

  /** Whether this signal was seen in the last 120 s (§4.3). @param {string} key */
  #isRepetition(key) {
    const now = performance.now();
    for (const [old, atMs] of this.#remembered) {
      if (now - atMs < this.#home.client._timing.rememberMs && this.#remembered.size < REMEMBERED_MAX) break;
      this.#remembered.delete(old);
    }
    if (this.#remembered.has(key)) return true;
    this.#remembered.set(key, now);
    return false;
  }
}
