// The client library in Node against real hosts.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { WebSocket as NodeWebSocket } from "ws";
import { AldisError, connect, Identity } from "../../web/aldis.js";
import { binary, startNetwork, until } from "../browser/hosts.mjs";

let network;
before(async () => { network = await startNetwork(2); });
after(async () => { await network?.stop(); });

/** Sockets that a test can break; those of a client are in its array. */
function breakable(sockets) {
  return class extends NodeWebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      sockets.push(this);
    }
  };
}

/** One test with clients, which are closed at its end. Each is in the test's own topic. */
function scene(name, body) {
  test(name, { timeout: 30_000 }, async () => {
    const clients = [];
    const client = async (host, options = {}) => {
      const sockets = [];
      const aldis = connect({ hosts: [host.ws], WebSocket: breakable(sockets), timing: { backoffMs: 20 }, ...options });
      const swarm = await aldis.join(name.slice(0, 64));
      const made = { aldis, swarm, sockets, heard: [], left: [] };
      aldis.on("signal", ({ from, data }) => made.heard.push([from, data]));
      swarm.on("left", ({ peer }) => made.left.push(peer));
      clients.push(aldis);
      return made;
    };
    try {
      await body(client, ...network.hosts);
    } finally {
      for (const aldis of clients) aldis.close();
    }
  });
}

const sees = (one, other) => until(() => one.swarm.members.has(other.aldis.peer), "one sees the other");
const hears = (one, count) => until(() => one.heard.length >= count, `${count} signals`);

scene("two clients on two hosts meet, signal each other, and see the other leave", async (client, here, there) => {
  const [alice, bob] = [await client(here), await client(there)];
  await Promise.all([sees(alice, bob), sees(bob, alice)]);
  const receipts = await Promise.all(Array.from({ length: 20 }, (_, n) => alice.swarm.signal(bob.aldis.peer, { n })));
  assert.deepEqual(receipts.map(({ status }) => status), Array(20).fill("delivered"));
  assert.deepEqual(bob.heard, Array.from({ length: 20 }, (_, n) => [alice.aldis.peer, { n }]));
  assert.equal((await alice.aldis.discover(bob.swarm.topic)).total, 1, "besides oneself");
  const absent = await alice.aldis.signal("ab".repeat(32), 1);
  assert.deepEqual([absent.status, absent.code], ["refused", "no_such_peer"]);
  const { peer } = bob.aldis;
  await bob.swarm.leave();
  await until(() => alice.left.includes(peer), "the other has left");
});

scene("a broadcast reaches all other members on all hosts, and the tally says how many", async (client, here, there) => {
  const members = [await client(here), await client(there), await client(there)];
  const heard = members.map(({ swarm }) => { const list = []; swarm.on("broadcast", ({ from, data }) => list.push([from, data])); return list; });
  for (const one of members) for (const other of members) if (one !== other) await sees(one, other);
  const [{ aldis, swarm }] = members;
  const tally = await swarm.broadcast({ cursor: 7 });
  assert.deepEqual([tally.taken, tally.refused, tally.unknown, tally.members, tally.missed, tally.code], [1, 0, 0, 2, 0, undefined]);
  await until(() => heard[1].length + heard[2].length === 2, "both hear it");
  assert.deepEqual(heard, [[], [[aldis.peer, { cursor: 7 }]], [[aldis.peer, { cursor: 7 }]]]);
  assert.equal((await swarm.broadcast("x".repeat(70_000))).code, "too_big");
  assert.equal((await swarm.broadcast(undefined)).code, "bad_field");
});

scene("a broken socket is resumed: nobody sees it, and nothing is lost", async (client, here, there) => {
  const [alice, bob] = [await client(here), await client(there)];
  await Promise.all([sees(alice, bob), sees(bob, alice)]);
  const { peer } = bob.aldis;
  let resumed;
  bob.aldis.on("welcome", (detail) => { resumed = detail.resumed; });
  bob.sockets.at(-1).terminate();
  const receipts = await Promise.all([1, 2, 3].map((n) => alice.swarm.signal(peer, n)));
  assert.deepEqual(receipts.map(({ status }) => status), Array(3).fill("delivered"));
  await hears(bob, 3);
  assert.deepEqual(bob.heard.map(([, data]) => data), [1, 2, 3]);
  assert.equal(resumed, true);
  assert.equal(bob.aldis.peer, peer);
  assert.deepEqual(alice.left, []);
});

scene("a wait that is aborted ends, and the host takes the join back", async (client, here, there) => {
  const [alice, bob] = [await client(here), await client(there)];
  const controller = new AbortController();
  const joining = alice.aldis.join("another", { signal: controller.signal });
  controller.abort();
  await assert.rejects(joining, { name: "AbortError" });
  await until(async () => (await bob.aldis.discover("another")).total === 0, "nobody is there");
  await assert.rejects(alice.aldis.join("x".repeat(257)), (error) => error instanceof AldisError && error.code === "bad_field");
});

scene("a key keeps its peer id on another host, and the later session wins", async (client, here, there) => {
  const identity = await Identity.create();
  const [alice, watcher] = [await client(here, { identity }), await client(there)];
  await sees(watcher, alice);
  assert.equal(alice.aldis.peer, identity.peer);
  // Another object with the same key knows nothing of the counter: the host tells it.
  const moved = await client(there, { identity: new Identity(identity.privateKey, identity.peer) });
  assert.equal(moved.aldis.peer, identity.peer);
  await until(() => alice.aldis.state === "closed", "the earlier session is replaced");
  const receipt = await watcher.swarm.signal(identity.peer, "where are you");
  assert.equal(receipt.status, "delivered");
  await hears(moved, 1);
  assert.deepEqual(alice.heard, []);
});

scene("what is sealed arrives across two hosts, whatever becomes of sockets and of the other's key", async (client, here, there) => {
  const identity = await Identity.create();
  const [alice, bob] = [await client(here, { identity: await Identity.create(), sealed: true }), await client(there, { identity, sealed: true })];
  await sees(alice, bob);
  assert.equal((await alice.swarm.signal(identity.peer, { sdp: "v=0" })).status, "delivered");
  await hears(bob, 1);
  assert.deepEqual(bob.heard, [[alice.aldis.peer, { sdp: "v=0" }]]);
  assert.equal((await bob.swarm.signal(alice.aldis.peer, "x".repeat(47_000))).status, "delivered");
  await hears(alice, 1);
  bob.sockets.at(-1).terminate();
  assert.equal((await alice.swarm.signal(identity.peer, "after a break")).status, "delivered");
  await hears(bob, 2);

  // Bob starts anew, at the other host, with a key of which Alice does not know.
  bob.aldis.close();
  const again = await client(here, { identity, sealed: true });
  await until(() => alice.swarm.members.has(identity.peer), "Bob is back");
  await alice.swarm.signal(identity.peer, "to the new key");
  await hears(again, 1);
  assert.deepEqual(again.heard, [[alice.aldis.peer, "to the new key"]]);

  // Who does not seal gets nothing from who does, and the other way round.
  const carol = await client(there);
  await sees(alice, carol);
  const errors = [];
  alice.aldis.on("error", ({ code }) => errors.push(code));
  assert.equal((await alice.swarm.signal(carol.aldis.peer, "secret")).code, "not_sealed");
  assert.equal((await carol.swarm.signal(alice.aldis.peer, "in the clear")).status, "delivered");
  await until(() => errors.includes("not_sealed"), "it is dropped");
  assert.deepEqual([carol.heard.length, alice.heard.length], [0, 1]);
});

scene("the client in Rust and the one in JavaScript seal for each other", async (client, here, there) => {
  const alice = await client(here, { identity: await Identity.create(), sealed: true });
  const directory = await mkdtemp(join(tmpdir(), "aldis-edge-"));
  const edge = spawn(binary(), ["edge", "--host", there.ws, "--topic", alice.swarm.topic, "--key", join(directory, "key.toml"), "--sealed", "--json", "--stay"]);
  let said = "";
  edge.stdout.on("data", (text) => { said += text; });
  try {
    await until(() => alice.swarm.members.size === 1, "the edge is there");
    const [peer] = alice.swarm.members.keys();
    for (const n of [1, 2, 3]) assert.equal((await alice.swarm.signal(peer, { n, text: "é" })).status, "delivered");
    await until(() => said.includes(`< ${alice.aldis.peer.slice(0, 8)} {"n":3,"text":"é"}`), "the edge has opened all");
    edge.stdin.write(`{"from":"Rust"}\n`);
    await hears(alice, 1);
    assert.deepEqual(alice.heard, [[peer, { from: "Rust" }]]);
    await until(() => said.includes(`> ${alice.aldis.peer.slice(0, 8)} delivered`), "the edge has its receipt");
    assert.doesNotMatch(said, /dropped/);
  } finally {
    edge.kill();
    await rm(directory, { recursive: true, force: true });
  }
});
