// The demo's second page as a person uses it: two windows on two hosts, PeerJS and y-webrtc in each.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

import { launch, open } from "../../browser/chromium.mjs";
import { startNetwork, until } from "../../browser/hosts.mjs";

const MIRROR = "https://esm.sh/";

let browser;
let network;
before(async () => {
  browser = await launch();
  network = await startNetwork(2);
});
after(async () => {
  await browser?.close();
  await network?.stop();
});

/** What the mirror would serve for a package: one module, but for Yjs, of which there must be one for all. */
async function served(name) {
  const { outputFiles } = await build({
    stdin: { contents: `export * from "${name}";`, resolveDir: fileURLToPath(new URL(".", import.meta.url)) },
    bundle: true, write: false, format: "esm", platform: "browser", logLevel: "silent",
    plugins: [{
      name: "one-yjs",
      setup: (plugins) => plugins.onResolve({ filter: /^yjs$/ }, () => (name === "yjs" ? null : { path: `${MIRROR}yjs@13.6.33`, external: true })),
    }],
  });
  return outputFiles[0].text;
}

/** A window of its own, for which this machine stands in for the mirror. */
async function visit(url, { mirror = true } = {}) {
  const context = await browser.newContext();
  await context.route(`${MIRROR}**`, async (route) => {
    if (!mirror) return route.abort();
    const name = new URL(route.request().url()).pathname.slice(1).replace(/@[\d.]+$/, "");
    return route.fulfill({ contentType: "text/javascript", headers: { "access-control-allow-origin": "*" }, body: await served(name) });
  });
  return open(browser, url, { context });
}

test("a PeerJS call and a text of y-webrtc connect two windows on two hosts", { timeout: 90_000 }, async () => {
  const [one, two] = network.hosts;
  const first = await visit(`${one.http}clients?room=story`);
  const elsewhere = first.locator("#elsewhere a").first();
  await elsewhere.waitFor();
  assert.equal(await elsewhere.getAttribute("href"), `${two.http}clients?room=story`);
  await first.click("#start");
  await first.getByText("we are the first side").waitFor();
  const second = await visit(`${two.http}clients?room=story`);
  await second.click("#start");
  await second.getByText("we are the second side").waitFor();
  for (const page of [first, second]) {
    await until(() => page.evaluate(() => document.querySelector("#video").videoWidth > 0 && document.querySelector("#video").currentTime > 0.5), "the other side's picture moves", 60_000);
    await page.locator("#text-state", { hasText: "shared with 1" }).waitFor({ timeout: 60_000 });
  }
  await first.fill("#text", "Ahoy");
  await until(async () => await second.inputValue("#text") === "Ahoy", "the text crosses");
  await second.fill("#text", "Ahoy there");
  await until(async () => await first.inputValue("#text") === "Ahoy there", "and comes back");
  if (process.env.ALDIS_PICTURE) await second.screenshot({ path: process.env.ALDIS_PICTURE, fullPage: true });
  first.checkErrors();
  second.checkErrors();
});

test("a page that cannot fetch the clients says so, and one may try again", { timeout: 30_000 }, async () => {
  const page = await visit(`${network.hosts[0].http}clients`, { mirror: false });
  await page.click("#start");
  await page.getByText("could not be fetched from https://esm.sh").waitFor();
  assert.ok(await page.locator("#start").isEnabled());
});
