// What an application gives and gets: types alone.

/** @typedef {import("./connection.js").Connection} Connection @typedef {import("./identity.js").Identity} Identity */
/** @typedef {import("./events.js").RefusalCode} RefusalCode @typedef {import("./events.js").LocalCode} LocalCode @typedef {import("./limits.js").Timing} Timing */

/** Why not: a newer host may have codes that are not known here. @typedef {RefusalCode | LocalCode | (string & {})} Code */

/**
 * The final answer to a signal (§4.2). `refused` carries a code: one of the protocol's, or `offline` when no host could be reached in
 * time to send it at all, `closed`, `aborted`, `not_sealed`. `unknown`: it may or may not have arrived; sending it again with the same
 * `id` is safe.
 * @typedef {{ id: string, status: "delivered" | "refused" | "unknown", code?: Code, message?: string }} Receipt
 */

/** What a peer has sent us. `topic`: where we met, if we are in it. @typedef {{ from: string, data: any, topic?: string, id: string }} Signal */

/**
 * What became of a broadcast (§4.2): how many hosts have taken it, have refused it, have not answered; how many members have it in their
 * queues or have missed it. `code` is the first refusal; `session_lost`: nobody can say how far it has come.
 * @typedef {{ id: string, taken: number, refused: number, unknown: number, members: number, missed: number, code?: Code, message?: string }} Tally
 */

/** What a peer has told all members of a topic. @typedef {{ from: string, data: any, topic: string, id: string }} Broadcast */

/** Where a client is: `reconnecting` it has a session, and no socket. @typedef {"connecting" | "open" | "reconnecting" | "closed"} State */

/**
 * @typedef {object} ConnectOptions
 * @property {string[]} hosts gateway URLs; tried in this order
 * @property {Identity} [identity] without one, each session gets a peer id minted by its host
 * @property {boolean} [sealed] seal all signals, those of connections too, and take none that is not sealed (§4.4). Needs an identity
 * @property {any} [meta] default meta of every `join`; a function is called whenever a `join` goes out, with the client
 * @property {RTCConfiguration} [rtc] for connections; its `iceServers` win over those of the host
 * @property {Partial<Timing>} [timing]
 * @property {typeof globalThis.WebSocket} [WebSocket] where there is no global one
 * @property {AbortSignal} [signal] closes the client when it is aborted
 */

/**
 * @typedef {object} AldisEvents
 * @property {{ state: State, reason?: string }} state
 * @property {{ peer: string, host: string, url: string, resumed: boolean, previous?: string }} welcome a session is open; `previous`: the peer id it had before
 * @property {Signal} signal
 * @property {Broadcast} broadcast to all members of a topic in which we are
 * @property {Receipt & { to: string, topic?: string, data: any, tookMs: number }} receipt every receipt, with its signal; those of connections too
 * @property {{ connection: Connection }} connection somebody connects to us, outside any joined topic; `preventDefault` declines
 * @property {{ code: Code, message: string }} error
 */

export {};
