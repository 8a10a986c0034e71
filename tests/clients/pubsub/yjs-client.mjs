// One unmodified client of y-webrtc in a process of its own: in one process two of them would talk past WebRTC.
// Arguments: room, signaling URLs. Takes `{set: [key, value]}` and tells `{text, peers}` whenever something changes.

import wrtc from "@roamhq/wrtc";
import WebSocket from "ws";
import * as Y from "yjs";

const [room, ...signaling] = process.argv.slice(2);
Object.assign(globalThis, wrtc, { WebSocket });
const { WebrtcProvider } = await import("y-webrtc");

const document = new Y.Doc();
// All are on this machine: no STUN server is needed.
const provider = new WebrtcProvider(room, document, { signaling, peerOpts: { config: { iceServers: [] } } });
const map = document.getMap("shared");
const tell = () => process.send({
  text: map.toJSON(),
  peers: provider.room?.webrtcConns.size ?? 0,
  connected: [...provider.room?.webrtcConns.values() ?? []].filter((connection) => connection.connected).length,
  signaling: provider.signalingConns.filter((connection) => connection.connected).length,
});
document.on("update", tell);
setInterval(tell, 100);
process.on("message", ({ set: [key, value] }) => map.set(key, value));
process.on("disconnect", () => process.exit());
