import { Emitter } from './emitter.js';
import { safetyNumber } from './e2ee-keys.js';
import { KeyExchange } from './e2ee-exchange.js';

/**
 * End-to-end encryption of one session: keys on this side, frames in a worker. Legs ask it to protect what they send
 * and to open what they receive.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./e2ee-worker.js').Part} Part
 * @typedef {{ changed: void, undecryptable: Set<string>, failed: void }} ShieldEvents changed: there is another safety
 *   number; undecryptable: whose media cannot be shown; failed: nothing can be encrypted
 */

/** How often keys that were not received are looked after. */
const TICK_MS = 250;

/** Chromium before it had script transforms: frames pass through streams that are handed to the worker. */
const streams = () => typeof RTCRtpScriptTransform === 'undefined';

/** Receivers so far, over all sessions: the worker knows each by its number. */
let count = 0;
/** Sessions so far. */
let sessions = 0;

/**
 * What frames pass through, one for all sessions of a page: the server that its code comes from may be gone by the next one. It
 * is created by its URL and not from text, since the page's policy allows workers of its own origin only.
 */
export class FrameWorker {
  constructor() {
    this.worker = new Worker(new URL('./e2ee-worker.js', import.meta.url), { type: 'module' });
    /** Settled when it is loaded, or cannot be. @type {Promise<unknown>} */
    this.ready = new Promise((resolve, reject) => {
      this.worker.onmessage = resolve;
      this.worker.onerror = reject;
    });
    this.ready.catch(() => {}); // whoever needs it is told
  }

  end() {
    this.worker.terminate();
  }
}

/** Whether this browser can take part. */
export function supported() {
  return typeof Worker === 'function' && crypto.subtle !== undefined
    && typeof RTCRtpTransceiver === 'function' && 'setCodecPreferences' in RTCRtpTransceiver.prototype
    && (!streams() || 'createEncodedStreams' in RTCRtpSender.prototype);
}

/** @extends {Emitter<ShieldEvents>} */
export class Shield extends Emitter {
  /**
   * @param {string} encounter
   * @param {string} participant
   * @param {(message: import('./protocol.js').ClientMessage) => void} send
   * @param {FrameWorker} frames
   */
  constructor(encounter, participant, send, { worker, ready }) {
    super();
    this.encounter = encounter;
    this.participant = participant;
    this.send = (/** @type {import('./protocol.js').ClientMessage} */ message) => this.disposed || send(message);
    /** @type {Set<string>} */
    this.undecryptable = new Set();
    /** @type {WeakMap<RTCRtpReceiver, number>} what the worker calls each receiver */
    this.receivers = new WeakMap();
    this.session = sessions += 1;
    this.disposed = false;
    this.worker = worker;
    this.exchange = this.#start(ready);
    this.exchange.catch(() => this.#fail());
    this.timer = setInterval(() => void this.exchange.then((keys) => keys.tick(performance.now())).catch(() => {}), TICK_MS);
  }

  /** Says which key others can seal to; without it there is no leg. */
  async announce() {
    const { own } = await this.exchange;
    this.send({ type: 'public-key', key: own.key });
  }

  /** @param {import('./protocol.js').Roster} roster */
  async roster({ members }) {
    await (await this.exchange).roster(members ?? [], performance.now());
  }

  /** @param {import('./protocol.js').SenderKey} message */
  async receive(message) {
    await (await this.exchange).receive(message);
  }

  /** @returns {Promise<string[]>} the groups of digits that everybody of the visit should see */
  async number() {
    return safetyNumber(this.encounter, (await this.exchange).everybody);
  }

  /**
   * @param {RTCConfiguration} config
   * @returns {RTCConfiguration} the same for a peer connection whose media passes through here
   */
  configuration(config) {
    return streams() ? /** @type {RTCConfiguration} */ ({ ...config, encodedInsertableStreams: true }) : config;
  }

  /**
   * Seals what a transceiver sends, and keeps it to what can be sealed: VP8 and Opus.
   *
   * @param {RTCRtpTransceiver} transceiver
   * @param {Source} source
   * @param {number} leg
   */
  protect(transceiver, source, leg) {
    const kind = source === 'microphone' ? 'audio' : 'video';
    const wanted = kind === 'audio' ? /^audio\/opus$/i : /^video\/(vp8|rtx)$/i;
    const known = RTCRtpSender.getCapabilities(kind)?.codecs ?? [];
    transceiver.setCodecPreferences(known.filter(({ mimeType }) => wanted.test(mimeType)));
    this.#pass(transceiver.sender, { role: 'send', leg, source });
  }

  /**
   * Opens what a peer connection receives, from the first frame on.
   *
   * @param {RTCPeerConnection} pc
   */
  watch(pc) {
    pc.ontrack = ({ receiver }) => {
      if (this.receivers.has(receiver)) return;
      const id = count++;
      this.receivers.set(receiver, id);
      this.#pass(receiver, { role: 'receive', id });
    };
  }

  /** @param {import('./subscriber.js').RemoteTrack[]} remote what receivers carry now */
  assign(remote) {
    for (const { receiver, participant, source } of remote) {
      const id = this.receivers.get(receiver);
      if (id !== undefined) this.#post({ type: 'assign', id, participant, source });
    }
  }

  dispose() {
    this.disposed = true;
    clearInterval(this.timer);
  }

  /** @param {Promise<unknown>} ready a worker that is not loaded yet would miss transforms */
  async #start(ready) {
    await ready;
    if (!this.disposed) {
      this.worker.onmessage = ({ data }) => this.#heard(data);
      this.worker.onerror = () => this.#fail();
    }
    this.#post({ type: 'self', session: this.session, participant: this.participant });
    return KeyExchange.create(this.encounter, this.participant, {
      send: (message) => this.send(message),
      use: (key) => this.#post({ type: 'send-key', key }),
      learn: (participant, key) => this.#post({ type: 'receive-key', participant, key }),
      forget: (participant) => {
        this.#post({ type: 'forget', participant });
        this.#health(participant, true);
      },
      changed: () => this.emit('changed', undefined),
    });
  }

  /** @param {import('./e2ee-worker.js').FromWorker} message */
  #heard(message) {
    if (message.type === 'health' && message.session === this.session) this.#health(message.participant, message.opens);
  }

  #fail() {
    if (!this.disposed) this.emit('failed', undefined);
  }

  /**
   * @param {string} participant
   * @param {boolean} opens
   */
  #health(participant, opens) {
    const before = this.undecryptable.has(participant);
    if (before !== opens) return;
    if (opens) this.undecryptable.delete(participant);
    else this.undecryptable.add(participant);
    this.emit('undecryptable', new Set(this.undecryptable));
  }

  /**
   * @param {RTCRtpSender | RTCRtpReceiver} end
   * @param {Part} part
   */
  #pass(end, part) {
    if (this.disposed) return;
    if (!streams()) {
      end.transform = new RTCRtpScriptTransform(this.worker, part);
      return;
    }
    const { readable, writable } = /** @type {any} */ (end).createEncodedStreams();
    this.#post({ type: 'part', part, readable, writable }, [readable, writable]);
  }

  /**
   * @param {import('./e2ee-worker.js').ToWorker} message
   * @param {Transferable[]} [transfer]
   */
  #post(message, transfer = []) {
    if (!this.disposed) this.worker.postMessage(message, transfer);
  }
}
