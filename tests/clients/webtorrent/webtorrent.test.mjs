// Unmodified clients of WebTorrent trackers, each at another host: bittorrent-tracker and Trystero.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { after, before, test } from "node:test";

import { Client } from "./client.mjs";
import { startNetwork, until } from "../../browser/hosts.mjs";

const trackers = (host) => [`${host.http.replace("http", "ws")}announce`];

let network;
before(async () => { network = await startNetwork(3); });
after(() => network?.stop());

/** A client of bittorrent-tracker; with `query` it has a connection of its own, since the library shares one for each URL. */
function client(host, infoHash, options = {}, query = "") {
  const found = new Client({
    infoHash, peerId: randomBytes(20), port: 6881, announce: trackers(host).map((url) => url + query), rtcConfig: { iceServers: [] }, getAnnounceOpts: () => ({ left: 1 }), ...options,
  });
  found.warnings = [];
  found.on("warning", (warning) => { found.warnings.push(warning.message); });
  found.on("error", (error) => { found.warnings.push(error.message); });
  return found;
}

const destroyed = (found) => new Promise((resolve) => { found.destroy(resolve); });

/** Sends a line each way. */
async function talk(one, other) {
  const heard = [one, other].map((peer) => once(peer, "data"));
  await Promise.all([one, other].map(async (peer) => { if (!peer.connected) await once(peer, "connect"); }));
  one.send("from one");
  other.send("from the other");
  const [[fromOther], [fromOne]] = await Promise.all(heard);
  assert.equal(Buffer.from(fromOne).toString(), "from one");
  assert.equal(Buffer.from(fromOther).toString(), "from the other");
}

test("two clients of bittorrent-tracker at two hosts reach a data channel", async () => {
  const infoHash = randomBytes(20);
  const [one, other] = network.hosts.slice(0, 2).map((host) => client(host, infoHash));
  const [met, metToo] = [once(one, "peer"), once(other, "peer")];
  one.start();
  const [first] = await once(one, "update");
  assert.deepEqual([first.complete, first.incomplete], [0, 1]);
  other.start({ numwant: 1 });
  const [update] = await once(other, "update");
  assert.deepEqual([update.complete, update.incomplete], [0, 2]);
  const [[here], [there]] = await Promise.all([met, metToo]);
  assert.deepEqual([here.id, there.id], [other.peerId, one.peerId]);
  await talk(here, there);
  assert.deepEqual([...one.warnings, ...other.warnings], []);
  here.destroy();
  there.destroy();
  await Promise.all([one, other].map(destroyed));
});
