// Sealed signals (PROTOCOL.md §4.4): the golden ones of wire/vectors, and what hosts on the way can try.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect, Identity } from "../aldis.js";
import { ANSWERS_MAX, SEALED_BYTES_MAX } from "../aldis/limits.js";
import { isClaimOf, openFrom, sealTo } from "../aldis/sealing.js";
import { ScriptedHost, WebSocket, id32, within } from "./scripted_host.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../../wire/vectors/${name}.json`, import.meta.url), "utf8"));
const vectors = read("sealed");

/** The receiver's key (RFC 8410). */
const keyOf = async ({ opening_secret: secret, data }) => ({
  privateKey: await crypto.subtle.importKey("pkcs8", Buffer.from(`302e020100300506032b656e04220420${secret}`, "hex"), { name: "X25519" }, false, ["deriveBits"]),
  publicKey: Uint8Array.from(Buffer.from(JSON.parse(data).key, "hex")),
});

for (const vector of vectors.sealed) {
  const envelope = JSON.parse(vector.data);

  test(`the vector "${vector.id}" opens, and nothing of it can be changed`, async () => {
    const key = await keyOf(vector);
    const opened = (between = {}, id = vector.id, changes = {}) => openFrom(key, { ...vector, ...between }, id, { ...envelope, ...changes });
    assert.equal(Buffer.from(await opened()).toString(), vector.plain);
    await assert.rejects(opened({ from: vector.to }));
    await assert.rejects(opened({ to: vector.from }));
    await assert.rejects(opened({ tag: "00".repeat(8) }));
    await assert.rejects(opened({}, `${vector.id}x`));
    await assert.rejects(opened({}, vector.id, { n: envelope.n + 1 }));
    await assert.rejects(opened({}, vector.id, { stream: "00".repeat(16) }));
    await assert.rejects(opened({}, vector.id, { enc: envelope.key }));
    await assert.rejects(opened({}, vector.id, { sealed: `A${envelope.sealed.slice(1)}` }));
    await assert.rejects(opened({}, vector.id, { signature: "00".repeat(64) }));
  });

  test(`what this library seals like the vector "${vector.id}" opens as it`, async () => {
    const identity = await Identity.fromSecret(Uint8Array.from(Buffer.from(vector.sender_secret, "hex")));
    const { key, stream, n } = envelope;
    const made = await sealTo(identity, vector, vector.id, { key, stream, n }, new TextEncoder().encode(vector.plain));
    assert.deepEqual(Object.keys({ aldis: "sealed", ...made }).sort(), Object.keys(envelope).sort());
    assert.equal(Buffer.from(await openFrom(await keyOf(vector), vector, vector.id, made)).toString(), vector.plain);
    assert.notEqual(made.enc, envelope.enc, "another ephemeral key each time");
  });
}

test("the vectors' claim is its peer's, and of nobody else or changed it is not", async () => {
  const { from, tag, data } = vectors.claim;
  const { claim } = JSON.parse(data);
  assert.equal(await isClaimOf(from, tag, claim), true);
  assert.equal(await isClaimOf(vectors.sealed[0].from, tag, claim), false);
  assert.equal(await isClaimOf(from, "00".repeat(8), claim), false);
  assert.equal(await isClaimOf(from, tag, { ...claim, counter: claim.counter + 1 }), false);
  assert.equal(await isClaimOf(from, tag, { ...claim, sealing: claim.home }), false);
  for (const none of [undefined, null, 1, {}, { ...claim, sealing: undefined }]) assert.equal(await isClaimOf(from, tag, none), false);
  assert.equal(SEALED_BYTES_MAX, read("limits").sealed_plain_bytes);
});

// --- Two clients at two scripted hosts; the test carries what they say.

/** One client and its line. */
class Side {
  seq = 0;
  heard = [];
  errors = [];
  said = [];

  static async open(digit, identity, timing = {}) {
    const side = new Side();
    side.host = await ScriptedHost.open(digit);
    class Recorded extends WebSocket {
      send(text) {
        side.said.push(JSON.parse(text));
        super.send(text);
      }
    }
    side.aldis = connect({ hosts: [side.host.url], WebSocket: Recorded, identity, sealed: true, timing: { backoffMs: 5, ...timing } });
    side.line = await side.host.accept();
    side.hello = await side.line.expect("hello");
    side.peer = side.hello.peer;
    side.line.welcome({ peer: side.peer });
    side.aldis.on("signal", ({ from, data, topic }) => { side.heard.push([from, data, topic]); });
    side.aldis.on("error", ({ code }) => { side.errors.push(code); });
    await within(side.aldis.ready, "welcome");
    return side;
  }

  /** What this side sends next; its sender has the receipt. */
  async sends() {
    const signal = await this.line.expect("signal");
    this.line.send({ type: "receipt", seq: this.seq += 1, id: signal.id, status: "delivered" });
    return signal;
  }

  /** Has its host say that this has come from somebody. */
  async gets(from, { id, data, topic }) {
    const seq = this.seq += 1;
    this.line.send({ type: "signal", seq, id, from, data, topic });
    await within((async () => { while (!this.line.acks.some((ack) => ack >= seq)) await new Promise(setImmediate); })(), "the acknowledgement");
  }

  async close() {
    this.aldis.close();
    await this.host.die();
  }
}

/** Alice and Bob, who know each other's claims if `met`. */
function scene(name, body, { met = true, timing } = {}) {
  test(name, { timeout: 20_000 }, async () => {
    const bobs = await Identity.create();
    const [alice, bob] = [await Side.open("1", await Identity.create(), timing), await Side.open("2", bobs)];
    const others = [];
    const again = async () => { others.push(await Side.open("3", bobs)); return others[0]; };
    try {
      if (met) {
        const receipt = alice.aldis.signal(bob.peer, "first");
        await bob.gets(alice.peer, await alice.sends());
        await alice.gets(bob.peer, await bob.sends());
        await bob.gets(alice.peer, await alice.sends());
        await receipt;
      }
      await body(alice, bob, again);
    } finally {
      for (const side of [alice, bob, ...others]) await side.close();
    }
  });
}

scene("the first signal asks for the other's key; hosts see neither data nor topic, and both sides can seal from then on", async (alice, bob) => {
  assert.equal(alice.hello.claim.sealing.length, 64);
  const receipt = alice.aldis.signal(bob.peer, { sdp: "secret" }, { topic: "t" });
  const asked = await alice.sends();
  assert.deepEqual([asked.data.aldis, asked.data.answer, asked.data.claim.sealing], ["claim", true, alice.hello.claim.sealing]);
  await bob.gets(alice.peer, asked);
  const told = await bob.sends();
  assert.equal(told.data.claim.signature, bob.hello.claim.signature);
  await alice.gets(bob.peer, told);
  const sealed = await alice.sends();
  assert.equal(sealed.data.aldis, "sealed");
  assert.equal(sealed.topic, undefined);
  assert.doesNotMatch(JSON.stringify(sealed), /secret/);
  await bob.gets(alice.peer, sealed);
  assert.deepEqual(bob.heard, [[alice.peer, { sdp: "secret" }, undefined]], "Bob is not in the topic");
  assert.equal((await receipt).status, "delivered");
  const back = bob.aldis.signal(alice.peer, 2);
  await alice.gets(bob.peer, await bob.sends());
  assert.deepEqual(alice.heard, [[bob.peer, 2, undefined]]);
  await back;
}, { met: false });

scene("signals given at once are sealed and sent in their order", async (alice, bob) => {
  void Promise.all(Array.from({ length: 20 }, (_, n) => alice.aldis.signal(bob.peer, n)));
  for (let n = 0; n < 20; n += 1) await bob.gets(alice.peer, await alice.sends());
  assert.deepEqual(bob.heard.map(([, data]) => data), ["first", ...Array.from({ length: 20 }, (_, n) => n)]);
});

scene("what hosts change, repeat, reorder, make up or send in the clear is dropped, acknowledged and reported", async (alice, bob) => {
  void alice.aldis.signal(bob.peer, 1);
  void alice.aldis.signal(bob.peer, 2);
  const [one, two] = [await alice.sends(), await alice.sends()];
  const stranger = (await Identity.create()).peer;
  await bob.gets(alice.peer, { ...two, data: { ...two.data, sealed: one.data.sealed } });
  await bob.gets(stranger, { ...two, id: "a" });
  await bob.gets(alice.peer, { ...two, id: "b" });
  await bob.gets(alice.peer, { id: "c", data: { sdp: "in the clear" } });
  await bob.gets(alice.peer, { id: "d", data: { aldis: "sealed" } });
  await bob.gets(alice.peer, { id: "e", data: { aldis: "rtc", link: "x", first: true, description: { type: "offer", sdp: "" } } });
  assert.deepEqual(bob.heard.slice(1), []);
  assert.deepEqual(bob.errors, ["seal_broken", "seal_broken", "seal_broken", "not_sealed", "seal_broken", "not_sealed"]);
  await bob.gets(alice.peer, one);
  await bob.gets(alice.peer, one);
  assert.deepEqual(bob.heard.slice(1), [[alice.peer, 1, undefined]]);
});

scene("a sealed signal is acknowledged when the application has seen it, and not before", async (alice, bob) => {
  const acked = () => Math.max(0, ...bob.said.map(({ type, seq, ack }) => (type === "ack" ? seq : ack ?? 0)));
  const before = [];
  bob.aldis.on("signal", () => before.push(bob.seq - acked()));
  for (let n = 0; n < 3; n += 1) void alice.aldis.signal(bob.peer, n);
  for (let n = 0; n < 3; n += 1) await bob.gets(alice.peer, await alice.sends());
  assert.deepEqual(before, [1, 1, 1]);
});

scene("an old sealed signal is dropped even when (from, id) is forgotten", async (alice, bob) => {
  bob.aldis._timing.rememberMs = 0;
  void alice.aldis.signal(bob.peer, 1);
  const signal = await alice.sends();
  for (let time = 0; time < 3; time += 1) await bob.gets(alice.peer, signal);
  assert.deepEqual(bob.heard.slice(1), [[alice.peer, 1, undefined]]);
});

scene("a peer that has started anew says that it cannot open, and gets it sealed to its new key", async (alice, bob, again) => {
  const bobAgain = await again();
  assert.equal(bobAgain.peer, bob.peer);
  assert.notEqual(bobAgain.hello.claim.sealing, bob.hello.claim.sealing);
  void alice.aldis.signal(bob.peer, "for Bob");
  const lost = await alice.sends();
  await bobAgain.gets(alice.peer, lost);
  assert.deepEqual(bobAgain.heard, []);
  const told = await bobAgain.sends();
  assert.equal(told.data.unopened, lost.id);
  await alice.gets(bob.peer, told);
  const second = await alice.sends();
  assert.notEqual(second.id, lost.id);
  await bobAgain.gets(alice.peer, second);
  assert.deepEqual(bobAgain.heard, [[alice.peer, "for Bob", undefined]]);

  // A host that shows the older claim changes nothing.
  const { counter, sealing, signature } = bob.hello.claim;
  await alice.gets(bob.peer, { id: "x", data: { aldis: "claim", unopened: second.id, claim: { home: bob.host.id, counter, sealing, signature } } });
  await alice.gets(bob.peer, { id: "y", data: { ...told.data, unopened: second.id } });
  void alice.aldis.signal(bob.peer, "again");
  await bobAgain.gets(alice.peer, await alice.sends());
  assert.deepEqual(bobAgain.heard.map(([, data]) => data), ["for Bob", "again"], "nothing is sealed twice for one key");
});

scene("a key that the peer has not signed is not sealed to, and who does not seal is not told", async (alice, bob) => {
  const mallory = await Side.open("4", await Identity.create());
  try {
    const receipt = alice.aldis.signal(bob.peer, "secret");
    const asked = await alice.sends();
    const { claim } = mallory.hello;
    await alice.gets(bob.peer, { id: "x", data: { aldis: "claim", claim: { home: mallory.host.id, counter: claim.counter, sealing: claim.sealing, signature: claim.signature } } });
    assert.equal((await receipt).code, "not_sealed", "after a while");
    assert.equal(asked.data.aldis, "claim");
    const second = alice.aldis.signal(bob.peer, "secret");
    await alice.sends();
    await alice.gets(bob.peer, { id: "y", data: { aldis: "claim" } });
    assert.deepEqual([(await second).status, (await second).code], ["refused", "not_sealed"]);
    const absent = alice.aldis.signal(id32("9"), "secret");
    const { id } = await alice.line.expect("signal");
    alice.line.send({ type: "receipt", seq: alice.seq += 1, id, status: "refused", code: "no_such_peer" });
    assert.equal((await absent).code, "no_such_peer");
    assert.equal(alice.line.unexpected, 0);
  } finally {
    await mallory.close();
  }
}, { met: false, timing: { signalMs: 300 } });

scene("broadcasts cannot be sealed: none goes out, and none is taken", async (alice) => {
  const heard = [];
  alice.aldis.on("broadcast", (detail) => heard.push(detail));
  assert.equal((await alice.aldis.broadcast("t", 1)).code, "not_sealed");
  alice.line.send({ type: "broadcast", seq: alice.seq += 1, id: "1", from: id32("9"), topic: "t", data: 1 });
  await within((async () => { while (alice.errors.length === 0) await new Promise(setImmediate); })(), "the error");
  assert.deepEqual([heard, alice.errors, alice.line.unexpected], [[], ["not_sealed"], 0]);
});

test("only an identity can seal, and a client that does not seal says so", { timeout: 20_000 }, async () => {
  assert.throws(() => connect({ hosts: ["ws://127.0.0.1:9"], WebSocket, sealed: true }), TypeError);
  const host = await ScriptedHost.open();
  const aldis = connect({ hosts: [host.url], WebSocket });
  try {
    const line = await host.accept();
    await line.expect("hello");
    line.welcome();
    line.send({ type: "signal", seq: 1, id: "1", from: id32("b"), data: { aldis: "claim", answer: true } });
    assert.deepEqual((await line.expect("signal", { to: id32("b") })).data, { aldis: "claim" });
  } finally {
    aldis.close();
    await host.die();
  }
});

scene("strangers who ask for our key again and again get a bounded part of our requests", async (alice) => {
  const stranger = await Identity.create();
  for (let n = 0; n < ANSWERS_MAX + 20; n += 1) {
    await alice.gets(stranger.peer, { id: `${n}`, data: { aldis: "claim", answer: true } });
  }
  const asked = alice.aldis.discover("t");
  for (let n = 0; n < ANSWERS_MAX; n += 1) assert.equal((await alice.line.expect("signal")).data.aldis, "claim");
  alice.line.send({ type: "peers", id: (await alice.line.expect("discover")).id, topic: "t", peers: [], total: 0 });
  await asked;
  assert.equal(alice.line.unexpected, 0);
}, { met: false });

test("where WebCrypto has no X25519 a client that seals ends and says why", { timeout: 20_000 }, async (context) => {
  const host = await ScriptedHost.open();
  const identity = await Identity.create();
  context.mock.method(crypto.subtle, "generateKey", async () => { throw new DOMException("no such algorithm", "NotSupportedError"); });
  try {
    const aldis = connect({ hosts: [host.url], WebSocket, identity, sealed: true });
    await assert.rejects(aldis.ready, { code: "unsupported" });
    assert.equal(aldis.state, "closed");
    assert.equal((await aldis.signal(id32("b"), 1)).status, "refused");
  } finally {
    await host.die();
  }
});
