/**
 * The encryption of media frames (docs/protocol.md, "End-to-end encryption"): SFrame's construction (RFC 9605) with its
 * header behind the frame, so that what a media server has to see of VP8 stays where it looks for it. Pure but for
 * WebCrypto.
 *
 *     frame = clear | AES-256-GCM(rest) | 16 bytes of tag | trailer
 *     trailer = counter (4) | leg (3) | track (1) | generation (2) | step (1) | version (1), big endian
 *
 * Clear bytes and trailer are authenticated. The nonce is made of the counter alone, never of RTP fields, which a media
 * server rewrites; each (participant, leg, source, layer) has a key of its own, so that no two senders share one.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {{ generation: number, step: number, secret: Uint8Array<ArrayBuffer> }} MediaKey a participant's secret: a new
 *   generation after somebody left, a step on after somebody came
 * @typedef {{ counter: number, leg: number, source: Source, layer: number, generation: number, step: number }} Trailer
 * @typedef {{ aes: CryptoKey, salt: Uint8Array<ArrayBuffer> }} FrameKey
 */

export const TRAILER_BYTES = 12;
export const TAG_BYTES = 16;
export const SECRET_BYTES = 32;
const VERSION = 1;
export const MAX_COUNTER = 0xffffffff;
export const MAX_GENERATION = 0xffff;
export const MAX_STEP = 0xff;
export const MAX_LEG = 0xffffff;
export const MAX_LAYER = 0x3f;
/** @type {Source[]} */
const SOURCES = ['microphone', 'camera', 'screen'];
/** What stays readable of VP8 (RFC 6386, section 9.1): the frame tag and, of a key frame, start code and size. */
const CLEAR_KEY_FRAME = 10;
const CLEAR_DELTA_FRAME = 3;

const encoder = new TextEncoder();

/** Why a frame was not opened: it is not one of ours, its key is not known, it was changed, or it came before. */
export class FrameError extends Error {
  /** @param {'format' | 'key' | 'forged' | 'replayed'} reason */
  constructor(reason) {
    super(`frame not opened: ${reason}`);
    this.reason = reason;
  }
}

/**
 * @param {Uint8Array} secret
 * @param {Uint8Array<ArrayBuffer>} info
 * @param {number} bytes
 */
async function hkdf(secret, info, bytes) {
  const key = await crypto.subtle.importKey('raw', /** @type {Uint8Array<ArrayBuffer>} */ (secret), 'HKDF', false, ['deriveBits']);
  const bits = await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info }, key, bytes * 8);
  return new Uint8Array(bits);
}

/**
 * The secret one step on. There is no way back, so whoever is given it cannot read what was sent before.
 *
 * @param {Uint8Array} secret
 */
export function ratchet(secret) {
  return hkdf(secret, encoder.encode('wardline e2ee ratchet'), SECRET_BYTES);
}

/**
 * How many bytes at the beginning of a frame stay clear.
 *
 * @param {Source} source
 * @param {Uint8Array} data
 * @param {number} length of the frame's own bytes
 */
export function clearBytes(source, data, length) {
  if (source === 'microphone' || length === 0) return 0;
  const delta = (/** @type {number} */ (data[0]) & 1) === 1;
  return Math.min(delta ? CLEAR_DELTA_FRAME : CLEAR_KEY_FRAME, length);
}

/** @param {Trailer} t */
export function encodeTrailer({ counter, leg, source, layer, generation, step }) {
  const bytes = new Uint8Array(TRAILER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, counter);
  view.setUint32(4, leg << 8 | SOURCES.indexOf(source) << 6 | layer);
  view.setUint16(8, generation);
  bytes[10] = step;
  bytes[11] = VERSION;
  return bytes;
}

/**
 * @param {Uint8Array} frame
 * @returns {Trailer} a FrameError if the frame has none
 */
export function decodeTrailer(frame) {
  if (frame.length < TAG_BYTES + TRAILER_BYTES || frame.at(-1) !== VERSION) throw new FrameError('format');
  const view = new DataView(frame.buffer, frame.byteOffset + frame.length - TRAILER_BYTES, TRAILER_BYTES);
  const stream = view.getUint32(4);
  const source = SOURCES[stream >>> 6 & 3];
  if (source === undefined) throw new FrameError('format');
  return {
    counter: view.getUint32(0), leg: stream >>> 8, source, layer: stream & MAX_LAYER,
    generation: view.getUint16(8), step: view.getUint8(10),
  };
}

/**
 * The key of one stream: HKDF over the participant's secret, bound to all of the trailer but the counter.
 *
 * @param {Uint8Array} secret
 * @param {string} participant
 * @param {Uint8Array} trailer
 * @returns {Promise<FrameKey>}
 */
export async function frameKey(secret, participant, trailer) {
  const label = encoder.encode(`wardline e2ee frame\0${participant}\0`);
  const info = new Uint8Array([...label, ...trailer.subarray(4)]);
  const bytes = await hkdf(secret, info, 44);
  const aes = await crypto.subtle.importKey('raw', bytes.subarray(0, 32), 'AES-GCM', false, ['encrypt', 'decrypt']);
  return { aes, salt: bytes.slice(32) };
}

/**
 * @param {Uint8Array} salt
 * @param {number} counter
 */
export function nonce(salt, counter) {
  const iv = new Uint8Array(salt);
  const view = new DataView(iv.buffer);
  view.setUint32(8, (view.getUint32(8) ^ counter) >>> 0);
  return iv;
}

/** @param {...Uint8Array} parts */
export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
