// Starts hosts for the browser tests: `const network = await startNetwork(3)`, then `network.hosts[0].http`, `.ws`, `.id`, `.kill()`.
//
// They are linked by static addresses and run `target/<profile>/aldis` (`ALDIS_PROFILE`, else whichever was built last).

import { execFile, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** From start to an open gateway with all links, in milliseconds. */
const START_MS = 20_000;

/** Linux gives 32,768 and higher to sockets that name no port. */
const PORTS = { first: 10_000, end: 32_768 };
const PORT_TRIES = 100;

/** Waits until `check` gives something true, and gives that. Fails after `ms`. */
export async function until(check, what, ms = START_MS) {
  const deadlineMs = performance.now() + ms;
  let last;
  for (;;) {
    try {
      const found = await check();
      if (found) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadlineMs) throw new Error(`in vain for ${ms} ms: ${what} (last: ${last})`);
    await new Promise((resolve) => { setTimeout(resolve, 25); });
  }
}

/** The binary to test. */
export function binary() {
  const built = (process.env.ALDIS_PROFILE ? [process.env.ALDIS_PROFILE] : ["debug", "ci", "release"])
    .map((profile) => fileURLToPath(new URL(`../../target/${profile}/aldis`, import.meta.url)))
    .filter((path) => existsSync(path))
    .sort((one, other) => statSync(other).mtimeMs - statSync(one).mtimeMs);
  if (built.length === 0) throw new Error("There is no target/*/aldis: run `cargo build` first.");
  return built[0];
}

/** Starts hosts that know each other. `await network.stop()` at the end. */
export async function startNetwork(count) {
  const directory = await mkdtemp(join(tmpdir(), "aldis-browser-"));
  const network = `browser-test-${process.pid}-${Date.now()}`;
  const plans = await Promise.all(Array.from({ length: count }, async (_, index) => {
    const data = join(directory, `host-${index}`);
    const [http, quic] = [await freePort(isFreeTcp), await freePort(isFreeUdp)];
    const { stdout } = await promisify(execFile)(binary(), ["id", "--data-dir", data]);
    const id = stdout.match(/[0-9a-f]{64}/)?.[0];
    if (!id) throw new Error(`aldis id printed no id: ${stdout}`);
    return { id, data, httpPort: http, quicPort: quic, http: `http://127.0.0.1:${http}/`, ws: `ws://127.0.0.1:${http}/v1` };
  }));
  const hosts = plans.map((plan) => new HostProcess(plan, network, plans.filter((other) => other !== plan)));
  const stop = async () => {
    await Promise.all(hosts.map((host) => host.kill()));
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await Promise.all(hosts.map((host) => host.started()));
    // Linked to each other, and each in the others' directories.
    for (const host of hosts) await until(async () => (await host.status()).hosts.filter(({ live }) => live).length >= count - 1, `host ${host.id.slice(0, 8)} knows the others`);
  } catch (error) {
    for (const host of hosts) console.error(`--- log of host ${host.id.slice(0, 8)}\n${host.log}`);
    await stop();
    throw error;
  }
  return { hosts, stop };
}

class HostProcess {
  log = "";
  constructor(plan, network, others) {
    Object.assign(this, plan);
    this.arguments = [
      "run", "--data-dir", plan.data, "--network", network, "--listen-quic", `127.0.0.1:${plan.quicPort}`, "--listen-http", `127.0.0.1:${plan.httpPort}`,
      "--public-urls", plan.ws, "--dht", "false", "--allow-private", "true", ...others.flatMap((other) => ["--peers", `${other.id}@127.0.0.1:${other.quicPort}`]),
    ];
    this.start();
  }

  /** Starts it; after its end starts it again, with the same key and ports. */
  start() {
    this.process = spawn(binary(), this.arguments, { stdio: ["ignore", "pipe", "pipe"] });
    this.exited = once(this.process, "exit");
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (text) => { this.log = (this.log + text).slice(-64_000); });
  }

  async started() {
    await until(async () => {
      if (this.process.exitCode !== null) throw new Error("the host has ended");
      return (await fetch(`${this.http}healthz`)).ok;
    }, `host ${this.id.slice(0, 8)} answers`);
  }

  async status() { return (await fetch(`${this.http}api/status`)).json(); }

  /** kill -9. */
  async kill() {
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill("SIGKILL");
    await this.exited;
  }

  /** SIGTERM, and waits for the end. */
  async terminate() {
    this.process.kill("SIGTERM");
    await this.exited;
  }
}

/** A port that is free now, below those that the kernel gives to sockets which name none: no other socket gets it before the host does, or while it restarts. */
async function freePort(isFree) {
  for (let tries = 0; tries < PORT_TRIES; tries += 1) {
    const port = randomInt(PORTS.first, PORTS.end);
    if (await isFree(port)) return port;
  }
  throw new Error(`none of ${PORT_TRIES} ports was free`);
}

const isFreeTcp = (port) => opens(createServer().listen(port, "127.0.0.1"));
const isFreeUdp = (port) => opens(createSocket("udp4").bind(port, "127.0.0.1"));

/** Whether a socket can be opened. It is closed again. */
async function opens(socket) {
  try {
    await once(socket, "listening");
  } catch {
    return false;
  }
  await new Promise((resolve) => { socket.close(resolve); });
  return true;
}
