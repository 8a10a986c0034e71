// One RTCPeerConnection with another peer: perfect negotiation, trickled candidates, ICE restart.
//
// Signals between the two ends: `{ aldis: "rtc", link, n, first?, description?, offer?, candidates?, bye? }`. `link` is the connection's
// random name, known to its ends alone; it survives a change of peer id. `n` grows by one, so that repetitions are dropped. `first` is set
// until the ends have agreed once. `offer` numbers a side's offers: made again, an offer keeps its number, and its answer tells
// it. One signal is on its way at a time: descriptions stay in order, and candidates that gather meanwhile go together.

import { AldisError, Emitter } from "./events.js";
import { EARLY_CANDIDATES_MAX, PASSING, RESTARTS_MAX, TRIES_MAX } from "./limits.js";

/** @typedef {import("./client.js").Aldis} Aldis @typedef {import("./types.js").Receipt} Receipt @typedef {import("./requests.js").Timer} Timer */

/**
 * @typedef {object} ConnectionEvents
 * @property {{ state: ConnectionState, reason?: string }} state
 * @property {{ stream: MediaStream }} stream the other end sends this; see also `streams`
 * @property {{ peer: string, previous: string }} peer the other end has a new peer id: it has changed hosts
 *
 * @typedef {"new" | "connected" | "restarting" | "closed"} ConnectionState
 */

/**
 * One end of a WebRTC connection. Use `pc` as any RTCPeerConnection (`addTrack`, `createDataChannel`, `ontrack`, …): whatever needs
 * negotiation is negotiated.
 * @extends {Emitter<ConnectionEvents>}
 */
export class Connection extends Emitter {
  /** @type {ConnectionState} */ state = "new";
  /** Resolves once the data channel is open. @type {Promise<Connection>} */ connected;
  /** What the other end sends. @type {MediaStream[]} */ streams = [];

  /** @type {Aldis} */ #client;
  /** @type {RTCDataChannel} tells the other end our new peer id without any host */ #control;
  /** @type {Set<MediaStream>} what we send */ #streams = new Set();
  /** @type {{ resolve: (connection: Connection | Promise<Connection>) => void, reject: (error: Error) => void }} */ #connecting;
  /** @type {Timer | undefined} of the first connecting */ #deadline;
  /** @type {Timer | undefined} of the next restart */ #restarting;
  #restarts = 0;

  // Perfect negotiation (W3C WebRTC §10.7).
  #makingOffer = false;
  #settingAnswer = false;
  /** @type {Promise<unknown>} incoming messages are handled one after the other */ #receiving = Promise.resolve();
  #received = 0;
  /** @type {RTCIceCandidateInit[]} */ #early = [];

  // What is to be sent.
  #sent = 0;
  #sending = false;
  /** @type {{ description: RTCSessionDescription, offer: number } | null} */ #described = null;
  #offers = 0;
  /** @type {RTCIceCandidateInit[]} */ #candidates = [];
  /** How many callers wait for it to open. @internal */ _awaited = 0;

  /** @internal @param {Aldis} client @param {{ peer: string, topic?: string, link: string, incoming: boolean }} options */
  constructor(client, { peer, topic, link, incoming }) {
    super();
    this.#client = client;
    /** The other end's peer id; changes when it moves to another host with a minted id. */
    this.peer = peer;
    this.topic = topic;
    this.link = link;
    /** Whether the other end has opened it. */
    this.incoming = incoming;
    /** Whether our offer gives way when both offer. Both ends must differ, and stay so when ids change. */
    this.polite = String(client.peer) < peer;
    /** @type {any} */ let connecting;
    this.connected = new Promise((resolve, reject) => { connecting = { resolve, reject }; });
    this.connected.catch(() => {}); // on the incoming side nobody may be waiting
    this.#connecting = connecting;

    this.pc = new RTCPeerConnection(client._rtc);
    /** The default data channel, reliable and ordered. */
    this.channel = this.pc.createDataChannel("aldis", { negotiated: true, id: 0 });
    this.#control = this.pc.createDataChannel("aldis-control", { negotiated: true, id: 1 });
    this.channel.addEventListener("open", () => this.#opened());
    this.#control.addEventListener("message", ({ data }) => this.#movedTo(String(data)));
    this.pc.addEventListener("negotiationneeded", () => this.#offer());
    this.pc.addEventListener("icecandidate", ({ candidate }) => {
      if (!candidate) return;
      this.#candidates.push(candidate.toJSON());
      void this.#pump();
    });
    this.pc.addEventListener("track", (event) => {
      for (const stream of event.streams.filter((one) => !this.streams.includes(one))) {
        this.streams.push(stream);
        this._emit("stream", { stream });
      }
    });
    this.pc.addEventListener("connectionstatechange", () => this.#changed());
    this.#control.addEventListener("close", () => this._end("closed")); // the other end has closed, or its page has gone
    this.#deadline = setTimeout(() => this._end("timeout"), client._timing.rtcConnectMs);
  }

  /** Sends all tracks of a stream, those already sent excepted. @param {MediaStream} stream */
  addStream(stream) {
    this.#streams.add(stream);
    const sent = new Set(this.pc.getSenders().map((sender) => sender.track));
    for (const track of stream.getTracks()) if (!sent.has(track)) this.pc.addTrack(track, stream);
  }

  /** Ends the connection and tells the other end. */
  close() {
    this.#leave("closed");
  }

  /** @param {string} reason */
  #leave(reason) {
    if (this.state === "closed") return;
    if (this.#client.state === "open") void this.#client.signal(this.peer, { aldis: "rtc", link: this.link, bye: true }, { topic: this.topic });
    this._end(reason);
  }

  /** Negotiates new ICE paths, for example after a change of networks. Happens by itself when the connection fails. */
  async restart() {
    if (this.state === "closed") return;
    this.pc.setConfiguration({ ...this.pc.getConfiguration(), ...this.#client._rtc }); // TURN credentials may have expired
    // An offer that never got its answer would block the next.
    if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
    this.pc.restartIce();
  }

  /** Whether the ends have never agreed yet. @internal */
  get _isFresh() { return this.pc.remoteDescription === null; }

  /** @internal @param {string} reason */
  _end(reason) {
    if (this.state === "closed") return;
    clearTimeout(this.#deadline);
    clearTimeout(this.#restarting);
    this.#client._connections.forget(this);
    this.pc.close();
    this.#setState("closed", reason);
    this.#connecting.reject(new AldisError(reason));
  }

  /**
   * Both ends have offered, and the other's offer counts: its connection takes our place. A fresh one, because Chromium may never gather
   * candidates for an answer whose RTCPeerConnection has just rolled its first offer back.
   * @internal @param {Connection} connection
   */
  _yieldTo(connection) {
    for (const stream of this.#streams) connection.addStream(stream);
    this.#connecting.resolve(connection.connected);
    this._end("replaced");
  }

  /** We have a new peer id. @internal @param {string} peer */
  _moved(peer) {
    if (this.#control.readyState === "open") this.#control.send(peer);
    else void this.#client.signal(this.peer, { aldis: "rtc", link: this.link, n: this.#next() }, { topic: this.topic });
    this.#offerAgain(); // its answer may have been on its way to our old id
  }

  /** @internal @param {string} from @param {any} data */
  _received(from, data) {
    this.#movedTo(from);
    if (data.bye) return this._end(this.state === "new" ? "declined" : "closed");
    if (!(data.n > this.#received)) return;
    this.#received = data.n;
    this.#receiving = this.#receiving.then(() => this.#apply(data)).catch((error) => {
      if (this.state === "closed") return;
      this.#client._emit("error", { code: "negotiation", message: String(error) });
      this.#leave("failed");
    });
  }

  /** @param {any} data */
  async #apply({ description, offer, candidates = [] }) {
    const { pc } = this;
    if (this.state === "closed") return;
    if (description) {
      const readyForOffer = !this.#makingOffer && (pc.signalingState === "stable" || this.#settingAnswer);
      const ignored = description.type === "offer" ? !this.polite && !readyForOffer : pc.signalingState !== "have-local-offer" || offer !== this.#offers;
      if (!ignored) {
        this.#settingAnswer = description.type === "answer";
        await pc.setRemoteDescription(description).finally(() => { this.#settingAnswer = false; });
        if (description.type === "offer") {
          await pc.setLocalDescription();
          this.#queue(offer);
        }
      }
    }
    this.#early.push(...candidates);
    const known = this.#early.filter((candidate) => this.#isForUs(candidate));
    this.#early = this.#early.filter((candidate) => !this.#isForUs(candidate)).slice(-EARLY_CANDIDATES_MAX);
    // A single bad candidate is no reason to give up: the others may do.
    for (const candidate of known) await pc.addIceCandidate(candidate).catch(() => {});
  }

  /** Whether a candidate belongs to the remote description there is. @param {RTCIceCandidateInit} candidate */
  #isForUs({ usernameFragment }) {
    const sdp = this.pc.remoteDescription?.sdp;
    return sdp !== undefined && (!usernameFragment || sdp.includes(`a=ice-ufrag:${usernameFragment}\r`));
  }

  async #offer() {
    if (this.incoming && this._isFresh) return; // the answer comes first; what is then still needed is asked for again
    try {
      this.#makingOffer = true;
      await this.pc.setLocalDescription();
      if (this.pc.localDescription?.type !== "offer") return;
      this.#offers += 1;
      this.#queue(this.#offers);
    } catch (error) {
      if (this.state !== "closed") this.#client._emit("error", { code: "negotiation", message: String(error) });
    } finally {
      this.#makingOffer = false;
    }
  }

  /** Sends our description as it is now; it takes the place of one that has not left yet. @param {number} offer */
  #queue(offer) {
    const description = this.pc.localDescription;
    if (description) this.#described = { description, offer };
    void this.#pump();
  }

  async #pump() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.state !== "closed" && (this.#described || (this.#candidates.length > 0 && this.#sent > 0))) {
        const described = this.#described;
        const candidates = this.#candidates;
        this.#described = null;
        this.#candidates = [];
        const first = this._isFresh || undefined;
        const receipt = await this.#deliver({ aldis: "rtc", link: this.link, n: this.#next(), first, ...described, candidates });
        // While connected, a missing answer is no reason to end: the other end may be changing hosts, and restarts are bounded.
        if (receipt.status !== "delivered" && first && this._isFresh) this._end(receipt.code ?? receipt.status);
      }
    } finally {
      this.#sending = false;
    }
  }

  /** Sends until there is an answer that will not get better. @param {any} data @returns {Promise<Receipt>} */
  async #deliver(data) {
    for (let attempt = 0, id; ; attempt += 1) {
      const receipt = await this.#client.signal(this.peer, data, { topic: this.topic, id });
      const passing = receipt.status === "unknown" || PASSING.has(receipt.code ?? "");
      if (!passing || attempt + 1 >= TRIES_MAX || this.state === "closed") return receipt;
      // Under the same id only after `unknown`: a refusal is that id's final answer.
      id = receipt.status === "unknown" ? receipt.id : undefined;
      await new Promise((resolve) => { setTimeout(resolve, 200 * 2 ** attempt * (0.5 + Math.random() / 2)); });
    }
  }

  #next() {
    this.#sent += 1;
    return this.#sent;
  }

  #opened() {
    clearTimeout(this.#deadline);
    this.#setState("connected");
    this.#connecting.resolve(this);
  }

  #changed() {
    const state = this.pc.connectionState;
    if (state === "connected") {
      clearTimeout(this.#restarting);
      this.#restarts = 0;
      if (this.state === "restarting") this.#setState("connected");
    } else if (state === "failed" || state === "disconnected") {
      if (this.state === "connected") this.#setState("restarting");
      this.#restartIn(state === "failed" ? 0 : this.#client._timing.rtcRestartMs);
    }
  }

  /** @param {number} ms */
  #restartIn(ms) {
    clearTimeout(this.#restarting);
    this.#restarting = setTimeout(() => {
      if (this.#restarts >= RESTARTS_MAX) return this._end("failed");
      this.#restarts += 1;
      this.restart().catch(() => {}); // then the next one, or the end
      return this.#restartIn(this.#client._timing.rtcRetryMs);
    }, ms);
  }

  /** The other end has told its new peer id. @param {string} peer */
  #movedTo(peer) {
    const previous = this.peer;
    if (peer === previous || !/^[0-9a-f]{64}$/.test(peer)) return;
    this.peer = peer;
    this._emit("peer", { peer, previous });
    this.#offerAgain(); // it may have been on its way to the old id
  }

  #offerAgain() {
    if (this.pc.signalingState === "have-local-offer" && !this.#described) this.#queue(this.#offers);
  }

  /** @param {ConnectionState} state @param {string} [reason] */
  #setState(state, reason) {
    if (state === this.state) return;
    this.state = state;
    this._emit("state", { state, reason });
  }
}
