// Clients of the library, as an application would make them, and what the tests do with them.

import { randomBytes } from "node:crypto";

import { PublicKey } from "@dxos/keys";
import { Messenger, WebsocketSignalManager } from "@dxos/messaging";
import wrtc from "@roamhq/wrtc";

import { until } from "../../browser/hosts.mjs";

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
      onMessage: async ({ author, payload }) => {
        const text = Buffer.from(payload.value).toString();
        client.texts.push(text);
        client.onText?.(author, text);
      },
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

/** A data channel between two clients, negotiated by messages alone. Gives both ends, open. */
export async function connect(caller, callee) {
  const ends = new Map();
  const channels = [];
  for (const [self, other] of [[caller, callee], [callee, caller]]) {
    const connection = new wrtc.RTCPeerConnection();
    const say = (signal) => self.send(other.peer, JSON.stringify(signal)).catch(() => {});
    connection.onicecandidate = ({ candidate }) => { if (candidate) void say({ candidate }); };
    connection.ondatachannel = ({ channel }) => { channels.push(channel); };
    // A message that is repeated may come after later ones.
    let describe;
    const described = new Promise((resolve) => { describe = resolve; });
    self.onText = async (_, text) => {
      const { candidate, description } = JSON.parse(text);
      if (candidate) {
        await described;
        return connection.addIceCandidate(candidate);
      }
      await connection.setRemoteDescription(description);
      describe();
      if (description.type !== "offer") return undefined;
      await connection.setLocalDescription(await connection.createAnswer());
      return say({ description: connection.localDescription });
    };
    ends.set(self, { connection, say });
  }
  const { connection, say } = ends.get(caller);
  const channel = connection.createDataChannel("test");
  await connection.setLocalDescription(await connection.createOffer());
  void say({ description: connection.localDescription });
  await until(() => channel.readyState === "open" && channels[0]?.readyState === "open", "the data channel is open");
  const close = () => {
    for (const end of ends.values()) end.connection.close();
    caller.onText = callee.onText = undefined;
  };
  return { channels: [channel, channels[0]], close };
}

/** Sends a text over each direction of a data channel and waits for both. */
export async function exchange([one, other]) {
  const heard = [];
  for (const channel of [one, other]) channel.onmessage = ({ data }) => { heard.push(data); };
  one.send("from the caller");
  other.send("from the callee");
  await until(() => heard.length === 2, "both directions carry data");
  return heard.sort();
}
