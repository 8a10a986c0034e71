// Unmodified clients of bittorrent-tracker at several hosts.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { startNetwork, until } from "../../browser/hosts.mjs";
import { counts, destroyed, fakeOffers, newClient, talk, tracker } from "./client.mjs";

let network;
before(async () => { network = await startNetwork(3); });
after(() => network?.stop());

/** Closes these clients and all their connections at the end of a test. */
const closeAfter = (context, clients) => {
  const peers = [];
  for (const client of clients) client.on("peer", (peer) => { peers.push(peer); });
  context.after(async () => {
    for (const peer of peers) peer.destroy();
    await Promise.all(clients.map(destroyed));
  });
  return clients;
};

/** Waits until two clients meet, while the second one announces itself. */
async function meet(one, other, announce) {
  const met = [one, other].map(async (client) => (await once(client, "peer"))[0]);
  announce();
  return Promise.all(met);
}

test("two clients at two hosts reach a data channel", async (context) => {
  const infoHash = randomBytes(20);
  const [one, other] = closeAfter(context, network.hosts.slice(0, 2).map((host) => newClient(tracker(host), infoHash)));
  assert.deepEqual(await counts(one, () => one.start()), [0, 1]);
  const peers = await meet(one, other, () => other.start({ numwant: 1 }));
  assert.deepEqual(peers.map((peer) => peer.id), [other.peerId, one.peerId]);
  assert.deepEqual(await talk(...peers), ["from the other", "from one"]);
  assert.deepEqual([...one.warnings, ...other.warnings], []);
});

test("clients that share a connection, as in one program, reach a data channel through it", async (context) => {
  const infoHash = randomBytes(20);
  const [one, other] = closeAfter(context, [1, 2].map(() => newClient(tracker(network.hosts[0]), infoHash)));
  await counts(one, () => one.start());
  const peers = await meet(one, other, () => other.start({ numwant: 1 }));
  assert.deepEqual(await talk(...peers), ["from the other", "from one"]);
  assert.deepEqual([...one.warnings, ...other.warnings], []);
});

test("events and scrapes count the peers of all hosts, and offers that are none pass", async (context) => {
  const [infoHash, another] = [randomBytes(20), randomBytes(20)];
  const left = [1, 0, 1];
  const clients = closeAfter(context, network.hosts.map((host, index) => fakeOffers(newClient(tracker(host), infoHash, { getAnnounceOpts: () => ({ left: left[index] }) }))));
  const [one, two, three] = clients;
  assert.deepEqual(await counts(one, () => one.start()), [0, 1]);
  await until(async () => (await counts(two, () => two.start())).join() === "1,1", "the first is seen at the second host");
  await until(async () => (await counts(three, () => three.update())).join() === "1,2", "both are seen at the third");
  left[2] = 0;
  three.complete();
  await until(async () => (await counts(one, () => one.update())).join() === "2,1", "who is complete is seen as such");
  const scraped = new Promise((resolve) => { one.on("scrape", ({ infoHash: of, ...file }) => { if (of === infoHash.toString("hex")) resolve(file); }); });
  one.scrape({ infoHash: [infoHash.toString("hex"), another.toString("hex")] });
  const { complete, incomplete, downloaded } = await scraped;
  assert.deepEqual([complete, incomplete, downloaded], [2, 1, 2]);
  // A client takes no notice of an offer without a session description; its connection brings it.
  await until(() => clients.every(({ pushed }) => pushed.some((push) => push.peer_id)), "each was offered something");
  two.stop();
  await until(async () => (await counts(one, () => one.update())).join() === "1,1", "who stops is not counted");
  assert.deepEqual(clients.flatMap(({ warnings }) => warnings), []);
});

test("thirty clients at three hosts see all others", async (context) => {
  const infoHash = randomBytes(20);
  // A connection each.
  const clients = closeAfter(context, Array.from({ length: 30 }, (_, index) => fakeOffers(newClient(`${tracker(network.hosts[index % 3])}?${index}`, infoHash))));
  const begun = performance.now();
  for (const client of clients) client.start();
  await until(async () => (await Promise.all(clients.map((client) => counts(client, () => client.update())))).every(([, incomplete]) => incomplete === 30), "all count thirty");
  const counted = performance.now();
  let rounds = 0;
  const offered = (client) => new Set(client.pushed.map(({ peer_id: id }) => id).filter(Boolean)).size;
  await until(async () => {
    rounds += 1;
    await Promise.all(clients.map((client) => counts(client, () => client.update())));
    return clients.every((client) => offered(client) === 29);
  }, "each was offered something by each other", 120_000);
  context.diagnostic(`all counted after ${Math.round(counted - begun)} ms, all offers seen after ${rounds} announces of each in ${Math.round(performance.now() - counted)} ms`);
  for (const client of clients) {
    const own = client.pushed.filter(({ peer_id: id }) => id && Buffer.from(id, "latin1").toString("hex") === client.peerId);
    assert.deepEqual([own, client.warnings], [[], []]);
  }
});

// The library waits 10 s and a random part of 5 minutes before it comes back. The dice show zero here.
test("a client comes back by itself after its host was killed", async (context) => {
  const infoHash = randomBytes(20);
  const [home, elsewhere] = network.hosts;
  const [one, other] = closeAfter(context, [home, elsewhere].map((host) => newClient(tracker(host), infoHash)));
  assert.deepEqual(await counts(one, () => one.start({ numwant: 0 })), [0, 1]);
  const random = Math.random;
  Math.random = () => 0;
  await home.kill();
  await until(() => one._trackers[0].reconnecting, "the client has noticed");
  Math.random = random;
  home.start();
  await home.started();
  const [update] = await once(one, "update");
  assert.equal(update.incomplete, 1, "it has announced itself again");
  await until(async () => (await counts(other, () => other.start({ numwant: 0 })))[1] === 2, "it is seen at the other host");
  const peers = await meet(one, other, () => other.update({ numwant: 1 }));
  assert.deepEqual(await talk(...peers), ["from the other", "from one"]);
});
