// An Ed25519 key of the edge's own, for peers that keep their id when they change hosts (§3.2).

import { concat, fromBase64, fromHex, toHex, u64, utf8 } from "./bytes.js";
import { AldisError } from "./events.js";

/**
 * A claim as other peers check it (§4.4).
 * @typedef {{ home: string, counter: number, sealing: string, signature: string }} Claim
 */

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
   * The identity of 32 secret bytes, for programs that keep their secrets themselves. Whoever has the bytes is this peer.
   * @param {import("./bytes.js").Bytes} secret
   */
  static async fromSecret(secret) {
    if (secret.length !== 32) throw new TypeError("a secret has 32 bytes");
    const pkcs8 = concat(fromHex("302e020100300506032b657004220420"), secret); // RFC 8410
    const readable = await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, true, ["sign"]);
    const { x = "" } = await crypto.subtle.exportKey("jwk", readable);
    return new Identity(await crypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, false, ["sign"]), toHex(fromBase64(x)));
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
   * @param {string} [sealing] the X25519 key to which others may seal
   */
  async _claim({ host, tag, challenge }, sealing) {
    this.counter += 1;
    const { counter } = this;
    if (!Number.isSafeInteger(counter)) throw new AldisError("claim_old", "The claim's counter is used up.");
    const [signature, proof] = await Promise.all([
      this._sign(claimed(tag, host, counter, sealing)),
      this._sign(concat(utf8("aldis 2026 hello"), fromHex(tag), fromHex(host), fromHex(challenge))),
    ]);
    return { peer: this.peer, claim: { counter, sealing, signature, proof } };
  }

  /** @internal @param {import("./bytes.js").Bytes} bytes @returns {Promise<string>} the signature in hex */
  async _sign(bytes) {
    return toHex(new Uint8Array(await crypto.subtle.sign({ name: "Ed25519" }, this.privateKey, bytes)));
  }
}

/**
 * What a claim signs (§3.2).
 * @param {string} tag @param {string} home @param {number} counter @param {string} [sealing]
 */
export function claimed(tag, home, counter, sealing) {
  const key = sealing === undefined ? Uint8Array.of(0) : concat(Uint8Array.of(1), fromHex(sealing));
  return concat(utf8("aldis 2026 claim"), fromHex(tag), fromHex(home), u64(counter), key);
}

/**
 * Whether the owner of a peer id has signed these bytes.
 * @param {string} peer @param {string} signature @param {import("./bytes.js").Bytes} bytes
 * @returns {Promise<boolean>}
 */
export async function hasSigned(peer, signature, bytes) {
  try {
    const key = await crypto.subtle.importKey("raw", fromHex(peer), { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, fromHex(signature), bytes);
  } catch {
    return false; // not every peer id is a key
  }
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const settled = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});
