// Signals that no host can read, change or make up (§4.4). The X25519 key is made anew by each client and kept nowhere: what was
// sealed to it can be opened by nobody once the client has ended.

import { concat, fromBase64, fromHex, isHex, randomHex, toBase64, toHex, u64, utf8 } from "./bytes.js";
import { AldisError, abortable } from "./events.js";
import * as hpke from "./hpke.js";
import { claimed, hasSigned } from "./identity.js";
import { CLAIMS_MAX, OPEN_MAX, SEALED_BYTES_MAX, SEALED_MAX, STREAMS_MAX } from "./limits.js";

/** @typedef {import("./identity.js").Claim} Claim @typedef {import("./identity.js").Identity} Identity @typedef {import("./types.js").Receipt} Receipt */

/** What is between two peers. @typedef {{ tag: string, from: string, to: string }} Between */
/** What is said of a sealed signal in the clear. @typedef {{ key: string, enc: string, stream: string, n: number, sealed: string, signature: string }} Envelope */

const CONTEXT = utf8("aldis 2026 sealed");

/** @param {Between} between */
const infoOf = ({ tag, from, to }) => concat(CONTEXT, fromHex(tag), fromHex(from), fromHex(to));

/** @param {string} stream @param {number} n @param {string} id */
const aadOf = (stream, n, id) => concat(fromHex(stream), u64(n), utf8(id));

/** What the sender signs. @param {Between} between @param {string} id @param {Omit<Envelope, "sealed" | "signature">} head @param {import("./bytes.js").Bytes} sealed */
function signedOf({ tag, to }, id, { key, enc, stream, n }, sealed) {
  const name = utf8(id);
  return concat(CONTEXT, fromHex(tag), fromHex(to), fromHex(key), fromHex(enc), fromHex(stream), u64(n), Uint8Array.of(name.length), name, sealed);
}

/**
 * Seals bytes to the owner of `key`.
 * @param {Identity} identity the sender's
 * @param {Between} between @param {string} id the signal's
 * @param {{ key: string, stream: string, n: number }} head
 * @param {import("./bytes.js").Bytes} plain
 * @returns {Promise<Envelope>}
 */
export async function sealTo(identity, between, id, { key, stream, n }, plain) {
  const { enc, sealed } = await hpke.seal(fromHex(key), infoOf(between), aadOf(stream, n, id), plain);
  const head = { key, enc: toHex(enc), stream, n };
  return { ...head, sealed: toBase64(sealed), signature: await identity._sign(signedOf(between, id, head, sealed)) };
}

/**
 * Opens what was sealed to our key. Throws unless `between.from` has sealed it for us under this id.
 * @param {{ privateKey: CryptoKey, publicKey: import("./bytes.js").Bytes }} ours
 * @param {Between} between @param {string} id @param {Envelope} envelope
 */
export async function openFrom(ours, between, id, envelope) {
  const sealed = fromBase64(envelope.sealed);
  if (!(await hasSigned(between.from, envelope.signature, signedOf(between, id, envelope, sealed)))) throw new AldisError("seal_broken", "The signature is not the sender's.");
  return hpke.open(ours, fromHex(envelope.enc), infoOf(between), aadOf(envelope.stream, envelope.n, id), sealed);
}

/** Whether a peer has signed this claim. @param {string} peer @param {string} tag @param {any} claim @returns {Promise<boolean>} */
export async function isClaimOf(peer, tag, claim) {
  if (!isHex(claim?.home, 32) || !isHex(claim.sealing, 32) || !isHex(claim.signature, 64) || !isCount(claim.counter)) return false;
  return hasSigned(peer, claim.signature, claimed(tag, claim.home, claim.counter, claim.sealing));
}

/** @param {unknown} n @returns {n is number} */
const isCount = (n) => Number.isSafeInteger(n) && Number(n) >= 0;

/** @param {any} data @returns {data is Envelope} */
const isEnvelope = (data) => isHex(data.key, 32) && isHex(data.enc, 32) && isHex(data.stream, 16) && isCount(data.n)
  && isHex(data.signature, 64) && typeof data.sealed === "string";

/** Sets in a map that forgets the oldest. @template K, V @param {Map<K, V>} map @param {K} key @param {V} value @param {number} max */
function keep(map, key, value, max) {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= max) break;
    map.delete(oldest);
  }
}

/**
 * What sealing needs of the client.
 * @typedef {object} Carrier
 * @property {Identity} identity
 * @property {() => string} tag of the network
 * @property {() => string} drawId
 * @property {(to: string, data: any, options: { id?: string, signal?: AbortSignal }) => Promise<Receipt>} send
 * @property {() => Promise<unknown>} ready before it the network is not known, and nothing can be sealed
 * @property {{ signalMs: number, claimMs: number }} timing
 * @property {import("./answers.js").Answers} answers
 */

/** A claim that a peer was asked for. @typedef {{ promise: Promise<Claim>, end: (claim: Claim | null, code?: string, why?: string) => void }} Awaited */

export class Sealing {
  /** Our key; known once the first claim is made. @type {Promise<{ privateKey: CryptoKey, publicKey: import("./bytes.js").Bytes, hex: string }>} */ key;
  /** Our last claim. @type {Claim | null} */ #own = null;
  /** @type {Carrier} */ #carrier;
  /** Of what we seal; see `n`. */ #stream = randomHex(16);
  #n = 0;
  /** @type {Map<string, { claim: Claim, atMs: number }>} by peer */ #claims = new Map();
  /** @type {Map<string, Awaited>} by peer */ #awaited = new Map();
  /** What is still to be sealed for a peer: its signals go in the order in which they were given. @type {Map<string, Promise<void>>} */ #lines = new Map();
  #waiting = 0;
  /** Sealed signals in case they cannot be opened. @type {Map<string, { to: string, key: string, again: () => void }>} by id */ #sealed = new Map();
  /** @type {Map<string, number>} the last n by sender and stream */ #streams = new Map();

  /** @param {Carrier} carrier */
  constructor(carrier) {
    this.#carrier = carrier;
    this.key = hpke.generateKeyPair().then(async ({ privateKey, publicKey }) => {
      const bytes = await hpke.publicBytes(publicKey);
      return { privateKey, publicKey: bytes, hex: toHex(bytes) };
    });
  }

  /** We have said hello with this claim. @param {string} home @param {{ counter: number, sealing?: string, signature: string }} claim */
  claimed(home, { counter, sealing = "", signature }) {
    this.#own = { home, counter, sealing, signature };
  }

  /**
   * Seals and sends. Never rejects.
   * @param {string} to @param {any} data @param {{ id: string, topic?: string, signal?: AbortSignal }} options
   * @returns {Promise<Receipt>}
   */
  async signal(to, data, { id, topic, signal }) {
    const plain = utf8(JSON.stringify({ topic, data }));
    if (plain.length > SEALED_BYTES_MAX) return { id, status: "refused", code: "too_big" };
    if (this.#waiting >= OPEN_MAX) return { id, status: "refused", code: "too_many_open" };
    const before = this.#lines.get(to);
    const posting = this.#post(before, to, plain, { id, signal }, () => void this.signal(to, data, { id: this.#carrier.drawId(), topic }));
    const line = posting.then(() => {});
    this.#lines.set(to, line);
    this.#waiting += 1;
    const { receipt } = await posting;
    this.#waiting -= 1;
    if (this.#lines.get(to) === line) this.#lines.delete(to);
    return receipt;
  }

  /**
   * Gives the receipt in an object, so that the next signal does not wait for it.
   * @param {Promise<void> | undefined} before @param {string} to @param {import("./bytes.js").Bytes} plain
   * @param {{ id: string, signal?: AbortSignal }} options @param {() => void} again
   * @returns {Promise<{ receipt: Receipt | Promise<Receipt> }>}
   */
  async #post(before, to, plain, { id, signal }, again) {
    try {
      await before;
      await abortable(this.#carrier.ready(), signal);
      const { sealing: key } = await this.#claimOf(to, signal);
      this.#n += 1;
      const between = { tag: this.#carrier.tag(), from: this.#carrier.identity.peer, to };
      const envelope = await sealTo(this.#carrier.identity, between, id, { key, stream: this.#stream, n: this.#n }, plain);
      keep(this.#sealed, id, { to, key, again }, SEALED_MAX);
      return { receipt: this.#carrier.send(to, { aldis: "sealed", ...envelope }, { id, signal }) };
    } catch (error) {
      const { code, message } = error instanceof AldisError ? error : new AldisError(signal?.aborted ? "aborted" : "not_sealed", String(error));
      return { receipt: { id, status: "refused", code, message } };
    }
  }

  /** The claim of a peer, if it is believed still. @param {string} peer */
  #known(peer) {
    const known = this.#claims.get(peer);
    return known && performance.now() - known.atMs < this.#carrier.timing.claimMs ? known.claim : undefined;
  }

  /** The claim of a peer; it is asked for it, if we do not have it. @param {string} to @param {AbortSignal} [signal] @returns {Promise<Claim>} */
  #claimOf(to, signal) {
    const known = this.#known(to);
    if (known) return Promise.resolve(known);
    const awaited = this.#awaited.get(to) ?? this.#ask(to);
    return abortable(awaited.promise, signal);
  }

  /** Asks a peer for its claim. @param {string} to @returns {Awaited} */
  #ask(to) {
    /** @type {any} */ const awaited = {};
    awaited.promise = new Promise((resolve, reject) => {
      awaited.end = (/** @type {Claim | null} */ claim, code = "not_sealed", why = "The peer does not take sealed signals.") => {
        clearTimeout(awaited.timer);
        if (this.#awaited.get(to) === awaited) this.#awaited.delete(to);
        if (claim) resolve(claim);
        else reject(new AldisError(code, why));
      };
    });
    awaited.promise.catch(() => {}); // whoever waits is told
    this.#awaited.set(to, awaited);
    void this.#carrier.send(to, { aldis: "claim", claim: this.#own, answer: true }, {}).then(({ status, code }) => {
      if (status === "refused") awaited.end(null, code, "The peer could not be asked for its sealing key.");
      // The answer may have come before the receipt.
      else if (this.#awaited.get(to) === awaited) awaited.timer = setTimeout(() => awaited.end(null), this.#carrier.timing.signalMs);
    });
    return awaited;
  }

  /** A peer tells its claim, and may want ours. @param {string} from @param {any} data */
  async claimCame(from, { claim, answer, unopened }) {
    if (claim === undefined) this.#awaited.get(from)?.end(null);
    else if (await isClaimOf(from, this.#carrier.tag(), claim)) {
      // When hosts have forgotten a counter, its owner may begin again at the first.
      if (claim.counter >= (this.#known(from)?.counter ?? 0)) keep(this.#claims, from, { claim, atMs: performance.now() }, CLAIMS_MAX);
      this.#awaited.get(from)?.end(this.#known(from) ?? claim);
      const sealed = this.#sealed.get(unopened);
      // Not when a host shows an older claim, or says that a signal was not opened: it would arrive twice.
      if (sealed?.to === from && sealed.key !== this.#known(from)?.sealing) {
        this.#sealed.delete(unopened);
        sealed.again();
      }
    }
    if (answer === true) this.#answer(from, {});
  }

  /** @param {string} to @param {{ unopened?: string }} about */
  #answer(to, about) {
    if (this.#carrier.answers.take()) void this.#carrier.send(to, { aldis: "claim", claim: this.#own, ...about }, {});
  }

  /**
   * What a peer has sealed for us. Undefined: it is sealed to a key that we do not have, and its sender is told; or it has come before.
   * @param {string} from @param {string} id @param {any} data
   * @returns {Promise<{ data: any, topic?: string } | undefined>} rejects with `seal_broken`
   */
  async open(from, id, data) {
    if (!isEnvelope(data)) throw new AldisError("seal_broken", "A field is missing or outside its bounds.");
    const key = await this.key;
    if (data.key !== key.hex) return void this.#answer(from, { unopened: id });
    const between = { tag: this.#carrier.tag(), from, to: this.#carrier.identity.peer };
    const plain = await openFrom(key, between, id, data).catch((error) => {
      throw error instanceof AldisError ? error : new AldisError("seal_broken", "It was changed, or not sealed for us.");
    });
    const stream = `${from} ${data.stream}`;
    if (data.n <= (this.#streams.get(stream) ?? -1)) return undefined;
    keep(this.#streams, stream, data.n, STREAMS_MAX);
    return JSON.parse(new TextDecoder().decode(plain));
  }
}
