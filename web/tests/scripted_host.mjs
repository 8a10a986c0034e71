// A host for the client's tests that does exactly what a test says, so that a test reads as a sequence chart:
//
//     const line = await host.accept();                         // a socket has come and has been greeted
//     await line.expect("hello");
//     line.welcome({ peer: "a" });
//     const { id } = await line.expect("join", { topic: "t" });
//     line.send({ type: "joined", id, topic: "t", peers: [], total: 0 });

import assert from "node:assert/strict";
import { WebSocket, WebSocketServer } from "ws";

/** How long a test waits for something that must happen, in milliseconds. */
const PATIENCE_MS = 5_000;

/** Waits for a promise, at most so long; `what` is told if it does not come. */
export function within(promise, what, ms = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`in vain: ${what}`)), ms); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Items that come and are taken in order. */
class Queue {
  #items = [];
  #takers = [];
  push(item) {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }
  take(what) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return within(new Promise((resolve) => { this.#takers.push(resolve); }), what);
  }
  get length() { return this.#items.length; }
}

/** A 32-byte id in hex out of one digit. */
export const id32 = (digit) => String(digit).repeat(64).slice(0, 64);

export class ScriptedHost {
  #lines = new Queue();
  #server;

  /** @param {string} digit the host's id is 64 of it */
  static async open(digit = "1", port = 0) {
    const host = new ScriptedHost();
    host.id = id32(digit);
    host.greeting = { type: "greeting", host: host.id, network: "test", tag: "00112233aabbccdd", version: 1, challenge: id32("c") };
    host.#server = new WebSocketServer({ port, host: "127.0.0.1", path: "/v1", handleProtocols: (offered) => offered.has("aldis.v1") && "aldis.v1" });
    await new Promise((resolve) => { host.#server.once("listening", resolve); });
    host.#server.on("connection", (socket) => host.#lines.push(new Line(host, socket)));
    host.port = host.#server.address().port;
    host.url = `ws://127.0.0.1:${host.port}/v1`;
    return host;
  }

  /** The next socket, greeted already. */
  async accept() {
    const line = await this.#lines.take(`a socket at host ${this.id.slice(0, 4)}`);
    line.send(this.greeting);
    return line;
  }

  /** Sockets that wait to be accepted. */
  get waiting() { return this.#lines.length; }

  /** Dies as by kill -9: all sockets are cut, nothing listens any more. */
  die() {
    for (const socket of this.#server.clients) socket.terminate();
    return new Promise((resolve) => { this.#server.close(resolve); });
  }
}

class Line {
  #received = new Queue();
  constructor(host, socket) {
    this.host = host;
    this.socket = socket;
    this.acks = [];
    socket.on("message", (data, binary) => {
      assert.equal(binary, false);
      const message = JSON.parse(data);
      if (message.ack !== undefined) this.acks.push(message.ack);
      if (message.type === "ack") this.acks.push(message.seq);
      else this.#received.push(message);
    });
    this.closed = new Promise((resolve) => { socket.once("close", resolve); });
  }

  send(message) { this.sendText(JSON.stringify(message)); }

  /** Exactly these bytes. */
  sendText(text) { this.socket.send(text); }

  /** The next message, acks aside; it must be of this type and have these fields. */
  async expect(type, fields = {}) {
    const message = await this.#received.take(`${type} at host ${this.host.id.slice(0, 4)}`);
    assert.equal(message.type, type, JSON.stringify(message));
    for (const [key, value] of Object.entries(fields)) assert.deepEqual(message[key], value, `${key} of ${JSON.stringify(message)}`);
    return message;
  }

  /** Messages that nobody has expected. */
  get unexpected() { return this.#received.length; }

  welcome({ peer = id32("a"), resumed = false, hosts = [], ...rest } = {}) {
    const limits = { message_bytes: 65_536, meta_bytes: 1_024, topics: 32, sample: 64, grace_ms: 30_000, signal_timeout_ms: 5_000, ...rest.limits };
    this.send({
      type: "welcome", peer, host: this.host.id, network: "test", session: "s", resume: `token-${this.host.id.slice(0, 4)}`, resumed,
      ice_servers: [], hosts, heartbeat_ms: 20_000, ...rest, limits,
    });
  }

  /** Takes a `join` and answers it with these members. */
  async joins(topic, peers = [], total = peers.length) {
    const join = await this.expect("join", { topic });
    this.send({ type: "joined", id: join.id, topic, peers, total });
    return join;
  }

  /** Breaks the socket without a goodbye. */
  cut() { this.socket.terminate(); }
}

export { WebSocket };
