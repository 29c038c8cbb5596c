import { clearBytes, encodeTrailer, frameKey, join, MAX_COUNTER, MAX_LAYER, MAX_LEG, nonce } from './e2ee-frame.js';

/**
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./e2ee-frame.js').MediaKey} MediaKey
 * @typedef {import('./e2ee-frame.js').FrameKey} FrameKey
 */

/** Seals what one participant sends, over all legs. */
export class Sealer {
  /** @param {string} participant */
  constructor(participant) {
    this.participant = participant;
    /** @type {MediaKey | null} */
    this.key = null;
    /** @type {Map<string, Promise<FrameKey>>} of the present key */
    this.keys = new Map();
    /** The next counter of each key id, for good: a nonce is used once. @type {Map<string, number>} */
    this.counters = new Map();
  }

  /** @param {MediaKey} key */
  setKey(key) {
    this.key = key;
    this.keys.clear();
  }

  /**
   * @param {Uint8Array} data
   * @param {{ leg: number, source: Source, layer: number }} stream
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async seal(data, { leg, source, layer }) {
    if (this.key === null) throw new Error('no key to seal with');
    if (leg > MAX_LEG || layer > MAX_LAYER) throw new RangeError(`leg ${leg}, layer ${layer}: out of range`);
    const { generation, step, secret } = this.key;
    const id = [generation, step, leg, source, layer].join();
    // Counted before anything waits, so that frames sealed side by side never share a nonce.
    const counter = this.counters.get(id) ?? 0;
    if (counter > MAX_COUNTER) throw new RangeError('all nonces of a key are used');
    this.counters.set(id, counter + 1);
    const trailer = encodeTrailer({ counter, leg, source, layer, generation, step });
    const key = this.keys.get(id) ?? frameKey(secret, this.participant, trailer);
    this.keys.set(id, key);
    const { aes, salt } = await key;
    const clear = data.subarray(0, clearBytes(source, data, data.length));
    const sealed = await crypto.subtle.encrypt(
      { name: 'AES-GCM', iv: nonce(salt, counter), additionalData: join(clear, trailer) },
      aes, /** @type {Uint8Array<ArrayBuffer>} */ (data.subarray(clear.length)));
    return join(clear, new Uint8Array(sealed), trailer);
  }
}
