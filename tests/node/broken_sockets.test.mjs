// Two clients under Node on two hosts, whose sockets break all the time: what is promised of signals and members must hold.

import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket as NodeWebSocket } from "ws";
import { connect, Identity } from "../../web/aldis.js";
import { startNetwork, until } from "../browser/hosts.mjs";

const SIGNALS = 400;
const AT_ONCE = 16;
/** Mean pause of each sender between two signals, in milliseconds. */
const SPREAD_MS = 100;
/** A socket is broken after each such pause, in milliseconds. */
const PAUSE_MS = 60;

for (const sealed of [false, true]) test(`sockets that break all the time lose no ${sealed ? "sealed " : ""}signal, double none, and make nobody leave`, { timeout: 90_000 }, async () => {
  const network = await startNetwork(2);
  const [alice, bob] = await Promise.all(network.hosts.map(async (host) => {
    class WebSocket extends NodeWebSocket {
      constructor(url, protocols) {
        super(url, protocols, { perMessageDeflate: false });
        client.socket = this;
      }
    }
    const client = { resumed: 0, lost: 0, left: [], received: [], receipts: 0 };
    client.aldis = connect({ hosts: [host.ws], WebSocket, identity: sealed ? await Identity.create() : undefined, sealed, timing: { backoffMs: 10, backoffMaxMs: 50 } });
    client.aldis.on("welcome", ({ resumed, previous }) => { if (resumed) client.resumed += 1; else if (previous) client.lost += 1; });
    client.aldis.on("signal", ({ data }) => client.received.push(data));
    client.aldis.on("receipt", () => { client.receipts += 1; });
    return client;
  }));
  let breaking;
  try {
    for (const client of [alice, bob]) {
      client.swarm = await client.aldis.join("t");
      client.swarm.on("left", (detail) => client.left.push(detail));
    }
    await until(() => alice.swarm.members.has(bob.aldis.peer) && bob.swarm.members.has(alice.aldis.peer), "they see each other");
    breaking = setInterval(() => {
      const client = Math.random() < 0.5 ? alice : bob;
      const open = client.aldis.state === "open";
      // Also before it has its session again, but not twice in a row: on a slow machine none would ever have it, and a client tries other
      // hosts after two sockets in vain.
      if (!open && !client.brokenOpen) return;
      client.brokenOpen = open;
      client.socket.terminate();
    }, PAUSE_MS);

    const statuses = [];
    let next = 0;
    const send = async () => {
      while (next < SIGNALS) {
        const index = next;
        next += 1;
        await new Promise((resolve) => { setTimeout(resolve, Math.random() * 2 * SPREAD_MS); });
        statuses[index] = await alice.swarm.signal(bob.aldis.peer, index);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, send));
    clearInterval(breaking);
    await until(() => alice.aldis.state === "open" && bob.aldis.state === "open", "both are back");
    await alice.aldis.discover("t"); // whatever was on its way has come

    const delivered = statuses.filter(({ status }) => status === "delivered").length;
    console.log(`# ${alice.resumed} and ${bob.resumed} sockets broke; ${delivered} of ${SIGNALS} signals delivered`);
    assert.deepEqual([alice.lost, bob.lost], [0, 0], "every session was resumed");
    assert.ok(alice.resumed > 5 && bob.resumed > 5, "sockets did break");
    assert.equal(alice.receipts, SIGNALS, "one receipt each");
    assert.equal(new Set(bob.received).size, bob.received.length, "nothing is seen twice");
    const missing = statuses.flatMap(({ status }, index) => (status === "delivered" && !bob.received.includes(index) ? [index] : []));
    assert.deepEqual(missing, [], "what is told as delivered was seen");
    assert.ok(delivered > SIGNALS * 0.9, JSON.stringify(statuses.filter(({ status }) => status !== "delivered").slice(0, 5)));
    assert.deepEqual([alice.left, bob.left], [[], []], "nobody was seen leaving");
  } finally {
    clearInterval(breaking);
    for (const { aldis } of [alice, bob]) aldis.close();
    await network.stop();
  }
});
