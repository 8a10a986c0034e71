// One peer of Trystero in a process of its own, since the library has one identity in each.
//
//     node trystero_peer.mjs <room> <url>...
//
// Tells on standard output, a line each, who it is (`self`), who came and went (`joined`, `left`) and what was said
// (`heard`). What it reads, it says to all.

import { createInterface } from "node:readline";
import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";

// As in a browser, where an error that nobody listens for ends nothing.
globalThis.WebSocket = class extends WebSocket {
  constructor(...words) {
    super(...words);
    this.on("error", () => {});
  }
};

/** The library calls `setLocalDescription()`, which @roamhq/wrtc does not know without a description. */
class RTCPeerConnection extends wrtc.RTCPeerConnection {
  async setLocalDescription(description) {
    const offered = this.signalingState === "have-remote-offer";
    return super.setLocalDescription(description ?? await (offered ? this.createAnswer() : this.createOffer()));
  }
}

const { joinRoom, selfId } = await import("@trystero-p2p/torrent");

const [room, ...urls] = process.argv.slice(2);
const tell = (what, ...words) => console.log(JSON.stringify([what, ...words]));
// The library gives up a server that was away for too long; what it says of that is not for us.
console.warn = (...words) => console.error(...words);

const joined = joinRoom({ appId: "aldis-test", rtcPolyfill: RTCPeerConnection, rtcConfig: { iceServers: [] }, relayConfig: { urls } }, room);
const line = joined.makeAction("line", { onMessage: (text, { peerId }) => tell("heard", text, peerId) });
joined.onPeerJoin = (peer) => tell("joined", peer);
joined.onPeerLeave = (peer) => tell("left", peer);
tell("self", selfId);
createInterface({ input: process.stdin }).on("line", (text) => { line.send(text); }).on("close", () => process.exit(0));
