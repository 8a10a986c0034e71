// The demo: everybody in a topic connects to everybody, chats by data channel and shows a picture.
//
//     /?topic=lobby     which topic to join
//     /?keyed           with an Ed25519 key of our own, so that our peer id survives a change of hosts
//     /?sealed          with such a key, and all signals sealed: only pages that seal too can connect
//
// The page connects to the host that served it, and to others when that one is gone.

import { connect, Identity } from "/aldis.js";
import { startLamp } from "./lamp.js";

/** More members are listed, but not connected to: each costs an encoder. */
const CONNECTIONS_MAX = 8;
/** Who comes is expected to connect to us; after so long, in milliseconds, we connect. */
const POLITE_MS = [300, 900];
/** Lines kept in the chat and in the log. */
const LINES_MAX = 200;
/** Within this time, in milliseconds, all hosts know that one is gone. */
const EXPIRY_MS = 12_000;
/** How often the figures shown are fetched, in milliseconds. */
const FIGURES_MS = 2_000;

/** @typedef {import("../aldis.js").Connection} Connection */
/** @typedef {{ name: string, host: string, at: string }} Meta what each member tells of itself: name, host id, where that host is */
/** @typedef {{ peer: string, meta?: Meta, connection?: Connection, element: HTMLElement, tookMs?: number, path?: string, gone?: boolean }} Card */

/** @type {Map<string, Card>} by peer id */
const cards = new Map();

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
const at = (id) => /** @type {T} */ (document.getElementById(id));
const query = new URLSearchParams(location.search);
const topic = query.get("topic") || "lobby";
const nameInput = /** @type {HTMLInputElement} */ (at("name"));

const short = (/** @type {string} */ id) => id.slice(0, 8);
const place = (/** @type {string} */ url) => new URL(url).host;
/** Other hosts name their gateways themselves: nothing but WebSocket URLs may become a link. */
const isGateway = (/** @type {any} */ url) => typeof url === "string" && URL.canParse(url) && /^wss?:$/.test(new URL(url).protocol);
/** The page of the host with this gateway, on our topic. */
const pageOf = (/** @type {string} */ url) => `${url.replace(/^ws/, "http").replace(/v1$/, "")}?${new URLSearchParams(query.has("sealed") ? { topic, sealed: "" } : { topic })}`;

// ------------------------------------------------------------------------------------------------------------ Who we are

nameInput.value = sessionStorage.getItem("name") || invented();
const lamp = startLamp(/** @type {HTMLCanvasElement} */ (at("lamp")), () => nameInput.value);
let stream = lamp.stream;

const aldis = connect({
  hosts: [`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1`],
  identity: query.has("keyed") || query.has("sealed") ? await Identity.create() : undefined,
  sealed: query.has("sealed"),
  meta: (/** @type {import("../aldis.js").Aldis} */ client) => ({ name: nameInput.value, host: client.host, at: place(client.url) }),
});
// For the curious, and for the tests: the client in the browser's console.
Object.assign(window, { aldis });

function invented() {
  const pick = (/** @type {string[]} */ words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(["Amber", "Brisk", "Calm", "Early", "Gentle", "Keen", "Lucky", "Quiet", "Salty", "Swift"])} ${pick(["Bittern", "Curlew", "Dunlin", "Eider", "Gannet", "Heron", "Puffin", "Skua", "Tern", "Wigeon"])}`;
}

// ------------------------------------------------------------------------------------------------------ Where we are

at("topic").textContent = topic;
aldis.on("state", showSession);
/** Gateways that we had to leave, and when. @type {Map<string, number>} */
const lost = new Map();
let lastUrl = "";
aldis.on("welcome", ({ resumed, previous, url }) => {
  showSession();
  if (lastUrl && lastUrl !== url) lost.set(lastUrl, performance.now());
  lost.delete(url);
  lastUrl = url;
  if (resumed) note("the session goes on after a break");
  else if (previous) note(`we have moved to ${place(url)}; connections stay`);
  void showHosts();
});

function showSession() {
  pill(at("state"), aldis.state);
  at("host").textContent = aldis.host ? `${place(aldis.url)} (${short(aldis.host)})` : "…";
  at("network").textContent = aldis.network ?? "…";
  at("peer").textContent = aldis.peer ? short(aldis.peer) : "…";
  at("peer").title = aldis.peer ?? "";
}

/** @param {Element} element @param {string} state @param {string} [text] */
function pill(element, state, text = state) {
  element.textContent = text;
  element.setAttribute("data-state", state);
}

/** The hosts we know of, with what our host tells of them (`/api/status`). */
async function showHosts() {
  /** @type {Map<string, { peers?: number, live?: boolean, reach?: string }>} by gateway URL */
  const known = new Map();
  try {
    const status = await (await fetch(pageOf(aldis.url).replace(/\?.*/, "api/status"))).json();
    known.set(aldis.url, { peers: status.sessions, live: true });
    for (const { host, gateways, peers, live, nat } of status.hosts) {
      const link = status.links.find((/** @type {{ host: string }} */ link) => link.host === host);
      const reach = `NAT: ${nat.replace("_", " ")}; ${link ? `its link is ${link.kind}` : "reached by way of another host"}`;
      for (const url of gateways.filter(isGateway)) known.set(url, { peers, live, reach });
    }
  } catch { /* our host does not tell: then without figures */ }
  for (const url of [aldis.url, ...aldis.hosts]) if (!known.has(url)) known.set(url, {});
  for (const [url, { live }] of known) {
    // Other hosts need a while to see that one is gone; what we have seen ourselves counts until then.
    if (live === false) lost.set(url, performance.now());
    else if (live && performance.now() - (lost.get(url) ?? 0) > EXPIRY_MS) lost.delete(url);
  }
  at("hosts").replaceChildren(...[...known].map(([url, { peers, reach = "" }]) => {
    const here = url === aldis.url && aldis.state === "open";
    const name = here ? make("span", { className: "here", textContent: place(url) }) : link(url, place(url));
    const load = lost.has(url) ? "does not answer" : peers === undefined ? "" : `${peers} peer${peers === 1 ? "" : "s"}`;
    return make("li", {}, name, make("span", { className: "load", textContent: load, title: reach }), make("span", { textContent: here ? "this tab" : "" }));
  }));
  at("elsewhere").replaceChildren(...[...known.keys()].filter((url) => url !== aldis.url && !lost.has(url)).slice(0, 6).map((url) => make("li", {}, link(url, `Open on ${place(url)}`))));
}

/** @param {string} url @param {string} textContent */
function link(url, textContent) {
  return make("a", { href: pageOf(url), target: "_blank", rel: "noopener", textContent });
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {Partial<HTMLElementTagNameMap[Tag]>} properties @param {(Node | string)[]} children
 */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ------------------------------------------------------------------------------------------------------ Chat and log

/** Adds a line at the end of a list and keeps the end in view, unless the reader has scrolled up. @param {HTMLElement} list @param {HTMLElement} line */
function append(list, line) {
  const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
  list.append(line);
  if (list.childElementCount > LINES_MAX) list.firstElementChild?.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** @param {string} name @param {string} words */
function say(name, words) {
  append(at("chat"), make("li", {}, make("b", { textContent: `${name}: ` }), words));
}

/** @param {string} words */
function note(words) {
  append(at("chat"), make("li", { className: "aside", textContent: words }));
}

at("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = /** @type {HTMLInputElement} */ (at("words"));
  if (!words.value.trim()) return;
  for (const { connection } of cards.values()) if (connection?.channel.readyState === "open") connection.channel.send(words.value);
  say(nameInput.value, words.value);
  words.value = "";
});

aldis.on("receipt", ({ to, data, status, code, tookMs }) => {
  const count = data?.candidates?.length ?? 0;
  const parts = [data?.description?.type, count > 0 && `${count} candidate${count === 1 ? "" : "s"}`, data?.bye && "goodbye"].filter(Boolean);
  const target = cards.get(to);
  const result = make("span", { className: "pill" });
  pill(result, status, code ? `${status}: ${code}` : status);
  append(at("log"), make("li", {}, `${parts.join(" and ") || "signal"} to ${target ? nameOf(target) : short(to)}`, result, make("span", { className: "ms", textContent: `${tookMs.toFixed(1)} ms` })));
});

// -------------------------------------------------------------------------------------------------------- Who is there

const swarm = await aldis.join(topic);
swarm.on("connection", ({ connection }) => {
  connection.addStream(stream);
  attach(card(connection.peer, swarm.members.get(connection.peer)), connection);
});
swarm.on("peer", ({ peer, meta }) => {
  const [least, most] = POLITE_MS;
  meet(peer, meta);
  setTimeout(() => void call(peer), least + Math.random() * (most - least));
});
swarm.on("meta", ({ peer, meta }) => meet(peer, meta));
swarm.on("left", ({ peer, reason }) => {
  const left = cards.get(peer);
  if (!left) return;
  left.gone = true;
  // Somebody who changes hosts leaves and comes back; while the connection lives, so does the picture.
  if (left.connection?.state !== "connected") part(left, reason);
  else show(left);
});
for (const [peer, meta] of swarm.members) {
  meet(peer, meta);
  void call(peer);
}
void showHosts();

/** What a member says of itself, in bounds, whatever it sent. @param {any} meta @returns {Meta} */
function tidy(meta) {
  const text = (/** @type {string} */ key) => (typeof meta?.[key] === "string" ? meta[key].slice(0, 64) : "");
  return { name: text("name").slice(0, 32), host: text("host"), at: text("at") };
}

/** @param {string} peer @param {any} [meta] */
function meet(peer, meta) {
  const met = card(peer, meta);
  met.meta = tidy(meta);
  met.gone = false;
  show(met);
}

/** @param {string} peer @param {any} [meta] @returns {Card} */
function card(peer, meta) {
  const known = cards.get(peer);
  if (known) return known;
  const element = /** @type {HTMLElement} */ (/** @type {HTMLTemplateElement} */ (at("card-template")).content.firstElementChild?.cloneNode(true));
  const made = { peer, meta: tidy(meta), element };
  cards.set(peer, made);
  at("cards").append(element);
  show(made);
  return made;
}

/** @param {Card} gone @param {string} reason */
function part(gone, reason) {
  if (!gone.element.isConnected) return;
  note(`${nameOf(gone)} is gone (${reason})`);
  if (cards.get(gone.peer) === gone) cards.delete(gone.peer);
  gone.element.remove();
  at("alone").hidden = cards.size > 0;
}

/** @param {Card} named */
function nameOf({ meta, peer }) {
  return meta?.name || short(peer);
}

/** @param {Card} shown */
function show({ element, meta, connection, tookMs, path, gone, peer }) {
  const find = (/** @type {string} */ selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  element.dataset.peer = peer;
  find(".name").textContent = nameOf({ meta, peer, element });
  const state = connection?.state ?? "new";
  pill(find(".pill"), state, state === "new" ? "connecting" : state === "connected" ? "connected directly" : state);
  find(".waiting").hidden = Boolean(connection?.streams.length);
  const where = gone ? "has left its host" : meta?.at ? `on host ${meta.at}${meta.host ? ` (${short(meta.host)})` : ""}` : "on an unknown host";
  find(".facts").textContent = [where, tookMs && `connected in ${Math.round(tookMs)} ms`, path].filter(Boolean).join(" · ");
  at("alone").hidden = cards.size > 0;
}

/** Connects to a peer, unless it has connected to us in the meantime. @param {string} peer */
async function call(peer) {
  const called = cards.get(peer);
  if (!called || called.connection || aldis.connections.size >= CONNECTIONS_MAX) return;
  const startedMs = performance.now();
  try {
    const connection = await swarm.connect(peer, { stream });
    called.tookMs ??= performance.now() - startedMs;
    attach(called, connection);
  } catch (error) {
    const { code } = /** @type {{ code: string }} */ (error);
    if (cards.get(peer) === called && !called.connection) pill(/** @type {Element} */ (called.element.querySelector(".pill")), "failed", `failed: ${code}`);
  }
}

/** @param {Card} owner @param {Connection} connection */
function attach(owner, connection) {
  if (owner.connection === connection) return show(owner);
  owner.connection = connection;
  const startedMs = performance.now();
  const video = /** @type {HTMLVideoElement} */ (owner.element.querySelector("video"));
  const play = (/** @type {MediaStream} */ played) => { video.srcObject = played; show(owner); };
  connection.streams.forEach(play);
  connection.on("stream", (detail) => play(detail.stream));
  connection.channel.addEventListener("message", ({ data }) => say(nameOf(owner), String(data).slice(0, 500)));
  connection.connected.then(() => {
    owner.tookMs ??= performance.now() - startedMs;
    show(owner);
  }, () => part(owner, "no connection"));
  connection.on("state", ({ state, reason }) => {
    if (state !== "closed") return show(owner);
    if (owner.connection !== connection) return undefined;
    owner.connection = undefined;
    if (owner.gone) part(owner, reason ?? "closed");
    else show(owner);
    return undefined;
  });
  connection.on("peer", ({ peer, previous }) => {
    const other = cards.get(peer); // it may have joined anew before it could tell us that it is the same
    if (other && other !== owner) {
      owner.meta = other.meta;
      owner.gone = other.gone;
      other.element.remove();
    }
    cards.delete(previous);
    cards.set(peer, owner);
    owner.peer = peer;
    note(`${nameOf(owner)} has changed hosts; the connection stands`);
    show(owner);
  });
  return show(owner);
}

// Round-trip time and kind of path of each connection.
setInterval(async () => {
  for (const measured of cards.values()) {
    if (measured.connection?.state !== "connected") continue;
    const stats = await measured.connection.pc.getStats();
    const pair = [...stats.values()].find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
    if (!pair) continue;
    const kind = stats.get(pair.localCandidateId)?.candidateType;
    measured.path = [kind === "relay" ? "by a relay" : "no server in between", pair.currentRoundTripTime !== undefined && `${(pair.currentRoundTripTime * 1000).toFixed(1)} ms round trip`].filter(Boolean).join(" · ");
    show(measured);
  }
  void showHosts();
}, FIGURES_MS);

// ---------------------------------------------------------------------------------------------------- Name and camera

nameInput.addEventListener("change", () => {
  nameInput.value ||= invented();
  sessionStorage.setItem("name", nameInput.value);
  void aldis.join(topic).catch(() => {});
});
sessionStorage.setItem("name", nameInput.value);

at("camera").addEventListener("click", async () => {
  const preview = /** @type {HTMLVideoElement} */ (at("preview"));
  try {
    const usesCamera = stream !== lamp.stream;
    if (usesCamera) for (const track of stream.getTracks()) track.stop();
    stream = usesCamera ? lamp.stream : await navigator.mediaDevices.getUserMedia({ video: { width: 480, height: 270 } });
  } catch (error) {
    return note(`no camera: ${error}`);
  }
  const camera = stream !== lamp.stream;
  preview.srcObject = camera ? stream : null;
  preview.hidden = !camera;
  at("lamp").hidden = camera;
  at("camera").textContent = camera ? "Use lamp" : "Use camera";
  const [track] = stream.getVideoTracks();
  // Another track in the same place needs no negotiation.
  for (const { pc } of aldis.connections.values()) for (const sender of pc.getSenders()) if (sender.track?.kind === "video") await sender.replaceTrack(track);
  return undefined;
});
