// The demo page as a person uses it: two tabs on two hosts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./chromium.mjs";
import { startNetwork, until } from "./hosts.mjs";

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

test("two tabs on two hosts see each other's picture, chat, and show receipts", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const first = await open(browser, `${one.http}?topic=demo-test`);
  await first.getByText("Nobody else is here").waitFor();
  const elsewhere = first.locator("#elsewhere a").first();
  await elsewhere.waitFor();
  assert.equal(await elsewhere.getAttribute("href"), `${two.http}?topic=demo-test`, "a link leads to the same topic on the other host");
  const second = await open(browser, await elsewhere.getAttribute("href"));
  for (const page of [first, second]) {
    await page.locator("#cards .pill", { hasText: "connected directly" }).waitFor();
    await until(() => page.evaluate(() => {
      const video = document.querySelector("#cards .card:not(#us) video");
      return video.videoWidth > 0 && video.currentTime > 0.5;
    }), "the other tab's picture moves");
  }
  const names = await Promise.all([first, second].map((page) => page.inputValue("#name")));
  assert.equal(await first.textContent("#cards .card:not(#us) .name"), names[1]);
  assert.match(await first.textContent("#cards .card:not(#us) .facts"), new RegExp(`on host ${new URL(two.http).host}`), "it tells on which host the other is");
  await first.fill("#words", "Ahoy");
  await first.press("#words", "Enter");
  await second.locator("#chat li", { hasText: `${names[0]}: Ahoy` }).waitFor();
  await second.fill("#words", "Aye");
  await second.press("#words", "Enter");
  await first.locator("#chat li", { hasText: `${names[1]}: Aye` }).waitFor();
  await second.locator("#log li", { hasText: "delivered" }).first().waitFor();
  // The camera takes the lamp's place without a new negotiation, and gives it back.
  const receipts = await first.locator("#log li").count();
  await first.click("#camera");
  await first.getByText("Use lamp").waitFor();
  const moment = await second.evaluate(() => document.querySelector("#cards .card:not(#us) video").currentTime);
  await until(() => second.evaluate((then) => document.querySelector("#cards .card:not(#us) video").currentTime > then + 0.5, moment), "the picture goes on");
  await first.click("#camera");
  await first.getByText("Use camera").waitFor();
  assert.equal(await first.locator("#log li").count(), receipts);
  await second.close();
  await first.getByText("Nobody else is here").waitFor();
  first.checkErrors();
});

// The last test: it leaves one host only.
test("two tabs that seal connect, and one that does not stays outside", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const first = await open(browser, `${one.http}?topic=demo-sealed&sealed`);
  const elsewhere = first.locator("#elsewhere a").first();
  await elsewhere.waitFor();
  const second = await open(browser, await elsewhere.getAttribute("href"));
  for (const page of [first, second]) await page.locator("#cards .pill", { hasText: "connected directly" }).waitFor();
  const outside = await open(browser, `${two.http}?topic=demo-sealed`);
  await first.locator("#cards .pill", { hasText: "failed: not_sealed" }).waitFor();
  assert.equal(await first.locator("#cards .pill", { hasText: "connected directly" }).count(), 1);
  for (const page of [first, second, outside]) {
    page.checkErrors();
    await page.context().close();
  }
});

test("when a tab's host is killed, the tab says where it has moved, the other one knows it again, and the chat goes on", { timeout: 60_000 }, async () => {
  const [one, two] = network.hosts;
  const [first, second] = [await open(browser, `${one.http}?topic=demo-move`), await open(browser, `${two.http}?topic=demo-move`)];
  for (const page of [first, second]) await page.locator("#cards .pill", { hasText: "connected directly" }).waitFor();
  await one.kill();
  await first.locator("#chat li", { hasText: `we have moved to ${new URL(two.http).host}; connections stay` }).waitFor();
  await second.locator("#chat li", { hasText: "has changed hosts; the connection stands" }).waitFor();
  await first.fill("#words", "Still here");
  await first.press("#words", "Enter");
  await second.locator("#chat li", { hasText: "Still here" }).waitFor();
  const oneCard = () => Promise.all([first, second].map((page) => page.locator("#cards .card:not(#us)").count()));
  await until(async () => (await oneCard()).join() === "1,1", "each tab shows the other once");
  await second.locator("#cards .facts", { hasText: `on host ${new URL(two.http).host}` }).waitFor();
  // Also after everybody has been told that the dead host is gone.
  await until(async () => (await (await fetch(`${two.http}api/status`)).json()).hosts.every(({ live }) => !live), "the dead host has expired");
  assert.deepEqual(await oneCard(), [1, 1]);
  assert.equal(await second.locator("#cards .pill", { hasText: "connected directly" }).count(), 1);
  for (const page of [first, second]) page.checkErrors();
});
