// Unmodified clients of both versions of socket-signal, and what tests need of them.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";

import wrtc from "@roamhq/wrtc";
import { SocketSignalClient as SocketSignalClient10 } from "socket-signal";

const require = createRequire(import.meta.url);

export const discoverySwarm = require("@geut/discovery-swarm-webrtc");
export const { SocketSignalWebsocketClient } = require("socket-signal-websocket");

export const key = () => randomBytes(32);

/** The door of a host. */
export const door = (host) => `ws://127.0.0.1:${host.httpPort}/socket-signal`;

// No STUN servers: everything is on loopback.
export const simplePeer = { wrtc, config: { iceServers: [] } };

/** Reconnects after 0.1 s instead of up to 5 s: options of the library, not a change to it. */
export const reconnectingWebsocket = { minReconnectionDelay: 100, maxReconnectionDelay: 500 };

/** socket-signal 9 in socket-signal-websocket, as it is published. */
export async function client9(urls, options = {}) {
  const client = new SocketSignalWebsocketClient(urls, { simplePeer, reconnectingWebsocket, ...options });
  client.on("error", () => {});
  client.on("peer-error", () => {});
  await client.open();
  return client;
}

/** socket-signal 10 takes any stream: here the socket that socket-signal-websocket makes. */
export async function client10(urls, options = {}) {
  const { socket, ws } = SocketSignalWebsocketClient.createSocket(urls, { reconnectingWebsocket });
  const client = new SocketSignalClient10(socket, { simplePeer, ...options });
  client.ws = ws;
  await client.open();
  return client;
}

/** The first data that comes out of a stream. */
export const firstData = (stream) => new Promise((resolve) => { stream.once("data", (data) => resolve(data.toString())); });

/** Whether both ends hear what the other says. */
export async function talk(one, other) {
  const heard = Promise.all([firstData(one), firstData(other)]);
  one.write("from one");
  other.write("from the other");
  return heard;
}

/** The end of a file of tests. The libraries leave timers behind, some for ever: nobody waits for those. */
export async function end(network) {
  await network.stop();
  setTimeout(() => process.exit(), 1_000).unref();
}
