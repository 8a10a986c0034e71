// AbortSignal on everything that waits.

import assert from "node:assert/strict";
import { test } from "node:test";
import { AldisError, connect, Identity } from "../aldis.js";
import { ScriptedHost, WebSocket, id32, within } from "./scripted_host.mjs";

const BOB = id32("b");
const WHY = new Error("no longer wanted");

/** A client with a session at a scripted host. */
function chart(name, body, options = {}) {
  test(name, { timeout: 20_000 }, async () => {
    const host = await ScriptedHost.open();
    const aldis = connect({ hosts: [host.url], WebSocket, timing: { backoffMs: 5 }, ...options });
    const controller = new AbortController();
    try {
      const line = await host.accept();
      await line.expect("hello");
      line.welcome();
      await within(aldis.ready, "welcome");
      await body(aldis, line, controller);
    } finally {
      aldis.close();
      await host.die();
    }
  });
}

chart("a join that is aborted rejects with the reason, and the host is told to forget it", async (aldis, line, controller) => {
  const joining = aldis.join("t", { signal: controller.signal });
  const { id } = await line.expect("join");
  controller.abort(WHY);
  await assert.rejects(joining, WHY);
  await line.expect("leave", { topic: "t" });
  assert.equal(aldis.swarms.size, 0);
  line.send({ type: "joined", id, topic: "t", peers: [], total: 0 });
  await assert.rejects(aldis.watch("t", { signal: controller.signal }), WHY, "aborted before it began");
  const watching = assert.rejects(aldis.watch("u", { signal: AbortSignal.timeout(20) }), { name: "TimeoutError" });
  await line.expect("watch");
  await watching;
  await line.expect("unwatch", { topic: "u" });
  assert.equal(line.unexpected, 0);
});

chart("who aborts a join takes nothing from others who want the same topic", async (aldis, line, controller) => {
  const first = aldis.join("t", { signal: controller.signal });
  const second = aldis.join("t");
  const [one, two] = [await line.expect("join"), await line.expect("join")];
  controller.abort(WHY);
  await assert.rejects(first, WHY);
  for (const { id } of [one, two]) line.send({ type: "joined", id, topic: "t", peers: [], total: 0 });
  const swarm = await second;
  assert.ok(swarm.member);
  const changing = assert.rejects(swarm.setMeta(1, { signal: AbortSignal.timeout(20) }));
  await line.expect("join", { meta: 1 });
  await changing;
  assert.ok(swarm.member, "only the change was aborted");
  assert.equal(line.unexpected, 0);
});

chart("discover and leave stop waiting", async (aldis, line, controller) => {
  const joining = aldis.join("t");
  await line.joins("t");
  const swarm = await joining;
  const asked = [aldis.discover("t", { signal: controller.signal }), swarm.leave({ signal: controller.signal })];
  await line.expect("discover");
  await line.expect("leave");
  controller.abort(WHY);
  for (const one of asked) await assert.rejects(one, WHY);
  assert.equal(aldis.swarms.size, 0, "it has left all the same");
});

chart("a signal that is aborted still has its receipt: refused when it was not sent, unknown when it was", async (aldis, line, controller) => {
  const receipts = [];
  aldis.on("receipt", ({ status, code }) => receipts.push([status, code]));
  const sent = aldis.signal(BOB, 1, { signal: controller.signal });
  const { id } = await line.expect("signal");
  controller.abort(WHY);
  assert.deepEqual(await sent, { id, status: "unknown", code: "aborted" });
  line.send({ type: "receipt", seq: 1, id, status: "delivered" });
  assert.equal((await aldis.signal(BOB, 2, { signal: controller.signal })).status, "refused");
  assert.deepEqual(receipts, [["unknown", "aborted"], ["refused", "aborted"]]);
  assert.equal(line.unexpected, 0);
});

chart("a broadcast that is aborted, or whose session is lost, has a tally of nobody with the reason", async (aldis, line, controller) => {
  const nobody = { taken: 0, refused: 0, unknown: 0, members: 0, missed: 0 };
  const sent = aldis.broadcast("t", 1, { signal: controller.signal });
  const { id } = await line.expect("broadcast");
  controller.abort();
  assert.deepEqual(await sent, { id, ...nobody, code: "aborted" });
  const lost = aldis.broadcast("t", 2);
  await line.expect("broadcast");
  line.send({ type: "error", code: "gone", message: "" });
  assert.equal((await lost).code, "session_lost");
});

test("a sealed signal that waits for the other's key can be aborted, and the next one has its turn", { timeout: 20_000 }, async () => {
  const host = await ScriptedHost.open();
  const aldis = connect({ hosts: [host.url], WebSocket, identity: await Identity.create(), sealed: true, timing: { signalMs: 50 } });
  try {
    const line = await host.accept();
    const { peer } = await line.expect("hello");
    line.welcome({ peer });
    const controller = new AbortController();
    const first = aldis.signal(BOB, 1, { signal: controller.signal });
    const second = aldis.signal(BOB, 2);
    const { id, data } = await line.expect("signal");
    assert.equal(data.aldis, "claim");
    controller.abort();
    assert.equal((await first).code, "aborted");
    line.send({ type: "receipt", seq: 1, id, status: "delivered" });
    assert.equal((await second).code, "not_sealed");
  } finally {
    aldis.close();
    await host.die();
  }
});

test("a client whose signal is aborted says goodbye and is closed", { timeout: 20_000 }, async () => {
  const host = await ScriptedHost.open();
  const controller = new AbortController();
  const aldis = connect({ hosts: [host.url], WebSocket, signal: controller.signal });
  try {
    const line = await host.accept();
    await line.expect("hello");
    line.welcome();
    await within(aldis.ready, "welcome");
    const waiting = aldis.discover("t");
    await line.expect("discover");
    controller.abort();
    await assert.rejects(waiting, (error) => error instanceof AldisError && error.code === "aborted");
    await line.expect("bye");
    assert.equal(aldis.state, "closed");
    await assert.rejects(connect({ hosts: [host.url], WebSocket, signal: controller.signal }).ready, { code: "aborted" });
  } finally {
    await host.die();
  }
});

chart("a listener stops when its signal is aborted", async (aldis, line, controller) => {
  const heard = [];
  aldis.on("signal", ({ data }) => heard.push(["first", data]), { signal: controller.signal });
  aldis.on("signal", ({ data }) => heard.push(["second", data]));
  line.send({ type: "signal", seq: 1, id: "1", from: BOB, data: 1 });
  await within((async () => { while (heard.length < 2) await new Promise(setImmediate); })(), "the first signal");
  controller.abort();
  line.send({ type: "signal", seq: 2, id: "2", from: BOB, data: 2 });
  await within((async () => { while (heard.length < 3) await new Promise(setImmediate); })(), "the second signal");
  assert.deepEqual(heard, [["first", 1], ["second", 1], ["second", 2]]);
});
