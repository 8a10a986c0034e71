// Connections that are none: what simple-peer takes for WebRTC where many are opened at once.
//
// Descriptions and a candidate go through the hosts as always, and a pair is connected when each side has the other's of both; what is sent then stays in
// this process. Hundreds of native connections opened and closed within a second can end the process with a segmentation fault in the native library.

let made = 0;
const connections = new Map();

class Channel {
  binaryType = "arraybuffer";
  readyState = "connecting";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  constructor(label) { this.label = label; }
  send(data) {
    if (this.readyState !== "open") throw new Error("the channel is not open");
    setImmediate(() => this.far.onmessage?.({ data }));
  }
  open(far) {
    this.far = far;
    this.readyState = "open";
    setImmediate(() => this.onopen?.());
  }
  close() {
    if (this.readyState === "closed") return;
    this.readyState = "closed";
    setImmediate(() => this.onclose?.());
    this.far?.close();
  }
}

/** A description or a candidate of a connection, by its number. */
const init = ({ sdp, type, candidate, sdpMid, sdpMLineIndex }) => (type ? { sdp, type } : { candidate, sdpMid, sdpMLineIndex });
const numberIn = (text) => Number(text.match(/standin (\d+)/)?.[1]);
const closed = () => new Error("the connection is closed");

class RTCPeerConnection {
  number = made += 1;
  signalingState = "stable";
  iceConnectionState = "new";
  iceGatheringState = "new";
  constructor() { connections.set(this.number, this); }

  createDataChannel(label) { return this.channel = new Channel(label); }
  async createOffer() { return this.#description("offer"); }
  async createAnswer() { return this.#description("answer"); }
  #description(type) { return { type, sdp: `v=0\r\ns=standin ${this.number}\r\n` }; }

  async setLocalDescription(description) {
    if (this.signalingState === "closed") throw closed();
    this.localDescription = init(description);
    setImmediate(() => {
      this.onicecandidate?.({ candidate: { candidate: `candidate:standin ${this.number}`, sdpMid: "0", sdpMLineIndex: 0 } });
      this.iceGatheringState = "complete";
      this.onicegatheringstatechange?.();
    });
    this.#described(description.type === "offer" ? "have-local-offer" : "stable");
  }

  async setRemoteDescription(description) {
    if (this.signalingState === "closed") throw closed();
    if (!numberIn(description.sdp)) throw new Error("not a description of a connection");
    this.remoteDescription = init(description);
    this.#described(description.type === "offer" ? "have-remote-offer" : "stable");
  }

  async addIceCandidate({ candidate }) {
    if (numberIn(candidate) !== numberIn(this.remoteDescription.sdp)) throw new Error("not a candidate of the other side");
    this.candidate = candidate;
    this.#connect();
  }

  #described(state) {
    this.signalingState = state;
    setImmediate(() => this.onsignalingstatechange?.());
    this.#connect();
  }

  /** When both have both descriptions and the other's candidate. */
  #connect() {
    const far = connections.get(numberIn(this.candidate ?? ""));
    const isReady = (side, other) => side?.candidate && side.localDescription && numberIn(side.remoteDescription?.sdp ?? "") === other.number;
    if (this.iceConnectionState !== "new" || !isReady(this, far ?? {}) || !isReady(far, this)) return;
    const opener = this.channel ? this : far;
    const answerer = opener === this ? far : this;
    answerer.channel = new Channel(opener.channel.label);
    for (const side of [this, far]) {
      side.iceConnectionState = "connected";
      setImmediate(() => side.oniceconnectionstatechange?.());
    }
    setImmediate(() => {
      answerer.ondatachannel?.({ channel: answerer.channel });
      opener.channel.open(answerer.channel);
      answerer.channel.open(opener.channel);
    });
  }

  /** simple-peer waits until a pair of candidates is selected. */
  async getStats() { return [{ type: "candidate-pair", selected: true }]; }

  close() {
    this.signalingState = "closed";
    this.iceConnectionState = "closed";
    this.channel?.close();
    connections.delete(this.number);
  }
}

class Init { constructor(values) { Object.assign(this, init(values)); } }

/** What simple-peer takes as `wrtc`. */
export const wrtc = { RTCPeerConnection, RTCSessionDescription: Init, RTCIceCandidate: Init };
