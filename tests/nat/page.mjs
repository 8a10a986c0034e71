// A person at a node: one Chromium, told by lines on standard input what to do, and ending with it.
//
//     {"url", "says", "awaits", "picture", "ms"}   opens the demo page there in place of the last one, waits so long for a
//                                                  direct connection, says something in the chat, waits for the other's
//                                                  words, and tells on one line what became of it
//
// The browser is as it comes, but for `tests/browser/chromium.mjs`: it hides its own addresses from pages.

import { createInterface } from "node:readline";
import { launch, open } from "../browser/chromium.mjs";

/** What was said must have come within this, in milliseconds: both ends are connected at about the same time. */
const HEARD_MS = 5_000;

const browser = await launch({ hidesAddresses: true });
console.log(JSON.stringify({ version: browser.version() }));
let page;
for await (const line of createInterface({ input: process.stdin })) {
  await page?.context().close();
  console.log(JSON.stringify(await meet(JSON.parse(line))));
}
await browser.close();

async function meet({ url, says, awaits, picture, ms }) {
  const startedMs = performance.now();
  page = await open(browser, url);
  const connected = await page.locator("#cards .pill", { hasText: "connected directly" }).waitFor({ timeout: ms }).then(() => true, () => false);
  const tookMs = Math.round(performance.now() - startedMs);
  let heard = false;
  if (connected) {
    await page.fill("#words", says);
    await page.press("#words", "Enter");
    heard = await page.locator("#chat li", { hasText: awaits }).waitFor({ timeout: HEARD_MS }).then(() => true, () => false);
  }
  const seen = await page.evaluate(see);
  await page.screenshot({ path: picture });
  page.checkErrors();
  return { connected, took_ms: tookMs, heard, ...seen };
}

/** In the page: what its connection is made of. */
async function see() {
  const { aldis } = window;
  const [connection] = aldis.connections.values();
  const seen = { told: aldis.iceServers.flatMap(({ urls }) => urls), asked: [], own: [], theirs: [], pair: [], reflexive: [] };
  if (!connection) return seen;
  const { pc } = connection;
  const kinds = (description) => [...(description?.sdp ?? "").matchAll(/^a=candidate:.* typ (\w+)/gm)].map(([, kind]) => kind);
  seen.asked = pc.getConfiguration().iceServers.flatMap(({ urls }) => urls);
  seen.own = kinds(pc.localDescription);
  seen.theirs = kinds(pc.remoteDescription);
  const stats = await pc.getStats();
  const transport = [...stats.values()].find(({ type }) => type === "transport");
  const pair = stats.get(transport?.selectedCandidatePairId);
  const candidate = (id) => {
    const { candidateType, address, port, url } = stats.get(id);
    return { kind: candidateType, address, port, url };
  };
  if (pair) seen.pair = [candidate(pair.localCandidateId), candidate(pair.remoteCandidateId)];
  // What servers told us, whether it was chosen or not.
  seen.reflexive = [...stats.values()].filter(({ type, candidateType }) => type === "local-candidate" && candidateType === "srflx").map(({ id }) => candidate(id));
  return seen;
}
