// Where to connect: the gateways given and learnt, and what became of earlier attempts.

import { HOSTS_MAX } from "./limits.js";

export class Gateways {
  /** @type {string[]} */ #given;
  /** @type {string[]} */ #learnt = [];
  /** @type {Map<string, number>} failures in a row, by URL */ #failures = new Map();
  /** @type {Map<string, number>} not before, by URL */ #avoided = new Map();

  /** @param {string[]} given */
  constructor(given) {
    this.#given = [...new Set(given.map(gatewayUrl))];
    if (this.#given.length === 0) throw new TypeError("connect: at least one host is needed");
  }

  /** All that are known. */
  get all() { return [...new Set([...this.#given, ...this.#learnt])]; }

  /** When somebody may be asked at all, by the clock of `performance`. */
  get allowedMs() { return Math.min(...this.all.map((url) => this.#avoided.get(url) ?? 0)); }

  /**
   * The URL to try next. Our session's host first, and every other time while others fail too: only there can the session be resumed.
   * @param {string | undefined} home its URL
   * @param {number} fruitless sockets in a row without `welcome`
   * @param {boolean} first whether there has never been a session
   */
  choose(home, fruitless, first) {
    const now = performance.now();
    const isAvoided = (/** @type {string} */ url) => (this.#avoided.get(url) ?? 0) > now;
    if (home && !isAvoided(home) && (fruitless < 2 || fruitless % 2 === 1)) return home;
    // The first time in the order given. Later at random among the best, so that the edges of a dead host do not all go to the same one.
    const { all } = this;
    const ranked = all.filter((url) => url !== home || all.length === 1).map((url) => ({
      url, rank: (isAvoided(url) ? 1e6 : 0) + (this.#failures.get(url) ?? 0) + (first ? 0 : Math.random() / 2),
    }));
    return ranked.reduce((best, one) => (one.rank < best.rank ? one : best)).url;
  }

  /** @param {string} url */
  failed(url) { this.#failures.set(url, (this.#failures.get(url) ?? 0) + 1); }

  /** @param {string} url */
  succeeded(url) { this.#failures.delete(url); }

  /** The others first. @param {string} url */
  demote(url) { this.#failures.set(url, 1); }

  /** @param {string} url @param {number} ms for so long */
  avoid(url, ms) { this.#avoided.set(url, performance.now() + ms); }

  /** What a host has told of others. @param {any} urls */
  learn(urls) {
    if (!Array.isArray(urls)) return;
    const fresh = [];
    for (const url of urls.slice(0, HOSTS_MAX)) {
      try {
        fresh.push(gatewayUrl(url));
      } catch { /* not a URL that can be used here: as if it had not been told */ }
    }
    this.#learnt = [...new Set([...fresh, ...this.#learnt])].slice(0, HOSTS_MAX);
    // What is not known any more needs no memory of its failures.
    const known = new Set(this.all);
    for (const memory of [this.#failures, this.#avoided]) for (const url of memory.keys()) if (!known.has(url)) memory.delete(url);
  }
}

/** A gateway URL in one spelling: ws or wss, with the path `/v1` if none is given. @param {string} text */
function gatewayUrl(text) {
  const url = new URL(text.replace(/^http/, "ws"));
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`${text} is not a WebSocket URL`);
  if (url.pathname === "/") url.pathname = "/v1";
  return url.href;
}
