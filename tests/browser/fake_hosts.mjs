// Hosts that are one process: enough of PROTOCOL.md §4 to work on the client and the demo without building the real thing.
// `ALDIS_FAKE=1` makes the browser tests use them. They promise nothing: what counts is the run against real hosts.

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { WebSocketServer } from "ws";

const WEB = new URL("../../web/", import.meta.url);
const KINDS = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json" };
/** After this long the others notice that a host is dead. */
const EXPIRY_MS = 3_000;
const LIMITS = { message_bytes: 65_536, meta_bytes: 1_024, topics: 32, sample: 64, grace_ms: 30_000, signal_timeout_ms: 5_000 };

export class FakeNetwork {
  hosts = [];
  sessions = new Map(); // by peer

  async start(port = 0) {
    const host = new FakeHost(this);
    await host.listen(port);
    this.hosts.push(host);
    return host;
  }

  members(topic) { return [...this.sessions.values()].filter((session) => session.topics.has(topic)); }

  /** Tells everybody in or watching a topic, `except` aside. */
  tell(topic, message, except) {
    for (const session of this.sessions.values()) {
      if (session !== except && (session.topics.has(topic) || session.watched.has(topic))) session.push({ ...message, topic });
    }
  }

  end(session, reason) {
    if (!this.sessions.delete(session.peer)) return;
    clearTimeout(session.grace);
    for (const topic of session.topics.keys()) this.tell(topic, { type: "peer_left", peer: session.peer, reason });
    for (const pending of session.waiting.values()) pending("refused", "gone");
  }
}

class FakeHost {
  id = randomBytes(32).toString("hex");

  constructor(network) { this.network = network; }

  async listen(port) {
    this.server = createServer((request, response) => void this.serve(request, response));
    this.sockets = new WebSocketServer({ server: this.server, path: "/v1" });
    this.sockets.on("connection", (socket) => new FakeEdge(this, socket));
    await new Promise((resolve) => { this.server.listen(port, "127.0.0.1", resolve); });
    this.port = this.server.address().port;
    this.http = `http://127.0.0.1:${this.port}/`;
    this.ws = `ws://127.0.0.1:${this.port}/v1`;
  }

  async serve(request, response) {
    const { pathname } = new URL(request.url, "http://x");
    if (pathname === "/api/status") {
      const peers = (host) => [...this.network.sessions.values()].filter((session) => session.host === host).length;
      const hosts = this.network.hosts.filter((host) => host !== this).map((host) => ({ host: host.id, gateways: [host.ws], peers: peers(host), live: true }));
      const status = { host: this.id, network: { name: "fake" }, gateways: [this.ws], sessions: peers(this), hosts };
      return response.writeHead(200, { "content-type": KINDS[".json"], "access-control-allow-origin": "*" }).end(JSON.stringify(status));
    }
    const file = pathname === "/aldis.js" ? "aldis.js" : pathname === "/" ? "demo/index.html" : `demo${pathname}`;
    try {
      const body = await readFile(new URL(file, WEB));
      return response.writeHead(200, { "content-type": KINDS[extname(file)] ?? "application/octet-stream" }).end(body);
    } catch {
      return response.writeHead(404).end();
    }
  }

  /** As SIGTERM. */
  async terminate() {
    const others = this.network.hosts.filter((host) => host !== this).map(({ ws }) => ws);
    for (const { host, edge } of this.network.sessions.values()) if (host === this) edge?.send({ type: "drain", retry_after_ms: 300, hosts: others });
    await new Promise((resolve) => { setTimeout(resolve, 800); });
    for (const session of this.network.sessions.values()) if (session.host === this) this.network.end(session, "host_closed");
    this.kill();
  }

  /** As kill -9. */
  kill() {
    this.network.hosts = this.network.hosts.filter((host) => host !== this);
    const lost = [...this.network.sessions.values()].filter(({ host }) => host === this);
    for (const session of lost) session.dead = true;
    for (const socket of this.sockets.clients) socket.terminate();
    this.server.close();
    this.server.closeAllConnections();
    setTimeout(() => { for (const session of lost) this.network.end(session, "host_lost"); }, EXPIRY_MS).unref();
  }
}

class FakeSession {
  topics = new Map();
  watched = new Set();
  waiting = new Map(); // receipts to give, by seq
  seq = 0;
  unacked = [];
  constructor(host, peer) {
    this.host = host;
    this.peer = peer;
    this.token = randomBytes(32).toString("hex");
  }

  push(message) {
    this.seq += 1;
    const numbered = { ...message, seq: this.seq };
    this.unacked.push(numbered);
    this.edge?.send(numbered);
    return this.seq;
  }

  acknowledge(seq) {
    this.unacked = this.unacked.filter((message) => message.seq > seq);
    for (const [waiting, pending] of this.waiting) if (waiting <= seq) pending("delivered");
  }
}

class FakeEdge {
  session = null;
  constructor(host, socket) {
    Object.assign(this, { host, network: host.network, socket });
    socket.on("message", (data) => this.take(JSON.parse(data)));
    socket.on("close", () => this.gone());
    this.send({ type: "greeting", host: host.id, network: "fake", tag: "0011223344556677", version: 1, challenge: randomBytes(32).toString("hex") });
  }

  send(message) { if (this.socket.readyState === 1) this.socket.send(JSON.stringify(message)); }

  gone() {
    const { session } = this;
    if (!session || session.edge !== this) return;
    session.edge = null;
    if (!session.dead) session.grace = setTimeout(() => this.network.end(session, "lost"), LIMITS.grace_ms).unref();
  }

  sample(topic, limit = 64) {
    const others = this.network.members(topic).filter((session) => session !== this.session);
    return { topic, peers: others.slice(0, limit).map((session) => ({ peer: session.peer, meta: session.topics.get(topic) })), total: others.length };
  }

  hello({ resume, peer, meta }) {
    const found = resume && [...this.network.sessions.values()].find(({ token, host }) => token === resume.token && host === this.host);
    if (resume && !found) return this.send({ type: "error", code: "session_lost", message: "" });
    if (!found && peer) {
      const old = this.network.sessions.get(peer);
      old?.edge?.send({ type: "error", code: "replaced", message: "" });
      if (old) this.network.end(old, "moved");
    }
    const session = found ?? new FakeSession(this.host, peer ?? randomBytes(32).toString("hex"));
    clearTimeout(session.grace);
    session.meta = meta;
    session.edge = this;
    this.session = session;
    this.network.sessions.set(session.peer, session);
    this.send({
      type: "welcome", peer: session.peer, host: this.host.id, network: "fake", session: "s", resume: session.token, resumed: Boolean(found), limits: LIMITS,
      ice_servers: [], hosts: this.network.hosts.filter((host) => host !== this.host).map(({ ws }) => ws), heartbeat_ms: 20_000,
    });
    if (found) for (const message of session.unacked.filter(({ seq }) => seq > resume.seq)) this.send(message);
    return undefined;
  }

  take(message) {
    const { network, session } = this;
    const { type, id, topic } = message;
    if (type === "hello") return this.hello(message);
    if (message.ack !== undefined) session.acknowledge(message.ack);
    switch (type) {
      case "ack": return session.acknowledge(message.seq);
      case "ping": return this.send({ type: "pong" });
      case "join": {
        session.topics.set(topic, message.meta ?? session.meta);
        network.tell(topic, { type: "peer_joined", peer: session.peer, meta: message.meta ?? session.meta }, session);
        return this.send({ type: "joined", id, ...this.sample(topic) });
      }
      case "leave":
        if (session.topics.delete(topic)) network.tell(topic, { type: "peer_left", peer: session.peer, reason: "left" }, session);
        return this.send({ type: "left", id, topic });
      case "watch":
        session.watched.add(topic);
        return this.send({ type: "watching", id, ...this.sample(topic) });
      case "unwatch":
        session.watched.delete(topic);
        return this.send({ type: "unwatched", id, topic });
      case "discover": return this.send({ type: "peers", id, ...this.sample(topic, message.limit) });
      case "signal": return this.signal(message);
      case "bye":
        network.end(session, "closed");
        return this.socket.close();
      default: return this.send({ type: "error", id, code: "unknown_type", message: "" });
    }
  }

  signal({ id, to, topic, data }) {
    const { session } = this;
    const target = this.network.sessions.get(to);
    const receipt = (status, code) => session.push({ type: "receipt", id, status, code });
    if (!target) return receipt("refused", "no_such_peer");
    if (target.dead) return receipt("refused", "home_unreachable");
    const seq = target.push({ type: "signal", id, from: session.peer, topic, data });
    const settle = (status, code) => {
      clearTimeout(timer);
      if (target.waiting.delete(seq)) receipt(status, code);
    };
    const timer = setTimeout(() => settle("unknown"), LIMITS.signal_timeout_ms);
    target.waiting.set(seq, settle);
    return undefined;
  }
}
