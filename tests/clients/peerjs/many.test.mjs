// Thirty unmodified PeerJS clients at three hosts that tell their ids. What they send each other goes through the library's own signaling
// class (`peer.socket`), without WebRTC: thirty times thirty connections are more than one Chromium bears.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../../browser/chromium.mjs";
import { startNetwork, until } from "../../browser/hosts.mjs";
import { at, servePage } from "./page.mjs";

const CLIENTS = 30;

let browser;
let network;
let site;
before(async () => {
  site = await servePage();
  browser = await launch();
  network = await startNetwork(3);
  // The same hosts again, as their operators would start them for this.
  for (const host of network.hosts) {
    await host.kill();
    host.arguments.push("--peerjs-discovery", "true");
    host.start();
    await host.started();
  }
  for (const host of network.hosts) await until(async () => (await host.status()).hosts.filter(({ live }) => live).length === 2, "the hosts know each other again");
});
after(async () => {
  await browser?.close();
  await network?.stop();
  site?.close();
});

test("thirty clients at three hosts: each lists all, hears each other one once, and nothing else", { timeout: 90_000 }, async () => {
  const page = await open(browser, site.url);
  const opened = await page.evaluate(([CLIENTS, places]) => {
    globalThis.peers = Array.from({ length: CLIENTS }, (_, n) => new Peer(`client-${n}`, places[n % places.length]));
    globalThis.heard = peers.map(() => []);
    return Promise.all(peers.map((peer, n) => new Promise((resolve, reject) => {
      peer.on("open", resolve);
      peer.on("error", reject);
      peer.socket.on("message", (message) => { if (message.type === "CANDIDATE") heard[n].push(`${message.src} ${message.payload.candidate}`); });
    })));
  }, [CLIENTS, network.hosts.map(at)]);
  const ids = Array.from({ length: CLIENTS }, (_, n) => `client-${n}`);
  assert.deepEqual(opened, ids);
  await until(() => page.evaluate(async (all) => {
    const lists = await Promise.all(peers.map((peer) => new Promise((resolve) => { peer.listAllPeers(resolve); })));
    return lists.every((list) => list.toSorted().join() === all);
  }, ids.toSorted().join()), "everybody lists everybody");
  await page.evaluate(() => {
    for (const [n, peer] of peers.entries()) {
      for (const other of peers) {
        if (other !== peer) peer.socket.send({ type: "CANDIDATE", dst: other.id, payload: { type: "data", connectionId: `dc_${n}`, candidate: `from ${n} to ${other.id}` } });
      }
    }
  });
  await until(() => page.evaluate((count) => heard.every((words) => words.length >= count), CLIENTS - 1), "everybody hears everybody");
  const heard = await page.evaluate(() => globalThis.heard);
  for (const [n, words] of heard.entries()) {
    const expected = ids.flatMap((id, from) => (from === n ? [] : [`${id} from ${from} to client-${n}`]));
    assert.deepEqual(words.toSorted(), expected.toSorted());
  }
  page.checkErrors();
});

test("frames that are no frames, at a host with clients, disturb nobody", { timeout: 60_000 }, async () => {
  const page = await open(browser, site.url);
  const [one, two] = network.hosts.map(at);
  const words = await page.evaluate(async ([one, two]) => {
    const begin = (id, place) => new Promise((resolve, reject) => {
      const peer = new Peer(id, place);
      peer.on("open", () => resolve(peer));
      peer.on("error", reject);
    });
    const [anna, bert, evil] = await Promise.all([begin("anna", one), begin("bert", two), begin("evil", one)]);
    const arrived = new Promise((resolve) => {
      bert.on("connection", (connection) => connection.on("data", (data) => resolve(data)));
    });
    const wire = evil.socket._socket;
    for (const frame of ["not json", "", "null", "[]", "{\"type\":{}}", "{\"type\":\"OFFER\",\"dst\":[]}", "{\"type\":\"OFFER\",\"dst\":\"bert\",\"payload\":", "\u0000", new Uint8Array([255, 254, 0])]) wire.send(frame);
    wire.send("x".repeat(1_000_000));
    await new Promise((resolve) => { evil.on("disconnected", resolve); });
    const connection = anna.connect("bert");
    connection.on("open", () => connection.send("undisturbed"));
    return arrived;
  }, [one, two]);
  assert.equal(words, "undisturbed");
  page.checkErrors();
});
