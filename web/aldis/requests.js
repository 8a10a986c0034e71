// Requests and signals that wait for their answers: asked again after every resume, until there is one.

import { randomHex } from "./bytes.js";
import { AldisError } from "./events.js";
import { OPEN_MAX, PASSING, TRIES_MAX } from "./limits.js";

/**
 * @typedef {ReturnType<typeof setTimeout>} Timer
 * @typedef {{ message: Record<string, any>, sent: boolean, tries: number, timer?: Timer,
 *   resolve: (value: any) => void, reject: (error: any) => void }} Open
 *
 * What a request needs of the client.
 * @typedef {object} Wire
 * @property {() => boolean} isOpen whether there is a session to ask in
 * @property {(message: Record<string, any>) => void} send
 * @property {() => number} patienceMs after which no receipt will come any more
 */

export class Requests {
  /** @type {Wire} */ #wire;
  /** Makes ids unique per peer, even for another page with the same identity. */ #prefix = randomHex(8);
  #drawn = 0;
  /** @type {Map<string, Open>} */ #open = new Map();

  /** @param {Wire} wire */
  constructor(wire) {
    this.#wire = wire;
  }

  drawId() {
    this.#drawn += 1;
    return `${this.#prefix}-${this.#drawn}`;
  }

  /** All that wait now. */
  waiting() { return [...this.#open.values()]; }

  /** Whether somebody waits for such an answer. @param {string} type @param {string} topic */
  asked(type, topic) {
    return this.waiting().some(({ message }) => message.type === type && message.topic === topic);
  }

  /**
   * Asks. What is told to other peers always gets its receipt or tally, unless the host refuses the request itself; anything else rejects
   * when it is refused, or with the reason of an abort.
   * @param {Record<string, any>} message
   * @param {AbortSignal} [abort]
   * @returns {Promise<any>}
   */
  ask(message, abort) {
    const id = message.id ?? this.drawId();
    const told = isTold(message);
    if (abort?.aborted) return told ? Promise.resolve(ending({ ...message, id }, false, "aborted")) : Promise.reject(abort.reason);
    if (this.#open.has(id)) return Promise.reject(new AldisError("bad_field", "This id is in use."));
    if (this.#open.size >= OPEN_MAX) return Promise.reject(new AldisError("too_many_open"));
    /** @type {Promise<any>} */
    const answered = new Promise((resolve, reject) => {
      /** @type {Open} */
      const open = { message: { ...message, id }, sent: false, tries: 0, resolve, reject };
      if (told) open.timer = setTimeout(() => this.settle(id, ending(open.message, open.sent, open.sent ? undefined : "offline")), this.#wire.patienceMs());
      this.#open.set(id, open);
      if (this.#wire.isOpen()) this.say(open);
    });
    if (!abort) return answered;
    const stop = () => {
      const open = this.#open.get(id);
      if (open && told) this.settle(id, ending(open.message, open.sent, "aborted"));
      else this.settle(id, abort.reason, true);
    };
    abort.addEventListener("abort", stop, { once: true });
    return answered.finally(() => abort.removeEventListener("abort", stop));
  }

  /** Says a request on the session that is open. A meta that is a function is asked each time. @param {Open} open */
  say(open) {
    open.sent = true;
    this.#wire.send(open.message);
  }

  /** @param {string} id @param {any} result @param {boolean} [rejects] */
  settle(id, result, rejects = false) {
    const open = this.#open.get(id);
    if (!open) return;
    this.#open.delete(id);
    clearTimeout(open.timer);
    if (rejects) open.reject(result);
    else open.resolve(result);
  }

  /** A host has refused a request. Gives whether it was one of ours. @param {string} id @param {AldisError} error */
  refused(id, error) {
    const open = this.#open.get(id);
    if (!open) return false;
    if (isTold(open.message) || !PASSING.has(error.code) || open.tries >= TRIES_MAX) {
      this.settle(id, error, true);
      return true;
    }
    const waitMs = (error.retryAfterMs ?? 500 * 2 ** open.tries) * (1 + Math.random() / 2);
    open.tries += 1;
    open.timer = setTimeout(() => { if (this.#wire.isOpen() && this.#open.has(id)) this.say(open); }, waitMs);
    return true;
  }

  /** What was sent in a lost session and not answered can get no receipt any more. */
  sessionLost() {
    for (const [id, { message, sent }] of this.#open) if (isTold(message) && sent) this.settle(id, ending(message, true));
  }

  /** Nothing will be answered any more. @param {string} reason */
  end(reason) {
    for (const id of [...this.#open.keys()]) this.settle(id, new AldisError(reason), true);
  }
}

/** Whether it is for other peers: asked once, and never again after a refusal. @param {Record<string, any>} message */
export const isTold = ({ type }) => type === "signal" || type === "broadcast";

/**
 * The receipt or the tally of what will get none from a host.
 * @param {Record<string, any>} message @param {boolean} sent whether it may have come to somebody @param {string} [code]
 * @returns {any}
 */
export function ending({ id, type }, sent, code) {
  if (type === "signal") return { id, status: sent ? "unknown" : "refused", code };
  return { id, taken: 0, refused: 0, unknown: 0, members: 0, missed: 0, code: code ?? "session_lost" };
}

/** What the application is told of a tally. @param {any} message */
export const tallyOf = ({ type, seq, ...tally }) => tally;
