// Two unmodified PeerJS clients in Chromium, at two hosts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "../../browser/chromium.mjs";
import { startNetwork, until } from "../../browser/hosts.mjs";
import { at, begin, servePage } from "./page.mjs";

let browser;
let network;
let site;
before(async () => {
  site = await servePage();
  browser = await launch();
  network = await startNetwork(2);
});
after(async () => {
  await browser?.close();
  await network?.stop();
  site?.close();
});

/** Connects `from` to `id`, says something both ways, and waits until both have heard it. */
async function talk([page, from], [other, to], id, words) {
  await page.evaluate(([from, id, words]) => {
    const connection = globalThis[from].peer.connect(id, { metadata: { words, "é": "\u2028" } });
    connection.on("data", (data) => globalThis[from].data.push(data));
    connection.on("open", () => connection.send(`${words} there`));
    globalThis[from].connections.push(connection);
  }, [from, id, words]);
  await until(() => other.evaluate(([to, words]) => globalThis[to].data.includes(`${words} there`), [to, words]), `${words} arrives`);
  const metadata = await other.evaluate(([to, words]) => {
    const connection = globalThis[to].connections.at(-1);
    connection.send(`${words} back`);
    return connection.metadata;
  }, [to, words]);
  assert.deepEqual(metadata, { words, "é": "\u2028" });
  await until(() => page.evaluate(([from, words]) => globalThis[from].data.includes(`${words} back`), [from, words]), `${words} comes back`);
}

test("two clients at two hosts reach a data channel both ways, and a call shows each the other's picture", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const [first, second] = [await open(browser, site.url), await open(browser, site.url)];
  assert.equal(await begin(first, "anna", "anna", at(one)), "open anna");
  const given = await begin(second, "bert", null, at(two));
  assert.match(given, /^open [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const bert = given.slice(5);
  await talk([first, "anna"], [second, "bert"], bert, "ahoy");
  await talk([second, "bert"], [first, "anna"], "anna", "aye");
  await second.evaluate(() => {
    bert.peer.on("call", async (call) => {
      bert.call = call;
      call.on("stream", (stream) => { bert.stream = stream; });
      call.answer(await navigator.mediaDevices.getUserMedia({ video: true, audio: true }));
    });
  });
  await first.evaluate(async (id) => {
    const call = anna.peer.call(id, await navigator.mediaDevices.getUserMedia({ video: true, audio: true }));
    call.on("stream", (stream) => { anna.stream = stream; });
  }, bert);
  for (const [page, name] of [[first, "anna"], [second, "bert"]]) {
    await until(() => page.evaluate((name) => Boolean(globalThis[name].stream), name), `${name} is given a stream`);
    await page.evaluate((name) => {
      const video = Object.assign(document.createElement("video"), { srcObject: globalThis[name].stream, muted: true });
      document.body.append(video);
      globalThis[name].video = video;
      return video.play();
    }, name);
    await until(() => page.evaluate((name) => globalThis[name].video.videoWidth > 0 && globalThis[name].video.currentTime > 0.3, name), `${name} sees the other's picture move`);
  }
  for (const page of [first, second]) page.checkErrors();
  await Promise.all([first, second].map((page) => page.close()));
});

test("an id is one client's in the whole network, and free again when it has gone", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const page = await open(browser, site.url);
  assert.equal(await begin(page, "first", "only-one", at(one)), "open only-one");
  assert.equal(await begin(page, "same", "only-one", at(one)), "unavailable-id");
  await until(async () => (await begin(page, "other", "only-one", at(two))) === "unavailable-id", "it is taken at the other host too");
  assert.equal(await page.evaluate(() => first.peer.open), true, "who had it keeps it");
  await page.evaluate(() => first.peer.destroy());
  await until(async () => (await begin(page, "next", "only-one", at(two))) === "open only-one", "it is free");
  page.checkErrors();
  await page.close();
});

test("who calls an id that nobody has is told after five seconds, and who comes meanwhile is reached", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const [first, second] = [await open(browser, site.url), await open(browser, site.url)];
  await begin(first, "caller", "caller", at(one));
  await first.evaluate(() => {
    caller.begun = performance.now();
    caller.peer.on("error", () => { caller.ended = performance.now(); });
    caller.peer.connect("nobody");
  });
  await first.evaluate(() => {
    const connection = caller.peer.connect("late");
    connection.on("open", () => connection.send("you are late"));
  });
  await new Promise((resolve) => { setTimeout(resolve, 1_000); });
  assert.equal(await begin(second, "late", "late", at(two)), "open late");
  await until(() => second.evaluate(() => late.data.includes("you are late")), "what waited arrives");
  await until(() => first.evaluate(() => caller.told.includes("peer-unavailable")), "the caller is told");
  const [told, tookMs] = await first.evaluate(() => [caller.told, caller.ended - caller.begun]);
  assert.equal(told.filter((what) => what === "peer-unavailable").length, 1, told.join());
  assert.ok(tookMs > 4_500, `told after ${tookMs} ms`);
  for (const page of [first, second]) page.checkErrors();
  await Promise.all([first, second].map((page) => page.close()));
});

// The last test: it kills a host.
test("after its host was killed and started again, a client reconnects under its id and is called; what stood, stands", { timeout: 90_000 }, async () => {
  const [one, two] = network.hosts;
  const [first, second] = [await open(browser, site.url), await open(browser, site.url)];
  await begin(first, "anna", "anna-2", at(one));
  await begin(second, "bert", "bert-2", at(two));
  await talk([first, "anna"], [second, "bert"], "bert-2", "before");
  await one.kill();
  await until(() => first.evaluate(() => anna.told.includes("disconnected")), "the client notices");
  await first.evaluate(() => anna.connections[0].send("still here"));
  await until(() => second.evaluate(() => bert.data.includes("still here")), "the data channel has not noticed");
  one.start();
  await one.started();
  await first.evaluate(() => { anna.told.length = 0; anna.peer.reconnect(); });
  await until(() => first.evaluate(() => anna.told.includes("open")), "it is open again");
  assert.equal(await first.evaluate(() => anna.peer.id), "anna-2");
  await talk([second, "bert"], [first, "anna"], "anna-2", "after");
  await talk([first, "anna"], [second, "bert"], "bert-2", "again");
  await Promise.all([first, second].map((page) => page.close()));
});
