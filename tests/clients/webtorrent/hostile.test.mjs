// What strangers send to the door of a live host, while two clients use it.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";

import { startNetwork, until } from "../../browser/hosts.mjs";
import { counts, destroyed, fakeOffers, newClient, tracker } from "./client.mjs";

let network, clients;
const infoHash = randomBytes(20);

before(async () => {
  network = await startNetwork(2);
  clients = network.hosts.map((host) => fakeOffers(newClient(tracker(host), infoHash)));
  for (const client of clients) client.start();
});
after(async () => {
  await Promise.all((clients ?? []).map(destroyed));
  await network?.stop();
});

async function stranger(host = network.hosts[0]) {
  const socket = new WebSocket(tracker(host));
  socket.heard = [];
  socket.on("message", (data) => { socket.heard.push(JSON.parse(data)); });
  socket.on("error", () => {});
  await once(socket, "open");
  return socket;
}

/** The clients' connections stand, and they count each other. */
async function undisturbed() {
  for (const client of clients) {
    await until(async () => (await counts(client, () => client.update())).join() === "0,2", "each counts both");
    assert.deepEqual([client._trackers[0].reconnecting, client.warnings], [false, []]);
  }
}

test("malformed frames get a failure and disturb nobody", async () => {
  const socket = await stranger();
  const id = "a".repeat(20);
  const frames = [
    "", "{", "null", "[]", "{}", "5", '"x"', "\0", '{"action":"announce"}', '{"action":{}}', '{"action":"scrape","info_hash":{}}', '{"action":"scrape"}',
    JSON.stringify({ action: "announce", info_hash: id }), JSON.stringify({ action: "announce", info_hash: "\u0100".repeat(20), peer_id: id }),
    JSON.stringify({ action: "announce", info_hash: id, peer_id: id, event: "x" }), JSON.stringify({ action: "announce", info_hash: id, peer_id: id, answer: {} }),
    JSON.stringify({ action: "announce", info_hash: id, peer_id: id, to_peer_id: id, offer_id: "none", answer: {} }),
    `{"action":"announce","info_hash":"${id}","peer_id":"${id}","offers":[{"offer":${"[".repeat(5_000)}${"]".repeat(5_000)}}]}`,
    Buffer.from([0xff, 0xfe, 0x00]), randomBytes(4_000), "x".repeat(60_000),
  ];
  for (const frame of frames) socket.send(frame);
  await until(() => socket.heard.length >= frames.length, "each has an answer");
  assert.ok(socket.heard.every((heard) => typeof heard["failure reason"] === "string"), JSON.stringify(socket.heard));
  socket.send(JSON.stringify({ action: "announce", info_hash: id, peer_id: id }));
  await until(() => socket.heard.some(({ incomplete }) => incomplete === 1), "the connection still works");
  socket.terminate();
  await undisturbed();
});

test("frames that are too big, no UTF-8 or no WebSocket end their own connection alone", async () => {
  for (const send of [
    (socket) => socket.send("x".repeat(100_000)),
    (socket) => socket.send(Buffer.from([0xff, 0xfe]), { binary: false }),
    (socket) => socket._socket.write(Buffer.from([0x83, 0x80, 0, 0, 0, 0])),
  ]) {
    const socket = await stranger();
    const closed = once(socket, "close");
    send(socket);
    await closed;
  }
  await undisturbed();
});

test("a flood ends its own connection alone", async () => {
  for (const frame of ["{", JSON.stringify({ action: "announce", info_hash: "a".repeat(20), peer_id: "a".repeat(20) })]) {
    const socket = await stranger();
    const closed = once(socket, "close");
    let sent = 0;
    while (socket.readyState === WebSocket.OPEN && sent < 200_000) {
      for (let i = 0; i < 500; i += 1, sent += 1) socket.send(frame);
      await new Promise(setImmediate);
    }
    await closed;
    assert.ok(sent < 200_000, "it was let go on");
    await undisturbed();
  }
});

test("nobody takes over the peer id of another connection", async (context) => {
  const hash = randomBytes(20).toString("latin1");
  const announce = (peer, fields) => JSON.stringify({ action: "announce", info_hash: hash, peer_id: peer.repeat(20), ...fields });
  const [owner, thief, offerer] = [await stranger(), await stranger(), await stranger(network.hosts[1])];
  context.after(() => { for (const socket of [owner, thief, offerer]) socket.terminate(); });
  for (const socket of [owner, thief]) socket.send(announce("p"));
  const counted = () => offerer.heard.filter(({ interval }) => interval);
  const got = (socket, what) => socket.heard.filter((heard) => heard[what]).map((heard) => heard.offer_id);
  await until(() => {
    offerer.send(announce("o"));
    return counted().some(({ incomplete }) => incomplete === 2);
  }, "two peer ids are seen, though there are three connections");

  // Both bear the name, so both are offered something, and each can answer what it was offered and nothing else.
  let offers = 0;
  await until(() => {
    offers += 1;
    offerer.send(announce("o", { offers: [{ offer_id: `${offers}`, offer: "o" }] }));
    return got(owner, "offer").length >= 2 && got(thief, "offer").length >= 2;
  }, "both are offered something");
  const [mine, theirs] = [got(owner, "offer")[0], got(thief, "offer")[0]];
  assert.notEqual(mine, theirs);
  const answer = (socket, id) => socket.send(announce("p", { to_peer_id: "o".repeat(20), offer_id: id, answer: "a" }));
  answer(thief, mine);
  await until(() => got(thief, "failure reason").length === 1, "the thief is told that it has no such offer");
  answer(thief, theirs);
  await until(() => got(offerer, "answer").includes(theirs), "its own offer it may answer");
  assert.deepEqual(got(offerer, "answer"), [theirs]);
  thief.send(announce("p", { event: "stopped" }));
  await until(() => thief.heard.at(-1).interval, "the thief has stopped");
  answer(owner, mine);
  await until(() => got(offerer, "answer").includes(mine), "the owner is still there to answer");
  await undisturbed();
});
