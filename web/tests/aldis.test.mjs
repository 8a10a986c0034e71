// The client against a scripted host: sockets, sessions, requests, receipts (PROTOCOL.md §4).

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, Identity } from "../aldis.js";
import { ScriptedHost, WebSocket, id32, within } from "./scripted_host.mjs";

/** Short times, so that tests take none; what a test is about it sets itself. */
const QUICK = { backoffMs: 10, backoffMaxMs: 40, connectMs: 1_000, settleMs: 50, stableMs: 0 };
const ALICE = id32("a");
const BOB = id32("b");
const CAROL = id32("d");

/** One test: hosts, and a client of them; everything is closed at the end. */
function chart(name, body, hosts = 1) {
  test(name, { timeout: 20_000 }, async () => {
    const opened = await Promise.all(Array.from({ length: hosts }, (_, index) => ScriptedHost.open(String(index + 1))));
    const clients = [];
    const client = (options = {}) => {
      const made = connect({ hosts: opened.map((host) => host.url), WebSocket, ...options, timing: { ...QUICK, ...options.timing } });
      clients.push(made);
      return made;
    };
    try {
      await body(client, ...opened);
    } finally {
      for (const made of clients) made.close();
      await Promise.all(opened.map((host) => host.die()));
    }
  });
}

/** All details of one kind of event, in order; `atLeast(n)` waits for so many. */
function heard(emitter, type) {
  const details = [];
  let wake = () => {};
  emitter.on(type, (detail) => { details.push(detail); wake(); });
  const enough = async (count) => { while (details.length < count) await new Promise((resolve) => { wake = resolve; }); };
  Object.defineProperty(details, "atLeast", { // not enumerable: details are compared as plain arrays
    value: (count) => within(enough(count), `${count} events ${type}, got ${JSON.stringify(details)}`),
  });
  return details;
}

/** Lets everything that is already on its way through loopback arrive. */
async function roundTrip(line, client) {
  const asked = client.discover("round-trip");
  const { id } = await line.expect("discover");
  line.send({ type: "peers", id, topic: "round-trip", peers: [], total: 0 });
  await asked;
}

async function opened(client, host, welcome) {
  const line = await host.accept();
  await line.expect("hello");
  line.welcome(welcome);
  await within(client.ready, "welcome");
  return line;
}

chart("a client says hello, is welcomed and knows who and where it is", async (client, host) => {
  const aldis = client();
  const line = await host.accept();
  const hello = await line.expect("hello");
  assert.deepEqual(hello, { type: "hello" });
  assert.equal(line.socket.protocol, "aldis.v1");
  line.welcome({ peer: ALICE, hosts: ["ws://127.0.0.1:9/v1"] });
  await aldis.ready;
  assert.equal(aldis.peer, ALICE);
  assert.equal(aldis.host, host.id);
  assert.equal(aldis.state, "open");
  assert.deepEqual(aldis.hosts, [host.url, "ws://127.0.0.1:9/v1"]);
});

chart("a joiner sees the members and who comes, changes and goes", async (client, host) => {
  const aldis = client();
  const joining = aldis.join("t", { meta: { name: "Alice" } });
  const line = await opened(aldis, host);
  const join = await line.joins("t", [{ peer: BOB, meta: 1 }]);
  assert.deepEqual(join.meta, { name: "Alice" });
  const swarm = await joining;
  assert.deepEqual([...swarm.members], [[BOB, 1]]);
  const come = heard(swarm, "peer");
  const changed = heard(swarm, "meta");
  const gone = heard(swarm, "left");
  line.send({ type: "peer_joined", seq: 1, topic: "t", peer: CAROL, meta: 2 });
  line.send({ type: "peer_joined", seq: 2, topic: "t", peer: BOB, meta: 3 });
  line.send({ type: "peer_left", seq: 3, topic: "t", peer: BOB, reason: "closed" });
  await gone.atLeast(1);
  assert.deepEqual(come, [{ peer: CAROL, meta: 2 }]);
  assert.deepEqual(changed, [{ peer: BOB, meta: 3 }]);
  assert.deepEqual(gone, [{ peer: BOB, meta: 3, reason: "closed" }]);
  assert.deepEqual([...swarm.members.keys()], [CAROL]);
});

chart("a signal resolves to its receipt, whatever the receipt is", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const delivered = aldis.signal(BOB, { sdp: "…" }, { topic: "t" });
  const refused = aldis.signal(CAROL, 1);
  const first = await line.expect("signal", { to: BOB, topic: "t", data: { sdp: "…" } });
  const second = await line.expect("signal", { to: CAROL });
  assert.notEqual(first.id, second.id);
  line.send({ type: "receipt", seq: 1, id: second.id, status: "refused", code: "no_such_peer", message: "No such peer is present in the network." });
  line.send({ type: "receipt", seq: 2, id: first.id, status: "delivered" });
  assert.equal((await delivered).status, "delivered");
  assert.equal((await refused).code, "no_such_peer");
});

chart("what is too large or no JSON is refused without being sent", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host, { limits: { message_bytes: 100 } });
  assert.equal((await aldis.signal(BOB, "x".repeat(99))).code, "too_big");
  assert.equal((await aldis.signal(BOB, undefined)).code, "bad_field");
  await roundTrip(line, aldis);
  assert.equal(line.unexpected, 0);
});

chart("a signal that comes is acknowledged at once, after the application has seen it", async (client, host) => {
  const aldis = client({ timing: { ackMs: 60_000 } });
  const signals = heard(aldis, "signal");
  const line = await opened(aldis, host);
  line.send({ type: "signal", seq: 1, id: "x", from: BOB, topic: "t", data: [1] });
  await within((async () => { while (line.acks.length === 0) await new Promise(setImmediate); })(), "an ack");
  assert.deepEqual(signals, [{ from: BOB, topic: "t", data: [1], id: "x" }]);
  assert.deepEqual(line.acks, [1]);
});

chart("events are acknowledged together after 32 of them", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  for (let seq = 1; seq <= 33; seq += 1) line.send({ type: "peer_joined", seq, topic: "t", peer: BOB });
  line.send({ type: "pong" });
  await within((async () => { while (line.acks.length === 0) await new Promise(setImmediate); })(), "an ack");
  assert.deepEqual(line.acks, [32]);
  await roundTrip(line, aldis);
  assert.deepEqual(line.acks, [32, 33], "any request carries what is still to be acknowledged");
});

chart("a single event is acknowledged after a while", async (client, host) => {
  const aldis = client({ timing: { ackMs: 50 } });
  const line = await opened(aldis, host);
  line.send({ type: "peer_joined", seq: 1, topic: "t", peer: BOB });
  await within((async () => { while (line.acks.length === 0) await new Promise(setImmediate); })(), "an ack");
  assert.deepEqual(line.acks, [1]);
});

chart("a broken socket is resumed where it broke, and nobody notices", async (client, host) => {
  const aldis = client();
  const joining = aldis.join("t");
  const line = await opened(aldis, host, { peer: ALICE });
  await line.joins("t", [{ peer: BOB }]);
  const swarm = await joining;
  const come = heard(swarm, "peer");
  const gone = heard(swarm, "left");
  const states = heard(aldis, "state");
  line.send({ type: "peer_joined", seq: 1, topic: "t", peer: CAROL });
  await come.atLeast(1);
  line.cut();
  const again = await host.accept();
  await again.expect("hello", { resume: { token: `token-${host.id.slice(0, 4)}`, seq: 1 } });
  again.welcome({ peer: ALICE, resumed: true });
  again.send({ type: "peer_joined", seq: 1, topic: "t", peer: CAROL });
  again.send({ type: "peer_left", seq: 2, topic: "t", peer: BOB, reason: "left" });
  await gone.atLeast(1);
  await roundTrip(again, aldis);
  assert.equal(again.unexpected, 0, "a resumed session is in its topics still");
  assert.deepEqual(come.map(({ peer }) => peer), [CAROL]);
  assert.deepEqual(states.map(({ state }) => state), ["reconnecting", "open"]);
});

chart("requests and signals whose answers were lost are asked again under their ids", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const joining = aldis.join("t");
  const signal = aldis.signal(BOB, 1);
  const join = await line.expect("join");
  const sent = await line.expect("signal");
  line.cut();
  const again = await host.accept();
  await again.expect("hello");
  again.welcome({ resumed: true });
  await again.expect("join", { id: join.id });
  await again.expect("signal", { id: sent.id });
  again.send({ type: "joined", id: join.id, topic: "t", peers: [], total: 0 });
  again.send({ type: "receipt", seq: 1, id: sent.id, status: "delivered" });
  await joining;
  assert.equal((await signal).status, "delivered");
});

chart("a session that is lost gives `unknown` for what was sent, and joins its topics again", async (client, host) => {
  const aldis = client();
  const joining = aldis.join("t", { meta: 7 });
  const line = await opened(aldis, host, { peer: ALICE });
  await line.joins("t", [{ peer: BOB, meta: "b" }, { peer: CAROL }]);
  const swarm = await joining;
  const events = [heard(swarm, "peer"), heard(swarm, "meta"), heard(swarm, "left")];
  const signal = aldis.signal(BOB, 1);
  await line.expect("signal");
  line.cut();
  const again = await host.accept();
  await again.expect("hello");
  again.send({ type: "error", code: "session_lost", message: "" });
  const hello = await again.expect("hello");
  assert.equal(hello.resume, undefined);
  again.welcome({ peer: id32("e") });
  assert.equal((await signal).status, "unknown");
  // Bob is still there, Carol is not, Dora is new; our own former id is not somebody else.
  const join = await again.joins("t", [{ peer: BOB, meta: "b" }, { peer: id32("9") }, { peer: ALICE }]);
  assert.equal(join.meta, 7);
  await events[2].atLeast(1);
  assert.deepEqual(events, [[{ peer: id32("9"), meta: undefined }], [], [{ peer: CAROL, meta: undefined, reason: "missed" }]]);
});

chart("a host that dies is left for another, and a signal not yet sent goes there", async (client, one, two) => {
  const aldis = client();
  const joining = aldis.join("t");
  const line = await opened(aldis, one, { peer: ALICE });
  await line.joins("t", [{ peer: BOB }]);
  const swarm = await joining;
  const gone = heard(swarm, "left");
  const welcomes = heard(aldis, "welcome");
  await one.die();
  const states = heard(aldis, "state");
  await states.atLeast(1);
  const signal = aldis.signal(BOB, "later");
  const other = await two.accept();
  const hello = await other.expect("hello");
  assert.equal(hello.resume, undefined, "a session can be resumed at its own host only");
  other.welcome({ peer: CAROL });
  const seen = [await other.expect("join"), await other.expect("signal", { data: "later" })].map(({ id }) => id);
  other.send({ type: "joined", id: seen[0], topic: "t", peers: [{ peer: BOB }], total: 1 });
  other.send({ type: "receipt", seq: 1, id: seen[1], status: "delivered" });
  assert.equal((await signal).status, "delivered");
  assert.deepEqual(welcomes, [{ peer: CAROL, host: two.id, url: two.url, resumed: false, previous: ALICE }]);
  assert.deepEqual(gone, []);
}, 2);

chart("a host heard of in `welcome` is good for fail-over", async (client, one, two) => {
  const aldis = client({ hosts: [one.url] });
  await opened(aldis, one, { hosts: ["not a url", "ftp://x/", two.url] });
  await one.die();
  const other = await two.accept();
  await other.expect("hello");
}, 2);

chart("fail-over never leaves the network", async (client, one, two) => {
  two.greeting.tag = "ffffffffffffffff";
  const aldis = client();
  await opened(aldis, one);
  await one.die();
  const wrong = await two.accept();
  await wrong.closed;
  assert.equal(wrong.unexpected, 0, "a host of another network is told nothing");
}, 2);

chart("a host of another version is not spoken to", async (client, one, two) => {
  one.greeting.version = 2;
  const aldis = client();
  const wrong = await one.accept();
  await wrong.closed;
  assert.equal(wrong.unexpected, 0);
  await opened(aldis, two);
  assert.equal(aldis.host, two.id);
}, 2);

chart("the same signal in two sessions is seen once", async (client, one, two) => {
  const aldis = client();
  const signals = heard(aldis, "signal");
  const line = await opened(aldis, one);
  line.send({ type: "signal", seq: 1, id: "x", from: BOB, data: "once" });
  await signals.atLeast(1);
  await one.die();
  const other = await two.accept();
  await other.expect("hello");
  other.welcome({ peer: CAROL });
  other.send({ type: "signal", seq: 1, id: "x", from: BOB, data: "once" });
  other.send({ type: "signal", seq: 2, id: "x", from: CAROL, data: "another sender's" });
  await signals.atLeast(2);
  assert.deepEqual(signals.map(({ data }) => data), ["once", "another sender's"]);
  await roundTrip(other, aldis);
  assert.equal(Math.max(...other.acks), 2, "a repetition is acknowledged too");
}, 2);

chart("a missing sequence number is fetched by resuming", async (client, host) => {
  const aldis = client();
  const signals = heard(aldis, "signal");
  const line = await opened(aldis, host);
  line.send({ type: "signal", seq: 1, id: "x", from: BOB, data: 1 });
  line.send({ type: "signal", seq: 3, id: "z", from: BOB, data: 3 });
  const again = await host.accept();
  await again.expect("hello", { resume: { token: `token-${host.id.slice(0, 4)}`, seq: 1 } });
  again.welcome({ resumed: true });
  for (const [seq, id] of [[1, "seen"], [2, "y"], [3, "z"], [2, "seen too"]]) again.send({ type: "signal", seq, id, from: BOB, data: seq });
  await signals.atLeast(3);
  await roundTrip(again, aldis);
  assert.deepEqual(signals.map(({ data }) => data), [1, 2, 3]);
});

chart("a session that was replaced ends for good", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const states = heard(aldis, "state");
  const signal = aldis.signal(BOB, 1);
  const asked = assert.rejects(aldis.discover("t"), { code: "replaced" });
  await line.expect("signal");
  line.send({ type: "error", code: "replaced", message: "" });
  await states.atLeast(1);
  assert.deepEqual(states, [{ state: "closed", reason: "replaced" }]);
  assert.equal((await signal).status, "unknown");
  await asked;
  await line.closed;
  await new Promise((resolve) => { setTimeout(resolve, 150); }); // several times the back-off
  assert.equal(host.waiting, 0);
});

chart("a draining host is left after the time it says, with a goodbye", async (client, one, two) => {
  const aldis = client({ hosts: [one.url] });
  const joining = aldis.join("t");
  const line = await opened(aldis, one);
  await line.joins("t");
  await joining;
  const atMs = performance.now();
  const signal = aldis.signal(BOB, 1);
  const { id } = await line.expect("signal");
  line.send({ type: "drain", retry_after_ms: 200, hosts: [two.url] });
  setTimeout(() => line.send({ type: "receipt", seq: 1, id, status: "delivered" }), 400);
  await line.expect("bye");
  assert.ok(performance.now() - atMs >= 350);
  assert.equal((await signal).status, "delivered", "it stays for receipts that are still to come");
  const other = await two.accept();
  await other.expect("hello");
  other.welcome({ peer: CAROL });
  await other.joins("t");
}, 2);

chart("the only host that drains is asked again when it is back", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  line.send({ type: "drain", retry_after_ms: 50, hosts: [] });
  await roundTrip(line, aldis);
  line.cut();
  await (await host.accept()).expect("hello");
});

chart("a draining host that closes early is not asked again, and the wait is kept", async (client, one, two) => {
  const aldis = client({ hosts: [one.url] });
  const line = await opened(aldis, one);
  const atMs = performance.now();
  line.send({ type: "drain", retry_after_ms: 300, hosts: [two.url] });
  await roundTrip(line, aldis);
  line.cut();
  await (await two.accept()).expect("hello");
  assert.ok(performance.now() - atMs >= 200);
  assert.equal(one.waiting, 0);
}, 2);

chart("a refused request rejects with its code, and the session goes on", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const joining = aldis.join("t");
  const { id } = await line.expect("join");
  line.send({ type: "error", id, code: "too_many_topics", message: "The edge is in as many topics as it may be." });
  await assert.rejects(joining, { name: "AldisError", code: "too_many_topics" });
  assert.equal(aldis.swarms.size, 0);
  const signal = aldis.signal("nobody", 1);
  const sent = await line.expect("signal");
  line.send({ type: "error", id: sent.id, code: "bad_field", message: "" });
  assert.deepEqual(await signal, { id: sent.id, status: "refused", code: "bad_field", message: "" });
  await roundTrip(line, aldis);
});

chart("a request refused for lack of room is asked again", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const joining = aldis.join("t");
  const { id } = await line.expect("join");
  line.send({ type: "error", id, code: "rate_limited", message: "", retry_after_ms: 20 });
  await line.joins("t");
  await joining;
});

chart("a host that refuses the session is left for another", async (client, one, two) => {
  const aldis = client();
  const errors = heard(aldis, "error");
  const line = await one.accept();
  await line.expect("hello");
  line.send({ type: "error", code: "too_many_edges", message: "This address has as many edges as it may have.", retry_after_ms: 5_000 });
  await opened(aldis, two);
  assert.equal(errors[0].code, "too_many_edges");
}, 2);

chart("a session that was ended by its host is opened anew", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const signal = aldis.signal(BOB, 1);
  await line.expect("signal");
  line.send({ type: "error", code: "too_slow", message: "" });
  assert.equal((await signal).status, "unknown");
  line.cut();
  const again = await host.accept();
  assert.equal((await again.expect("hello")).resume, undefined);
});

chart("silence is answered by ping, and more silence by a new socket", async (client, host) => {
  const aldis = client({ timing: { pongMs: 60 } });
  const line = await opened(aldis, host, { heartbeat_ms: 40 });
  await line.expect("ping");
  line.send({ type: "pong" });
  await line.expect("ping");
  const again = await host.accept();
  await again.expect("hello", { resume: { token: `token-${host.id.slice(0, 4)}`, seq: 0 } });
});

chart("with no host in reach a signal is refused as offline, and one that was sent is unknown", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host, { limits: { grace_ms: 100, signal_timeout_ms: 100 } });
  const sent = aldis.signal(BOB, 1);
  await line.expect("signal");
  await host.die();
  await heard(aldis, "state").atLeast(1);
  const unsent = aldis.signal(BOB, 2);
  assert.equal((await sent).status, "unknown");
  assert.equal((await unsent).code, "offline");
  assert.equal((await aldis.signal(BOB, 3)).code, "offline", "also when no host has been there for long");
});

chart("close says bye, tells all that waits, and stays closed", async (client, host) => {
  const aldis = client();
  const line = await opened(aldis, host);
  const asked = assert.rejects(aldis.discover("t"), { code: "closed" });
  const signal = aldis.signal(BOB, 1);
  aldis.close();
  await line.expect("discover");
  await line.expect("signal");
  await line.expect("bye");
  await line.closed;
  await asked;
  assert.equal((await signal).status, "unknown");
  assert.equal((await aldis.signal(BOB, 2)).code, "closed");
});

chart("leave ends a membership also in later sessions", async (client, host) => {
  const aldis = client();
  const joining = aldis.join("t");
  const line = await opened(aldis, host);
  await line.joins("t");
  const leaving = (await joining).leave();
  const { id } = await line.expect("leave", { topic: "t" });
  line.send({ type: "left", id, topic: "t" });
  await leaving;
  line.cut();
  const again = await host.accept();
  await again.expect("hello");
  again.send({ type: "error", code: "session_lost", message: "" });
  await again.expect("hello");
  again.welcome({ peer: CAROL });
  await roundTrip(again, aldis);
});

chart("watching tells of members without becoming one", async (client, host) => {
  const aldis = client();
  const watching = aldis.watch("t");
  const line = await opened(aldis, host);
  const { id } = await line.expect("watch", { topic: "t" });
  line.send({ type: "watching", id, topic: "t", peers: [{ peer: BOB }], total: 1 });
  const swarm = await watching;
  assert.deepEqual([...swarm.members.keys()], [BOB]);
  const leaving = swarm.leave();
  const unwatch = await line.expect("unwatch", { topic: "t" });
  line.send({ type: "unwatched", id: unwatch.id, topic: "t" });
  await leaving;
});

// --- Keyed peers (§3.2)

const hexBytes = (hex) => Buffer.from(hex, "hex");

async function verifies(peer, signature, ...parts) {
  const key = await crypto.subtle.importKey("raw", hexBytes(peer), { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, hexBytes(signature), Buffer.concat(parts.map((part) => Buffer.from(part))));
}

chart("a keyed client claims its id at this home and proves that the key is present", async (client, host) => {
  const identity = await Identity.create();
  const aldis = client({ identity });
  const line = await host.accept();
  const { peer, claim } = await line.expect("hello");
  const { tag, challenge } = host.greeting;
  assert.equal(peer, identity.peer);
  assert.equal(claim.counter, 1);
  const counter = [0, 0, 0, 0, 0, 0, 0, 1];
  assert.ok(await verifies(peer, claim.signature, "aldis 2026 claim", hexBytes(tag), hexBytes(host.id), counter, [0]));
  assert.ok(await verifies(peer, claim.proof, "aldis 2026 hello", hexBytes(tag), hexBytes(host.id), hexBytes(challenge)));
  line.welcome({ peer });
  await aldis.ready;
  await assert.rejects(crypto.subtle.exportKey("pkcs8", identity.privateKey));
});

chart("an old claim is signed again with the next counter, on the same socket", async (client, host) => {
  const identity = await Identity.create();
  const aldis = client({ identity });
  const line = await host.accept();
  await line.expect("hello");
  line.send({ type: "error", code: "claim_old", message: "", known: 41 });
  const { peer, claim } = await line.expect("hello");
  assert.equal(claim.counter, 42);
  assert.ok(await verifies(peer, claim.signature, "aldis 2026 claim", hexBytes(host.greeting.tag), hexBytes(host.id), [0, 0, 0, 0, 0, 0, 0, 42], [0]));
  line.welcome({ peer });
  await aldis.ready;
});

chart("a keyed client keeps its id when it changes hosts, with a higher counter", async (client, one, two) => {
  const identity = await Identity.create();
  const aldis = client({ identity });
  const line = await one.accept();
  await line.expect("hello");
  line.welcome({ peer: identity.peer });
  await aldis.ready;
  await one.die();
  const { peer, claim } = await (await two.accept()).expect("hello");
  assert.equal(peer, identity.peer);
  assert.equal(claim.counter, 2);
}, 2);
