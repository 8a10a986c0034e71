// Aldis in a browser or in Node: find other peers by topic, exchange signals with them, and open WebRTC connections to them.
//
//     import { connect } from "/aldis.js";
//     const aldis = connect({ hosts: ["wss://one.example/v1", "wss://two.example/v1"] });
//     const swarm = await aldis.join("chess", { meta: { name: "Ann" } });
//     swarm.on("connection", ({ connection }) => talk(connection.channel));     // somebody connects to us
//     for (const peer of swarm.members.keys()) talk((await swarm.connect(peer)).channel);
//
// No dependency, no build step. It speaks wire/PROTOCOL.md §4; `§` in comments means that page. Parts, in reading order:
//
//   aldis/limits.js       every number, with its unit and reason
//   aldis/events.js       EventTarget with typed events, errors with codes
//   aldis/types.js        what an application gives and gets
//   aldis/identity.js     an Ed25519 key of the edge's own, for peers that keep their id when they change hosts
//   aldis/client.js       the client: socket, session, topics; with gateways.js (where to connect) and requests.js (what is asked)
//   aldis/signals.js      signals, out and in; sealing.js and hpke.js, so that no host can read them
//   aldis/swarm.js        one topic: who is there; topics.js, all of them
//   aldis/connection.js   one RTCPeerConnection: perfect negotiation, candidates, ICE restart; connections.js, all of them
//
// Two things that an application may rely on: every signal gets exactly one receipt, whatever happens to sockets, hosts and sessions;
// and `peer` and `left` tell real changes only, so a change of host in between is not seen as everybody leaving and coming back.

export { Aldis, connect } from "./aldis/client.js";
export { Connection } from "./aldis/connection.js";
export { AldisError } from "./aldis/events.js";
export { Identity } from "./aldis/identity.js";
export { ENDS_SESSION, PASSING, VERSION } from "./aldis/limits.js";
export { Swarm } from "./aldis/swarm.js";

/**
 * @typedef {import("./aldis/types.js").AldisEvents} AldisEvents
 * @typedef {import("./aldis/types.js").ConnectOptions} ConnectOptions
 * @typedef {import("./aldis/types.js").Receipt} Receipt
 * @typedef {import("./aldis/types.js").Signal} Signal
 * @typedef {import("./aldis/types.js").Broadcast} Broadcast
 * @typedef {import("./aldis/types.js").Tally} Tally
 * @typedef {import("./aldis/types.js").State} State
 * @typedef {import("./aldis/events.js").RefusalCode} RefusalCode
 * @typedef {import("./aldis/events.js").LocalCode} LocalCode
 * @typedef {import("./aldis/swarm.js").SwarmEvents} SwarmEvents
 * @typedef {import("./aldis/connection.js").ConnectionEvents} ConnectionEvents
 */
