// Unmodified @dxos/messaging clients through real hosts.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";

import { startNetwork } from "../../browser/hosts.mjs";
import { CONNECTED, Client, meet, openPeer, randomKey, readinessUrl, signalUrl, until, untilListening } from "./client.mjs";

/** Longer than a host keeps showing a peer whose socket broke. */
const RETURN_MS = 12_000;
/** How long a client may believe that a peer is there, and how often it is told again. */
const LEASE_MS = 90_000;
const RENEWAL_MS = 30_000;
/** Until a host that died is known to be gone (DESIGN: 9 s at most), on a busy machine. */
const HOST_LOST_MS = 15_000;

describe("two hosts", () => {
  let network;
  const clients = [];
  const open = async (...hosts) => {
    const client = await Client.open(...hosts);
    clients.push(client);
    return client;
  };

  before(async () => { network = await startNetwork(2); });
  after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await network.stop();
  });

  test("a host says that it is ready", async () => {
    for (const host of network.hosts) assert.equal((await fetch(readinessUrl(host))).status, 200);
  });

  test("peers at two hosts meet in a swarm and connect by WebRTC", async () => {
    const peers = [await openPeer(network.hosts[0]), await openPeer(network.hosts[1])];
    clients.push(...peers);
    const [one, other] = await meet(peers);
    assert.deepEqual([one.protocol.connections.size, other.protocol.connections.size], [1, 1]);
    await other.leave();
    await until(() => one.protocol.connections.size === 0, "the connection is over");
  });

  test("clients at two hosts see each other, write to each other and leave", async () => {
    const [a, b] = [await open(network.hosts[0]), await open(network.hosts[1])];
    const topic = randomKey();
    const before = Date.now();
    await a.join(topic);
    await b.join(topic);
    await until(() => a.sees(b) && b.sees(a), "both see each other");
    const [{ peerAvailable }] = a.events;
    assert.ok(Math.abs(peerAvailable.since - before) < 60_000, `since ${peerAvailable.since}`);
    assert.ok(peerAvailable.until - before > LEASE_MS - 10_000, `until ${peerAvailable.until}`);
    await untilListening(a, b);
    await Promise.all([a.send(b.peer, "to b"), b.send(a.peer, "to a")]);
    assert.deepEqual([a.texts, b.texts], [["to a"], ["to b"]]);
    await b.leave(topic);
    await until(() => !a.sees(b), "one sees the other leave");
    assert.deepEqual([a.saw(b), a.lost(b), b.lost(a)], [1, 1, 0]);
  });

  test("a message to oneself arrives, and one to nobody is taken like any other", async () => {
    const a = await open(network.hosts[0]);
    await untilListening(a);
    await a.send(a.peer, "to myself");
    assert.deepEqual(a.texts, ["to myself"]);
    assert.equal(a.messages, 2, "the text and its acknowledgement, each once");
    const [server] = a.manager._servers.values();
    const payload = { type_url: "aldis.test.Text", value: Buffer.from("to nobody") };
    await server._client.sendMessage({ author: a.key, recipient: randomKey(), payload });
  });

  test("a client whose socket breaks comes back, and others do not see it leave", async () => {
    const [a, b] = [await open(network.hosts[0]), await open(network.hosts[1])];
    const topic = randomKey();
    await Promise.all([a.join(topic), b.join(topic)]);
    await until(() => a.sees(b) && b.sees(a), "both see each other");
    await untilListening(a, b);
    const sending = Array.from({ length: 5 }, (_, n) => a.send(b.peer, `before ${n}`));
    const [server] = b.manager._servers.values();
    server._client._socket.terminate();
    sending.push(...Array.from({ length: 5 }, (_, n) => a.send(b.peer, `after ${n}`)));
    await Promise.all(sending);
    assert.equal(b.texts.length, 10, "each came once");
    await new Promise((resolve) => { setTimeout(resolve, RETURN_MS); });
    assert.deepEqual([a.saw(b), a.lost(b)], [1, 0]);
  });

  test("a peer that stays is announced again before its time is over, and one that is gone is not", async () => {
    const [a, b, c] = [await open(network.hosts[0]), await open(network.hosts[1]), await open(network.hosts[1])];
    const peers = [await openPeer(network.hosts[0]), await openPeer(network.hosts[1])];
    clients.push(...peers);
    const [topic, theirs] = [randomKey(), randomKey()];
    const [one] = await meet(peers, theirs);
    const [connection] = one.protocol.connections.values();
    await Promise.all([a, b, c].map((client) => client.join(topic)));
    await until(() => a.sees(b) && a.sees(c), "one sees the others");
    const [server] = c.manager._servers.values();
    server._reconnect = async () => {};
    server._client._socket.terminate();
    await until(() => a.saw(b) === 2, "the one that stays is announced again", RENEWAL_MS + 10_000);
    const told = a.events.filter(({ peerAvailable }) => peerAvailable?.peer.peerKey === b.peer.peerKey);
    const [first, second] = told.map(({ peerAvailable }) => peerAvailable);
    assert.deepEqual(second.since, first.since);
    assert.ok(second.until - first.until >= RENEWAL_MS - 5_000 && second.until - Date.now() > LEASE_MS - 15_000, `until ${second.until}`);
    assert.deepEqual([a.saw(c), a.lost(c), a.lost(b)], [1, 1, 0]);
    assert.deepEqual([...one.protocol.connections.values()], [connection], "connections go on");
  });

  test("a client that does not come back has left", async () => {
    const [a, b] = [await open(network.hosts[0]), await open(network.hosts[1])];
    const topic = randomKey();
    await Promise.all([a.join(topic), b.join(topic)]);
    await until(() => a.sees(b), "one sees the other");
    const [server] = b.manager._servers.values();
    server._reconnect = async () => {};
    server._client._socket.terminate();
    await until(() => a.lost(b) === 1, "it has left");
  });

  test("frames that make no sense disturb nobody", async () => {
    const [a, b] = [await open(network.hosts[0]), await open(network.hosts[0])];
    await untilListening(a, b);
    const hostile = new WebSocket(signalUrl(network.hosts[0]));
    const answers = [];
    hostile.on("message", (data) => { answers.push(data); });
    await new Promise((resolve, reject) => { hostile.on("open", resolve).on("error", reject); });
    for (let n = 0; n < 200; n += 1) hostile.send(n % 4 ? randomBytes(n * 10) : randomBytes(n).toString("latin1"));
    // A call of a method that is not there, with id 7.
    hostile.send(Buffer.from("0a0708071203466c79", "hex"));
    await until(() => answers.some((data) => data.includes("METHOD_NOT_FOUND")), "the answer to the one call");
    await a.send(b.peer, "still here");
    assert.deepEqual(b.texts, ["still here"]);
    hostile.terminate();
  });
});

describe("a host dies", () => {
  let network;
  const clients = [];

  before(async () => { network = await startNetwork(2); });
  after(async () => {
    await Promise.all(clients.map((client) => client.close()));
    await network.stop();
  });

  test("clients of both hosts go on through the one that is left, and come back to the other", async () => {
    const [one, other] = network.hosts;
    const [a, b] = [await Client.open(one, other), await Client.open(other, one)];
    clients.push(a, b);
    const topic = randomKey();
    await Promise.all([a.join(topic), b.join(topic)]);
    await until(() => a.sees(b) && b.sees(a), "both see each other");
    await untilListening(a, b);
    const peers = [await openPeer(one, other), await openPeer(other, one)];
    clients.push(...peers);
    await meet(peers);
    await one.kill();
    await meet(peers);
    await a.send(b.peer, "through the other one");
    await b.send(a.peer, "and back");
    one.start();
    await one.started();
    for (const client of [a, b]) await until(() => client.state(one) === CONNECTED, "the library is connected again");
    await untilListening(a, b);
    await other.kill();
    await a.send(b.peer, "through the first one again");
    await b.send(a.peer, "and back once more");
    assert.deepEqual([a.texts, b.texts], [["and back", "and back once more"], ["through the other one", "through the first one again"]]);
    assert.deepEqual([a.lost(b), b.lost(a)], [0, 0]);
    await meet(peers);
    other.start();
    await other.started();
  });

  test("a client of one host comes back to it", async () => {
    const [one, other] = network.hosts;
    const [a, b] = [await Client.open(one), await Client.open(other)];
    clients.push(a, b);
    const topic = randomKey();
    await Promise.all([a.join(topic), b.join(topic)]);
    await until(() => a.sees(b) && b.sees(a), "both see each other");
    const peers = [await openPeer(one), await openPeer(other)];
    await meet(peers);
    await one.kill();
    one.start();
    await one.started();
    await until(() => a.state(one) === CONNECTED, "the library is connected again");
    await untilListening(a, b);
    await until(() => b.sees(a), "the other still sees it, or does again");
    await b.send(a.peer, "welcome back");
    await meet(peers);
    assert.equal(a.sees(b), true);
    await Promise.all(peers.map((peer) => peer.close()));
  });

  test("a client whose only host does not come back has left", async () => {
    const [one, other] = network.hosts;
    const [a, b] = [await Client.open(one), await Client.open(other)];
    clients.push(a, b);
    const topic = randomKey();
    await Promise.all([a.join(topic), b.join(topic)]);
    await until(() => b.sees(a), "one sees the other");
    await one.kill();
    await until(() => b.lost(a) === 1, "it has left", HOST_LOST_MS + RETURN_MS);
  });
});

describe("three hosts", () => {
  let network;
  const clients = [];
  const peers = [];

  before(async () => { network = await startNetwork(3); });
  after(async () => {
    await Promise.all([...clients, ...peers].map((client) => client.close()));
    await network.stop();
  });

  test("six peers at three hosts connect by WebRTC, everybody with everybody", async () => {
    for (let n = 0; n < 6; n += 1) peers.push(await openPeer(network.hosts[n % 3]));
    const swarms = await meet(peers);
    for (const swarm of swarms) assert.equal(swarm.protocol.connections.size, 5);
  });

  test("thirty clients in one swarm all see each other, and the last one sees all of them leave", async () => {
    const topic = randomKey();
    for (let n = 0; n < 30; n += 1) clients.push(await Client.open(network.hosts[n % 3]));
    await Promise.all(clients.map((client) => client.join(topic)));
    for (const client of clients) await until(() => client.others().size === 29, "29 others");
    const keys = new Set(clients.map(({ peer }) => peer.peerKey));
    for (const client of clients) {
      assert.deepEqual(new Set([...client.others(), client.peer.peerKey]), keys);
      assert.equal(client.events.length, 29, "each told once");
    }
    const [last, ...others] = clients;
    await Promise.all(others.map((client) => client.leave(topic)));
    await until(() => last.others().size === 0, "all have left");
  });
});
