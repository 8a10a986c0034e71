// What every part of the library is made of: events with types, and errors with codes.

/**
 * An EventTarget whose events carry a typed `detail`.
 * @template {Record<string, any>} Events
 */
export class Emitter extends EventTarget {
  /**
   * Listens. Gives a function that stops listening.
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {(detail: Events[K], event: CustomEvent<Events[K]>) => void} listener
   * @param {{ signal?: AbortSignal }} [options] signal: stops listening when it is aborted
   * @returns {() => void}
   */
  on(type, listener, { signal } = {}) {
    const heard = /** @type {EventListener} */ (/** @param {any} event */ (event) => listener(event.detail, event));
    this.addEventListener(type, heard, { signal });
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

/**
 * Why a host refused (§9).
 * @typedef {"other" | "no_such_peer" | "home_unreachable" | "queue_full" | "too_big" | "rate_limited" | "overtaken" | "overloaded" | "malformed"
 *   | "unknown_type" | "bad_field" | "hello_expected" | "hello_repeated" | "hello_timeout" | "session_lost" | "replaced" | "claim_old"
 *   | "claim_invalid" | "too_many_topics" | "too_many_edges" | "origin_not_allowed" | "too_slow" | "closing" | "too_many_open" | "gone"
 *   | "bad_frame"} RefusalCode */

/**
 * What this library adds: `offline` no host could be reached in time; `closed` the client is closed; `aborted` the application's AbortSignal;
 * `declined`, `timeout`, `failed`, `too_many_connections` of WebRTC connections; `not_sealed` the other peer cannot seal, or has not;
 * `seal_broken` what came was not sealed by its sender for us; `unsupported` there is no X25519 in this WebCrypto, so nothing can be sealed; `host_unreachable`, `negotiation` in events alone: what is tried again by itself.
 * @typedef {"offline" | "closed" | "aborted" | "declined" | "timeout" | "failed" | "too_many_connections" | "not_sealed" | "seal_broken" | "unsupported"
 *   | "host_unreachable" | "negotiation"} LocalCode
 */

/** A refusal by a host, or a local no. `code` is a RefusalCode or a LocalCode; a newer host may have codes that are not known here. */
export class AldisError extends Error {
  /** @param {RefusalCode | LocalCode | (string & {})} code @param {string} [message] @param {number} [retryAfterMs] */
  constructor(code, message = code, retryAfterMs) {
    super(message);
    this.name = "AldisError";
    this.code = code;
    /** When it is worth trying again, if the host said so. */
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * The promise, or a rejection with the signal's reason if that is aborted first. What the promise is about goes on.
 * @template T @param {Promise<T>} promise @param {AbortSignal} [signal] @returns {Promise<T>}
 */
export function abortable(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
