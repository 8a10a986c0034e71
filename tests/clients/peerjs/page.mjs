// A page with the unmodified bundle of peerjs, on a port of its own: what an application's page is to a host.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const BUNDLE = join(dirname(createRequire(import.meta.url).resolve("peerjs/package.json")), "dist/peerjs.min.js");

/** Serves the page; `url`, and `close()`. */
export async function servePage() {
  const bundle = await readFile(BUNDLE);
  const server = createServer((request, response) => {
    const script = request.url === "/peerjs.min.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html; charset=utf-8" });
    response.end(script ? bundle : "<!doctype html><title>PeerJS</title><script src=\"peerjs.min.js\"></script>");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** Where a host is, as `new Peer(id, at(host))` wants it. Loopback needs no STUN. */
export function at(host) {
  const { hostname, port } = new URL(host.http);
  return { host: hostname, port: Number(port), path: "/", key: "peerjs", secure: false, config: { iceServers: [] } };
}

/** Begins a Peer named `name` in the page's global scope, with a list of what it tells. Waits for `open` or an error; gives the last word. */
export async function begin(page, name, id, options) {
  return page.evaluate(([name, id, options]) => new Promise((resolve) => {
    const peer = id ? new Peer(id, options) : new Peer(options);
    const told = [];
    globalThis[name] = { peer, told, data: [], connections: [] };
    for (const event of ["open", "close", "disconnected"]) peer.on(event, (value) => { told.push(event); if (event === "open") resolve(`open ${value}`); });
    peer.on("error", (error) => { told.push(error.type); resolve(error.type); });
    peer.on("connection", (connection) => {
      globalThis[name].connections.push(connection);
      connection.on("data", (data) => globalThis[name].data.push(data));
      connection.on("open", () => told.push(`connected ${connection.peer}`));
    });
  }), [name, id, options]);
}
