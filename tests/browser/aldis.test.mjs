// The client in Chromium against real hosts: pages on different hosts find each other, connect directly, and survive their hosts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./chromium.mjs";
import { startNetwork, until } from "./hosts.mjs";

/** From the death of a host until all pages show the right members (DESIGN: expiry at most 9 s, then a multicast). */
const MEMBERS_MS = 15_000;

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

/** One test with its own hosts; `page(host)` opens a page that has the client loaded. */
function scene(name, count, body, timeout = 60_000) {
  test(name, { timeout }, async () => {
    const network = await startNetwork(count);
    const pages = [];
    const page = async (host, options = {}) => {
      // Any address of the host gives a page of its origin; this one has no script of its own.
      const opened = await open(browser, `${host.http}aldis.js`, options);
      pages.push(opened);
      await opened.evaluate(async ({ ws, keyed, sealed }) => {
        const { connect, Identity } = await import("/aldis.js");
        class WebSocket extends window.WebSocket {
          constructor(url, protocols) {
            super(url, protocols);
            window.socket = this; // so that a test can break it
          }
          send(text) {
            window.said.push(text);
            super.send(text);
          }
        }
        const identity = keyed === "stored" ? await Identity.stored("test") : keyed ? await Identity.create() : undefined;
        window.said = [];
        window.aldis = connect({ hosts: [ws], identity, sealed, WebSocket });
        window.heard = [];
        window.take = (connection) => {
          window.connection = connection;
          connection.channel.addEventListener("message", ({ data }) => window.heard.push(data));
        };
        window.enter = async (topic) => {
          window.swarm = await window.aldis.join(topic);
          window.swarm.on("connection", (detail) => window.take(detail.connection));
          window.events = [];
          for (const type of ["peer", "left"]) window.swarm.on(type, ({ peer, reason }) => window.events.push([type, peer, reason]));
        };
        window.call = async (peer) => window.take(await window.swarm.connect(peer));
        await window.aldis.ready;
      }, { ws: host.ws, keyed: options.keyed, sealed: options.sealed });
      return opened;
    };
    try {
      await body(page, ...network.hosts);
      for (const opened of pages) opened.checkErrors();
    } catch (error) {
      for (const host of network.hosts) console.error(`--- host ${host.id.slice(0, 8)} at ${host.http}\n${host.log?.slice(-4_000) ?? ""}`);
      throw error;
    } finally {
      await Promise.all(pages.map((opened) => opened.context().close()));
      await network.stop();
    }
  });
}

const peerOf = (page) => page.evaluate(() => window.aldis.peer);
const enter = (page, topic) => page.evaluate((name) => window.enter(name), topic);
const members = (page) => page.evaluate(() => [...window.swarm.members.keys()].sort());
const heard = (page) => page.evaluate(() => window.heard);
const say = (page, words) => page.evaluate((text) => window.connection.channel.send(text), words);

/** Waits until every page shows exactly the other pages. */
async function allSeeAll(pages, ms) {
  await until(async () => {
    const peers = await Promise.all(pages.map(peerOf));
    const shown = await Promise.all(pages.map(members));
    const right = pages.every((_, index) => JSON.stringify(shown[index]) === JSON.stringify(peers.filter((peer) => peer !== peers[index]).sort()));
    if (!right) throw new Error(JSON.stringify(shown.map((list, index) => `${peers[index].slice(0, 6)} sees ${list.map((peer) => peer.slice(0, 6))}`)));
    return true;
  }, "all pages show exactly the others as members", ms);
}

/** Says something each way and waits for it. */
async function talk(one, other, words) {
  await say(one, `${words} there`);
  await say(other, `${words} back`);
  await until(async () => (await heard(other)).includes(`${words} there`), `"${words}" arrives there`);
  await until(async () => (await heard(one)).includes(`${words} back`), `"${words}" arrives back`);
}

async function callAndWait(caller, callee) {
  await caller.evaluate((peer) => window.call(peer), await peerOf(callee));
  await until(() => callee.evaluate(() => window.connection?.channel.readyState === "open"), "the channel is open at the other end too");
}

scene("two pages on two hosts find each other and talk directly, both ways", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(bob, "s0");
  await enter(alice, "s0");
  await allSeeAll([alice, bob], 5_000);
  await callAndWait(alice, bob);
  await talk(alice, bob, "hello");
  assert.deepEqual(await heard(bob), ["hello there"]);
});

scene("signals between two hosts are delivered once, with one receipt each, in order", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(bob, "s0");
  await bob.evaluate(() => window.swarm.on("signal", ({ data }) => window.heard.push(data)));
  await enter(alice, "s0");
  await allSeeAll([alice, bob], 5_000);
  const receipts = await alice.evaluate((peer) => Promise.all(Array.from({ length: 50 }, (_, index) => window.swarm.signal(peer, { index }))), await peerOf(bob));
  assert.deepEqual(receipts.map(({ status }) => status), Array(50).fill("delivered"));
  assert.deepEqual((await heard(bob)).map(({ index }) => index), Array.from({ length: 50 }, (_, index) => index));
  const absent = await alice.evaluate(() => window.swarm.signal("ab".repeat(32), 1));
  assert.deepEqual([absent.status, absent.code], ["refused", "no_such_peer"]);
});

scene("a host is killed in the middle: the channel lives on, the page fails over, the members are right within 15 s", 3, async (page, one, two, three) => {
  const [alice, bob, carol] = [await page(one), await page(two), await page(three)];
  for (const somebody of [alice, bob, carol]) await enter(somebody, "s0");
  await allSeeAll([alice, bob, carol], 5_000);
  await callAndWait(alice, bob);
  await talk(alice, bob, "before");
  const former = await peerOf(alice);
  const killedMs = performance.now();
  await one.kill();
  await talk(alice, bob, "while no host is there");
  await until(() => alice.evaluate((dead) => window.aldis.state === "open" && window.aldis.url !== dead, one.ws), "the page is on another host", MEMBERS_MS);
  const failedOverMs = performance.now() - killedMs;
  await allSeeAll([alice, bob, carol], MEMBERS_MS - failedOverMs);
  console.log(`# failed over in ${Math.round(failedOverMs)} ms, members right after ${Math.round(performance.now() - killedMs)} ms`);
  await talk(alice, bob, "after");
  assert.deepEqual(await alice.evaluate(() => window.events.filter(([type]) => type === "left")), [], "nobody else has left");
  assert.equal(await alice.evaluate(() => window.connection.state), "connected");
  const now = await peerOf(alice);
  assert.notEqual(now, former, "a minted id belongs to its host");
  assert.equal(await bob.evaluate(() => window.connection.peer), now, "the other end knows the new id");
  // Signaling goes on under the new id: ICE is negotiated anew.
  const ufrag = () => bob.evaluate(() => window.connection.pc.remoteDescription.sdp.match(/ice-ufrag:(\S+)/)[1]);
  const before = await ufrag();
  await alice.evaluate(() => window.connection.restart());
  await until(async () => (await ufrag()) !== before, "ICE is restarted");
  await talk(alice, bob, "after the restart");
});

scene("a host is killed while a connection is being opened: it comes about by way of another host", 3, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  // What is sent from now on gets nowhere: the offer's answer cannot reach the host that is about to die.
  await bob.evaluate(() => { window.swarm.on("connection", () => window.socket.close()); });
  const called = alice.evaluate((peer) => window.call(peer), await peerOf(bob));
  await until(() => bob.evaluate(() => window.connection !== undefined), "the offer has arrived");
  await one.kill();
  await called;
  await allSeeAll([alice, bob], MEMBERS_MS);
  await talk(alice, bob, "at last");
});

scene("a keyed page keeps its peer id when its host is killed", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one, { keyed: true }), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  const peer = await peerOf(alice);
  await callAndWait(bob, alice);
  await one.kill();
  await until(() => alice.evaluate((url) => window.aldis.state === "open" && window.aldis.url === url, two.ws), "the page is on the other host", MEMBERS_MS);
  assert.equal(await peerOf(alice), peer);
  await allSeeAll([alice, bob], MEMBERS_MS);
  await talk(alice, bob, "same as ever");
});

scene("two pages that seal connect, and nothing of their offers, answers and candidates can be read by hosts", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one, { keyed: true, sealed: true }), await page(two, { keyed: true, sealed: true })];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  await callAndWait(alice, bob);
  await talk(alice, bob, "sealed");
  assert.equal(await bob.evaluate(() => window.connection.topic), "s0", "the topic comes with what is sealed");
  for (const somebody of [alice, bob]) {
    const said = await somebody.evaluate(() => window.said.map((text) => JSON.parse(text)).filter(({ type }) => type === "signal"));
    assert.ok(said.filter(({ data }) => data.aldis === "sealed").length > 0);
    for (const { data, topic } of said) {
      assert.ok(["sealed", "claim"].includes(data.aldis), JSON.stringify(data));
      assert.equal(topic, undefined);
    }
  }
  // A page that does not seal is not let in.
  const carol = await page(two, { keyed: true });
  await enter(carol, "s0");
  const code = (somebody, peer) => somebody.evaluate((to) => window.swarm.connect(to).then(() => "connected", (error) => error.code), peer);
  assert.equal(await code(alice, await peerOf(carol)), "not_sealed");
});

scene("who no longer wants a connection that is being opened gets the reason of the abort, and none is left", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  // Bob takes the offer and never answers.
  await bob.evaluate(() => { RTCPeerConnection.prototype.setRemoteDescription = () => new Promise(() => {}); });
  const why = await alice.evaluate(async (peer) => {
    const controller = new AbortController();
    const connecting = window.swarm.connect(peer, { signal: controller.signal });
    setTimeout(() => controller.abort("enough"), 100);
    return connecting.catch((reason) => reason);
  }, await peerOf(bob));
  assert.equal(why, "enough");
  await until(() => alice.evaluate(() => window.aldis.connections.size === 0), "nothing is left here");
  await until(() => bob.evaluate(() => window.aldis.connections.size === 0), "nor there");
});

scene("both pages connect at once and get the two ends of one connection", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  const [toBob, toAlice] = [await peerOf(bob), await peerOf(alice)];
  // The offers cross at every stage of each other's making: one page starts up to 8 ms before or after the other.
  for (let round = 0; round < 33; round += 1) {
    const aheadMs = round % 17 - 8;
    const call = (somebody, peer, waitMs) => somebody.evaluate(async ([to, wait]) => {
      await new Promise((resolve) => { setTimeout(resolve, wait); });
      const stream = document.createElement("canvas").captureStream();
      window.take(await window.swarm.connect(to, { stream }));
    }, [peer, waitMs]);
    await Promise.all([call(alice, toBob, Math.max(0, -aheadMs)), call(bob, toAlice, Math.max(0, aheadMs))]);
    const [link, other] = await Promise.all([alice, bob].map((somebody) => somebody.evaluate(() => window.connection.link)));
    assert.equal(link, other);
    assert.deepEqual(await Promise.all([alice, bob].map((somebody) => somebody.evaluate(() => window.aldis.connections.size))), [1, 1]);
    await talk(alice, bob, `round ${round}`);
    for (const somebody of [alice, bob]) await until(() => somebody.evaluate(() => window.connection.streams.length === 1), "the stream of the other end arrives");
    await alice.evaluate(() => window.connection.close());
    await until(() => bob.evaluate(() => window.connection.state === "closed"), "the other end closes too");
  }
});

scene("a browser that makes no more RTCPeerConnections declines and says so, and its signals go on", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  await bob.evaluate(() => { window.RTCPeerConnection = class { constructor() { throw new Error("Cannot create so many PeerConnections"); } }; });
  const codeOf = (somebody, peer) => somebody.evaluate((to) => window.swarm.connect(to).catch(({ code }) => code), peer);
  assert.equal(await codeOf(alice, await peerOf(bob)), "declined");
  assert.equal(await codeOf(bob, await peerOf(alice)), "too_many_connections");
  const receipt = await alice.evaluate((peer) => window.swarm.signal(peer, "still there"), await peerOf(bob));
  assert.equal(receipt.status, "delivered");
});

scene("a page that is closed is gone at once", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  const peer = await peerOf(alice);
  await alice.goto("about:blank");
  await until(async () => (await members(bob)).length === 0, "it is gone", 2_000);
  assert.deepEqual(await bob.evaluate(() => window.events.at(-1)), ["left", peer, "closed"]);
});

scene("a host that shuts down tells its pages, and they move", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  await callAndWait(alice, bob);
  const ended = one.terminate();
  await until(() => alice.evaluate((url) => window.aldis.state === "open" && window.aldis.url === url, two.ws), "the page has moved", MEMBERS_MS);
  await ended;
  await allSeeAll([alice, bob], MEMBERS_MS);
  await talk(alice, bob, "moved");
});

scene("a page whose socket breaks resumes, and nobody notices", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  // Bob may have been given Alice, or told of her a moment later: only what he hears from here on counts.
  await bob.evaluate(() => { window.events = []; });
  const peer = await peerOf(alice);
  await alice.evaluate(() => window.aldis.on("welcome", ({ resumed }) => { window.resumed = resumed; }));
  await alice.evaluate(() => window.socket.close()); // without `bye`
  await until(() => alice.evaluate(() => window.resumed !== undefined), "it has a session again");
  assert.equal(await alice.evaluate(() => window.resumed), true);
  assert.equal(await peerOf(alice), peer);
  assert.deepEqual(await bob.evaluate(() => window.events), []);
});

scene("an identity that is kept is the same in every tab, and a second session with it replaces the first for good", 1, async (page, host) => {
  const first = await page(host, { keyed: "stored" });
  const peer = await peerOf(first);
  const kept = await first.evaluate(async () => {
    const { Identity } = await import("/aldis.js");
    const found = await Promise.all([Identity.stored("other"), Identity.stored("other"), Identity.stored("test")]);
    return { peers: found.map((identity) => identity.peer), extractable: found.map(({ privateKey }) => privateKey.extractable) };
  });
  assert.equal(kept.peers[0], kept.peers[1], "two that ask at once get the same");
  assert.notEqual(kept.peers[0], peer);
  assert.equal(kept.peers[2], peer);
  assert.deepEqual(kept.extractable, [false, false, false]);
  await first.evaluate(() => { window.states = []; window.aldis.on("state", (detail) => window.states.push(detail)); });
  const second = await page(host, { keyed: "stored", context: first.context() });
  assert.equal(await peerOf(second), peer);
  await until(() => first.evaluate(() => window.states.length > 0), "the first is told");
  assert.deepEqual(await first.evaluate(() => window.states), [{ state: "closed", reason: "replaced" }]);
  await enter(second, "s0");
  assert.equal(await second.evaluate(() => window.aldis.state), "open");
});

scene("a connection that is declined, and one to nobody, reject with the reason", 2, async (page, one, two) => {
  const [alice, bob] = [await page(one), await page(two)];
  await enter(alice, "s0");
  await enter(bob, "s0");
  await allSeeAll([alice, bob], 5_000);
  await bob.evaluate(() => window.swarm.on("connection", (_, event) => event.preventDefault()));
  const code = (peer) => alice.evaluate((to) => window.swarm.connect(to).then(() => "connected", (error) => error.code), peer);
  assert.equal(await code(await peerOf(bob)), "declined");
  assert.equal(await code("ab".repeat(32)), "no_such_peer");
  assert.equal(await code(await peerOf(alice)), "bad_field");
  assert.deepEqual(await Promise.all([alice, bob].map((somebody) => somebody.evaluate(() => window.aldis.connections.size))), [0, 0]);
});
