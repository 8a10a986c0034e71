// Timers by what they are for: setting one again takes the place of the earlier.

export class Timers {
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */ #running = new Map();

  /** @param {string} name @param {number} ms @param {() => void} action */
  set(name, ms, action) {
    this.clear(name);
    this.#running.set(name, setTimeout(() => { this.#running.delete(name); action(); }, ms));
  }

  /** @param {string} name */
  has(name) { return this.#running.has(name); }

  /** @param {string[]} names */
  clear(...names) {
    for (const name of names) {
      clearTimeout(this.#running.get(name));
      this.#running.delete(name);
    }
  }

  clearAll() { this.clear(...this.#running.keys()); }
}
