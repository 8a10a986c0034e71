// Unmodified peers of Trystero's torrent strategy at several hosts. Each is a process.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startNetwork, until } from "../../browser/hosts.mjs";

const MEETING_MS = 45_000;
/**
 * Of two peers the one with the lower id never answers, so they meet when that one announces itself: four times in its first
 * two seconds, then every two minutes. So here whoever is there first has a high id, and newcomers have lower ones. Ids are
 * drawn by the library; so many processes are tried.
 */
const PROCESSES_MAX = 20;
const HIGH = "a";

let network;
before(async () => { network = await startNetwork(3); });
after(() => network?.stop());

const tracker = (host) => `${host.http.replace("http", "ws")}tracker`;

/** A peer that uses these hosts. It ends with the test. */
async function newPeer(context, room, hosts) {
  const child = spawn(process.execPath, [fileURLToPath(new URL("trystero_peer.mjs", import.meta.url)), room, ...hosts.map(tracker)], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  context.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const told = [];
  createInterface({ input: child.stdout }).on("line", (line) => { told.push(JSON.parse(line)); });
  const has = (...words) => told.some((line) => line.join() === words.join());
  await until(() => told.length > 0, "the peer has begun");
  const self = told[0][1];
  return { self, told, has, say: (text) => { child.stdin.write(`${text}\n`); }, end: () => child.kill("SIGKILL") };
}

/** The first peer of a room, or one that joins `first`. */
async function fittingPeer(context, room, hosts, first) {
  for (let tried = 1; ; tried += 1) {
    const peer = await newPeer(context, room, hosts);
    if ((first ? peer.self < first.self : peer.self > HIGH) || tried === PROCESSES_MAX) return peer;
    peer.end();
  }
}

async function meet(one, other) {
  await until(() => one.has("joined", other.self) && other.has("joined", one.self), `${one.self} and ${other.self} meet`, MEETING_MS);
}

async function talk(one, other) {
  const texts = [randomUUID(), randomUUID()];
  one.say(texts[0]);
  other.say(texts[1]);
  await until(() => other.has("heard", texts[0], one.self) && one.has("heard", texts[1], other.self), "both hear each other");
}

test("two peers at two hosts reach a data channel", async (context) => {
  const room = randomUUID();
  const one = await fittingPeer(context, room, [network.hosts[0]]);
  const other = await fittingPeer(context, room, [network.hosts[1]], one);
  await meet(one, other);
  await talk(one, other);
});

test("a peer comes back by itself after its host was killed, and meets who comes later", async (context) => {
  const room = randomUUID();
  const [home, elsewhere] = network.hosts;
  const one = await fittingPeer(context, room, [home]);
  const other = await fittingPeer(context, room, [elsewhere], one);
  await meet(one, other);
  await home.kill();
  await talk(one, other);
  home.start();
  await home.started();
  await until(async () => (await home.status()).edges === 1, "it is back");
  const late = await fittingPeer(context, room, [elsewhere], one);
  await meet(one, late);
  await talk(one, late);
  assert.equal(one.told.filter(([what]) => what === "self").length, 1, "it is the same process");
});

test("a peer with the addresses of two hosts is found by the one that lives", async (context) => {
  const room = randomUUID();
  const [dying, living, third] = network.hosts;
  const one = await fittingPeer(context, room, [dying, living]);
  const neighbour = await fittingPeer(context, room, [dying], one);
  await meet(one, neighbour);
  await dying.kill();
  const other = await fittingPeer(context, room, [third], one);
  await meet(one, other);
  await talk(one, other);
  dying.start();
  await dying.started();
});
