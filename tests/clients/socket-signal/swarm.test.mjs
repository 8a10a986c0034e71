// Hosts come and go, and swarms are larger than two.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startNetwork, until } from "../../browser/hosts.mjs";
import { client10, client9, discoverySwarm, door, end, key, reconnectingWebsocket, simplePeer, talk } from "./clients.mjs";
import { wrtc } from "./standin.mjs";

let network;
before(async () => { network = await startNetwork(3); });
after(() => end(network));

/** Joins and waits for the first connection of either. */
async function connected(topic, ...swarms) {
  const streams = swarms.map((swarm) => new Promise((resolve) => { swarm.once("connection", resolve); }));
  for (const swarm of swarms) swarm.join(topic);
  return Promise.all(streams);
}

const sees = async (client, topic, id) => (await client.lookup(topic)).some((other) => other.equals(id));

test("30 clients of both versions at three hosts see each other, each once", async () => {
  const topic = key();
  const clients = await Promise.all(Array.from({ length: 30 }, (_, index) => (index % 2 ? client9 : client10)([door(network.hosts[index % 3])])));
  try {
    for (const client of clients) await client.join(topic);
    const all = clients.map(({ id }) => id.toString("hex")).sort();
    for (const client of clients) {
      const list = async () => (await client.lookup(topic)).map((id) => id.toString("hex")).sort();
      await until(async () => (await list()).length === all.length, "all are in the look-up");
      assert.deepEqual(await list(), all);
    }
    await clients[0].leave(topic);
    for (const client of clients) await until(async () => !await sees(client, topic, clients[0].id), "the one that left is not");
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
});

test("30 swarms of discovery-swarm-webrtc at three hosts all get connections, and each finds all others", async () => {
  const topic = key();
  const swarms = Array.from({ length: 30 }, (_, index) => discoverySwarm({ bootstrap: [door(network.hosts[index % 3])], simplePeer: { wrtc }, reconnectingWebsocket }));
  try {
    for (const swarm of swarms) swarm.join(topic);
    await until(() => swarms.every((swarm) => swarm.connected.length > 0), "each has a connection", 60_000);
    for (const swarm of swarms) await until(async () => (await swarm.signal.lookup(topic)).length === swarms.length, "all are in the look-up");
  } finally {
    await Promise.all(swarms.map((swarm) => swarm.close()));
  }
});

test("a client that comes back through another host is called there, though its old socket is still open", async () => {
  const [topic, id] = [key(), key()];
  const [old, fresh] = [await client9([door(network.hosts[0])], { id }), await client10([door(network.hosts[1])], { id })];
  const callers = await Promise.all(network.hosts.map((host) => client9([door(host)])));
  let offers = 0;
  old.onOffer(async () => { offers += 1; });
  try {
    await old.join(topic);
    await until(() => sees(fresh, topic, id), "it is known at its new host");
    await fresh.join(topic);
    // Seen at all hosts: its newer claim is told before its membership, and that before what the same host tells next.
    const later = await client9([door(network.hosts[1])]);
    await later.join(topic);
    for (const caller of callers) {
      await until(() => sees(caller, topic, later.id), "all hosts know of the later one");
      const incoming = new Promise((resolve) => { fresh.onIncomingPeer(async (peer) => resolve(peer)); });
      const call = caller.connect(topic, id);
      await call.ready();
      const peer = await incoming;
      await peer.ready();
      assert.deepEqual(await talk(call.stream, peer.stream), ["from the other", "from one"]);
    }
    assert.equal(offers, 0);
    await later.close();
  } finally {
    await Promise.all([old, fresh, ...callers].map((client) => client.close()));
  }
});

test("a swarm whose host is killed goes on at another host of its list", async () => {
  const topic = key();
  const [first, second, third] = network.hosts;
  const moving = discoverySwarm({ bootstrap: [door(first), door(second)], simplePeer, reconnectingWebsocket });
  const staying = discoverySwarm({ bootstrap: [door(third)], simplePeer, reconnectingWebsocket });
  const caller = await client10([door(third)]);
  try {
    const streams = await connected(topic, moving, staying);
    assert.deepEqual(await talk(...streams), ["from the other", "from one"]);
    await first.kill();
    assert.deepEqual(await talk(...streams), ["from the other", "from one"], "what is connected stays so");

    // It is called at its new host as soon as it is there, though its old host is not known to be dead yet.
    await until(async () => (await second.status()).edges === 1, "it has come to the second host");
    const incoming = new Promise((resolve) => { moving.on("connection", (stream, info) => info.id.equals(caller.id) && resolve(stream)); });
    const call = await until(async () => {
      const peer = caller.connect(topic, moving.id);
      await peer.ready();
      return peer;
    }, "it can be called");
    assert.deepEqual(await talk(call.stream, await incoming), ["from the other", "from one"]);
  } finally {
    await Promise.all([moving.close(), staying.close(), caller.close()]);
    first.start();
    await first.started();
  }
});

test("a client whose host hangs notices by its heartbeat and goes on at another host", async () => {
  const topic = key();
  const [first, second, third] = network.hosts;
  const client = await client9([door(first), door(second)], { heartbeat: { interval: 200, timeout: 1_000 } });
  client.on("connected", (reconnected) => { if (reconnected) client.join(topic).catch(() => {}); });
  const caller = await client9([door(third)]);
  try {
    await client.join(topic);
    await until(() => sees(caller, topic, client.id), "it is there");
    first.process.kill("SIGSTOP");
    const call = await until(async () => {
      const peer = caller.connect(topic, client.id);
      await peer.ready();
      return peer;
    }, "it can be called at its new host");
    const answered = await until(() => client.getPeersByTopic(topic).find((peer) => peer.connected), "it is connected too");
    assert.deepEqual(await talk(call.stream, answered.stream), ["from the other", "from one"]);
  } finally {
    first.process.kill("SIGCONT");
    await Promise.all([client.close(), caller.close()]);
  }
});

test("a swarm whose only host restarts joins again there", async () => {
  const topic = key();
  const [first, , third] = network.hosts;
  const swarm = discoverySwarm({ bootstrap: [door(first)], simplePeer, reconnectingWebsocket });
  const other = await client9([door(third)]);
  try {
    swarm.join(topic);
    await until(() => sees(other, topic, swarm.id), "it is there");
    await first.kill();
    await until(async () => !await sees(other, topic, swarm.id), "its host is missed");
    first.start();
    await until(() => sees(other, topic, swarm.id), "it is there again");
    const incoming = new Promise((resolve) => { swarm.once("connection", resolve); });
    const call = other.connect(topic, swarm.id);
    await call.ready();
    assert.deepEqual(await talk(call.stream, await incoming), ["from the other", "from one"]);
  } finally {
    await Promise.all([swarm.close(), other.close()]);
  }
});
