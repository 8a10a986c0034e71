// bittorrent-tracker under Node, as published. It imports WebRTC from `webrtc-polyfill`, whose native part is built by a
// script when it is installed; no script runs here, so `@roamhq/wrtc` takes its place.

import { register } from "node:module";

const hook = `export const resolve = (name, context, next) =>
  name === "webrtc-polyfill" ? { url: ${JSON.stringify(import.meta.resolve("./webrtc.mjs"))}, shortCircuit: true } : next(name, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);

export const { default: Client } = await import("bittorrent-tracker");
