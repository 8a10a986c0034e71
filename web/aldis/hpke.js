// HPKE (RFC 9180) by WebCrypto, as much of it as sealed signals need: base mode, one message for each encapsulation,
// DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The RFC's names are kept.

import { concat, utf8 } from "./bytes.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */

const NONE = new Uint8Array(0);
const KEM = concat(utf8("KEM"), Uint8Array.of(0, 0x20));
const SUITE = concat(utf8("HPKE"), Uint8Array.of(0, 0x20, 0, 1, 0, 2));
const X25519 = { name: "X25519" };

/** A key pair whose private half no script can read. @returns {Promise<CryptoKeyPair>} */
export const generateKeyPair = async () => /** @type {CryptoKeyPair} */ (await crypto.subtle.generateKey(X25519, false, ["deriveBits"]));

/** @param {CryptoKey} key @returns {Promise<Bytes>} 32 bytes */
export const publicBytes = async (key) => new Uint8Array(await crypto.subtle.exportKey("raw", key));

/**
 * Seals to the owner of a public key.
 * @param {Bytes} receiver its public key
 * @param {Bytes} info @param {Bytes} aad @param {Bytes} plain
 * @returns {Promise<{ enc: Bytes, sealed: Bytes }>}
 */
export async function seal(receiver, info, aad, plain) {
  const ephemeral = await generateKeyPair();
  const enc = await publicBytes(ephemeral.publicKey);
  const { key, iv } = await schedule(ephemeral.privateKey, receiver, concat(enc, receiver), info);
  return { enc, sealed: new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: aad }, key, plain)) };
}

/**
 * Opens what was sealed to our key. Rejects when anything is not as it was sealed.
 * @param {{ privateKey: CryptoKey, publicKey: Bytes }} ours
 * @param {Bytes} enc @param {Bytes} info @param {Bytes} aad @param {Bytes} sealed
 * @returns {Promise<Bytes>}
 */
export async function open({ privateKey, publicKey }, enc, info, aad, sealed) {
  const { key, iv } = await schedule(privateKey, enc, concat(enc, publicKey), info);
  return new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: aad }, key, sealed));
}

/** RFC 9180 §4.1 and §5.1. @param {CryptoKey} ours @param {Bytes} theirs @param {Bytes} kemContext @param {Bytes} info */
async function schedule(ours, theirs, kemContext, info) {
  const other = await crypto.subtle.importKey("raw", theirs, X25519, false, []);
  const dh = new Uint8Array(await crypto.subtle.deriveBits({ ...X25519, public: other }, ours, 256));
  if (dh.every((byte) => byte === 0)) throw new TypeError("a public key that shares nothing"); // where WebCrypto does not refuse it
  const shared = await expand(KEM, await extract(KEM, NONE, "eae_prk", dh), "shared_secret", kemContext, 32);
  const context = concat(Uint8Array.of(0), await extract(SUITE, NONE, "psk_id_hash", NONE), await extract(SUITE, NONE, "info_hash", info));
  const secret = await extract(SUITE, shared, "secret", NONE);
  const key = await crypto.subtle.importKey("raw", await expand(SUITE, secret, "key", context, 32), "AES-GCM", false, ["encrypt", "decrypt"]);
  return { key, iv: await expand(SUITE, secret, "base_nonce", context, 12) };
}

/** LabeledExtract. @param {Bytes} suite @param {Bytes} salt @param {string} label @param {Bytes} ikm */
const extract = (suite, salt, label, ikm) => hmac(salt, concat(utf8("HPKE-v1"), suite, utf8(label), ikm));

/** LabeledExpand, of at most one block. @param {Bytes} suite @param {Bytes} prk @param {string} label @param {Bytes} info @param {number} length */
const expand = async (suite, prk, label, info, length) =>
  (await hmac(prk, concat(Uint8Array.of(0, length), utf8("HPKE-v1"), suite, utf8(label), info, Uint8Array.of(1)))).slice(0, length);

/** @param {Bytes} secret @param {Bytes} bytes @returns {Promise<Bytes>} */
async function hmac(secret, bytes) {
  // WebCrypto takes no empty key; a block of zeros is the same key.
  const key = await crypto.subtle.importKey("raw", secret.length > 0 ? secret : new Uint8Array(32), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
}
