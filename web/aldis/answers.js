// What anybody can make this client say by itself. Without a bound a stranger could spend what the host allows us in a second.

import { ANSWERS_MAX } from "./limits.js";

export class Answers {
  /** When the last ones were given. @type {number[]} */ #given = [];
  #windowMs;

  /** @param {number} windowMs in which at most `ANSWERS_MAX` are given */
  constructor(windowMs) {
    this.#windowMs = windowMs;
  }

  /** Whether one more may be given now; who gets none asks again. */
  take() {
    const now = performance.now();
    const [first = -Infinity] = this.#given;
    if (this.#given.length >= ANSWERS_MAX) {
      if (now - first < this.#windowMs) return false;
      this.#given.shift();
    }
    this.#given.push(now);
    return true;
  }
}
