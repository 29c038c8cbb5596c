import { clearBytes, decodeTrailer, FrameError, frameKey, join, nonce, ratchet, TAG_BYTES, TRAILER_BYTES } from './e2ee-frame.js';

/**
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./e2ee-frame.js').MediaKey} MediaKey
 * @typedef {import('./e2ee-frame.js').Trailer} Trailer
 * @typedef {import('./e2ee-frame.js').FrameKey & { window: ReplayWindow }} Stream
 */

/** How late a frame may be, in frames of its stream, and how many streams and generations of somebody are kept. */
const WINDOW = 1024;
const MAX_STREAMS = 64;
const MAX_GENERATIONS = 3;

/** Which counters of a stream were seen. */
class ReplayWindow {
  constructor() {
    this.newest = -1;
    this.seen = new Uint8Array(WINDOW);
  }

  /** @param {number} counter */
  fresh(counter) {
    if (counter > this.newest) return true;
    return this.newest - counter < WINDOW && this.seen[counter % WINDOW] === 0;
  }

  /** @param {number} counter a fresh one */
  mark(counter) {
    if (counter > this.newest) {
      const from = Math.max(this.newest + 1, counter - WINDOW + 1);
      for (let skipped = from; skipped <= counter; skipped++) this.seen[skipped % WINDOW] = 0;
      this.newest = counter;
    }
    this.seen[counter % WINDOW] = 1;
  }
}

/** What is known of one sender. */
class Sender {
  constructor() {
    /** @type {Map<number, MediaKey>} by generation, oldest first */
    this.generations = new Map();
    /** @type {Map<string, Stream>} by key id, longest unused first */
    this.streams = new Map();
  }

  /**
   * @param {string} id
   * @param {Stream} stream
   */
  keep(id, stream) {
    this.streams.delete(id);
    this.streams.set(id, stream);
    for (const oldest of this.streams.keys()) {
      if (this.streams.size <= MAX_STREAMS) break;
      this.streams.delete(oldest);
    }
  }
}

/** Opens what others send. */
export class Opener {
  constructor() {
    /** @type {Map<string, Sender>} */
    this.senders = new Map();
  }

  /**
   * @param {string} participant
   * @param {MediaKey} key a known generation stays as it is: its later steps follow from it
   */
  setKey(participant, key) {
    const sender = this.senders.get(participant) ?? new Sender();
    this.senders.set(participant, sender);
    if (sender.generations.has(key.generation) || key.generation < Math.max(-1, ...sender.generations.keys())) return;
    sender.generations.set(key.generation, key);
    for (const oldest of sender.generations.keys()) {
      if (sender.generations.size <= MAX_GENERATIONS) break;
      sender.generations.delete(oldest);
    }
  }

  /** @param {string} participant */
  forget(participant) {
    this.senders.delete(participant);
  }

  /**
   * @param {Uint8Array} frame
   * @param {string} participant who is said to send it
   * @param {Source} source what it is said to be
   * @returns {Promise<Uint8Array<ArrayBuffer>>} rejects with a FrameError
   */
  async open(frame, participant, source) {
    const trailer = decodeTrailer(frame);
    if (trailer.source !== source) throw new FrameError('format');
    const tail = frame.subarray(frame.length - TRAILER_BYTES);
    const id = tail.subarray(4).join();
    const sender = this.senders.get(participant);
    if (sender === undefined) throw new FrameError('key');
    const { key, advanced } = await this.#keyFor(sender, participant, trailer, tail, id);
    const clear = frame.subarray(0, clearBytes(source, frame, frame.length - TAG_BYTES - TRAILER_BYTES));
    if (!key.window.fresh(trailer.counter)) throw new FrameError('replayed');
    let opened;
    try {
      opened = await crypto.subtle.decrypt(
        { name: 'AES-GCM', iv: nonce(key.salt, trailer.counter), additionalData: join(clear, tail) },
        key.aes, /** @type {Uint8Array<ArrayBuffer>} */ (frame.subarray(clear.length, frame.length - TRAILER_BYTES)));
    } catch {
      throw new FrameError('forged');
    }
    this.#opened(sender, id, key, trailer.counter, advanced);
    return join(clear, new Uint8Array(opened));
  }

  /**
   * @param {Sender} sender
   * @param {string} participant
   * @param {Trailer} trailer
   * @param {Uint8Array} tail
   * @param {string} id
   * @returns {Promise<{ key: Stream, advanced: MediaKey | null }>} advanced: where the ratchet has to go for it
   */
  async #keyFor(sender, participant, { generation, step }, tail, id) {
    const kept = sender.streams.get(id);
    if (kept !== undefined) return { key: kept, advanced: null };
    const known = sender.generations.get(generation);
    if (known === undefined || step < known.step) throw new FrameError('key');
    let { secret } = known;
    for (let at = known.step; at < step; at++) secret = await ratchet(secret);
    const key = { ...await frameKey(secret, participant, tail), window: new ReplayWindow() };
    return { key, advanced: { generation, step, secret } };
  }

  /**
   * Takes note of a frame that was genuine: only those move anything.
   *
   * @param {Sender} sender
   * @param {string} id
   * @param {Stream} key
   * @param {number} counter
   * @param {MediaKey | null} advanced
   */
  #opened(sender, id, key, counter, advanced) {
    const { window } = sender.streams.get(id) ?? key; // another frame of the stream may have been faster
    if (!window.fresh(counter)) throw new FrameError('replayed');
    window.mark(counter);
    sender.keep(id, sender.streams.get(id) ?? key);
    const known = advanced === null ? undefined : sender.generations.get(advanced.generation);
    if (advanced !== null && known !== undefined && advanced.step > known.step) {
      known.step = advanced.step;
      known.secret = advanced.secret;
    }
  }
}
