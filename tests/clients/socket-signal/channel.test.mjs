// Two clients at two hosts reach a data channel, whatever their version.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startNetwork, until } from "../../browser/hosts.mjs";
import { client10, client9, discoverySwarm, door, end, key, reconnectingWebsocket, simplePeer, talk } from "./clients.mjs";

let network;
before(async () => { network = await startNetwork(2); });
after(() => end(network));

const hex = (ids) => ids.map((id) => id.toString("hex")).sort();

for (const [name, makeOne, makeOther] of [["9", client9, client9], ["10", client10, client10], ["9 and 10", client9, client10]]) {
  test(`two clients of version ${name} at two hosts reach a data channel`, async () => {
    const topic = key();
    const one = await makeOne([door(network.hosts[0])]);
    const other = await makeOther([door(network.hosts[1])]);
    try {
      assert.deepEqual(hex(await one.join(topic)), hex([one.id]), "the caller is in the answer");
      await other.join(topic);
      await until(async () => (await one.lookup(topic)).length === 2, "both are in the look-up");
      assert.deepEqual(hex(await other.lookup(topic)), hex([one.id, other.id]));

      let offers = 0;
      other.onOffer(async () => { offers += 1; });
      const incoming = new Promise((resolve) => { other.onIncomingPeer(async (peer) => resolve(peer)); });
      const outgoing = one.connect(topic, other.id, { metadata: { say: "base64:like" } });
      await outgoing.ready();
      const peer = await incoming;
      await peer.ready();
      assert.deepEqual(await talk(outgoing.stream, peer.stream), ["from the other", "from one"]);
      assert.equal(offers, 1);
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });
}

test("a client of version 10 lets another one at another host begin", async () => {
  const topic = key();
  const one = await client10([door(network.hosts[0])]);
  const other = await client10([door(network.hosts[1])]);
  try {
    await one.join(topic);
    await other.join(topic);
    await until(async () => (await one.lookup(topic)).length === 2, "both are in the look-up");
    const theirs = new Promise((resolve) => { other.on("peer-connected", ({ peer }) => resolve(peer)); });
    const peer = one.remoteConnect(topic, other.id, {});
    await peer.ready();
    assert.deepEqual(await talk(peer.stream, (await theirs).stream), ["from the other", "from one"]);
    assert.ok(!peer.initiator);
  } finally {
    await Promise.all([one.close(), other.close()]);
  }
});

test("two swarms of discovery-swarm-webrtc at two hosts reach a data channel", async () => {
  const topic = key();
  const swarms = network.hosts.map((host) => discoverySwarm({ bootstrap: [door(host)], simplePeer, reconnectingWebsocket }));
  try {
    const streams = swarms.map((swarm) => new Promise((resolve) => { swarm.once("connection", resolve); }));
    for (const swarm of swarms) swarm.join(topic);
    assert.deepEqual(await talk(...await Promise.all(streams)), ["from the other", "from one"]);
  } finally {
    await Promise.all(swarms.map((swarm) => swarm.close()));
  }
});

test("the heartbeat of the library is answered", async () => {
  const client = await client9([door(network.hosts[0])], { heartbeat: { interval: 50 } });
  try {
    const time = await new Promise((resolve, reject) => { client.once("ping", resolve).once("ping-error", reject); });
    assert.ok(Math.abs(time - Date.now()) < 60_000);
  } finally {
    await client.close();
  }
});
