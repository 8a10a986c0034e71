// Unmodified clients of other systems: a PeerJS call and a text shared by y-webrtc, through the host that served this page.
//
//     /clients?room=lobby     who is in the same room meets, whatever host each is on

import { startLamp } from "./lamp.js";

/** Where the clients come from, with the versions that were tested. */
const LIBRARIES = "https://esm.sh";
/** @type {string} */
const PEERJS = `${LIBRARIES}/peerjs@1.5.5`;
/** @type {string} */
const YJS = `${LIBRARIES}/yjs@13.6.33`;
/** @type {string} */
const Y_WEBRTC = `${LIBRARIES}/y-webrtc@10.3.0?deps=yjs@13.6.33`;
/** A call that is not answered is made again after this, in milliseconds. */
const CALL_AGAIN_MS = 2_000;
/** Lines kept in the log. */
const LINES_MAX = 100;

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
const at = (id) => /** @type {T} */ (document.getElementById(id));
const room = new URLSearchParams(location.search).get("room") || "lobby";
const secure = location.protocol === "https:";
const text = /** @type {HTMLTextAreaElement} */ (at("text"));

at("room").textContent = room;
const lamp = startLamp(/** @type {HTMLCanvasElement} */ (at("lamp")), () => room);

/** @param {string} words */
function log(words) {
  const line = document.createElement("li");
  line.textContent = words;
  at("log").append(line);
  if (at("log").childElementCount > LINES_MAX) at("log").firstElementChild?.remove();
}

/** @param {string} id @param {string} state @param {string} words */
function pill(id, state, words) {
  at(id).dataset.state = state;
  at(id).textContent = words;
}

// ---------------------------------------------------------------------------------------------------------------- PeerJS

/** In PeerJS one must know whom to call: the first one here takes the id of the first side, the next one that of the second. */
const SIDES = ["first", "second"];
const idOf = (/** @type {string} */ side) => `aldis-demo-${[...new TextEncoder().encode(room)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}-${side}`;

/** @param {any} Peer @param {string[]} sides those that may still be free */
function startPeer(Peer, [side, ...others] = SIDES) {
  if (!side) return pill("call", "failed", "both sides are taken");
  const peer = new Peer(idOf(side), { host: location.hostname, port: Number(location.port) || (secure ? 443 : 80), path: "/", secure });
  peer.on("open", () => {
    log(`PeerJS: we are the ${side} side`);
    pill("call", "connecting", `the ${side} side`);
    if (side === "second") call();
  });
  peer.on("call", (/** @type {any} */ incoming) => {
    log("PeerJS: the other side calls, we answer");
    incoming.answer(lamp.stream);
    watch(incoming);
  });
  peer.on("error", (/** @type {any} */ error) => {
    log(`PeerJS: ${error.type}`);
    if (error.type === "unavailable-id") startPeer(Peer, others);
    if (error.type === "peer-unavailable") setTimeout(call, CALL_AGAIN_MS);
  });
  peer.on("disconnected", () => setTimeout(() => { if (!peer.destroyed) peer.reconnect(); }, CALL_AGAIN_MS));

  function call() {
    log("PeerJS: we call the first side");
    const outgoing = peer.call(idOf("first"), lamp.stream);
    if (outgoing) watch(outgoing);
  }
}

/** @param {any} call */
function watch(call) {
  call.on("stream", (/** @type {MediaStream} */ stream) => {
    /** @type {HTMLVideoElement} */ (at("video")).srcObject = stream;
    at("waiting").hidden = true;
    pill("call", "open", "connected");
  });
  call.on("close", () => {
    log("PeerJS: the other side is gone");
    at("waiting").hidden = false;
    pill("call", "connecting", "waiting");
  });
}

// -------------------------------------------------------------------------------------------------------------- y-webrtc

/** @param {any} Y @param {any} WebrtcProvider */
function startText(Y, WebrtcProvider) {
  const document = new Y.Doc();
  const provider = new WebrtcProvider(`aldis-demo-${room}`, document, { signaling: [`${secure ? "wss" : "ws"}://${location.host}/pubsub`] });
  const shared = document.getText("text");
  text.disabled = false;
  pill("text-state", "connecting", "alone so far");
  let others = 0;
  provider.on("peers", (/** @type {{ webrtcPeers: string[] }} */ { webrtcPeers }) => {
    others = webrtcPeers.length;
    log(`y-webrtc: ${others} other${others === 1 ? "" : "s"} here`);
    pill("text-state", "connecting", others > 0 ? "connecting" : "alone so far");
  });
  provider.on("synced", (/** @type {{ synced: boolean }} */ { synced }) => {
    if (synced && others > 0) pill("text-state", "open", `shared with ${others}`);
  });
  text.addEventListener("input", () => document.transact(() => put(shared, text.value)));
  shared.observe((/** @type {any} */ event) => { if (!event.transaction.local) show(shared.toString()); });
}

/** Changes the shared text where it differs from what is written now. @param {any} shared @param {string} now */
function put(shared, now) {
  const before = shared.toString();
  let start = 0;
  while (start < before.length && before[start] === now[start]) start += 1;
  let end = 0;
  while (end < Math.min(before.length, now.length) - start && before.at(-1 - end) === now.at(-1 - end)) end += 1;
  shared.delete(start, before.length - start - end);
  shared.insert(start, now.slice(start, now.length - end));
}

/** Shows what others wrote, and leaves the caret where it is. @param {string} now */
function show(now) {
  const { selectionStart, selectionEnd } = text;
  text.value = now;
  text.setSelectionRange(selectionStart, selectionEnd);
}

// ----------------------------------------------------------------------------------------------------------- All together

at("start").addEventListener("click", async (event) => {
  const button = /** @type {HTMLButtonElement} */ (event.currentTarget);
  button.disabled = true;
  at("problem").textContent = "";
  try {
    const [{ Peer }, Y, { WebrtcProvider }] = await Promise.all([import(PEERJS), import(YJS), import(Y_WEBRTC)]);
    startPeer(Peer);
    startText(Y, WebrtcProvider);
  } catch (error) {
    at("problem").textContent = `The clients could not be fetched from ${LIBRARIES}: ${error instanceof Error ? error.message : error}`;
    button.disabled = false;
  }
});

/** The same room on the hosts that this one knows. Other hosts name their gateways themselves: nothing but WebSocket URLs may become a link. */
async function showElsewhere() {
  /** @type {{ hosts: { live: boolean, gateways: string[] }[] }} */
  const { hosts } = await (await fetch("/api/status")).json();
  const urls = hosts.filter(({ live }) => live).flatMap(({ gateways }) => gateways).filter((/** @type {any} */ url) => typeof url === "string" && URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol));
  at("elsewhere").replaceChildren(...urls.slice(0, 6).map((/** @type {string} */ url) => {
    const page = new URL(`clients?${new URLSearchParams({ room })}`, url.replace(/^ws/, "http"));
    const link = Object.assign(document.createElement("a"), { href: page.href, target: "_blank", rel: "noopener", textContent: `Open on ${page.host}` });
    const item = document.createElement("li");
    item.append(link);
    return item;
  }));
  at("elsewhere-hint").textContent = urls.length > 0 ? "Then open the other side, on another host, in a second window:" : "This host knows no other one with a page now. Open this page in a second browser to be the other side.";
}
showElsewhere().catch((error) => log(`This host does not tell of others: ${error.message}`));
