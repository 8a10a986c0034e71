// bittorrent-tracker under Node, as published. It imports WebRTC from `webrtc-polyfill`, whose native part is built by a
// script when it is installed; no script runs here, so `@roamhq/wrtc` takes its place.

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { register } from "node:module";

const hook = `export const resolve = (name, context, next) =>
  name === "webrtc-polyfill" ? { url: ${JSON.stringify(import.meta.resolve("./webrtc.mjs"))}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

const { default: Client } = await import("bittorrent-tracker");

/** The door's address at a host. */
export const tracker = (host) => `${host.http.replace("http", "ws")}announce`;

/**
 * A client. Clients at one URL share a connection: that is the library's way; what differs after a `?` is another URL.
 * `client.warnings` are those that it told, `client.pushed` the frames that its connection brought, for whomever.
 */
export function newClient(url, infoHash, options = {}) {
  const client = new Client({
    infoHash, peerId: randomBytes(20), port: 6881, announce: [url], rtcConfig: { iceServers: [] }, getAnnounceOpts: () => ({ left: 1 }), ...options,
  });
  client.warnings = [];
  client.pushed = [];
  client.on("warning", (warning) => { client.warnings.push(warning.message); });
  client.on("error", (error) => { client.warnings.push(error.message); });
  client._trackers[0].socket.on("data", (data) => { client.pushed.push(JSON.parse(Buffer.from(data).toString())); });
  return client;
}

/** Lets a client make offers without WebRTC, as the library's own tests of its server do. */
export function fakeOffers(client) {
  client._trackers[0]._generateOffers = (count, made) => {
    process.nextTick(() => made(Array.from({ length: count }, (_, index) => ({ fake_offer: `fake_offer_${index}` }))));
  };
  return client;
}

/** Announces, and gives what the tracker counts. */
export async function counts(client, announce) {
  const updated = once(client, "update");
  announce();
  const [{ complete, incomplete }] = await updated;
  return [complete, incomplete];
}

export const destroyed = (client) => new Promise((resolve) => { client.destroy(resolve); });

/** Lets two connected peers send a line each, and gives what each heard. */
export async function talk(one, other) {
  const heard = [one, other].map(async (peer) => Buffer.from((await once(peer, "data"))[0]).toString());
  await Promise.all([one, other].map(async (peer) => { if (!peer.connected) await once(peer, "connect"); }));
  one.send("from one");
  other.send("from the other");
  return Promise.all(heard);
}
