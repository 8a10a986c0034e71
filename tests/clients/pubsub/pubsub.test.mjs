// Unmodified clients of topic servers meet across hosts: y-webrtc, and Trystero by its relay protocol.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";

import { startNetwork, until } from "../../browser/hosts.mjs";

const door = (host) => `ws://127.0.0.1:${host.httpPort}/pubsub`;
const PATIENCE_MS = 60_000;

let network;
before(async () => { network = await startNetwork(3); });
after(async () => { await network.stop(); });

/** A client in a process of its own. */
class Client {
  told = [];
  constructor(script, ...args) {
    this.process = fork(fileURLToPath(new URL(script, import.meta.url)), args, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.process.on("message", (message) => { this.told.push(message); });
    this.process.on("exit", (code) => { if (!this.over) this.told.push({ failed: code }); });
  }
  /** The newest that it told. */
  get now() { return this.told.at(-1) ?? {}; }
  async tells(check, what) { await until(() => this.told.some(check), `${what}: ${JSON.stringify(this.now)}`, PATIENCE_MS); }
  say(message) { this.process.send(message); }
  async end() {
    this.over = true;
    this.process.kill();
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
  }
}

async function together(clients, story) {
  try {
    await story(...clients);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

test("a document of y-webrtc is shared by clients at two hosts, and by a third when its host comes back", async () => {
  const [one, other] = network.hosts;
  await together([new Client("yjs-client.mjs", "story", door(one)), new Client("yjs-client.mjs", "story", door(other))], async (first, second) => {
    await until(() => first.now.connected === 1 && second.now.connected === 1, "a data channel", PATIENCE_MS);
    first.say({ set: ["first", "was here"] });
    second.say({ set: ["second", "too"] });
    for (const client of [first, second]) await client.tells(({ text }) => text?.first === "was here" && text.second === "too", "both words");

    await other.kill();
    first.say({ set: ["meanwhile", "alone"] });
    await second.tells(({ text }) => text?.meanwhile === "alone", "the channel outlives the host");
    await until(() => second.now.signaling === 0, "the client notices", PATIENCE_MS);
    other.start();
    await other.started();
    await until(() => second.now.signaling === 1, "the client comes back by itself", PATIENCE_MS);
    await together([new Client("yjs-client.mjs", "story", door(network.hosts[2]))], async (third) => {
      await third.tells(({ text, connected }) => connected === 2 && text?.meanwhile === "alone", "a newcomer meets both");
    });
  });
});

test("clients of Trystero's relay protocol at two hosts reach a data channel, and meet again after one host was killed", async () => {
  const [one, other] = network.hosts;
  await together([new Client("trystero-client.mjs", "story", door(one)), new Client("trystero-client.mjs", "story", door(other))], async (first, second) => {
    for (const client of [first, second]) await client.tells(({ joined }) => joined, "the other one joined");
    first.say({ say: "from the first" });
    second.say({ say: "from the second" });
    await second.tells(({ heard }) => heard === "from the first", "the first's words");
    await first.tells(({ heard }) => heard === "from the second", "the second's words");

    await other.kill();
    other.start();
    await other.started();
    await together([new Client("trystero-client.mjs", "story", door(network.hosts[2]))], async (third) => {
      const { id } = await (async () => { await third.tells(({ id }) => id, "its id"); return third.told[0]; })();
      await second.tells(({ joined }) => joined === id, "a newcomer, after the client's own reconnection");
    });
  });
});

/** A client of the protocol alone. */
async function subscriber(host, topic) {
  const socket = new WebSocket(door(host));
  const heard = [];
  socket.on("message", (data) => { heard.push(JSON.parse(data)); });
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "subscribe", topics: [topic] }));
  return { socket, heard, publish: (data) => socket.send(JSON.stringify({ type: "publish", topic, data })) };
}

test("thirty subscribers at three hosts hear everybody, in order, with the count of the network", async () => {
  const clients = await Promise.all(Array.from({ length: 30 }, (_, index) => subscriber(network.hosts[index % 3], "party")));
  const probe = clients[0];
  await until(async () => {
    probe.publish({ probe: true });
    return probe.heard.some(({ clients: count }) => count === 30);
  }, "the host of one knows all");
  const WORDS = 3;
  for (let word = 0; word < WORDS; word += 1) clients.forEach((client, from) => client.publish({ from, word }));
  const said = (client) => client.heard.map(({ data }) => data).filter(({ probe: isProbe }) => !isProbe);
  await until(() => clients.every((client) => said(client).length === 30 * WORDS), "everybody heard everything", PATIENCE_MS);
  for (const client of clients) {
    for (let from = 0; from < 30; from += 1) {
      const words = said(client).filter((data) => data.from === from).map(({ word }) => word);
      assert.deepEqual(words, [0, 1, 2], `of ${from}, in order and once`);
    }
  }
  clients.forEach(({ socket }) => socket.terminate());
});

test("what kills the server of y-webrtc does nothing here", async () => {
  const witness = await subscriber(network.hosts[0], "quiet");
  const vandal = new WebSocket(door(network.hosts[0]));
  await once(vandal, "open");
  for (const frame of ["not json", "", "null", "[]", "7", "{\"type\":\"subscribe\",\"topics\":7}", Buffer.from([0xff, 0]), "[".repeat(60_000)]) vandal.send(frame);
  vandal.send(JSON.stringify({ type: "ping" }));
  const [answer] = await once(vandal, "message");
  assert.deepEqual(JSON.parse(answer), { type: "pong" });
  await until(() => { witness.publish("still here"); return witness.heard.length > 0; }, "the witness is served");
  vandal.terminate();
  witness.socket.terminate();
});
