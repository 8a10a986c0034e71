// Clients of the library, as an application would make them, and what the tests do with them.

import { randomBytes } from "node:crypto";

import { PublicKey } from "@dxos/keys";
import { log } from "@dxos/log";
import { Messenger, WebsocketSignalManager } from "@dxos/messaging";
import { TransportKind } from "@dxos/network-manager";
import { TestBuilder } from "@dxos/network-manager/testing";
import wrtc from "@roamhq/wrtc";

import { until } from "../../browser/hosts.mjs";

// The library takes the WebRTC of a browser where there is one.
globalThis.RTCPeerConnection = wrtc.RTCPeerConnection;
// A browser's channel tells of no message before it has told that it is open; this one sometimes does, and the library drops it.
const { dispatchEvent } = wrtc.RTCDataChannel.prototype;
wrtc.RTCDataChannel.prototype.dispatchEvent = function inOrder(event) {
  const early = this.early ??= [];
  if (event.type === "message" && !this.isOpened) {
    early.push(event);
    return;
  }
  dispatchEvent.call(this, event);
  if (event.type !== "open") return;
  this.isOpened = true;
  for (const message of early.splice(0)) dispatchEvent.call(this, message);
};
// It warns of every attempt to reach a host that is down, and of every connection that is closed.
log.config({ filter: process.env.LOG_FILTER ?? "error" });

const PATH = ".well-known/dx/signal";
const PAYLOAD_TYPE = "aldis.test.Text";

export { until };

/** Where a host serves dxos clients. */
export const signalUrl = (host) => host.http.replace("http", "ws") + PATH;
export const readinessUrl = (host) => host.http + PATH;
export const randomKey = () => PublicKey.from(randomBytes(32));

/** A peer that signals through these hosts: `WebsocketSignalManager`, and `Messenger` on it. */
export class Client {
  key = randomKey();
  peer = { peerKey: this.key.toHex() };
  /** Every event of every swarm, as the library tells it. */
  events = [];
  /** Texts in the order in which they came, by the library's reliable messages. */
  texts = [];
  /** Messages that came, acknowledgements and repeated ones included. */
  messages = 0;

  static async open(...hosts) {
    const client = new Client();
    client.manager = new WebsocketSignalManager(hosts.map((host) => ({ server: signalUrl(host) })));
    client.manager.swarmEvent.on((event) => { client.events.push(event); });
    client.manager.onMessage.on(() => { client.messages += 1; });
    await client.manager.open();
    client.messenger = new Messenger({ signalManager: client.manager });
    await client.messenger.listen({
      peer: client.peer,
      payloadType: PAYLOAD_TYPE,
      onMessage: async ({ payload }) => { client.texts.push(Buffer.from(payload.value).toString()); },
    });
    return client;
  }

  join(topic) { return this.manager.join({ topic, peer: this.peer }); }

  leave(topic) { return this.manager.leave({ topic, peer: this.peer }); }

  /** Resolves when the other side's library has acknowledged it. */
  send(to, text) {
    return this.messenger.sendMessage({ author: this.peer, recipient: to, payload: { type_url: PAYLOAD_TYPE, value: Buffer.from(text) } });
  }

  /** Those whom the library has shown to be in the swarm. */
  others() {
    const there = new Set();
    for (const { peerAvailable, peerLeft } of this.events) {
      if (peerAvailable) there.add(peerAvailable.peer.peerKey);
      else there.delete(peerLeft.peer.peerKey);
    }
    return there;
  }

  sees(other) { return this.others().has(other.peer.peerKey); }

  saw(other) { return this.events.filter(({ peerAvailable }) => peerAvailable?.peer.peerKey === other.peer.peerKey).length; }

  lost(other) { return this.events.filter(({ peerLeft }) => peerLeft?.peer.peerKey === other.peer.peerKey).length; }

  /** Connection to a host: 2 when it stands (`SignalState`). */
  state(host) { return this.manager.getStatus().find((status) => status.host === signalUrl(host)).state; }

  async close() {
    await this.messenger.close();
    await this.manager.close();
  }
}

export const CONNECTED = 2;

/** Waits until everybody listens: a message sent before that is repeated by the library only after a second. */
export async function untilListening(...clients) {
  for (const { manager, key } of clients) {
    for (const server of manager._servers.values()) await until(() => server.localState.messageStreams.has(key), "the library listens");
  }
}

/** A peer of the whole library: it joins swarms, and connects by WebRTC to everybody whom it finds there. */
export async function openPeer(...hosts) {
  const signalHosts = hosts.map((host) => ({ server: signalUrl(host) }));
  const peer = new TestBuilder({ signalHosts, transport: TransportKind.WEB_RTC }).createPeer(randomKey());
  await peer.open();
  return peer;
}

/**
 * The library gives an attempt up after 10 s and begins anew, maybe on both sides at once. Crossed offers on a machine that
 * stalls cost it one (wire/DOORS.md).
 */
const CONNECTED_MS = 25_000;

/** Peers meet in a swarm, and each calls the others over its connections to them. */
export async function meet(peers, topic = randomKey()) {
  const swarms = await Promise.all(peers.map((peer) => peer.createSwarm(topic).join()));
  const pairs = swarms.flatMap((swarm) => peers.filter((peer) => peer !== swarm.peer).map((other) => [swarm, other.peerId]));
  const calls = async ([swarm, other]) => {
    await swarm.protocol.testConnection(other, `from ${swarm.peer.peerId}`);
    return true;
  };
  await Promise.all(pairs.map((pair) => until(() => calls(pair), "each can call the others", CONNECTED_MS)));
  return swarms;
}
