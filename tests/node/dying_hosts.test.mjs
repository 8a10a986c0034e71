// Clients under Node, minted, keyed and sealing ones, while their hosts are killed and come back: what is promised of signals and members must hold.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket } from "ws";
import { connect, Identity } from "../../web/aldis.js";
import { startNetwork, until } from "../browser/hosts.mjs";

const HOSTS = 3;
const CLIENTS = 6;
/** How often each client sends, in milliseconds. */
const EVERY_MS = 40;
/** A host is dead so long, and so long is everybody up before the next dies, in milliseconds. */
const DEAD_MS = 1_500;
/** From the last death until everybody sees everybody and nobody else, in milliseconds. */
const MEMBERS_MS = 15_000;

// Odd ones of the first are keyed. All of the second seal, so all are.
for (const [who, sealed] of [["clients", false], ["clients that seal", true]]) test(`hosts of ${who} are killed and come back: one receipt each, nothing delivered is lost, nothing is doubled, and all are found again`, { timeout: 120_000 }, async () => {
  const network = await startNetwork(HOSTS);
  const clients = await Promise.all(Array.from({ length: CLIENTS }, async (_, index) => {
    const identity = sealed || index % 2 === 1 ? await Identity.create() : undefined;
    // Each starts at its own host and knows the others from `welcome` only.
    const aldis = connect({ hosts: [network.hosts[index % HOSTS].ws], WebSocket, identity, sealed });
    return { index, aldis, sent: [], received: [], receipts: 0, moves: 0, former: new Set() };
  }));
  let running = true;
  try {
    for (const client of clients) {
      client.aldis.on("receipt", () => { client.receipts += 1; });
      client.aldis.on("signal", ({ from, data }) => client.received.push({ from, ...data }));
      client.aldis.on("welcome", ({ resumed, previous }) => {
        if (!resumed) client.moves += 1;
        if (previous) client.former.add(previous);
      });
      client.swarm = await client.aldis.join("t", { meta: { index: client.index } });
    }
    const sending = clients.map(async (client) => {
      const open = [];
      for (let n = 0; running; n += 1) {
        const members = [...client.swarm.members];
        if (members.length > 0) {
          const [peer, { index: to }] = members[Math.floor(Math.random() * members.length)];
          const entry = { to, key: `${client.index}:${n}` };
          client.sent.push(entry);
          open.push(client.swarm.signal(peer, { by: client.index, key: entry.key }).then((receipt) => { entry.receipt = receipt; }));
        }
        await new Promise((resolve) => { setTimeout(resolve, EVERY_MS * (0.5 + Math.random())); });
      }
      await Promise.all(open);
    });
    for (const host of network.hosts) {
      await host.kill();
      await new Promise((resolve) => { setTimeout(resolve, DEAD_MS); });
      host.start();
      await host.started();
      await until(() => clients.every(({ aldis }) => aldis.state === "open"), "all clients have a host");
      await new Promise((resolve) => { setTimeout(resolve, DEAD_MS); });
    }
    await until(() => {
      const wrong = clients.flatMap(({ index, swarm }) => {
        const seen = [...swarm.members.keys()].sort().join();
        const expected = clients.filter((other) => other.index !== index).map(({ aldis }) => aldis.peer).sort().join();
        return seen === expected ? [] : [`${index} sees ${[...swarm.members].map(([peer, meta]) => `${meta.index}(${peer.slice(0, 6)})`)}`];
      });
      if (wrong.length > 0) throw new Error(wrong.join("; "));
      return true;
    }, "everybody sees everybody and nobody else", MEMBERS_MS);
    running = false;
    await Promise.all(sending);

    const statuses = {};
    for (const { sent } of clients) for (const { receipt } of sent) {
      const what = receipt.code ? `${receipt.status} (${receipt.code})` : receipt.status;
      statuses[what] = (statuses[what] ?? 0) + 1;
    }
    console.log(`# ${JSON.stringify(statuses)}; sessions opened: ${clients.map(({ moves }) => moves)}`);
    for (const client of clients) {
      assert.equal(client.receipts, client.sent.length, "one receipt each");
      assert.equal(new Set(client.received.map(({ key }) => key)).size, client.received.length, "nothing is seen twice");
      for (const { from, by } of client.received) {
        const sender = clients[by];
        assert.ok(sender.aldis.peer === from || sender.former.has(from), "it is from whom it says");
      }
    }
    const lost = clients.flatMap(({ sent }) => sent.filter(({ to, key, receipt }) => receipt.status === "delivered" && !clients[to].received.some((signal) => signal.key === key)));
    assert.deepEqual(lost, [], "what is told as delivered was seen");
    assert.ok(statuses.delivered > 100, "most of the time it works");
  } catch (error) {
    for (const host of network.hosts) console.error(`--- host ${host.id.slice(0, 8)}\n${host.log?.slice(-3_000)}`);
    throw error;
  } finally {
    running = false;
    for (const { aldis } of clients) aldis.close();
    await network.stop();
  }
});
