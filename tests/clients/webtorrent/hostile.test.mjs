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

test("nobody takes over the peer id of another connection", async () => {
  const [one] = clients;
  const [hash, peer] = [infoHash, Buffer.from(one.peerId, "hex")].map((bytes) => bytes.toString("latin1"));
  for (const host of network.hosts) {
    const thief = await stranger(host);
    thief.send(JSON.stringify({ action: "announce", info_hash: hash, peer_id: peer }));
    await until(() => thief.heard.length > 0, "an answer");
    const offered = () => one.pushed.filter(({ peer_id: from }) => from).length;
    const before = offered();
    await until(async () => {
      await counts(clients[1], () => clients[1].update({ numwant: 5 }));
      return offered() > before;
    }, "the owner is still offered something");
    // Its offers are its own to have answered: whoever answers needs what came by the offer.
    thief.send(JSON.stringify({ action: "announce", info_hash: hash, peer_id: peer, event: "stopped" }));
    await until(() => thief.heard.filter(({ complete }) => complete !== undefined).length === 2, "it has stopped");
    thief.terminate();
    await undisturbed();
  }
});
