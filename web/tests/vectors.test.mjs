// The golden messages of wire/vectors, which the Rust tests write and check: what a host says is understood, what the client says is
// what a host reads, and its signatures are the same to the byte.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect, ENDS_SESSION, Identity, PASSING } from "../aldis.js";
import { ScriptedHost, WebSocket, within } from "./scripted_host.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../../wire/vectors/${name}.json`, import.meta.url), "utf8"));
const edge = read("edge");

/** The text of a message by its label. */
function text(direction, label) {
  const found = edge[direction].find((vector) => vector.label === label);
  assert.ok(found, `wire/vectors/edge.json has no ${direction} "${label}"`);
  return found.text;
}

/** As the host would say it here: only id and seq, which are the session's own, are put in; every other byte stays. */
function said(label, { id, seq } = {}) {
  let words = text("from_host", label);
  if (id !== undefined) words = words.replace(/"id":"[^"]*"/, `"id":"${id}"`);
  if (seq !== undefined) words = words.replace(/"seq":\d+/, `"seq":${seq}`);
  return words;
}

/** A message without what differs from run to run. */
const timeless = (message) => JSON.parse(JSON.stringify(message, (key, value) => (key === "id" ? "…" : value)));
const expected = (label) => timeless(JSON.parse(text("from_edge", label)));
const parsed = (label) => JSON.parse(text("from_host", label));

/** A session that was opened with the vectors' greeting and welcome. */
async function session(body, options = {}) {
  const host = await ScriptedHost.open();
  host.greeting = parsed("greeting");
  const aldis = connect({ hosts: [host.url], WebSocket, timing: { backoffMs: 5, settleMs: 10 }, ...options });
  try {
    const line = await host.accept();
    const hello = await line.expect("hello");
    line.sendText(said("welcome"));
    await within(aldis.ready, "welcome");
    await body({ host, aldis, line, hello });
  } finally {
    aldis.close();
    await host.die();
  }
}

test("every message of a host in the vectors is understood", { timeout: 20_000 }, () => session(async ({ aldis, line }) => {
  const used = new Set(["greeting", "welcome"]);
  const say = (label, changes) => { used.add(label); line.sendText(said(label, changes)); };
  const events = [];
  const errors = [];
  aldis.on("error", ({ code }) => errors.push(code));
  aldis.on("signal", ({ from, topic, data, id }) => events.push(["signal", from, topic, data, id]));
  const welcome = parsed("welcome");
  assert.deepEqual([aldis.peer, aldis.host, aldis.network], [welcome.peer, welcome.host, welcome.network]);
  assert.deepEqual(aldis.hosts.slice(1), welcome.hosts);
  assert.deepEqual(aldis._rtc.iceServers, welcome.ice_servers);

  /** Asks, and has the host answer with a vector. */
  const answered = async (asked, type, label) => {
    const { id } = await line.expect(type);
    say(label, { id });
    return asked;
  };
  const watched = await answered(aldis.watch("s0"), "watch", "watching");
  assert.deepEqual([...watched.members], [["b".repeat(64), undefined]], "without our own id");
  const joined = await answered(aldis.join("s0"), "join", "joined");
  assert.equal(joined, watched);
  assert.deepEqual(await answered(aldis.discover("s0"), "discover", "peers"), { peers: [], total: 0 });
  await assert.rejects(answered(aldis.discover("s0"), "discover", "error of a request"), { code: "too_many_topics" });
  const patient = aldis.discover("s0");
  say("error that may pass", { id: (await line.expect("discover")).id });
  await answered(patient, "discover", "peers");

  // Somebody else than in the vector's sample: our own peer id is that of the vectors' first member.
  for (const type of ["peer", "meta", "left"]) joined.on(type, (detail) => events.push([type, detail.peer, detail.reason]));
  line.sendText(said("peer_joined without meta", { seq: 1 }).replaceAll("aaaa", "eeee"));
  line.sendText(said("peer_joined, meta null", { seq: 2 }).replaceAll("aaaa", "eeee"));
  used.add("peer_joined without meta").add("peer_joined, meta null");
  say("peer_left by itself", { seq: 3 });
  line.sendText(said("peer_left with its host", { seq: 4 }).replaceAll("bbbb", "eeee"));
  used.add("peer_left with its host");
  say("signal", { seq: 5 });
  say("signal with topic", { seq: 6, id: "offer-2" });

  const receipts = [];
  for (const [index, label] of ["receipt, delivered", "receipt, refused", "receipt, unknown"].entries()) {
    const signal = aldis.signal("b".repeat(64), 1, { id: `signal-${index}` });
    await line.expect("signal");
    say(label, { seq: 7 + index, id: `signal-${index}` });
    const { status, code } = await signal;
    receipts.push([status, code]);
  }
  assert.deepEqual(receipts, [["delivered", undefined], ["refused", "no_such_peer"], ["unknown", undefined]]);
  assert.deepEqual(events, [
    ["peer", "e".repeat(64), undefined],
    ["meta", "e".repeat(64), undefined],
    ["left", "b".repeat(64), "left"],
    ["left", "e".repeat(64), "host_lost"],
    ["signal", "b".repeat(64), undefined, { sdp: "v=0" }, "offer-1"],
    ["signal", "b".repeat(64), "s0", { sdp: "v=0" }, "offer-2"],
  ]);

  const spread = [];
  joined.on("broadcast", (detail) => spread.push(detail));
  say("broadcast", { seq: 10 });
  for (const [index, label] of ["tally, all hosts took it", "tally, one host refused it and one did not answer", "tally, refused at once"].entries()) {
    const tally = aldis.broadcast("s0", 1);
    const { id } = await line.expect("broadcast");
    say(label, { seq: 11 + index, id });
    const { type, seq, ...fields } = parsed(label);
    assert.deepEqual(await tally, { ...fields, id });
  }
  assert.deepEqual(spread, [{ from: "b".repeat(64), topic: "s0", data: { cursor: 7 }, id: "all-1" }]);

  say("pong");
  const leaving = joined.leave();
  say("left", { id: (await line.expect("leave")).id });
  say("unwatched", { id: (await line.expect("unwatch")).id });
  await leaving;
  say("error of the session");
  say("drain");
  assert.deepEqual((await within((async () => { while (errors.length < 1) await new Promise(setImmediate); return errors; })(), "the error")), ["session_lost"]);
  used.add("error with what is known"); // below, with a key
  used.add("welcome back"); // below, after a break
  assert.deepEqual(edge.from_host.map(({ label }) => label).filter((label) => !used.has(label)), [], "no vector was left out");
}));

test("what the client says is what the vectors say", { timeout: 20_000 }, () => session(async ({ host, aldis, line, hello }) => {
  assert.deepEqual(hello, expected("hello as whoever the host says"));
  const same = async (label, type) => {
    const message = await line.expect(type);
    assert.deepEqual(timeless(message), expected(label));
    return message.id;
  };
  const to = "b".repeat(64);
  const joining = aldis.join("s0");
  line.sendText(said("joined", { id: await same("join", "join") }));
  const swarm = await joining;
  const again = aldis.join("s0", { meta: { name: "Ann" } });
  line.sendText(said("joined", { id: await same("join with meta", "join") }));
  await again;
  const watching = aldis.watch("s0");
  line.sendText(said("watching", { id: await same("watch", "watch") }));
  await watching;
  const discovering = aldis.discover("s0", { limit: 8 });
  line.sendText(said("peers", { id: await same("discover", "discover") }));
  await discovering;
  void aldis.signal(to, { sdp: "v=0\r\n" });
  await same("signal", "signal");
  void aldis.signal(to, [1, null], { topic: "s0" });
  await same("signal with topic, data of any kind", "signal");
  const seen = new Promise((resolve) => { swarm.on("left", resolve); });
  for (const seq of [1, 2]) line.sendText(said("peer_joined without meta", { seq }));
  line.sendText(said("peer_left by itself", { seq: 3 }));
  await seen;
  void aldis.signal(to, "x");
  await same("signal that acknowledges", "signal");
  void swarm.broadcast([7]);
  await same("broadcast", "broadcast");
  const leaving = swarm.leave();
  await same("leave", "leave");
  await same("unwatch", "unwatch");
  line.cut();
  const second = await host.accept();
  const resume = await second.expect("hello");
  assert.deepEqual({ ...resume, resume: { ...resume.resume, seq: 41 } }, expected("hello again"));
  assert.equal(resume.resume.seq, 3);
  second.sendText(said("welcome back"));
  const left = ["signal", "signal", "signal", "broadcast", "leave", "unwatch"];
  for (const type of left) {
    const { id } = await second.expect(type);
    if (type === "leave") second.sendText(said("left", { id }));
    if (type === "unwatch") second.sendText(said("unwatched", { id }));
  }
  await leaving;
  aldis.close();
  assert.deepEqual(await second.expect("bye"), expected("bye"));
}));

// --- Signatures

/** The identity of a vector, its counter at the one before. */
async function identityOf({ edge_secret: secret, peer }, counter = 0) {
  const identity = await Identity.fromSecret(Uint8Array.from(Buffer.from(secret, "hex")));
  assert.equal(identity.peer, peer);
  assert.equal(identity.privateKey.extractable, false);
  identity.counter = counter;
  return identity;
}

const { claims, challenges } = read("proofs");
const [{ challenge }] = challenges;

for (const claim of claims.filter(({ counter }) => Number.isSafeInteger(Number(counter)) && Number(counter) > 0)) {
  test(`the claim with counter ${claim.counter} has the vector's signature`, async () => {
    const identity = await identityOf(claim, Number(claim.counter) - 1);
    const made = await identity._claim({ host: claim.home, tag: claim.tag, challenge }, claim.sealing ?? undefined);
    assert.equal(made.peer, claim.peer);
    assert.equal(made.claim.counter, Number(claim.counter));
    assert.equal(made.claim.signature, claim.signature);
  });
}

test("there are claims among the vectors that this client can make, with a sealing key and without", () => {
  assert.ok(claims.some(({ sealing, counter }) => sealing === null && counter === "1"));
  assert.ok(claims.some(({ sealing, counter }) => sealing !== null && counter === "7"));
});

for (const vector of challenges) {
  test("the answer to the greeting's challenge has the vector's signature", async () => {
    const identity = await identityOf(vector);
    const made = await identity._claim({ host: vector.home, tag: vector.tag, challenge: vector.challenge });
    assert.equal(made.claim.proof, vector.signature);
  });
}

test("a hello with a key has the vector's shape, and an old claim is answered with the counter after the known one", { timeout: 20_000 }, async () => {
  const host = await ScriptedHost.open();
  host.greeting = parsed("greeting");
  const vector = JSON.parse(text("from_edge", "hello with a key"));
  const identity = await identityOf(challenges[0], vector.claim.counter - 1);
  const aldis = connect({ hosts: [host.url], WebSocket, identity });
  try {
    const line = await host.accept();
    const hello = await line.expect("hello");
    assert.equal(hello.claim.proof, vector.claim.proof, "the same key, home and challenge");
    delete vector.claim.sealing; // this client has none, so the signature differs too
    assert.deepEqual(Object.keys(hello).sort(), Object.keys(vector).sort());
    assert.deepEqual(Object.keys(hello.claim).sort(), Object.keys(vector.claim).sort());
    assert.equal(hello.claim.signature.length, vector.claim.signature.length);
    line.sendText(said("error with what is known"));
    assert.equal((await line.expect("hello")).claim.counter, parsed("error with what is known").known + 1);
  } finally {
    aldis.close();
    await host.die();
  }
});

// --- Refusals and limits

test("every code that the client treats apart is a refusal of the protocol", () => {
  const names = new Set(read("refusals").refusals.map(({ name }) => name));
  for (const code of [...PASSING, ...ENDS_SESSION, "replaced", "claim_old", "no_such_peer", "too_big", "bad_field", "too_many_open"]) assert.ok(names.has(code), code);
});

test("every refusal of the protocol is in the type of codes", () => {
  const types = readFileSync(new URL("../aldis/events.js", import.meta.url), "utf8");
  for (const { name } of read("refusals").refusals) assert.ok(types.includes(`"${name}"`), name);
});

test("version, path and subprotocol are those of the protocol", async () => {
  const { VERSION } = await import("../aldis.js");
  const limits = read("limits");
  assert.equal(VERSION, limits.version);
  assert.equal(limits.path, "/v1");
  assert.equal(limits.subprotocol, "aldis.v1");
  assert.equal(limits.signal_data_bytes, parsed("welcome").limits.message_bytes);
});
