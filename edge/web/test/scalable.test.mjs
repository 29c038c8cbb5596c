import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { preferCodec } from '../static/assets/js/codec.js';
import { addScalable, scale } from '../static/assets/js/scalable.js';

afterEach(() => { delete globalThis.RTCRtpSender; });

const known = (...types) => { globalThis.RTCRtpSender = { getCapabilities: () => ({ codecs: types.map((mimeType) => ({ mimeType })) }) }; };
const connection = (accepts = true) => ({
  added: [],
  addTransceiver(track, init) {
    if (!accepts) throw new DOMException('no such mode', 'OperationError');
    const transceiver = { init, setCodecPreferences(codecs) { this.preferred = codecs.map(({ mimeType }) => mimeType); } };
    this.added.push(transceiver);
    return transceiver;
  },
});

test('a camera is sent as one stream of the codec that was asked for', () => {
  known('video/VP8', 'video/VP9', 'video/rtx', 'video/AV1', 'video/VP9');
  const transceiver = addScalable(connection(), {}, 'vp9');
  assert.deepEqual(transceiver.preferred, ['video/VP9', 'video/VP9', 'video/VP8', 'video/rtx', 'video/AV1']);
  assert.deepEqual(transceiver.init.sendEncodings.map(({ scalabilityMode, rid }) => [scalabilityMode, rid]), [['L3T3_KEY', undefined]]);
});

test('a browser that cannot sends what it sent before', () => {
  known('video/VP8');
  const pc = connection();
  assert.equal(addScalable(pc, {}, 'av1'), null);
  assert.deepEqual(pc.added, []);
  known('video/AV1');
  assert.equal(addScalable(connection(false), {}, 'av1'), null);
  delete globalThis.RTCRtpSender;
  assert.equal(addScalable(pc, {}, 'vp9'), null);
});

test('a stream has one size while it is of a codec that knows no more', async () => {
  const set = [];
  const sender = { encodings: [{ scalabilityMode: 'L3T3_KEY' }], getParameters() { return structuredClone({ encodings: this.encodings }); },
    async setParameters({ encodings }) { this.encodings = encodings; set.push(encodings[0].scalabilityMode); } };
  for (const all of [true, false, false, true]) await scale(sender, all);
  assert.deepEqual(set, ['L1T3', 'L3T3_KEY']);
});

test('what is sent is what comes first', () => {
  known('video/VP8', 'video/rtx', 'video/H264', 'video/VP9', 'video/H264');
  const transceiver = { setCodecPreferences(codecs) { this.preferred = codecs.map(({ mimeType }) => mimeType); } };
  assert.equal(preferCodec(transceiver, 'h264'), true);
  assert.deepEqual(transceiver.preferred, ['video/H264', 'video/H264', 'video/VP8', 'video/rtx', 'video/VP9']);
  assert.equal(preferCodec(transceiver, 'av1'), false);
  assert.equal(preferCodec(transceiver, ''), true);
  assert.deepEqual(transceiver.preferred, []);
  assert.equal(preferCodec({}, 'vp8'), false);
});
