// What bittorrent-tracker takes for `webrtc-polyfill` in these tests: see client.mjs.

import wrtc from "@roamhq/wrtc";

export const { RTCPeerConnection, RTCSessionDescription, RTCIceCandidate } = wrtc;
