// One client of Trystero in a process of its own: there is one identity a process. Its relay strategy is not in the
// registry, so the topic strategy of the published core is given the same five lines of protocol.
// Arguments: room, URL. Takes `{say}` and tells `{joined}`, `{left}` and `{heard}`.

import { createTopicStrategy, fromJson, makeSocket, selfId, toJson } from "@trystero-p2p/core";
import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";

const [room, url] = process.argv.slice(2);
// As in a browser, a connection that fails is told to whoever asks, and to nobody else.
globalThis.WebSocket = class extends WebSocket {
  constructor(url) { super(url); this.on("error", () => {}); }
};

/** Trystero lets a connection make its description itself, as browsers do; this one wants to be given it. */
class Connection extends wrtc.RTCPeerConnection {
  async setLocalDescription(description) {
    const answers = this.signalingState === "have-remote-offer";
    return super.setLocalDescription(description ?? await (answers ? this.createAnswer() : this.createOffer()));
  }
}

const listeners = new Map();
const subscribe = (relay, topic) => relay.send(toJson({ type: "subscribe", topic }));
const joinRoom = createTopicStrategy({
  steadyAnnounceIntervalMs: 5_333,
  init: () => {
    const relay = makeSocket(url, (data) => {
      const { topic, payload } = fromJson(data);
      listeners.get(topic)?.(topic, payload);
    }, () => { for (const topic of listeners.keys()) subscribe(relay, topic); });
    return relay.ready;
  },
  subscribeTopic: (relay, topic, onMessage) => {
    listeners.set(topic, onMessage);
    subscribe(relay, topic);
    return () => {
      listeners.delete(topic);
      relay.send(toJson({ type: "unsubscribe", topic }));
    };
  },
  publishTopic: (relay, topic, payload) => relay.send(toJson({ type: "publish", topic, payload })),
});

const joined = joinRoom({ appId: "aldis-test", rtcPolyfill: Connection, rtcConfig: { iceServers: [] } }, room);
const talk = joined.makeAction("talk");
joined.onPeerJoin = (peer) => process.send({ joined: peer });
joined.onPeerLeave = (peer) => process.send({ left: peer });
talk.onMessage = (heard) => process.send({ heard });
process.on("message", ({ say }) => talk.send(say));
process.on("disconnect", () => process.exit());
process.send({ id: selfId });
