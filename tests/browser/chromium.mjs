// Debian's Chromium under playwright-core, without anything that would leave this machine.

import { chromium } from "playwright-core";

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--mute-audio",
  // A camera that is a test picture, and nobody asks.
  "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  // Every page is as if in front.
  "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
];

/** Candidates with plain addresses: on loopback, names of mDNS would need a responder. */
const PLAIN_ADDRESSES = "--disable-features=WebRtcHideLocalIpsWithMdns";

export function launch({ hidesAddresses = false } = {}) {
  return chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: hidesAddresses ? FLAGS : [...FLAGS, PLAIN_ADDRESSES] });
}

/** A page whose errors fail the test: `page.checkErrors()` throws the first one. In a context of its own, unless one is given. */
export async function open(browser, url, options = {}) {
  const context = options.context ?? await browser.newContext();
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error));
  page.checkErrors = () => { if (errors.length > 0) throw errors[0]; };
  await page.goto(url);
  return page;
}
