// The live RTC connections of a client, and the signals by which they are made.

import { randomHex } from "./bytes.js";
import { Connection } from "./connection.js";
import { AldisError, abortable } from "./events.js";
import { CONNECTIONS_MAX } from "./limits.js";

export class Connections {
  /** By the random name both ends use. @type {Map<string, Connection>} */ live = new Map();
  /** @type {import("./client.js").Aldis} */ #client;

  /** @param {import("./client.js").Aldis} client */
  constructor(client) {
    this.#client = client;
  }

  /**
   * See `Aldis.connect`.
   * @param {string} peer
   * @param {{ topic?: string, stream?: MediaStream, signal?: AbortSignal }} options
   * @returns {Promise<Connection>}
   */
  async open(peer, { topic, stream, signal }) {
    await abortable(this.#client.ready, signal);
    if (this.#client._isUs(peer)) throw new AldisError("bad_field", "This is our own peer id.");
    let connection = this.#to(peer, topic);
    connection ??= this.#make({ peer, topic, link: randomHex(16), incoming: false });
    if (stream) connection.addStream(stream);
    connection._awaited += 1;
    try {
      return await abortable(connection.connected, signal);
    } catch (error) {
      // Who waits no longer does not want it, unless somebody else does.
      if (signal?.aborted && connection._awaited === 1 && connection.state === "new" && !connection.incoming) connection.close();
      throw error;
    } finally {
      connection._awaited -= 1;
    }
  }

  /** @param {string} peer @param {string | undefined} topic */
  #to(peer, topic) {
    return [...this.live.values()].find((connection) => connection.peer === peer && connection.topic === topic);
  }

  /** @param {{ peer: string, topic?: string, link: string, incoming: boolean }} options */
  #make(options) {
    if (this.live.size >= CONNECTIONS_MAX) throw new AldisError("too_many_connections");
    let connection;
    try {
      connection = new Connection(this.#client, options);
    } catch (error) {
      throw new AldisError("too_many_connections", String(error)); // browsers count closed ones too, until they are collected
    }
    this.live.set(connection.link, connection);
    return connection;
  }

  /** @param {Connection} connection */
  forget(connection) {
    if (this.live.get(connection.link) === connection) this.live.delete(connection.link);
  }

  /** A signal of a connection has come. @param {string} from @param {string | undefined} topic @param {any} data */
  signaled(from, topic, data) {
    if (typeof data.link !== "string" || data.link.length > 64) return;
    let connection = this.live.get(data.link);
    if (!connection && data.first && data.description?.type === "offer") connection = this.#incoming(from, topic, data.link);
    if (connection) connection._received(from, data);
    // An offer for a connection we do not have any more: its owner would try for long.
    else if (data.description?.type === "offer" && !data.first) this.#bye(from, topic, data.link);
  }

  /** @param {string} to @param {string | undefined} topic @param {string} link */
  #bye(to, topic, link) {
    if (this.#client._answers.take()) void this.#client.signal(to, { aldis: "rtc", link, bye: true }, { topic });
  }

  /**
   * Somebody's first offer. Undefined: it is not taken.
   * @param {string} from @param {string | undefined} topic @param {string} link
   */
  #incoming(from, topic, link) {
    const own = this.#to(from, topic);
    const crossed = own?._isFresh;
    if (crossed && !own.polite) return undefined; // both have offered: the impolite side's offer counts
    if (own) this.forget(own);
    let connection;
    try {
      connection = this.#make({ peer: from, topic, link, incoming: true });
    } catch {
      own?._end("too_many_connections");
      return void this.#bye(from, topic, link);
    }
    if (crossed) {
      own._yieldTo(connection);
      return connection;
    }
    own?._end("replaced"); // the other side has forgotten that one
    const target = topic === undefined ? undefined : this.#client.swarms.get(topic);
    const taken = target ? target._emit("connection", { connection }) : this.#client._emit("connection", { connection });
    if (!taken) {
      connection._end("declined");
      return void this.#bye(from, topic, link);
    }
    return connection;
  }
}
