import { preferCodec } from './codec.js';
import { MAX_CANDIDATES } from './protocol.js';
import { addScalable, scale } from './scalable.js';
import { applyOwn, withOpusDTX, withOpusNACK } from './sdp.js';

/**
 * The publishing peer connection of a leg: the client offers. A transceiver is added when a source is
 * first sent and then kept, so that muting and changing devices never renegotiates.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./protocol.js').Route} Route
 */

/** Simulcast layers of the camera, weakest first as browsers expect. */
const CAMERA_LAYERS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
];

/** @type {Record<Source, RTCRtpEncodingParameters[]>} */
const ENCODINGS = {
  microphone: [{ priority: 'high', networkPriority: 'high' }],
  camera: CAMERA_LAYERS,
  screen: [{ maxBitrate: 2_500_000 }],
};

export class Publisher {
  /**
   * @param {Route} route
   * @param {RTCConfiguration} config
   * @param {(message: import('./protocol.js').ClientMessage) => boolean} send
   * @param {() => void} changed called when the connection's state changes
   * @param {import('./e2ee.js').Shield | null} [shield] of an end-to-end encrypted visit
   * @param {import('./scalable.js').ScalableCodec} [codec] of the camera, '' for simulcast
   */
  constructor(route, config, send, changed, shield = null, codec = '') {
    this.route = route;
    this.send = send;
    this.shield = shield;
    this.codec = codec;
    this.pc = new RTCPeerConnection(shield?.configuration(config) ?? config);
    /** @type {Map<Source, RTCRtpTransceiver>} */
    this.transceivers = new Map();
    /** @type {import('./protocol.js').Offer | null} the offer without an answer */
    this.outstanding = null;
    /** @type {Map<Source, string[]>} layers that somebody watches */
    this.wanted = new Map();
    this.layering = Promise.resolve();
    /** @type {Map<Source, string>} codecs that are sent in place of those of choice */
    this.instead = new Map();
    /** @type {RTCRtpSender | null} of a scalable stream */
    this.scalable = null;
    this.negotiation = 0;
    this.candidates = 0;
    this.dirty = false;
    this.busy = false;
    this.pc.onconnectionstatechange = changed;
    this.pc.onicecandidate = (event) => this.#trickle(event.candidate);
  }

  /** Whether anything was ever offered. */
  get started() {
    return this.negotiation > 0;
  }

  /**
   * Sends sources, with one offer for all that are new.
   *
   * @param {[Source, MediaStreamTrack | null][]} tracks null stops sending
   */
  async setTracks(tracks) {
    await Promise.all(tracks.map(([source, track]) => this.#put(source, track)));
    await this.#negotiate();
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  async #put(source, track) {
    const existing = this.transceivers.get(source);
    if (existing !== undefined) return existing.sender.replaceTrack(track);
    if (track === null) return;
    const transceiver = this.#scalable(source, track) ?? this.pc.addTransceiver(track, {
      direction: 'sendonly',
      sendEncodings: ENCODINGS[source].map((encoding) => ({ ...encoding })),
    });
    if (source === 'microphone') preferRedundancy(transceiver);
    this.shield?.protect(transceiver, source, this.route.leg);
    this.transceivers.set(source, transceiver);
    this.dirty = true;
  }

  /**
   * What is encrypted from end to end is VP8.
   *
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  #scalable(source, track) {
    if (source !== 'camera' || this.codec === '' || this.shield !== null) return null;
    const transceiver = addScalable(this.pc, track, this.codec);
    this.scalable = transceiver?.sender ?? null;
    return transceiver;
  }

  /** Offers anew to look for new paths; what is sent stays as it is. */
  async restartICE() {
    if (!this.started) return;
    this.pc.restartIce();
    this.dirty = true;
    await this.#negotiate();
  }

  /** @param {import('./protocol.js').Answer} message */
  async answer(message) {
    if (this.outstanding === null || message.negotiation !== this.outstanding.negotiation) return;
    this.outstanding = null;
    await this.pc.setRemoteDescription({ type: 'answer', sdp: withOpusDTX(message.sdp) });
    if ((this.instead.get('camera') ?? '') === '') this.#scale(true);
    await this.#negotiate();
  }

  /**
   * Encodes only the layers that somebody watches. A change of what is sent waits for the one before, since
   * parameters that are not the newest are refused.
   *
   * @param {import('./protocol.js').Layers} message
   * @returns {Promise<void>}
   */
  layers({ source, active }) {
    this.wanted.set(source, active ?? []);
    this.layering = this.layering.then(() => this.#activate(source)).catch(() => {});
    return this.layering;
  }

  /** @param {Source} source */
  async #activate(source) {
    const sender = this.transceivers.get(source)?.sender;
    const wanted = this.wanted.get(source);
    if (sender === undefined || wanted === undefined) return;
    const parameters = sender.getParameters();
    if (!activate(parameters.encodings, wanted)) return;
    await sender.setParameters(parameters);
  }

  /**
   * Sends a source in another codec, since somebody who watches cannot decode the one of choice; without a name in that again.
   *
   * @param {import('./protocol.js').Codec} message
   */
  async sendAs({ source, name }) {
    const transceiver = this.transceivers.get(source);
    if (transceiver === undefined || this.shield !== null || (this.instead.get(source) ?? '') === name) return;
    const scalable = transceiver.sender === this.scalable;
    if (!preferCodec(transceiver, name === '' && scalable ? this.codec : name)) return;
    this.instead.set(source, name);
    if (scalable && name !== '') await this.#scale(false); // before the codec changes; more sizes come after it has
    this.dirty = true;
    await this.#negotiate();
  }

  /** @param {boolean} all */
  #scale(all) {
    const sender = this.scalable;
    if (sender !== null) this.layering = this.layering.then(() => scale(sender, all)).catch(() => {});
    return this.layering;
  }

  /** @param {import('./protocol.js').Candidate} message */
  async candidate(message) {
    if (message.candidate === '' || this.pc.remoteDescription === null) return;
    await this.pc.addIceCandidate({ candidate: message.candidate, sdpMid: message.mid ?? '0' });
  }

  /** Repeats the unanswered offer after a resume, with the same number. */
  resume() {
    if (this.outstanding !== null) this.send(this.outstanding);
  }

  close() {
    this.pc.onconnectionstatechange = this.pc.onicecandidate = null;
    this.pc.close();
  }

  /** @returns {import('./protocol.js').Track[]} */
  tracks() {
    return [...this.transceivers]
      .filter(([, transceiver]) => transceiver.mid !== null)
      .map(([source, transceiver]) => ({ mid: String(transceiver.mid), source }));
  }

  async #negotiate() {
    if (!this.dirty || this.busy || this.outstanding !== null || this.pc.signalingState !== 'stable') return;
    this.dirty = false;
    this.busy = true;
    try {
      await applyOwn(this.pc, withOpusNACK);
      this.negotiation += 1;
      this.outstanding = {
        type: 'offer', ...this.route, pc: 'publish', negotiation: this.negotiation,
        sdp: this.pc.localDescription?.sdp ?? '', tracks: this.tracks(),
      };
      this.send(this.outstanding);
    } finally {
      this.busy = false;
    }
  }

  /** @param {RTCIceCandidate | null} candidate */
  #trickle(candidate) {
    if (candidate === null || this.candidates >= MAX_CANDIDATES) return;
    this.candidates += 1;
    this.send({
      type: 'candidate', ...this.route, pc: 'publish',
      candidate: candidate.candidate, mid: candidate.sdpMid ?? '0',
    });
  }
}

/**
 * Sends each piece of voice twice where the browser can, the second time with the next (RFC 2198): a lost packet then costs no
 * word, and nobody has to wait until it is sent again.
 *
 * @param {RTCRtpTransceiver} transceiver
 */
export function preferRedundancy(transceiver) {
  const known = globalThis.RTCRtpSender?.getCapabilities('audio')?.codecs ?? [];
  const redundant = known.filter(({ mimeType }) => /^audio\/red$/i.test(mimeType));
  if (redundant.length === 0 || transceiver.setCodecPreferences === undefined) return;
  transceiver.setCodecPreferences([...redundant, ...known.filter((codec) => !redundant.includes(codec))]);
}

/**
 * Switches encodings on and off. Without layers there is nothing to choose.
 *
 * @param {Pick<RTCRtpEncodingParameters, 'rid' | 'active'>[]} encodings changed in place
 * @param {string[]} wanted rids
 * @returns {boolean} whether anything changed
 */
export function activate(encodings, wanted) {
  if (encodings.length < 2) return false;
  let changed = false;
  for (const encoding of encodings) {
    const active = wanted.includes(encoding.rid ?? '');
    if ((encoding.active ?? true) === active) continue;
    encoding.active = active;
    changed = true;
  }
  return changed;
}
