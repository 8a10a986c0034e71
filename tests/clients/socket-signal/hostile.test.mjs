// What is not of the protocol gets its own error or nothing, and disturbs nobody else.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { startNetwork, until } from "../../browser/hosts.mjs";
import { client10, client9, door, end, key, talk } from "./clients.mjs";

const WebSocket = createRequire(import.meta.url)("ws");

let network;
before(async () => { network = await startNetwork(2); });
after(() => end(network));

/** The code of the error that a client makes of an answer. */
const code = (answer) => answer.then(() => "none", (error) => error.code);

for (const [version, makeClient, prefix] of [["9", client9, ""], ["10", client10, "socket-signal-"]]) {
  test(`clients of version ${version} rebuild the errors of the host and of each other`, async () => {
    const topic = key();
    const [one, other] = [await makeClient([door(network.hosts[0])]), await makeClient([door(network.hosts[1])])];
    try {
      await one.join(topic);
      await other.join(topic);
      await until(async () => (await one.lookup(topic)).length === 2, "both are in the look-up");
      const offer = (remoteId, fields = {}) => one.rpc.call(`${prefix}offer`, { topic, remoteId, id: one.id, sessionId: key(), data: [], ...fields });
      const absent = key();
      await assert.rejects(offer(absent), { code: "ERR_PEER_NOT_FOUND", message: `peer not found: ${absent.toString("hex")}` });
      assert.equal(await code(one.rpc.call("of no version", {})), "NRPC_ERR_NAME_MISSING");
      assert.equal(await code(one.rpc.call(`${prefix}join`, { topic: "short" })), "NRPC_ERR_RESPONSE_ERROR");
      assert.equal(await code(offer(other.id, { sessionId: undefined })), "NRPC_ERR_RESPONSE_ERROR");
      assert.equal(await code(offer(other.id, { metadata: "x".repeat(66_000) })), "NRPC_ERR_RESPONSE_ERROR");
      const ping = await one.rpc.call("__ping__", { time: 1 });
      assert.ok(Math.abs(ping.time - Date.now()) < 60_000);

      other.onOffer(async () => { throw new Error("not today"); });
      await assert.rejects(offer(other.id), { code: "NRPC_ERR_RESPONSE_ERROR", message: "not today" });
      // It never answers.
      other.onOffer(() => new Promise(() => {}));
      assert.equal(await code(offer(other.id)), "NMSG_ERR_TIMEOUT");
      const reached = new Promise((resolve) => { other.onOffer(() => { resolve(); return new Promise(() => {}); }); });
      const waiting = code(offer(other.id));
      await reached;
      await other.close();
      assert.equal(await waiting, "NMSG_ERR_CLOSE");
    } finally {
      await Promise.all([one.close(), other.close()]);
    }
  });
}

test("malformed frames of every layer leave the socket open and others undisturbed", async () => {
  const topic = key();
  const [one, other] = [await client9([door(network.hosts[0])]), await client10([door(network.hosts[1])])];
  const socket = new WebSocket(`${door(network.hosts[0])}/`);
  const answers = [];
  socket.on("message", (data) => answers.push(data));
  await once(socket, "open");
  try {
    const join = Buffer.from('\x02\x09\x00\x04join\x02{}', "latin1");
    const broken = ["no frame", "", Buffer.alloc(0), Buffer.alloc(60_000, 0xff), randomBytes(1_000)];
    for (let length = 0; length < join.length; length += 1) broken.push(join.subarray(0, length));
    for (let place = 0; place < join.length; place += 1) {
      for (const bit of [1, 16, 128]) broken.push(Buffer.from(join.map((byte, at) => (at === place ? byte ^ bit : byte))));
    }
    broken.push(Buffer.concat([join.subarray(0, 8), Buffer.from('\x02{]', "latin1")]));
    for (const frame of broken) socket.send(frame);
    socket.send(join);
    await until(() => answers.at(-1)?.includes("NRPC_ERR_RESPONSE_ERROR"), "the frame that could be read is answered");
    assert.equal(socket.readyState, WebSocket.OPEN);

    await one.join(topic);
    await other.join(topic);
    await until(async () => (await one.lookup(topic)).length === 2, "both are in the look-up");
    const incoming = new Promise((resolve) => { other.onIncomingPeer(async (peer) => resolve(peer)); });
    const outgoing = one.connect(topic, other.id);
    await outgoing.ready();
    const peer = await incoming;
    await peer.ready();
    assert.deepEqual(await talk(outgoing.stream, peer.stream), ["from the other", "from one"]);
  } finally {
    socket.terminate();
    await Promise.all([one.close(), other.close()]);
  }
});

test("pages of other origins are refused where origins are listed", async () => {
  const host = network.hosts[0];
  await host.kill();
  host.arguments.push("--origins", "https://app.example");
  host.start();
  await host.started();
  const opens = (options) => new Promise((resolve) => {
    const socket = new WebSocket(door(host), options);
    socket.on("open", () => { socket.terminate(); resolve(true); });
    socket.on("unexpected-response", (_, response) => resolve(response.statusCode));
    socket.on("error", resolve);
  });
  assert.equal(await opens({ origin: "https://evil.example" }), 403);
  assert.equal(await opens({ origin: "https://app.example" }), true);
});
