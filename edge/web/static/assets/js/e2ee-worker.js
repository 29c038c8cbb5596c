import { Health } from './e2ee-health.js';
import { Opener } from './e2ee-opener.js';
import { Sealer } from './e2ee-sealer.js';

/**
 * The worker that media passes through on its way to and from the network. A frame that cannot be sealed or opened is
 * dropped: nothing goes out in the clear, and nothing in the clear is shown.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./e2ee-frame.js').MediaKey} MediaKey
 * @typedef {{ role: 'send', leg: number, source: Source } | { role: 'receive', id: number }} Part
 * @typedef {{ options: Part, readable: ReadableStream, writable: WritableStream, sendKeyFrameRequest?: () => Promise<unknown> }} Transformer
 * @typedef {{ data: ArrayBuffer, getMetadata: () => { synchronizationSource?: number, mimeType?: string } }} EncodedFrame
 * @typedef {{ type: 'self', session: number, participant: string }
 *   | { type: 'send-key', key: MediaKey }
 *   | { type: 'receive-key', participant: string, key: MediaKey }
 *   | { type: 'forget', participant: string }
 *   | { type: 'assign', id: number, participant: string, source: Source }
 *   | { type: 'part', part: Part, readable: ReadableStream, writable: WritableStream }} ToWorker
 * @typedef {{ type: 'ready' } | { type: 'health', session: number, participant: string, opens: boolean }} FromWorker
 */

/** The codecs whose frames the clear bytes are right for (docs/protocol.md). */
const CODECS = { microphone: 'audio/opus', camera: 'video/vp8', screen: 'video/vp8' };

/** One session after the other, each with what it alone knows. */
let session = 0;
let sealer = new Sealer('');
let opener = new Opener();
let health = new Health();
/** @type {Map<number, { participant: string, source: Source }>} what each receiver carries */
const receivers = new Map();
/** @type {Map<number, Transformer>} */
const transformers = new Map();

const scope = /** @type {any} */ (globalThis);
/** @param {FromWorker} message */
const tell = (message) => scope.postMessage(message);

/** @param {MessageEvent<ToWorker>} event */
scope.onmessage = ({ data }) => {
  if (data.type === 'self') begin(data.session, data.participant);
  else if (data.type === 'send-key') sealer.setKey(data.key);
  else if (data.type === 'receive-key') learn(data.participant, data.key);
  else if (data.type === 'forget') forget(data.participant);
  else if (data.type === 'assign') receivers.set(data.id, { participant: data.participant, source: data.source });
  else pass(data.part, data.readable, data.writable);
};

/** @param {{ transformer: Transformer }} event */
scope.onrtctransform = ({ transformer }) => {
  const { options, readable, writable } = transformer;
  if (options.role === 'receive') transformers.set(options.id, transformer);
  pass(options, readable, writable);
};

/**
 * @param {number} number
 * @param {string} participant
 */
function begin(number, participant) {
  session = number;
  sealer = new Sealer(participant);
  opener = new Opener();
  health = new Health();
  receivers.clear();
  transformers.clear();
}

/**
 * @param {string} participant
 * @param {MediaKey} key
 */
function learn(participant, key) {
  opener.setKey(participant, key);
  // What came before the key is lost, and pictures begin with a key frame. Decoders ask too, but later.
  for (const [id, carried] of receivers) {
    if (carried.participant !== participant || carried.source === 'microphone') continue;
    transformers.get(id)?.sendKeyFrameRequest?.().catch(() => {});
  }
}

/** @param {string} participant */
function forget(participant) {
  opener.forget(participant);
  health.forget(participant);
}

/**
 * @param {Part} part
 * @param {ReadableStream} readable
 * @param {WritableStream} writable
 */
function pass(part, readable, writable) {
  const transform = part.role === 'send' ? sealing(part.leg, part.source) : opening(part.id);
  // It ends with its peer connection, in whichever way.
  readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable).catch(() => {});
}

/**
 * @param {number} leg
 * @param {Source} source
 */
function sealing(leg, source) {
  /** Simulcast layers, numbered as they come. @type {Map<number | undefined, number>} */
  const layers = new Map();
  return async (/** @type {EncodedFrame} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const { synchronizationSource, mimeType } = frame.getMetadata();
    if (mimeType !== undefined && mimeType.toLowerCase() !== CODECS[source]) return;
    const layer = layers.get(synchronizationSource) ?? layers.size;
    layers.set(synchronizationSource, layer);
    try {
      frame.data = (await sealer.seal(new Uint8Array(frame.data), { leg, source, layer })).buffer;
    } catch {
      return;
    }
    controller.enqueue(frame);
  };
}

/** @param {number} id */
function opening(id) {
  return async (/** @type {EncodedFrame} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const from = receivers.get(id);
    if (from === undefined) return;
    let opened = true;
    try {
      frame.data = (await opener.open(new Uint8Array(frame.data), from.participant, from.source)).buffer;
    } catch {
      opened = false;
    }
    const news = health.frame(from.participant, opened, performance.now());
    if (news !== null) tell({ type: 'health', session, participant: from.participant, opens: news });
    if (opened) controller.enqueue(frame);
  };
}

tell({ type: 'ready' });
